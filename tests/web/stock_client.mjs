// The npm package `phoenix`, as its users have it, against a real cluster (GAMECLUSTER_ORIGIN) that plays
// gamecluster.demo:Counter, gamecluster.demo:Room and sketch.py:Sketch. GAMECLUSTER_VICTIM_URL and _PID: a node that may be killed here.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Presence as StockPresence, Socket } from "phoenix";
import { WebSocket } from "ws"; // like a browser's; Node's own, up to 22, never closes what it could not open

import { connect, Presence } from "../../server/gamecluster/web/client.js";
import { until } from "./support.mjs";

const { servers } = await (await fetch(`${process.env.GAMECLUSTER_ORIGIN}/servers`)).json();
const [here, there] = servers.map(({ url }) => url);

// phoenix.js brings no V1 serializer any more, but takes one.
const V1 = {
  vsn: "1.0.0",
  encode: ({ join_ref: _, ...message }, callback) => callback(JSON.stringify(message)),
  decode: (text, callback) => callback({ join_ref: null, ...JSON.parse(text) }),
};
const V2 = {};

let names = 0;
const name = () => `stock${process.pid}-${names++}`;

function socketTo(t, url, options = {}) {
  const socket = new Socket(url, { transport: WebSocket, ...options });
  t.after(() => new Promise((resolve) => { socket.disconnect(resolve); }));
  socket.connect();
  return socket;
}

/** A phoenix.js push as a promise. */
function answered(push) {
  return new Promise((resolve, reject) => {
    push.receive("ok", resolve).receive("error", reject).receive("timeout", () => reject(new Error("timeout")));
  });
}

const bytes = (...values) => new Uint8Array(values).buffer;

test("bytes pass between the stock client, on one node, and this project's own, on another", async (t) => {
  const heard = { stock: [], own: [] };
  const stock = socketTo(t, here).channel("sketch:größe", {});
  for (const event of ["drawn", "drew"]) stock.on(event, (data) => heard.stock.push([event, data]));
  await answered(stock.join());
  const client = connect({ servers: [there], topic: null });
  t.after(() => client.close());
  const own = client.channel("sketch:größe");
  for (const event of ["drawn", "drew"]) own.on(event, (data) => heard.own.push([event, data]));
  await own.joined;

  assert.deepEqual(await answered(stock.push("draw", bytes(1, 2, 3))), bytes(3, 2, 1));
  await until(() => heard.own.length, "the stock client's stroke");
  assert.deepEqual(await own.push("draw", new Uint8Array([0, 255, 128])), bytes(128, 255, 0));
  await until(() => heard.stock.length === 3 && heard.own.length === 3, "all strokes");
  const [one, other] = [bytes(1, 2, 3), bytes(0, 255, 128)].map((data) => ["drawn", data]);
  assert.deepEqual(heard.own.filter(([event]) => event === "drawn"), [one, other]);
  assert.deepEqual(heard.stock, [one, ["drew", bytes(1)], other]);
  assert.deepEqual(heard.own.find(([event]) => event === "drew"), ["drew", bytes(0)]);
  await assert.rejects(answered(stock.push("draw", {})), ({ detail }) => detail === "expected bytes, got dict");
  await assert.rejects(answered(stock.push("say", bytes(1))), ({ reason }) => reason === "bad payload");
});

test("patches that come as bytes lead to the same state as those in JSON", async (t) => {
  const frames = [];
  class Listening extends WebSocket {
    constructor(url) {
      super(url);
      this.addEventListener("message", ({ data }) => frames.push(data));
    }
  }
  const [ann, ben] = [
    connect({ servers: [here], player: name(), patches: "binary", WebSocket: Listening }),
    connect({ servers: [there], player: name() }),
  ];
  for (const client of [ann, ben]) t.after(() => client.close());
  assert.deepEqual((await ann.joined).schema, [["totals", ["value"]]]);
  assert.equal((await ben.joined).schema, undefined);
  for (let n = 0; n < 20; n++) await Promise.all([ann.push("add", { amount: n }), ben.push("add", { amount: -n })]);
  const isDone = ({ state }) => state.totals[ann.player]?.value === 190 && state.totals[ben.player]?.value === -190;
  await until(() => isDone(ann) && isDone(ben), "both sums with both");
  assert.ok(frames.some((frame) => frame instanceof ArrayBuffer));
  assert.ok(!frames.some((frame) => typeof frame === "string" && JSON.parse(frame)[3] === "patch"));
});

test("a V1 client on a topic of bytes hears what is JSON", async (t) => {
  const heard = [];
  const [old, modern] = [socketTo(t, here, V1), socketTo(t, here)].map((socket) => socket.channel("sketch:old", {}));
  for (const event of ["drawn", "said"]) old.on(event, (payload) => heard.push([event, payload]));
  await answered(old.join());
  await answered(modern.join());
  await answered(modern.push("draw", bytes(1)));
  await answered(modern.push("say", { text: "hello" }));
  await until(() => heard.length, "what was said");
  assert.deepEqual(heard, [["said", { text: "hello" }]]);
});

