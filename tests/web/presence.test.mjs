// Presence, fed by hand: what it keeps and tells, also over a lost connection.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Presence } from "../../server/gamecluster/web/client.js";

function stage() {
  const handlers = {};
  const present = new Presence({ on: (event, handler) => { handlers[event] = handler; } });
  const told = [];
  present.on("join", (key, metas, isNew) => told.push(["join", key, metas.map((meta) => meta.phx_ref), isNew]));
  present.on("leave", (key, metas, isGone) => told.push(["leave", key, metas.map((meta) => meta.phx_ref), isGone]));
  present.on("sync", () => told.push("sync"));
  return {
    present,
    told: () => told.splice(0),
    state: (state) => handlers.presence_state(state),
    diff: (joins, leaves = {}) => handlers.presence_diff({ joins, leaves }),
  };
}

const at = (...refs) => ({ metas: refs.map((phx_ref) => ({ phx_ref })) });

test("the state, then what changes", () => {
  const { present, told, state, diff } = stage();
  state({ ann: at("a1"), ben: at("b1") });
  assert.deepEqual(told(), [["join", "ann", ["a1"], true], ["join", "ben", ["b1"], true], "sync"]);
  diff({ eve: at("e1"), ann: at("a2") });
  assert.deepEqual(told(), [["join", "eve", ["e1"], true], ["join", "ann", ["a2"], false], "sync"]);
  diff({}, { ann: at("a1"), ben: at("b1") });
  assert.deepEqual(told(), [["leave", "ann", ["a1"], false], ["leave", "ben", ["b1"], true], "sync"]);
  assert.deepEqual(present.keys(), ["ann", "eve"]);
  assert.deepEqual([present.metas("ann"), present.metas("ben"), present.has("ben")], [[{ phx_ref: "a2" }], [], false]);
});

test("who is back in time, or has a new meta, is never gone", () => {
  const { present, told, state, diff } = stage();
  state({ ann: at("a1") });
  told();
  let wasGone = false;
  present.on("sync", () => { wasGone ||= !present.has("ann"); });
  diff({ ann: at("a2") }, { ann: at("a1") });
  assert.deepEqual(told(), [["join", "ann", ["a2"], false], ["leave", "ann", ["a1"], false], "sync"]);
  assert.equal(wasGone, false);
});

test("after a lost connection the new state tells what has changed", () => {
  const { present, told, state } = stage();
  state({ ann: at("a1"), ben: at("b1"), constructor: at("c1") });
  told();
  state({ ben: at("b1", "b2"), eve: at("e1"), constructor: at("c1") });
  assert.deepEqual(told(), [
    ["join", "ben", ["b2"], false], ["join", "eve", ["e1"], true], ["leave", "ann", ["a1"], true], "sync",
  ]);
  assert.deepEqual(present.keys(), ["ben", "constructor", "eve"]);
});

test("an end to listening, and an event that there is not", () => {
  const { present, state } = stage();
  let heard = 0;
  const end = present.on("sync", () => { heard += 1; });
  state({});
  end();
  state({});
  assert.equal(heard, 1);
  assert.throws(() => present.on("update", () => {}), /there are: join, leave, sync/);
});
