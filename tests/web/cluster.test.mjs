// What every cluster does for the client: run against fake nodes, and against real ones (GAMECLUSTER_ORIGIN).
// The real cluster plays gamecluster.demo:Counter and gamecluster.demo:Room.

import assert from "node:assert/strict";
import { test } from "node:test";

import { fakeCluster, isJoined, joined, player, Tab, until } from "./support.mjs";

let players = 0;
const name = () => `p${process.pid}-${players++}`;

async function someCluster(t) {
  const origin = process.env.GAMECLUSTER_ORIGIN;
  if (!origin) return (await fakeCluster(t)).connect;
  return (options = {}) => player(t, { origin, ...options });
}

test("it joins, and has the state, a position and a token", async (t) => {
  const connect = await someCluster(t);
  const ann = connect({ player: name() });
  const response = await ann.joined;
  await joined(ann);
  assert.equal(response.player, ann.player);
  assert.equal(response.resumed, false);
  assert.equal(typeof ann.token, "string");
  assert.ok(ann.position.epoch >= 1);
  assert.ok(ann.state.totals);
  await until(() => ann.latency !== null, "a heartbeat");
});

test("a move is answered with its position, and its patch is in the copy by then or soon", async (t) => {
  const connect = await someCluster(t);
  const ann = await joined(connect({ player: name() }));
  const { epoch, seq } = await ann.push("add", { amount: 3 });
  assert.ok(epoch >= 1 && seq >= 1);
  await until(() => ann.state.totals[ann.player]?.value === 3, "the patch");
});

test("a rule's no reaches the page with its reason, and the next move goes on", async (t) => {
  const connect = await someCluster(t);
  const ann = await joined(connect({ player: name() }));
  await assert.rejects(ann.push("nonsense"), { reason: "unknown event" });
  await ann.push("add", { amount: 1 });
});

test("players on different nodes see each other", async (t) => {
  const connect = await someCluster(t);
  const ann = await joined(connect({ player: name() }));
  const other = ann.servers.find(({ name: server }) => server !== ann.status.server);
  const ben = await joined(connect({ player: name(), prefer: other.name }), other.name);
  await ann.push("add", { amount: 11 });
  await until(() => ben.state.totals[ann.player]?.value === 11, "ann's total, seen by ben");
});

test("a reload resumes the player and the count of moves", async (t) => {
  const connect = await someCluster(t);
  const storage = new Tab();
  const before = await joined(connect({ player: name(), storage }));
  for (let i = 0; i < 5; i += 1) await before.push("add", { amount: 1 });
  before.close();
  const after = connect({ storage });
  const response = await after.joined;
  assert.equal(after.player, before.player);
  assert.equal(response.resumed, true);
  assert.equal(response.n, 5);
  await after.push("add", { amount: 1 });
  await until(() => after.state.totals[after.player].value === 6, "the sum");
});

test("after a lost connection it is told what it has missed, on another node too", async (t) => {
  const connect = await someCluster(t);
  const { Gated, sockets, joins, gate } = gated();
  const ben = await joined(connect({ player: name() }));
  const ann = await joined(connect({ player: name(), WebSocket: Gated }));
  const { server: here, url } = ann.status;
  await until(() => ann.state.totals[ben.player], "ann has seen ben");
  const told = [];
  ann.on("state", () => told.push("state"));
  ann.on("patch", ({ ops }) => told.push(ops));
  gate.isOpen = false;
  sockets.at(-1).close(4000);
  await until(() => ann.status.status !== "joined", "ann is away");
  await ben.push("add", { amount: 5 });
  await ben.push("add", { amount: 6 });
  const { epoch, seq } = ann.position;
  Object.assign(gate, { isOpen: true, except: url });
  await joined(ann);
  const { response } = joins.at(-1);
  assert.deepEqual([response.resumed, response.state], [true, undefined]);
  assert.deepEqual(response.ops.filter(([table, key]) => table === "totals" && key === ben.player).at(-1), ["totals", ben.player, { value: 11 }]);
  assert.ok(response.epoch >= epoch && response.seq > seq);
  assert.equal(ann.state.totals[ben.player].value, 11);
  assert.ok(!told.includes("state") && told.length >= 1);
  assert.notEqual(ann.status.server, here);
  await ann.push("add", { amount: 1 });
  await until(() => ann.state.totals[ann.player].value === 1, "its own move");
});

/** A WebSocket that can be kept from connecting, and what joins of the game were answered on it. */
function gated() {
  const gate = { isOpen: true, except: null };
  const sockets = [];
  const joins = [];
  class Gated extends WebSocket {
    constructor(url) {
      if (!gate.isOpen || (gate.except && url.startsWith(gate.except))) throw new Error("kept from connecting");
      super(url);
      sockets.push(this);
      this.addEventListener("message", ({ data }) => {
        const [, , topic, event, payload] = JSON.parse(data);
        if (topic === "game" && event === "phx_reply" && payload.response.token) joins.push(payload);
      });
    }
  }
  return { Gated, sockets, joins, gate };
}

test("a player who joins elsewhere replaces the first page, which does not fight for it", async (t) => {
  const connect = await someCluster(t);
  const first = await joined(connect({ player: name() }));
  const other = first.servers.find(({ name: server }) => server !== first.status.server);
  const second = await joined(connect({ player: first.player, token: first.token, prefer: other.name }), other.name);
  await until(() => first.status.status === "replaced", "replaced");
  await assert.rejects(first.push("add", { amount: 1 }), { reason: "replaced" });
  await second.push("add", { amount: 1 });
  assert.ok(isJoined(second));
  first.rejoin();
  await joined(first);
  await until(() => second.status.status === "replaced", "the second is replaced");
});

test("a player who leaves can be taken by another page at once", async (t) => {
  const connect = await someCluster(t);
  const ann = await joined(connect({ player: name() }));
  ann.leave();
  assert.equal(ann.status.status, "closed");
  await until(async () => {
    const again = connect({ player: ann.player });
    const outcome = await again.joined.then(({ resumed }) => resumed, ({ reason }) => reason);
    again.close();
    return outcome === false;
  }, "a new stay");
});

test("what one shouts in a room is heard on another node, by itself too", async (t) => {
  const connect = await someCluster(t);
  const ann = connect({ topic: null });
  const heard = { ann: [], ben: [] };
  const annRoom = ann.channel("room:web", { player: "ann" });
  annRoom.on("shout", (payload) => heard.ann.push(payload));
  await annRoom.joined;
  const other = ann.servers.find(({ name: server }) => server !== ann.server);
  const ben = connect({ topic: null, prefer: other.name });
  const benRoom = ben.channel("room:web", { player: "ben" });
  benRoom.on("shout", (payload) => heard.ben.push(payload));
  await benRoom.joined;
  await annRoom.push("shout", { body: "hi" });
  await until(() => heard.ann.length && heard.ben.length, "both have heard");
  assert.equal(heard.ben[0].body, "hi");
  annRoom.leave();
  await assert.rejects(annRoom.push("shout", {}), { reason: "not joined" });
});

test("the game and a room share one socket", async (t) => {
  const connect = await someCluster(t);
  const ann = await joined(connect({ player: name() }));
  const room = ann.channel("room:shared");
  await room.joined;
  assert.throws(() => ann.channel("room:shared"), /has a channel/);
  await room.push("shout", { body: "x" });
  await ann.push("add", { amount: 1 });
});

test("an unknown topic is refused", async (t) => {
  const connect = await someCluster(t);
  const ann = connect({ topic: null });
  await assert.rejects(ann.channel("nowhere").joined, { reason: "unmatched topic" });
});
