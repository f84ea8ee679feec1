import assert from "node:assert/strict";
import { test } from "node:test";

import { Copy, Moves } from "../../server/gamecluster/web/game.js";
import { seeded } from "./support.mjs";

function copyAt(epoch, seq, state) {
  const copy = new Copy();
  copy.replace({ epoch, seq, state });
  return copy;
}

test("a patch sets fields, creates keys and tables, and null deletes a key", () => {
  const copy = copyAt(1, 1, { ships: { a: { x: 1, y: 2 }, b: { x: 0, y: 0 } } });
  assert.ok(copy.apply({ epoch: 1, seq: 2, ops: [["ships", "a", { x: 5 }], ["ships", "b", null], ["wins", "a", { n: 1 }]] }));
  assert.deepEqual(copy.state, { ships: { a: { x: 5, y: 2 } }, wins: { a: { n: 1 } } });
});

test("frames that are not newer change nothing", () => {
  const copy = copyAt(2, 10, { t: { k: { v: 1 } } });
  assert.equal(copy.apply({ epoch: 2, seq: 10, ops: [["t", "k", { v: 9 }]] }), false);
  assert.equal(copy.apply({ epoch: 1, seq: 99, ops: [["t", "k", { v: 9 }]] }), false);
  assert.equal(copy.replace({ epoch: 2, seq: 9, state: {} }), false);
  assert.deepEqual(copy.state, { t: { k: { v: 1 } } });
  assert.deepEqual(copy.position, { epoch: 2, seq: 10 });
});

test("a patch that tells again what is known makes the same copy", () => {
  const ops = [["t", "a", { x: 1 }], ["t", "a", null], ["t", "a", { y: 2 }], ["t", "b", { x: 5 }], ["t", "c", null]];
  const known = copyAt(1, 3, { t: { a: { y: 2 }, b: { x: 1, z: 3 } } });
  assert.ok(known.apply({ epoch: 1, seq: 5, ops }));
  assert.deepEqual(known.state, { t: { a: { y: 2 }, b: { x: 5, z: 3 } } });
});

test("a copy knows whether it is ahead of a position", () => {
  const copy = copyAt(2, 10, {});
  assert.deepEqual([[2, 9], [1, 99], [2, 10], [2, 11], [3, 1]].map(([epoch, seq]) => copy.isAheadOf({ epoch, seq })),
    [true, true, false, false, false]);
});

test("a later epoch is newer whatever its seq", () => {
  const copy = copyAt(2, 10, {});
  assert.ok(copy.apply({ epoch: 3, seq: 4, ops: [["t", "k", { v: 1 }]] }));
  assert.deepEqual(copy.position, { epoch: 3, seq: 4 });
});

test("a player named __proto__ is plain data", () => {
  const copy = copyAt(1, 1, JSON.parse('{"ships": {}}'));
  copy.apply(JSON.parse('{"epoch": 1, "seq": 2, "ops": [["ships", "__proto__", {"x": 1}], ["__proto__", "k", {"x": 1}]]}'));
  assert.equal({}.x, undefined);
  assert.equal({}.k, undefined);
  assert.deepEqual(Object.keys(copy.state.ships), ["__proto__"]);
  assert.deepEqual(Object.keys(copy.state), ["ships", "__proto__"]);
});

/** Moves whose outcomes are kept in `outcomes`, by label. */
function moves(limit = 64) {
  const all = new Moves(limit);
  const outcomes = {};
  const add = (label) => all.add(label, {}, () => { outcomes[label] = "ok"; }, ({ reason }) => { outcomes[label] = reason; });
  return { all, outcomes, add };
}

const numbers = (list) => list.map(({ event, n }) => `${event}${n}`);

test("moves are counted from 1 and taken once", () => {
  const { all, add } = moves();
  ["a", "b"].forEach(add);
  assert.deepEqual(numbers(all.take(0)), ["a1", "b2"]);
  assert.deepEqual(all.take(0), []);
});

test("unanswered moves are repeated in order with the same count after a rejoin", () => {
  const { all, outcomes, add } = moves();
  ["a", "b", "c"].forEach(add);
  const [a] = all.take(0);
  all.answered(a, true, {}, 0);
  all.disconnected();
  all.joined(2, true);
  assert.deepEqual(numbers(all.take(0)), ["b2", "c3"]);
  add("d");
  assert.deepEqual(numbers(all.take(0)), ["d4"]);
  assert.deepEqual(outcomes, { a: "ok" });
});

test("a refused move consumes its count when the rule said no", () => {
  const { all, outcomes, add } = moves();
  add("a");
  all.answered(all.take(0)[0], false, { reason: "too fast" }, 0);
  add("b");
  assert.deepEqual(numbers(all.take(0)), ["b2"]);
  assert.deepEqual(outcomes, { a: "too fast" });
});

test("what was refused before its rule ran is repeated, with what followed it, once nothing is in flight", () => {
  const { all, outcomes, add } = moves();
  ["a", "b", "c"].forEach(add);
  const [a, b, c] = all.take(0);
  all.answered(a, false, { reason: "no leader" }, 0);
  assert.equal(all.pause(), null);
  add("d");
  assert.deepEqual(all.take(0), []);
  all.answered(b, false, { reason: "gap", expected: 1 }, 0);
  all.answered(c, false, { reason: "gap", expected: 1 }, 0);
  assert.equal(all.pause(), 50);
  all.again();
  assert.deepEqual(numbers(all.take(0)), ["a1", "b2", "c3", "d4"]);
  assert.deepEqual(outcomes, {});
});

