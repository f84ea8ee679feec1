// One topic of the client: what it makes of a server that keeps broadcasts, and pushes that must be answered.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Channel } from "../../server/gamecluster/web/channel.js";

/** A channel on a wire that records; `answer` settles the newest frame. */
function room() {
  const sent = [];
  let ref = 0;
  const wire = { send: (frame) => sent.push(frame), nextRef: () => String(++ref) };
  const channel = new Channel("room:1", () => ({ name: "ann" }), wire);
  const heard = [];
  channel.on("shout", (payload) => heard.push(payload.text ?? payload));
  const reply = (frame, status, response) => channel.received(frame[0], frame[1], "phx_reply", { status, response });
  const newest = (event) => sent.filter((frame) => frame[3] === event).at(-1);
  return {
    channel,
    sent,
    heard,
    newest,
    answer: (event, response = {}, status = "ok") => reply(newest(event), status, response),
    joined: async (recovery, more = {}) => {
      const opening = channel.open(1000);
      reply(newest("phx_join"), "ok", recovery ? { ...more, recovery } : more);
      return opening;
    },
    shout: (offset, epoch = "e1") => channel.received(null, null, "shout", { text: `${epoch}/${offset}`, offset, epoch }),
  };
}

const begun = (offset, epoch = "e1") => ({ epoch, offset, recovered: false, missed: [] });
const line = (offset, epoch = "e1") => ({
  event: "shout",
  payload: { text: `${epoch}/${offset}`, offset, epoch },
  offset,
  at: 1,
});

const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

test("a join after the first says how far it has come, and what was missed is heard in order", async () => {
  const { channel, heard, joined, newest, shout } = room();
  await joined(begun(3));
  assert.deepEqual(newest("phx_join")[4], { name: "ann" });
  shout(4);
  channel.disconnected();
  await joined({ epoch: "e1", offset: 6, recovered: true, missed: [line(5), line(6)] });
  assert.deepEqual(newest("phx_join")[4], { name: "ann", recover: { epoch: "e1", offset: 4 } });
  shout(7);
  assert.deepEqual(heard, ["e1/4", "e1/5", "e1/6", "e1/7"]);
});

test("nothing is heard twice, whatever the server repeats", async () => {
  const { channel, heard, joined, shout } = room();
  await joined(begun(0, ""));
  shout(1);
  shout(1);
  shout(2);
  channel.disconnected();
  await joined({ epoch: "e1", offset: 3, recovered: true, missed: [line(2), line(3)] });
  shout(3);
  shout(2);
  shout(4);
  assert.deepEqual(heard, ["e1/1", "e1/2", "e1/3", "e1/4"]);
});

test("the page is told when what was missed is gone, and goes on from there", async () => {
  const { channel, heard, joined, newest, shout } = room();
  const gone = [];
  const end = channel.onGone((response) => gone.push(response));
  await joined(begun(3), { messages: [] });
  assert.deepEqual(gone, []);
  channel.disconnected();
  await joined(begun(9, "e2"), { messages: ["the last"] });
  assert.deepEqual(gone.map(({ messages }) => messages), [["the last"]]);
  shout(10, "e2");
  channel.disconnected();
  end();
  await joined(begun(1, "e3"));
  assert.deepEqual(newest("phx_join")[4].recover, { epoch: "e2", offset: 10 });
  assert.equal(gone.length, 1);
  assert.deepEqual(heard, ["e2/10"]);
});

test("a new epoch begins at 1, and is heard", async () => {
  const { heard, joined, shout } = room();
  await joined(begun(5));
  shout(6);
  shout(1, "e2");
  shout(2, "e2");
  assert.deepEqual(heard, ["e1/6", "e2/1", "e2/2"]);
});

test("on other topics an offset is a field as any other", async () => {
  const { channel, heard, joined, newest, shout } = room();
  await joined();
  shout(2);
  shout(1);
  channel.received(null, null, "shout", new ArrayBuffer(2));
  channel.disconnected();
  await joined();
  assert.deepEqual(newest("phx_join")[4], { name: "ann" });
  assert.equal(heard.length, 3);
});

test("what is pushed once is repeated with the same nonce until it is answered, one after another", async () => {
  const { answer, channel, joined, newest, sent } = room();
  const first = channel.pushOnce("say", { body: "1" });
  const second = channel.pushOnce("say", { body: "2" });
  await turn();
  assert.equal(newest("say"), undefined);
  await joined(begun(0));
  await turn();
  const nonce = newest("say")[4].nonce;
  channel.disconnected();
  await joined(begun(0));
  await until(() => sent.filter((frame) => frame[3] === "say").length === 2);
  assert.deepEqual(newest("say")[4], { nonce, body: "1" });
  answer("say", { reason: "no leader" }, "error");
  await until(() => sent.filter((frame) => frame[3] === "say").length === 3);
  assert.deepEqual(newest("say")[4], { nonce, body: "1" });
  answer("say", { id: 7 });
  assert.deepEqual(await first, { id: 7 });
  await turn();
  assert.equal(newest("say")[4].body, "2");
  assert.notEqual(newest("say")[4].nonce, nonce);
  answer("say", { reason: "too long" }, "error");
  await assert.rejects(second, { reason: "too long" });
});

test("what waits when the topic is left, or was refused for good, is rejected", async () => {
  const left = room();
  const waiting = left.channel.pushOnce("say", {});
  await turn();
  left.channel.leave();
  await assert.rejects(waiting, { reason: "left" });
  const out = room();
  const other = out.channel.pushOnce("say", {});
  await turn();
  const opening = out.channel.open(1000);
  out.answer("phx_join", { reason: "not you" }, "error");
  const refusal = await opening.catch((error) => error);
  out.channel.refused(refusal);
  await assert.rejects(other, { reason: "not you" });
});

test("so many may wait, and one more is refused", async () => {
  const { channel } = room();
  const waiting = Array.from({ length: 128 }, () => channel.pushOnce("say", {}).catch((refusal) => refusal.reason));
  await assert.rejects(channel.pushOnce("say", {}), { reason: "too many unanswered pushes" });
  channel.end("closed");
  assert.deepEqual(new Set(await Promise.all(waiting)), new Set(["closed"]));
});

async function until(condition) {
  const deadline = performance.now() + 5000;
  while (!condition()) {
    assert.ok(performance.now() < deadline, "not within 5 s");
    await turn();
  }
}
