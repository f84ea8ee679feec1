// The client against nodes that die, fall silent, answer late or refuse.

import assert from "node:assert/strict";
import { test } from "node:test";

import { connect } from "../../server/gamecluster/web/client.js";
import { fakeCluster, isJoined, joined, Tab, until } from "./support.mjs";

const total = (look, player) => look.state.totals[player].value;

test("when its node dies it is on the next one at once, and no move is lost or doubled", async (t) => {
  const cluster = await fakeCluster(t);
  const ann = await joined(cluster.connect({ player: "ann" }), "fake-0");
  const before = Array.from({ length: 10 }, () => ann.push("add", { amount: 1 }));
  await cluster.node(0, "die");
  const died = performance.now();
  const after = Array.from({ length: 10 }, () => ann.push("add", { amount: 1 }));
  await Promise.all([...before, ...after]);
  assert.ok(performance.now() - died < 1000, "a second is too long");
  assert.notEqual(ann.status.server, "fake-0");
  const look = await cluster.look();
  assert.equal(total(look, "ann"), 20);
  assert.deepEqual(look.applied.map(([, n]) => n), Array.from({ length: 20 }, (_, i) => i + 1));
  assert.deepEqual(ann.state.totals.ann, { value: 20 });
});

test("a node that falls silent is left within a second and a half", async (t) => {
  const cluster = await fakeCluster(t);
  const ann = await joined(cluster.connect({ player: "ann" }), "fake-0");
  await cluster.node(0, "silent", { value: true });
  const since = performance.now();
  await ann.push("add", { amount: 5 });
  assert.ok(performance.now() - since < 1500);
  assert.ok(ann.statuses.some(({ reason }) => reason === "silence"));
  assert.equal(total(await cluster.look(), "ann"), 5);
});

test("a node that does not even shake hands is passed over", async (t) => {
  const cluster = await fakeCluster(t);
  await cluster.node(1, "silent", { value: true });
  const servers = cluster.nodes.map(({ url }) => url);
  const ann = cluster.connect({ player: "ann", servers, prefer: servers[1], connectMilliseconds: 300 });
  await joined(ann);
  assert.deepEqual(ann.statuses.map(({ status }) => status), ["connecting", "reconnecting", "connecting", "connected", "joined"]);
});

test("a node that answers late is kept", async (t) => {
  const cluster = await fakeCluster(t);
  const ann = await joined(cluster.connect({ player: "ann" }), "fake-0");
  await cluster.node(0, "late", { value: 0.3 });
  for (let i = 0; i < 3; i += 1) await ann.push("add", { amount: 1 });
  assert.equal(ann.statuses.filter(({ status }) => status === "joined").length, 1);
  assert.equal(ann.status.server, "fake-0");
});

test("a node that answers its heartbeats is kept, however long a move waits", async (t) => {
  const cluster = await fakeCluster(t);
  const ann = await joined(cluster.connect({ player: "ann", answerMilliseconds: 2500 }), "fake-0");
  await cluster.node(0, "swallow", { value: 1 });
  await ann.push("add", { amount: 1 });
  assert.deepEqual(ann.statuses.map(({ reason }) => reason).filter(Boolean), ["no answer"]);
});

test("an answer that never comes: the move is repeated on another connection, and applied once", async (t) => {
  const cluster = await fakeCluster(t);
  const ann = await joined(cluster.connect({ player: "ann", answerMilliseconds: 300 }), "fake-0");
  await cluster.node(0, "swallow", { value: 1 });
  await ann.push("add", { amount: 3 });
  assert.equal(total(await cluster.look(), "ann"), 3);
  assert.ok(ann.statuses.some(({ reason }) => reason === "no answer"));
});

test("a node that refuses the join for now is left for another", async (t) => {
  const cluster = await fakeCluster(t);
  await cluster.node(0, "refusal", { value: "no leader" });
  const ann = await joined(cluster.connect({ player: "ann" }));
  assert.notEqual(ann.status.server, "fake-0");
});

test("a refusal for good ends it, and says why", async (t) => {
  const cluster = await fakeCluster(t);
  await cluster.node(0, "refusal", { value: "server full" });
  const ann = cluster.connect({ player: "ann" });
  await assert.rejects(ann.joined, { reason: "server full" });
  await until(() => ann.status.status === "refused", "refused");
  await assert.rejects(ann.push("add", { amount: 1 }), { reason: "refused" });
  await cluster.node(0, "behave");
  ann.rejoin();
  await joined(ann, "fake-0");
});

