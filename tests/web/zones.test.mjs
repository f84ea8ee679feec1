// Rooms on a real cluster (GAMECLUSTER_ORIGIN) that plays gamecluster.demo:Counter and what zones.py has.

import assert from "node:assert/strict";
import { test } from "node:test";

import { joined, player, until } from "./support.mjs";

const origin = process.env.GAMECLUSTER_ORIGIN;
let players = 0;
const name = () => `p${process.pid}-${players++}`;
const connect = (t, options = {}) => player(t, { origin, player: name(), ...options });

test("a room beside the game, from every node", async (t) => {
  const topic = `duel-${name()}`;
  const first = await joined(connect(t));
  const rooms = [];
  for (const { name: server } of first.servers) {
    const client = await joined(connect(t, { prefer: server }), server);
    const room = client.room(topic);
    await room.joined;
    assert.deepEqual(await room.push("shoot"), await room.push("shoot").then((answer) => ({ ...answer, count: 1, seq: answer.seq - 1 })));
    await client.push("add", { amount: 3 });
    rooms.push({ client, room });
  }
  for (const { client, room } of rooms) {
    await until(() => rooms.every((other) => room.state.shots?.[other.client.player]?.count === 2), "all shots, on every node");
    assert.equal(client.rooms.length, 2);
  }
});

test("who walks from zone to zone is in one of them, and the page goes along", async (t) => {
  const walker = await joined(connect(t, { topic: "game:zone-a" }));
  await walker.push("begin");
  const told = [];
  walker.on("migrated", (where) => told.push(where));
  for (let step = 1; step <= 12; step += 1) {
    const to = `zone-${"abc"[step % 3]}`;
    assert.equal((await walker.push("walk", { to })).steps, step);
    await until(() => walker.topic === `game:${to}` && walker.state.travellers?.[walker.player]?.steps === step, `step ${step} to ${to}`);
  }
  assert.equal(told.length, 12);
  assert.deepEqual(new Set(walker.statuses.slice(1).map(({ status }) => status)), new Set(["connected", "joined"]));
  const onlooker = await joined(connect(t));
  const zones = ["zone-a", "zone-b", "zone-c"].map((id) => onlooker.room(id));
  await Promise.all(zones.map((zone) => zone.joined));
  const there = zones.filter((zone) => zone.state.travellers[walker.player]);
  assert.deepEqual(there.map(({ id }) => id), ["zone-a"]);
});

test("two who look for a match play it, and after its end it is over for both", async (t) => {
  const [ann, ben] = await Promise.all([0, 1].map(async () => joined(connect(t))));
  const asked = { size: 2, properties: { pair: name() } };
  const [one, two] = await Promise.all([ann, ben].map((client) => client.match(asked)));
  assert.equal(one.topic, two.topic);
  assert.deepEqual(one.players.toSorted(), [ann.player, ben.player].toSorted());
  await Promise.all([one.room.push("shoot"), two.room.push("shoot")]);
  await until(() => one.room.state.shots[ben.player]?.count === 1, "the other's shot");
  await two.room.push("give up");
  for (const { room } of [one, two]) await until(() => room.status.status === "ended", "the end");
  await ann.push("add", { amount: 1 });
});

test("whoever walks on while its node is killed loses no step, and takes none twice", async (t) => {
  const pids = JSON.parse(process.env.GAMECLUSTER_PIDS);
  const walker = await joined(connect(t, { topic: "game:zone-a" }));
  await walker.push("begin");
  for (let step = 1; step <= 12; step += 1) {
    const to = `zone-${"abc"[step % 3]}`;
    const walking = walker.push("walk", { to });
    if (step === 4) process.kill(pids[walker.status.server], "SIGKILL");
    assert.equal((await walking).steps, step);
    await walker.migrate({ topic: `game:${to}` }); // word of it is not kept for who was away
    const arrived = () => walker.state.travellers?.[walker.player]?.steps === step;
    await until(arrived, `step ${step} to ${to}`).catch(async (error) => assert.fail(`${error.message}; ${await whereabouts(t, walker)}`));
  }
});

/** Where the page is, and what is in each zone. */
async function whereabouts(t, walker) {
  const onlooker = await joined(connect(t));
  const zones = ["zone-a", "zone-b", "zone-c"].map((id) => onlooker.room(id));
  await Promise.all(zones.map((zone) => zone.joined));
  const there = zones.map(({ id, position, state }) => ({ id, position, steps: state.travellers[walker.player]?.steps }));
  return JSON.stringify({ topic: walker.topic, position: walker.position, status: walker.status, state: walker.state, there, statuses: walker.statuses });
}
