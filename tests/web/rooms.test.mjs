// Rooms beside the game, and the way from one room or node to the next, against nodes that do as they are told.

import assert from "node:assert/strict";
import { test } from "node:test";

import { fakeCluster, isJoined, joined, seeded, until } from "./support.mjs";

const say = (cluster, topic, event, payload) => cluster.command({ do: "say", topic, event, payload });
const migrate = (cluster, from, topic, node = null) => say(cluster, from, "match.migrate", { topic, url: node === null ? null : cluster.nodes[node].url });
const total = (look, topic, player) => look.rooms[topic].state.totals[player].value;
const counts = (look, topic) => look.rooms[topic].applied.map(([, n]) => n);

/** What a room was told, and by which statuses it went. */
function watched(room) {
  const told = { statuses: [], migrated: [], stayed: [], states: 0 };
  room.on("status", (status) => told.statuses.push(status.status));
  room.on("migrated", (where) => told.migrated.push(where));
  room.on("stayed", (where) => told.stayed.push(where));
  room.on("state", () => { told.states += 1; });
  return told;
}

/** ann, on node 0, in the game and in room `town`. */
async function inTown(t, options = {}) {
  const cluster = await fakeCluster(t);
  const ann = await joined(cluster.connect({ player: "ann", ...options }), "fake-0");
  const room = ann.room("town");
  await room.joined;
  return { cluster, ann, room, told: watched(room) };
}

/** ben, whose only game is the room `town`. */
async function livesInTown(t, options = {}) {
  const cluster = await fakeCluster(t);
  const ben = await joined(cluster.connect({ player: "ben", topic: "game:town", ...options }), "fake-0");
  return { cluster, ben, told: watched(ben) };
}

test("a room beside the game has its own state and its own count of moves, and the same player", async (t) => {
  const { cluster, ann, room } = await inTown(t);
  assert.deepEqual([room.id, room.topic, room.status.status], ["town", "game:town", "joined"]);
  await Promise.all([ann.push("add", { amount: 1 }), room.push("add", { amount: 10 }), room.push("add", { amount: 10 })]);
  const look = await cluster.look();
  assert.deepEqual([look.state.totals.ann.value, total(look, "game:town", "ann")], [1, 20]);
  assert.deepEqual(counts(look, "game:town"), [1, 2]);
  await until(() => room.state.totals.ann.value === 20, "the room's patch");
  assert.deepEqual(ann.state.totals.ann, { value: 1 });
  assert.equal(ann.room("game:town"), room);
  assert.throws(() => ann.channel("game:town"), /has a channel/);
  assert.equal(look.clients[0], 1, "one socket");
});

test("a room alone is played as the game is", async (t) => {
  const { cluster, ben } = await livesInTown(t);
  await ben.push("add", { amount: 2 });
  assert.deepEqual([ben.topic, ben.state.totals.ben], ["game:town", { value: 2 }]);
  assert.equal(total(await cluster.look(), "game:town", "ben"), 2);
});

test("rooms that are asked for before there is a token wait for it: the player is one and the same", async (t) => {
  const cluster = await fakeCluster(t);
  const ann = cluster.connect({ player: "ann", topic: null });
  const rooms = ["a", "b", "c"].map((id) => ann.room(id));
  const answers = await Promise.all(rooms.map((room) => room.joined));
  assert.equal(new Set(answers.map(({ token }) => token)).size, 1);
});