test("a player who is there already can't be taken without the token", async (t) => {
  const cluster = await fakeCluster(t);
  await joined(cluster.connect({ player: "ann" }));
  const thief = cluster.connect({ player: "ann" });
  await until(() => thief.status.status === "refused", "refused");
  assert.equal(thief.status.reason, "player taken");
});

test("moves that are refused before their rule runs are repeated in order", async (t) => {
  const cluster = await fakeCluster(t);
  const ann = await joined(cluster.connect({ player: "ann" }));
  for (const reason of ["no leader", "rate limited", "unknown"]) {
    await cluster.node(0, "refusal_of_moves", { value: reason });
    await cluster.node(0, "refusals_of_moves", { value: 3 });
    await Promise.all(Array.from({ length: 8 }, () => ann.push("add", { amount: 1 })));
  }
  const { applied } = await cluster.look();
  assert.deepEqual(applied.map(([, n]) => n), Array.from({ length: 24 }, (_, i) => i + 1));
  assert.equal(ann.statuses.filter(({ status }) => status === "joined").length, 1);
});

test("a node that takes no moves is left for one that does", async (t) => {
  const cluster = await fakeCluster(t);
  const ann = await joined(cluster.connect({ player: "ann" }), "fake-0");
  await cluster.node(0, "refusal_of_moves", { value: "no leader" });
  await cluster.node(0, "refusals_of_moves", { value: 1_000_000 });
  await ann.push("add", { amount: 1 });
  assert.notEqual(ann.status.server, "fake-0");
});

test("with all nodes gone it keeps trying, and comes back when one does", async (t) => {
  const cluster = await fakeCluster(t);
  const ann = await joined(cluster.connect({ player: "ann" }));
  for (const node of [0, 1, 2]) await cluster.node(node, "die");
  const move = ann.push("add", { amount: 2 });
  await until(() => ann.statuses.filter(({ status }) => status === "reconnecting").length >= 8, "several tries");
  await cluster.node(2, "start");
  await move;
  assert.equal(ann.status.server, "fake-2");
  assert.equal(ann.state.totals.ann.value, 2);
});

test("a server that is new in /servers is found when all known ones are gone", async (t) => {
  const cluster = await fakeCluster(t);
  await cluster.node(2, "listed", { value: false });
  const ann = await joined(cluster.connect({ player: "ann", origin: `http://127.0.0.1:${cluster.nodes[2].port}` }));
  assert.deepEqual(ann.servers.map(({ name }) => name), ["fake-0", "fake-1"]);
  await cluster.node(2, "listed", { value: true });
  await cluster.node(0, "die");
  await cluster.node(1, "die");
  await joined(ann, "fake-2");
});

test("the list is read again now and then", async (t) => {
  const cluster = await fakeCluster(t);
  await cluster.node(1, "listed", { value: false });
  const ann = await joined(cluster.connect({ player: "ann", refreshMilliseconds: 50 }));
  assert.equal(ann.servers.length, 2);
  await cluster.node(1, "listed", { value: true });
  await until(() => ann.servers.length === 3, "three servers");
  assert.equal(ann.status.server, "fake-0");
});

test("when the page's origin is gone the list is read from another server", async (t) => {
  const cluster = await fakeCluster(t);
  await cluster.node(2, "listed", { value: false });
  const ann = await joined(cluster.connect({ player: "ann" }));
  await cluster.node(2, "listed", { value: true });
  await cluster.node(0, "die");
  await joined(ann, "fake-1");
  await cluster.node(1, "listed", { value: false });
  const refreshed = cluster.connect({ player: "ben", refreshMilliseconds: 50, origin: ann.servers[1].url.replace("ws", "http").replace("/socket", "") });
  await joined(refreshed, "fake-2").catch(() => joined(refreshed));
  assert.ok(refreshed.servers.some(({ name }) => name === "fake-2"));
});

for (const code of [1001, 1012, 4000]) {
  test(`it comes back after close code ${code}`, async (t) => {
    const cluster = await fakeCluster(t);
    const ann = await joined(cluster.connect({ player: "ann" }));
    await cluster.node(0, "close", { code });
    await until(() => isJoined(ann) && ann.status.server !== "fake-0", "joined elsewhere");
  });
}

