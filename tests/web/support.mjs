// What the client's tests share: a fake cluster in a process of its own, waiting for a condition, a tab's storage.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { connect } from "../../server/gamecluster/web/client.js";

const FAKE = fileURLToPath(new URL("fake_server.py", import.meta.url));

/** Waits until `condition()` holds and returns what it returned; fails after a deadline with `what`. */
export async function until(condition, what, milliseconds = 8000) {
  const deadline = performance.now() + milliseconds;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > deadline) throw new Error(`not within ${milliseconds} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A tab's sessionStorage. */
export class Tab {
  #items = new Map();

  getItem(key) { return this.#items.get(key) ?? null; }
  setItem(key, value) { this.#items.set(key, String(value)); }
}

/** A seeded random, so that a failure can be repeated: mulberry32. */
export function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A cluster of fake nodes, and the clients of one test; all are gone when the test ends. */
export async function fakeCluster(test, nodes = 3) {
  const process_ = spawn(process.env.PYTHON ?? "python3", [FAKE, String(nodes)], { stdio: ["pipe", "pipe", "inherit"] });
  test.after(() => process_.kill());
  const lines = createInterface({ input: process_.stdout })[Symbol.asyncIterator]();
  const read = async () => JSON.parse((await lines.next()).value);
  const list = await read();
  let last = Promise.resolve();
  const command = (order) => {
    last = last.then(() => {
      process_.stdin.write(`${JSON.stringify(order)}\n`);
      return read();
    });
    return last;
  };
  return {
    nodes: list,
    origin: `http://127.0.0.1:${list[0].port}`,
    command,
    node: (node, verb, more = {}) => command({ node, do: verb, ...more }),
    look: () => command({ do: "look" }),
    connect: (options = {}) => player(test, { origin: `http://127.0.0.1:${list[0].port}`, prefer: "fake-0", ...options }),
  };
}

/** A client that is closed when the test ends. `statuses` lists what it went through. */
export function player(test, options) {
  const client = connect({ storage: new Tab(), ...options });
  client.statuses = [];
  client.on("status", ({ status, server, reason }) => client.statuses.push({ status, server, reason }));
  test.after(() => client.close());
  return client;
}

export function isJoined(client, server = null) {
  return client.status.status === "joined" && (server === null || client.status.server === server);
}

export async function joined(client, server = null) {
  await until(() => isJoined(client, server), `joined, on ${server ?? "any server"}; now ${JSON.stringify(client.status)}`);
  return client;
}