test("the pause before a repeat grows, and starts anew after an answer", () => {
  const { all, add } = moves();
  add("a");
  const pauses = [];
  for (let i = 0; i < 6; i += 1) {
    all.answered(all.take(0)[0], false, { reason: "rate limited" }, 0);
    pauses.push(all.pause());
    all.again();
  }
  assert.deepEqual(pauses, [50, 100, 200, 400, 500, 500]);
  all.answered(all.take(0)[0], true, {}, 0);
  add("b");
  all.answered(all.take(0)[0], false, { reason: "rate limited" }, 0);
  assert.equal(all.pause(), 50);
});

test("a gap below all that waits: the game knows of fewer moves, and those that wait follow on", () => {
  const { all, add } = moves();
  all.joined(7, true);
  ["a", "b"].forEach(add);
  const sent = all.take(0);
  assert.deepEqual(numbers(sent), ["a8", "b9"]);
  for (const move of sent) all.answered(move, false, { reason: "gap", expected: 3 }, 0);
  all.again();
  assert.deepEqual(numbers(all.take(0)), ["a3", "b4"]);
});

test("a gap above a move: it was applied, and what came of it is unknown", () => {
  const { all, outcomes, add } = moves();
  add("a");
  all.answered(all.take(0)[0], false, { reason: "gap", expected: 40 }, 0);
  assert.deepEqual(outcomes, { a: "unknown" });
  assert.deepEqual(all.waiting, []);
});

test("a reloaded page goes on where the stay's count is", () => {
  const { all, add } = moves();
  all.joined(41, true);
  add("a");
  assert.deepEqual(numbers(all.take(0)), ["a42"]);
});

test("moves made before a reloaded page has joined follow the stay's count", () => {
  const { all, add } = moves();
  add("a");
  all.joined(41, true);
  assert.deepEqual(numbers(all.take(0)), ["a42"]);
});

test("in another stay the count begins anew; what was sent in the old one is unknown, what was not is sent", () => {
  const { all, outcomes, add } = moves();
  ["a", "b"].forEach(add);
  all.take(0);
  all.disconnected();
  add("c");
  all.joined(0, false);
  assert.deepEqual(numbers(all.take(0)), ["c1"]);
  assert.deepEqual(outcomes, { a: "unknown", b: "unknown" });
});

test("moves made before the first join are sent after it", () => {
  const { all, outcomes, add } = moves();
  add("a");
  all.joined(0, false);
  assert.deepEqual(numbers(all.take(0)), ["a1"]);
  assert.deepEqual(outcomes, {});
});

test("one move more than the limit is refused and not counted", () => {
  const { all, add } = moves(2);
  ["a", "b"].forEach(add);
  assert.throws(() => add("c"), { reason: "too many unanswered moves" });
  all.answered(all.take(0)[0], true, {}, 0);
  add("d");
  assert.deepEqual(numbers(all.take(0)), ["d3"]);
});

test("a late answer to an earlier try changes nothing", () => {
  const { all, outcomes, add } = moves();
  add("a");
  const [a] = all.take(0);
  all.disconnected();
  all.answered(a, true, {}, 0);
  assert.deepEqual(outcomes, {});
});

test("a node that knows no leader, or does not answer, can be told by its age; a rate limit does not count", () => {
  const { all, add } = moves();
  add("a");
  const [a] = all.take(100);
  assert.equal(all.unansweredFor(350), 250);
  all.answered(a, false, { reason: "no leader" }, 400);
  assert.equal(all.stuckFor(1000), 600);
  all.disconnected();
  assert.equal(all.stuckFor(1000), 0);
  all.answered(all.take(1000)[0], false, { reason: "rate limited" }, 1000);
  assert.equal(all.stuckFor(2000), 0);
});

test("whatever is lost, refused or repeated, each move is applied once and in order", (context) => {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
  context.diagnostic(`seed ${seed}`);
  const random = seeded(seed);
  for (let round = 0; round < 200; round += 1) playOut(random, `seed ${seed}, round ${round}`);
});

/** A server that counts as rule 13 has it, over a link that breaks, with refusals that consume no count. */
function playOut(random, label) {
  const { all, outcomes, add } = moves();
  const applied = [];
  const answer = (move) => {
    if (random() < 0.1) return [false, { reason: "no leader" }];
    if (move.n <= applied.length) return [true, {}];
    if (move.n !== applied.length + 1) return [false, { reason: "gap", expected: applied.length + 1 }];
    applied.push(move.event);
    return [true, {}];
  };
  let made = 0;
  for (let step = 0; step < 2000 && (made < 40 || all.waiting.length); step += 1) {
    while (made < 40 && random() < 0.5 && all.waiting.length < 20) add(`m${made++}`);
    const breaksAt = random() < 0.2 ? random() * 5 : Infinity;
    const sent = all.take(0);
    const answers = sent.slice(0, Math.ceil(breaksAt + 2)).map((move) => [move, answer(move)]);
    answers.slice(0, Math.ceil(breaksAt)).forEach(([move, [ok, response]]) => all.answered(move, ok, response, 0));
    if (breaksAt < Infinity) all.joined(applied.length, true);
    else if (all.pause() !== null) all.again();
  }
  const wanted = Array.from({ length: 40 }, (_, i) => `m${i}`);
  assert.deepEqual(applied, wanted, label);
  assert.ok(wanted.every((event) => outcomes[event] === "ok"), label);
}
