import assert from "node:assert/strict";
import { test } from "node:test";

import { backoff, originOf, serverAt, Servers } from "../../server/gamecluster/web/connection.js";
import { Identity } from "../../server/gamecluster/web/identity.js";
import { Tab } from "./support.mjs";

const list = ["a", "b", "c"].map((name) => ({ name, url: `ws://${name}/socket` }));

test("each server is tried at once, then the wait doubles up to two seconds", () => {
  const longest = Array.from({ length: 10 }, (_, failures) => backoff(failures, 3, () => 1));
  assert.deepEqual(longest, [0, 0, 0, 100, 200, 400, 800, 1600, 2000, 2000]);
});

test("the wait has full jitter", () => {
  assert.equal(backoff(5, 3, () => 0), 0);
  assert.equal(backoff(5, 3, () => 0.5), 200);
});

test("the first server is any, or the preferred one by name or address; then they take turns", () => {
  const servers = new Servers(list, () => 0.5);
  servers.begin(undefined);
  assert.equal(servers.current.name, "b");
  servers.begin("ws://c/socket");
  assert.equal(servers.current.name, "c");
  servers.advance();
  assert.equal(servers.current.name, "a");
});

test("a new list keeps the turn at the same server, or begins if it is gone", () => {
  const servers = new Servers(list);
  servers.begin("b");
  servers.replace([...list].reverse());
  assert.equal(servers.current.name, "b");
  servers.replace([list[0], list[2]]);
  assert.equal(servers.current.name, "a");
});

test("an address names its server by host, and has a web origin", () => {
  assert.deepEqual(serverAt("wss://play.example:444/socket/"), { name: "play.example:444", url: "wss://play.example:444/socket" });
  assert.equal(originOf("wss://play.example:444/socket"), "https://play.example:444");
  assert.equal(originOf("ws://127.0.0.1:4001/socket"), "http://127.0.0.1:4001");
});

test("a tab keeps its player, token and nonce; another player's are not taken", () => {
  const storage = new Tab();
  const first = new Identity({ player: "ann", storage, topic: "game" });
  first.granted({ player: "ann", token: "t1" });
  const reloaded = new Identity({ storage, topic: "game" });
  assert.deepEqual(reloaded.params(), { player: "ann", nonce: first.nonce, token: "t1" });
  assert.equal(new Identity({ player: "ben", storage: storage, topic: "game" }).token, undefined);
});

test("without a usable storage the player still has a name and a nonce", () => {
  const storage = { getItem() { throw new Error("no"); }, setItem() { throw new Error("full"); } };
  const { player, nonce } = new Identity({ storage, topic: "game" });
  assert.match(player, /^player-.{6}$/);
  assert.equal(nonce.length, 24);
});