test("it stays away after close code 1000", async (t) => {
  const cluster = await fakeCluster(t);
  const ann = await joined(cluster.connect({ player: "ann" }));
  await cluster.node(0, "close", { code: 1000 });
  await until(() => ann.status.status === "closed", "closed");
  assert.deepEqual((await cluster.look()).clients, [0, 0, 0]);
  await assert.rejects(ann.push("add", { amount: 1 }), { reason: "closed" });
});

test("a token of a cluster that is no more is dropped, and the player joins anew", async (t) => {
  const cluster = await fakeCluster(t);
  const ann = cluster.connect({ player: "ann", token: "foreign.token" });
  await joined(ann);
  assert.match(ann.token, /^fake\./);
});

test("a cluster that began anew replaces the copy, though its positions are lower", async (t) => {
  const cluster = await fakeCluster(t);
  const ann = await joined(cluster.connect({ player: "ann" }));
  await cluster.command({ do: "fail over" });
  for (let i = 0; i < 5; i += 1) await ann.push("add", { amount: 1 });
  assert.equal(ann.position.epoch, 2);
  await cluster.command({ do: "forget" });
  await cluster.node(0, "close", { code: 1012 });
  await until(() => ann.position.epoch === 1, "the new cluster's position");
  await ann.push("add", { amount: 7 });
  assert.deepEqual(ann.state.totals, { ann: { value: 7 } });
});

test("a cluster that began anew in the same epoch replaces the copy as well", async (t) => {
  const cluster = await fakeCluster(t);
  const ann = await joined(cluster.connect({ player: "ann" }));
  for (let i = 0; i < 5; i += 1) await ann.push("add", { amount: 1 });
  await cluster.command({ do: "forget" });
  await cluster.node(0, "close", { code: 1012 });
  await until(() => ann.position.seq === 1, "the new cluster's position");
  await ann.push("add", { amount: 7 });
  assert.deepEqual(ann.state.totals, { ann: { value: 7 } });
});

/** ann, who was away while ben moved three times; `meanwhile` is called before she is let in again. */
async function away(t, cluster, meanwhile) {
  const ann = await joined(cluster.connect({ player: "ann" }), "fake-0");
  const ben = await joined(cluster.connect({ player: "ben", prefer: "fake-1" }), "fake-1");
  await until(() => ann.state.totals.ben, "ann has seen ben");
  const told = { state: 0, patches: [] };
  ann.on("state", () => { told.state += 1; });
  ann.on("patch", (patch) => told.patches.push(patch));
  for (const node of [0, 1, 2]) await cluster.node(node, "refusal", { value: "no leader" });
  await cluster.node(0, "die");
  await until(() => ann.status.status !== "joined", "ann is away");
  for (let i = 0; i < 3; i += 1) await ben.push("add", { amount: 1 });
  await meanwhile();
  for (const node of [1, 2]) await cluster.node(node, "behave");
  await joined(ann);
  const look = await cluster.look();
  assert.deepEqual(ann.state, look.state);
  return { told, welcome: look.welcomes.at(-1) };
}

test("who was away is told what it missed, and not the whole state", async (t) => {
  const cluster = await fakeCluster(t);
  const { told, welcome } = await away(t, cluster, () => cluster.command({ do: "fail over" }));
  assert.equal(welcome, "ops");
  assert.equal(told.state, 0);
  assert.equal(told.patches.length, 1);
  assert.deepEqual(told.patches[0].ops.at(-1), ["totals", "ben", { value: 3 }]);
});

test("who was away for too long gets the whole state", async (t) => {
  const cluster = await fakeCluster(t);
  const { told, welcome } = await away(t, cluster, () => cluster.command({ do: "forget history" }));
  assert.equal(welcome, "state");
  assert.deepEqual([told.state, told.patches.length], [1, 0]);
});

test("patches that are not newer are not shown", async (t) => {
  const cluster = await fakeCluster(t);
  const ann = await joined(cluster.connect({ player: "ann" }));
  const patch = { epoch: 0, seq: 999, ops: [["totals", "ann", { value: 666 }]] };
  await cluster.command({ do: "patch", patch });
  await ann.push("add", { amount: 1 });
  assert.deepEqual(ann.state.totals.ann, { value: 1 });
});