for (const [version, options] of Object.entries({ V1, V2 })) {
  test(`${version}: what one shouts is heard on another node, and by itself`, async (t) => {
    const heard = [];
    const rooms = [here, there].map((url) => socketTo(t, url, options).channel(`room:${version}`, {}));
    for (const room of rooms) {
      room.on("shout", ({ body }) => heard.push(body));
      await answered(room.join());
    }
    await answered(rooms[0].push("shout", { body: "hello" }));
    await until(() => heard.length === 2, "both have heard");
  });

  test(`${version}: the stock Presence, and this project's, see who is there, comes and goes on both nodes`, async (t) => {
    const topic = `room:present-${version}`;
    const [ann, ben] = [here, there].map((url, n) => socketTo(t, url, options).channel(topic, { player: ["ann", "ben"][n] }));
    const seen = new StockPresence(ann);
    const [joins, leaves] = [[], []];
    seen.onJoin((key, current, added) => joins.push([key, Boolean(current), added.metas.length]));
    seen.onLeave((key, current, removed) => leaves.push([key, current.metas.length, removed.metas.length]));
    await answered(ann.join());
    await answered(ben.join());
    const own = connect({ servers: [there], topic: null });
    t.after(() => own.close());
    const present = new Presence(own.channel(topic, { player: "eve" }));
    const keys = () => seen.list((key) => key).sort();
    await until(() => keys().length === 3 && present.keys().length === 3, "all three with both");
    assert.deepEqual([keys(), present.keys().sort()], [["ann", "ben", "eve"], ["ann", "ben", "eve"]]);
    assert.deepEqual(present.metas("ann").map(({ phx_ref }) => phx_ref), seen.state.ann.metas.map(({ phx_ref }) => phx_ref));

    const again = socketTo(t, here, options).channel(topic, { player: "ben" }); // in another tab
    await answered(again.join());
    await until(() => present.metas("ben").length === 2 && seen.state.ben.metas.length === 2, "ben twice with both");
    await answered(again.leave());
    await until(() => present.metas("ben").length === 1 && seen.state.ben.metas.length === 1, "ben once with both");
    await answered(ben.leave());
    await until(() => !present.has("ben") && !("ben" in seen.state), "ben gone with both");
    assert.deepEqual(joins, [["ann", false, 1], ["ben", false, 1], ["eve", false, 1], ["ben", true, 1]]);
    assert.deepEqual(leaves, [["ben", 1, 1], ["ben", 0, 1]]);
  });

  test(`${version}: a player joins the game, moves, and sees the patch`, async (t) => {
    const player = name();
    const channel = socketTo(t, here, options).channel("game", { player });
    const patches = [];
    channel.on("patch", (patch) => patches.push(patch));
    const { state, resumed, token } = await answered(channel.join());
    assert.deepEqual([resumed, typeof token, state.totals[player].value], [false, "string", 0]);
    const { epoch, seq } = await answered(channel.push("add", { amount: 4, n: 1 }));
    const isOurs = (patch) => patch.epoch === epoch && patch.seq >= seq;
    await until(() => patches.find(isOurs), "the patch");
    const ops = patches.flatMap((patch) => patch.ops);
    assert.deepEqual(ops.find(([table, key]) => table === "totals" && key === player), ["totals", player, { value: 4 }]);
  });

  test(`${version}: leaving closes the channel, the socket goes on`, async (t) => {
    const socket = socketTo(t, here, options);
    const room = socket.channel("room:left", {});
    const stays = socket.channel("room:stays", {});
    await Promise.all([answered(room.join()), answered(stays.join())]);
    let isClosed = false;
    room.onClose(() => { isClosed = true; });
    await answered(room.leave());
    await until(() => isClosed, "closed");
    await answered(stays.push("shout", {}));
  });

  test(`${version}: a topic that nobody serves is refused`, async (t) => {
    const channel = socketTo(t, here, options).channel("nowhere", {});
    await assert.rejects(answered(channel.join()), ({ reason }) => reason === "unmatched topic");
    channel.leave();
  });
}

test("a second join of a topic on one socket takes the place of the first", async (t) => {
  const socket = socketTo(t, here);
  const first = socket.channel("room:twice", {});
  await answered(first.join());
  const second = socket.channel("room:twice", {});
  await answered(second.join());
  await until(() => first.state === "closed", "the first is closed");
  await answered(second.push("shout", {}));
});

test("heartbeats are answered", async (t) => {
  const socket = socketTo(t, here, { heartbeatIntervalMs: 50 });
  await until(() => socket.isConnected(), "connected");
  const answers = [];
  socket.onMessage(({ topic, event }) => { if (topic === "phoenix" && event === "phx_reply") answers.push(event); });
  await until(() => answers.length >= 3, "three answers");
});

test("the token given to the socket proves the player", async (t) => {
  const player = name();
  const before = socketTo(t, here);
  const { token } = await answered(before.channel("game", { player }).join());
  const channel = socketTo(t, there, { authToken: token }).channel("game", {});
  const answer = await answered(channel.join());
  assert.deepEqual([answer.player, answer.resumed], [player, true]);
});

test("when its node is killed it comes back to the same address, and the player's total is as it was", async (t) => {
  const { GAMECLUSTER_VICTIM_URL: url, GAMECLUSTER_VICTIM_PID: pid } = process.env;
  const player = name();
  let token;
  const socket = socketTo(t, url);
  const channel = socket.channel("game", () => ({ player, nonce: player, token }));
  const joins = [];
  channel.joinPush.receive("ok", (response) => joins.push(response));
  ({ token } = await answered(channel.join()));
  await answered(channel.push("add", { amount: 9, n: 1 }));
  process.kill(Number(pid), "SIGKILL");
  const again = await until(() => joins[1], "a second join", 25_000);
  assert.equal(again.resumed, true);
  assert.equal(again.state.totals[player].value, 9);
  const repeated = await answered(channel.push("add", { amount: 9, n: 1 }));
  assert.equal(repeated.value, 9);
});
