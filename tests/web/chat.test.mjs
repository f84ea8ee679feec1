// Chat with history, and what a client that comes back has missed, on a real cluster (GAMECLUSTER_ORIGIN).

import assert from "node:assert/strict";
import { test } from "node:test";

import { joined, player, until } from "./support.mjs";

const origin = process.env.GAMECLUSTER_ORIGIN;
const name = (who) => `${who}-${process.pid}`;

/** A player's chat: what it has heard, and how to break its connection. */
async function chatter(t, who, topic, options = {}) {
  const sockets = [];
  class Watched extends WebSocket {
    constructor(...args) {
      super(...args);
      sockets.push(this);
    }
  }
  const client = await joined(player(t, { origin, player: name(who), WebSocket: Watched, ...options }));
  const chat = client.channel(topic, () => ({ token: client.token }));
  const heard = [];
  const gone = [];
  chat.on("said", (line) => heard.push(line));
  chat.onGone((response) => gone.push(response));
  const { messages } = await chat.joined;
  return { client, chat, heard, gone, messages, breakOff: () => sockets.at(-1).close() };
}

test("lines are heard on other nodes, and are in the history of who comes later", async (t) => {
  const topic = `chat:a-${process.pid}`;
  const ann = await chatter(t, "ann", topic);
  const elsewhere = ann.client.servers.find((server) => server.name !== ann.client.status.server);
  const ben = await chatter(t, "ben", topic, { prefer: elsewhere.name });
  const { id } = await ann.chat.pushOnce("say", { body: "hello" });
  await until(() => ben.heard.length === 1, "the line");
  const { from, body, at } = ben.heard[0];
  assert.deepEqual({ id: ben.heard[0].id, from, body }, { id, from: name("ann"), body: "hello" });
  const carl = await chatter(t, "carl", topic);
  assert.deepEqual(carl.messages, [{ id, from, body, at }]);
  assert.deepEqual(await carl.chat.push("history", { before: id }), { messages: [] });
  await assert.rejects(ann.chat.push("say", { body: " " }), { reason: "nothing to say" });
});

test("who comes back hears what was said meanwhile, once and in order", async (t) => {
  const topic = `chat:b-${process.pid}`;
  const ann = await chatter(t, "dan", topic);
  const ben = await chatter(t, "eve", topic);
  const bodies = Array.from({ length: 60 }, (_, i) => `line ${i}`);
  const all = Promise.all(bodies.map((body) => ann.chat.pushOnce("say", { body })));
  for (const count of [5, 20, 40]) {
    await until(() => ben.heard.length >= count, `${count} lines`);
    ben.breakOff();
  }
  await all;
  await until(() => ben.heard.length >= bodies.length, "all lines");
  assert.deepEqual(ben.heard.map(({ body }) => body), bodies);
  assert.deepEqual(ann.heard.map(({ body }) => body), bodies);
  assert.deepEqual(ben.gone, []);
});

test("who says something while the connection is lost says it once", async (t) => {
  const ann = await chatter(t, "fay", `chat:c-${process.pid}`);
  const answers = [];
  for (let i = 0; i < 10; i += 1) {
    answers.push(ann.chat.pushOnce("say", { body: `${i}` }));
    if (i % 3 === 0) ann.breakOff();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const ids = (await Promise.all(answers)).map(({ id }) => id);
  assert.deepEqual(ids, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  await until(() => ann.heard.length === 10, "its own lines");
  assert.deepEqual(ann.heard.map(({ body }) => body), [..."0123456789"]);
});

test("who missed more than is kept for that is told so, and has the newest lines", async (t) => {
  const topic = `chat:d-${process.pid}`;
  const ann = await chatter(t, "gus", topic);
  const ben = await chatter(t, "hal", topic);
  await ann.chat.pushOnce("say", { body: "first" });
  await until(() => ben.heard.length === 1, "the first");
  ben.chat.disconnected(); // as if the page slept: it hears nothing
  const hearing = ben.chat.received;
  ben.chat.received = () => {};
  await Promise.all(Array.from({ length: 105 }, (_, i) => ann.chat.pushOnce("say", { body: `${i}` })));
  ben.chat.received = hearing;
  ben.breakOff();
  await until(() => ben.gone.length === 1, "word that lines are gone");
  assert.equal(ben.gone[0].messages.length, 50);
  assert.equal(ben.gone[0].messages.at(-1).body, "104");
});