test("when the node dies, all rooms go on elsewhere, and no move is lost or doubled", async (t) => {
  const { cluster, ann, room } = await inTown(t);
  const other = ann.room("forest");
  await other.joined;
  const before = Array.from({ length: 5 }, () => [ann, room, other].map((each) => each.push("add", { amount: 1 }))).flat();
  await cluster.node(0, "die");
  const after = Array.from({ length: 5 }, () => [ann, room, other].map((each) => each.push("add", { amount: 1 }))).flat();
  await Promise.all([...before, ...after]);
  const look = await cluster.look();
  for (const topic of ["game:town", "game:forest"]) {
    assert.equal(total(look, topic, "ann"), 10);
    assert.deepEqual(counts(look, topic), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  }
  assert.deepEqual(room.state.totals.ann, { value: 10 });
  assert.notEqual(room.status.server, "fake-0");
});

test("told to go to the room's node, it is there without having been away", async (t) => {
  const { cluster, ben, told } = await livesInTown(t);
  await ben.push("add", { amount: 1 });
  await migrate(cluster, "game:town", "game:town", 2);
  await until(() => told.migrated.length, "migrated");
  assert.deepEqual({ ...told.migrated[0], room: ben.topic }, {
    room: "game:town", topic: "game:town", server: "fake-2", url: cluster.nodes[2].url, from: { topic: "game:town", server: "fake-0" },
  });
  assert.ok(isJoined(ben, "fake-2"));
  assert.deepEqual(new Set(told.statuses), new Set(["joined"]));
  assert.equal(told.states, 0, "it is told what it missed, not the whole state");
  await ben.push("add", { amount: 1 });
  await until(async () => (await cluster.look()).clients.join() === "0,0,1", "one socket");
  const look = await cluster.look();
  assert.deepEqual(look.left, [], "the stay goes on");
  assert.deepEqual(counts(look, "game:town"), [1, 2]);
});

test("moves on their way while it changes nodes are applied once and answered", async (t) => {
  const { cluster, ben, told } = await livesInTown(t);
  await cluster.node(0, "late", { value: 0.02 });
  const moves = Array.from({ length: 20 }, () => ben.push("add", { amount: 1 }));
  await migrate(cluster, "game:town", "game:town", 1);
  while (!told.migrated.length) {
    if (ben.unanswered < 30) moves.push(ben.push("add", { amount: 1 }));
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  moves.push(ben.push("add", { amount: 1 }));
  await Promise.all(moves);
  const look = await cluster.look();
  assert.equal(total(look, "game:town", "ben"), moves.length);
  assert.deepEqual(counts(look, "game:town"), moves.map((_, i) => i + 1));
  assert.equal(ben.status.server, "fake-1");
});

test("walking to another room: it is in the next before it leaves the last, and its moves go where it is", async (t) => {
  const { cluster, ben, told } = await livesInTown(t);
  await ben.push("add", { amount: 1 });
  await migrate(cluster, "game:town", "game:forest", 1);
  await until(() => told.migrated.length, "migrated");
  assert.equal(ben.topic, "game:forest");
  assert.deepEqual(ben.state.totals, { ben: { value: 0 } });
  assert.deepEqual(told.migrated[0].from, { topic: "game:town", server: "fake-0" });
  await ben.push("add", { amount: 5 });
  const look = await until(async () => {
    const seen = await cluster.look();
    return seen.left.length && seen.clients[0] === 0 && seen;
  }, "the town is left, and its node");
  assert.deepEqual(look.left, [["fake-0", "game:town"]]);
  assert.deepEqual([total(look, "game:town", "ben"), total(look, "game:forest", "ben")], [1, 5]);
  assert.deepEqual([counts(look, "game:town"), counts(look, "game:forest")], [[1], [1]]);
});

test("an answer of the last room that is late is waited for", async (t) => {
  const { cluster, ben, told } = await livesInTown(t);
  await cluster.node(0, "late", { value: 0.3 });
  const move = ben.push("add", { amount: 1 });
  await ben.migrate({ topic: "game:forest", url: cluster.nodes[1].url });
  assert.equal(told.migrated.length, 1);
  const { seq } = await move;
  assert.ok(seq >= 1);
});

test("without an address, or with that of its own node, it changes rooms on the present connection", async (t) => {
  const { cluster, ben, told } = await livesInTown(t);
  await migrate(cluster, "game:town", "game:forest");
  await until(() => ben.topic === "game:forest", "the forest");
  await migrate(cluster, "game:forest", "game:cave", 0);
  await until(() => told.migrated.length === 2, "the cave");
  const look = await until(async () => {
    const seen = await cluster.look();
    return seen.left.length === 2 && seen;
  }, "both are left");
  assert.deepEqual(look.clients, [1, 0, 0]);
  assert.deepEqual(look.left, [["fake-0", "game:town"], ["fake-0", "game:forest"]]);
  await ben.push("add", { amount: 1 });
});

test("word on the player's own topic is followed by who plays one room, and once if it comes twice", async (t) => {
  const { cluster, ann, room, told } = await inTown(t);
  await ann.channel("player:ann", () => ({ token: ann.token })).joined;
  await migrate(cluster, "player:ann", "game:forest", 1);
  await migrate(cluster, "game:town", "game:forest", 1);
  await until(() => told.migrated.length, "migrated");
  assert.equal(room.topic, "game:forest");
  assert.equal(ann.topic, "game", "the game is no room");
  await migrate(cluster, "game:forest", "game:town", 1);
  await until(() => told.migrated.length === 2, "back");
  assert.deepEqual(ann.rooms.map(({ topic }) => topic), ["game", "game:town"]);
  assert.equal(told.stayed.length, 0);
});

test("who plays no room yet is brought into one, and the page is told which", async (t) => {
  const cluster = await fakeCluster(t);
  const ann = await joined(cluster.connect({ player: "ann" }), "fake-0");
  await ann.channel("player:ann", () => ({ token: ann.token })).joined;
  const told = [];
  ann.on("migrated", (where) => told.push(where));
  await migrate(cluster, "player:ann", "game:duel-7", 2);
  await until(() => told.length, "migrated");
  const { room, from } = told[0];
  assert.deepEqual([room.id, from], ["duel-7", { topic: null, server: "fake-0" }]);
  await room.push("add", { amount: 1 });
  await until(() => isJoined(ann, "fake-2"), "the game goes along");
  await ann.push("add", { amount: 1 });
});

test("a channel goes along: what is pushed on it meanwhile is answered, and it is never out of the topic", async (t) => {
  const { cluster, ann, told } = await inTown(t);
  const chat = ann.channel("room:1");
  await chat.joined;
  const heard = [];
  chat.on("shout", ({ body }) => heard.push(body));
  await cluster.node(0, "late", { value: 0.02 });
  const first = chat.push("shout", { body: 0 });
  await migrate(cluster, "game:town", "game:town", 1);
  const more = [];
  while (!told.migrated.length) {
    more.push(chat.push("shout", { body: more.length + 1 }));
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
  await Promise.all([first, ...more]);
  await chat.push("shout", { body: "last" });
  await until(() => heard.includes("last"), "the last");
  assert.equal(new Set(heard).size, heard.length, "nothing twice");
});

test("a node that can't be reached: it goes on where it is, in the room that it was told of", async (t) => {
  const { cluster, ben, told } = await livesInTown(t, { connectMilliseconds: 200 });
  await cluster.node(1, "die");
  await migrate(cluster, "game:town", "game:forest", 1);
  await until(() => told.migrated.length, "migrated");
  assert.ok(isJoined(ben, "fake-0"));
  assert.equal(ben.topic, "game:forest");
  await cluster.node(2, "silent", { value: true });
  await migrate(cluster, "game:forest", "game:forest", 2);
  await until(() => told.stayed.length, "stayed");
  assert.equal(told.stayed[0].reason, `no way to ${cluster.nodes[2].url}`);
  await ben.push("add", { amount: 1 });
  assert.deepEqual(new Set(told.statuses), new Set(["joined"]));
});

test("a node that does not let it in: it is in the same room on its own node, and no move is lost", async (t) => {
  const { cluster, ben, told } = await livesInTown(t);
  await cluster.node(1, "refusal", { value: "no leader" });
  const moves = [ben.push("add", { amount: 1 })];
  await migrate(cluster, "game:town", "game:town", 1);
  while (!told.stayed.length) {
    moves.push(ben.push("add", { amount: 1 }));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await Promise.all(moves);
  const look = await cluster.look();
  assert.deepEqual(counts(look, "game:town"), moves.map((_, i) => i + 1));
  await until(async () => (await cluster.look()).clients.join() === "1,0,0", "no socket is left over");
});

test("a room that does not let it in: it stays in its own, and the page is told why", async (t) => {
  const { cluster, ben, told } = await livesInTown(t);
  for (const node of [0, 1]) {
    await cluster.node(node, "refused_topic", { value: "game:castle" });
    await cluster.node(node, "refusal", { value: "not invited" });
  }
  await migrate(cluster, "game:town", "game:castle", 1);
  await until(() => told.stayed.length, "stayed");
  assert.equal(told.stayed[0].reason, "not invited");
  assert.deepEqual([ben.topic, ben.status.status, ben.status.server], ["game:town", "joined", "fake-0"]);
  await ben.push("add", { amount: 1 });
  await assert.rejects(ben.migrate({ topic: "game:castle" }), { reason: "not invited" });
  assert.deepEqual(told.migrated, []);
});

test("a room that lets nobody in for now is asked again", async (t) => {
  const { cluster, ben } = await livesInTown(t);
  await cluster.node(0, "refused_topic", { value: "game:forest" });
  await cluster.node(0, "refusal", { value: "no leader" });
  const going = ben.migrate({ topic: "game:forest" });
  await ben.push("add", { amount: 1 });
  await cluster.node(0, "refusal", { value: "" });
  assert.equal((await going).topic, "game:forest");
});

test("the node that it comes from dies meanwhile: it arrives all the same", async (t) => {
  const { cluster, ben, told } = await livesInTown(t);
  await cluster.node(1, "late", { value: 0.2 });
  await migrate(cluster, "game:town", "game:forest", 1);
  await until(async () => (await cluster.look()).clients[1] === 1, "the new connection");
  await cluster.node(0, "die");
  const move = ben.push("add", { amount: 1 }).catch(({ reason }) => assert.equal(reason, "unknown"));
  await until(() => told.migrated.length, "migrated");
  await move;
  await ben.push("add", { amount: 5 });
  assert.ok(isJoined(ben, "fake-1"));
  assert.ok(total(await cluster.look(), "game:forest", "ben") >= 5);
});

test("the node that it goes to dies after it has arrived: it goes on as after any lost connection", async (t) => {
  const { cluster, ben, told } = await livesInTown(t);
  await migrate(cluster, "game:town", "game:forest", 1);
  await until(() => told.migrated.length, "migrated");
  await cluster.node(1, "die");
  await ben.push("add", { amount: 1 });
  assert.notEqual(ben.status.server, "fake-1");
  assert.deepEqual(counts(await cluster.look(), "game:forest"), [1]);
});

test("there and back again, many times, in a hurry: each move is applied once, where it was made", async (t) => {
  const { cluster, ben, told } = await livesInTown(t);
  const moves = [];
  for (let i = 0; i < 12; i += 1) {
    const topic = i % 2 ? "game:town" : "game:forest";
    const going = ben.migrate({ topic, url: cluster.nodes[i % 3].url });
    for (let k = 0; k < 3; k += 1) moves.push(ben.push("add", { amount: 1 }));
    await going;
    for (let k = 0; k < 3; k += 1) moves.push(ben.push("add", { amount: 1 }));
  }
  await Promise.all(moves);
  const look = await cluster.look();
  assert.equal(look.rooms["game:town"].applied.length + look.rooms["game:forest"].applied.length, moves.length);
  assert.equal(told.migrated.length, 12);
  await until(async () => (await cluster.look()).clients.reduce((sum, clients) => sum + clients) === 1, "one socket");
});

test("whatever is lost on the way, no move is applied twice, none that was answered is lost, and one connection is left", async (t) => {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
  t.diagnostic(`seed ${seed}`);
  const random = seeded(seed);
  const any = (list) => list[Math.floor(random() * list.length)];
  const { cluster, ben } = await livesInTown(t, { connectMilliseconds: 300, joinMilliseconds: 500, leaveMilliseconds: 500 });
  const outcomes = { ok: 0, unknown: 0 };
  const answered = [];
  const moves = [];
  const push = () => {
    const id = moves.length;
    const done = () => {
      outcomes.ok += 1;
      answered.push(id);
    };
    moves.push(ben.push("add", { amount: 1, id }).then(done, ({ reason }) => { outcomes[reason] += 1; }));
  };
  const goings = [];
  const deeds = [
    () => goings.push(ben.migrate({ topic: any(["game:town", "game:forest", "game:cave"]), url: any(cluster.nodes).url }).catch(() => {})),
    async () => {
      const node = any([0, 1, 2]);
      await cluster.node(node, "die");
      await cluster.node(node, "start");
    },
    () => cluster.node(any([0, 1, 2]), "close", { code: 1012 }),
    async () => {
      const node = any([0, 1, 2]);
      await cluster.node(node, "refusal_of_moves", { value: "no leader" });
      await cluster.node(node, "refusals_of_moves", { value: 3 });
    },
    () => cluster.node(any([0, 1, 2]), "late", { value: any([0, 0.01]) }),
  ];
  for (let step = 0; step < 60; step += 1) {
    for (let k = 0; k < 3 && ben.unanswered < 40; k += 1) push();
    await any(deeds)();
    await new Promise((resolve) => setTimeout(resolve, 30 * random()));
  }
  await Promise.all([...goings, ...moves]);
  await until(() => isJoined(ben), "joined");
  push();
  await Promise.all(moves);
  const look = await cluster.look();
  const applied = Object.values(look.rooms).flatMap((room) => room.applied.map(([, , id]) => id));
  const label = `seed ${seed}: ${applied.length} applied, ${JSON.stringify(outcomes)}`;
  assert.equal(outcomes.ok + outcomes.unknown, moves.length, label);
  assert.equal(new Set(applied).size, applied.length, label);
  assert.ok(answered.every((id) => applied.includes(id)), label);
  await until(async () => (await cluster.look()).clients.reduce((sum, clients) => sum + clients) === 1, "one socket");
});

test("with `follow: false` the page is told, and goes itself if it likes", async (t) => {
  const { cluster, ben, told } = await livesInTown(t, { follow: false });
  const said = [];
  ben.on("match.migrate", (payload) => said.push(payload));
  await migrate(cluster, "game:town", "game:forest", 1);
  await until(() => said.length, "word of it");
  await ben.push("add", { amount: 1 });
  assert.deepEqual([ben.topic, told.migrated.length], ["game:town", 0]);
  const besides = await ben.migrate({ topic: "game:cave" }, null);
  assert.deepEqual([besides.topic, ben.topic], ["game:cave", "game:town"]);
  besides.leave();
  await ben.migrate(said[0]);
  assert.deepEqual([ben.topic, ben.status.server], ["game:forest", "fake-1"]);
});

test("a room that has ended is not joined again", async (t) => {
  const { cluster, ann, room, told } = await inTown(t);
  const ended = [];
  room.on("ended", (payload) => ended.push(payload));
  await say(cluster, "game:town", "ended", {});
  await say(cluster, "game:town", "phx_close", {});
  await until(() => room.status.status === "ended", "ended");
  assert.deepEqual([ended.length, told.statuses.at(-1)], [1, "ended"]);
  await assert.rejects(room.push("add", { amount: 1 }), { reason: "ended" });
  await cluster.node(0, "close", { code: 1012 });
  await until(() => isJoined(ann) && ann.status.server !== "fake-0", "the game goes on elsewhere");
  assert.equal(room.status.status, "ended");
  const again = ann.room("town");
  assert.notEqual(again, room);
  await again.joined;
});

test("a room that sends its players on and ends: they are in the next one, and never out", async (t) => {
  const { cluster, ben, told } = await livesInTown(t);
  await cluster.node(1, "late", { value: 0.1 });
  const ended = [];
  ben.on("ended", () => ended.push(ben.topic));
  await migrate(cluster, "game:town", "game:forest", 1);
  await say(cluster, "game:town", "ended", {});
  await say(cluster, "game:town", "phx_close", {});
  await until(() => told.migrated.length, "migrated");
  await ben.push("add", { amount: 1 });
  assert.deepEqual([ben.topic, ended, new Set(told.statuses)], ["game:forest", ["game:town"], new Set(["joined"])]);
});

test("a room that sends its players to one that does not let them in, and ends, has ended", async (t) => {
  const { cluster, ben, told } = await livesInTown(t);
  await cluster.node(0, "refused_topic", { value: "game:castle" });
  await cluster.node(0, "refusal", { value: "not invited" });
  await cluster.node(0, "late", { value: 0.05 });
  await migrate(cluster, "game:town", "game:castle");
  await say(cluster, "game:town", "ended", {});
  await say(cluster, "game:town", "phx_close", {});
  await until(() => ben.status.status === "ended", "ended");
  assert.deepEqual(told.stayed.map(({ reason }) => reason), ["not invited"]);
});

test("who leaves while it is on its way has left both rooms", async (t) => {
  const { cluster, room } = await inTown(t);
  await cluster.node(0, "late", { value: 0.1 });
  await migrate(cluster, "game:town", "game:forest");
  await until(async () => (await cluster.look()).rooms["game:forest"], "the join has come");
  room.leave();
  const left = async () => (await cluster.look()).left.map(([, topic]) => topic).sort().join();
  await until(async () => (await left()) === "game:forest,game:town", "both are left");
  assert.equal(room.status.status, "closed");
});

test("a room that is left is left: the others see it, and the game goes on", async (t) => {
  const { cluster, ann, room } = await inTown(t);
  room.leave();
  assert.deepEqual([room.status.status, room.status.reason], ["closed", "left"]);
  await until(async () => (await cluster.look()).left.length, "left");
  await ann.push("add", { amount: 1 });
  assert.deepEqual(ann.rooms.map(({ topic }) => topic), ["game"]);
});

test("a room that is refused, and one that is taken by another page, say so, and the game goes on", async (t) => {
  const { cluster, ann, room } = await inTown(t);
  const elsewhere = await joined(cluster.connect({ player: "ann", token: ann.token, topic: "game:town", prefer: "fake-1" }), "fake-1");
  await until(() => room.status.status === "replaced", "replaced");
  room.rejoin();
  await until(() => elsewhere.status.status === "replaced", "the other is replaced");
  await room.push("add", { amount: 1 });
  await cluster.node(0, "refused_topic", { value: "game:castle" });
  await cluster.node(0, "refusal", { value: "not invited" });
  const castle = ann.room("castle");
  await assert.rejects(castle.joined, { reason: "not invited" });
  assert.equal(castle.status.status, "refused");
  assert.ok(isJoined(ann, "fake-0"));
});

/** ann's matchmaker, that answers as it is told. */
async function seeking(t) {
  const cluster = await fakeCluster(t);
  const ann = await joined(cluster.connect({ player: "ann" }), "fake-0");
  const answers = (more) => cluster.command({ do: "answers", answers: { enqueue: { ticket: "t1" }, ticket: { status: "waiting" }, ...more } });
  await answers({});
  const find = (more) => ann.match({ size: 2, properties: { skill: 7 } }, more);
  const tell = (event, payload = {}) => say(cluster, "player:ann", event, { ticket: "t1", ...payload });
  const waits = () => until(async () => (await cluster.look()).asked.some(([event]) => event === "ticket"), "it waits");
  return { cluster, ann, answers, find, tell, waits };
}

test("a match is waited for, and played where it is", async (t) => {
  const { cluster, ann, find, tell, waits } = await seeking(t);
  const finding = find();
  await waits();
  await tell("match.found", { ticket: "t0", topic: "game:another" });
  await tell("match.found", { topic: "game:duel-1", url: cluster.nodes[1].url, players: ["ann", "ben"] });
  const { room, players } = await finding;
  assert.deepEqual([room.id, players, ann.status.server], ["duel-1", ["ann", "ben"], "fake-1"]);
  await room.push("add", { amount: 1 });
  const [[event, asked]] = (await cluster.look()).asked;
  assert.deepEqual([event, asked.size, asked.properties, typeof asked.nonce], ["enqueue", 2, { skill: 7 }, "string"]);
});

test("a match that was found while the connection was lost is asked for", async (t) => {
  const { cluster, answers, find, waits } = await seeking(t);
  const finding = find();
  await waits();
  await answers({ ticket: { status: "matched", match: "m", topic: "game:duel-2", players: ["ann"] } });
  await cluster.node(0, "die");
  const { room, topic } = await finding;
  assert.deepEqual([room.id, topic], ["duel-2", "game:duel-2"]);
});

for (const [event, reason] of [["match.expired", "expired"], ["match.cancelled", "cancelled"]]) {
  test(`a ticket that has ${reason} ends the wait`, async (t) => {
    const { find, tell, waits } = await seeking(t);
    const finding = find();
    finding.catch(() => {});
    await waits();
    await tell(event);
    await assert.rejects(finding, { reason });
  });
}

test("who does not want to wait any more cancels the ticket", async (t) => {
  const { cluster, find, tell, waits } = await seeking(t);
  const controller = new AbortController();
  const finding = find({ signal: controller.signal });
  finding.catch(() => {});
  await waits();
  controller.abort();
  await until(async () => (await cluster.look()).asked.some(([event, { ticket }]) => event === "cancel" && ticket === "t1"), "cancelled");
  await tell("match.cancelled");
  await assert.rejects(finding, { reason: "cancelled" });
});

test("a match on a topic of another kind is told, not joined", async (t) => {
  const { find, tell, waits } = await seeking(t);
  const finding = find();
  await waits();
  await tell("match.found", { topic: "duel:1", url: null });
  assert.deepEqual(await finding, { ticket: "t1", topic: "duel:1", url: null, room: null });
});