test("the 65th unanswered move is refused, the 64 are answered", async (t) => {
  const cluster = await fakeCluster(t);
  const ann = await joined(cluster.connect({ player: "ann" }));
  await cluster.node(0, "late", { value: 0.01 });
  const moves = Array.from({ length: 64 }, () => ann.push("add", { amount: 1 }));
  await assert.rejects(ann.push("add", { amount: 1 }), { reason: "too many unanswered moves" });
  await cluster.node(0, "late", { value: 0 });
  await Promise.all(moves);
  assert.equal(total(await cluster.look(), "ann"), 64);
});

test("an error in the page's own callback stops nothing", async (t) => {
  const cluster = await fakeCluster(t);
  const errors = t.mock.method(console, "error", () => {});
  const ann = cluster.connect({ player: "ann" });
  ann.on("patch", () => { throw new Error("the page's"); });
  await joined(ann);
  await ann.push("add", { amount: 1 });
  await ann.push("add", { amount: 1 });
  assert.equal(ann.state.totals.ann.value, 2);
  assert.ok(errors.mock.callCount() > 0);
});

/** A WebSocket whose server answers a join with `response`, and sends `frames` (text or bytes) in one gulp with it. */
function gulp(response, frames) {
  return class extends EventTarget {
    constructor() {
      super();
      setImmediate(() => this.dispatchEvent(new Event("open")));
    }

    send(text) {
      const [joinRef, ref, topic, event, { player }] = JSON.parse(text);
      const answer = event === "phx_join" ? { player, token: "t", n: 0, resumed: false, epoch: 1, seq: 5, ...response } : {};
      const reply = JSON.stringify([joinRef, ref, topic, "phx_reply", { status: "ok", response: answer }]);
      const all = event === "phx_join" ? [reply, ...frames] : [reply];
      setImmediate(() => all.forEach((data) => this.dispatchEvent(new MessageEvent("message", { data }))));
    }

    close() {}
  };
}

const patch = (seq, ops) => JSON.stringify([null, null, "game", "patch", { epoch: 1, seq, ops }]);
const bytesOfPatch = (...data) => Uint8Array.of(2, 4, 5, ...new TextEncoder().encode("gamepatch"), ...data).buffer;

test("patches that come in one gulp with the join's answer are applied after it", async (t) => {
  const frames = [
    patch(5, [["ships", "a", { x: 0 }]]),
    patch(6, [["ships", "a", { x: 2 }]]),
    JSON.stringify([null, null, "game", "boom", {}]),
    bytesOfPatch(1, 7, 0, 1, 1, 98, 6, 3),
  ];
  const schema = [["ships", ["x", "y"]]];
  const WebSocket = gulp({ schema, state: { ships: { a: { x: 1, y: 1 } } } }, frames);
  const game = connect({ servers: ["ws://gulp/socket"], storage: new Tab(), patches: "binary", WebSocket });
  t.after(() => game.close());
  const told = [];
  for (const event of ["state", "patch", "boom"]) game.on(event, () => told.push([event, game.position.seq]));
  await until(() => game.position.seq === 7, "the last patch");
  assert.deepEqual(game.state, { ships: { a: { x: 2, y: 1 }, b: { x: 3 } } });
  assert.deepEqual(told, [["state", 5], ["patch", 6], ["boom", 6], ["patch", 7]]);
});

for (const [name, data] of Object.entries({ "of an unknown table": [1, 6, 9, 1, 1, 98, 6, 3], "cut off": [1, 6, 0, 1, 1, 98, 6] })) {
  test(`a patch ${name} is no reason to miss what it says: the client joins again`, async (t) => {
    const WebSocket = gulp({ schema: [["ships", ["x", "y"]]], state: {} }, [bytesOfPatch(...data)]);
    const game = connect({ servers: ["ws://gulp/socket"], storage: new Tab(), patches: "binary", WebSocket });
    t.after(() => game.close());
    const reasons = [];
    game.on("status", ({ reason }) => reasons.push(reason));
    await until(() => reasons.includes("a patch that can't be read"), "given up");
    assert.deepEqual(game.position, { epoch: 1, seq: 5 });
  });
}
