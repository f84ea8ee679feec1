import assert from "node:assert/strict";
import { test } from "node:test";

import { backoff, originOf, Pulse, serverAt, Servers } from "../../server/gamecluster/web/connection.js";
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

/** A pulse that asked at 0, and what it said at each look, every 50 ms until `end`; `at(now, pulse)` may tell it more. */
function looks(end, { unanswered = () => 0, at = () => {} } = {}) {
  const pulse = new Pulse({ heartbeatMilliseconds: 500, doubtMilliseconds: 250, silenceMilliseconds: 800 });
  const said = [];
  pulse.asked(0);
  for (let now = 50; now <= end; now += 50) {
    at(now, pulse);
    const verdict = pulse.look(now, unanswered(now));
    if (verdict === "ask") pulse.asked(now);
    if (verdict !== null) said.push([now, verdict]);
  }
  return said;
}

function answersAll(now, pulse) {
  pulse.heard();
  pulse.answered(now);
}

test("a server that answers is asked every half second", () => {
  assert.deepEqual(looks(1600, { at: answersAll }), [[500, "ask"], [1000, "ask"], [1500, "ask"]]);
});

test("while a move waits, it is asked four times a second, and kept if it answers", () => {
  const verdicts = looks(2400, { at: answersAll, unanswered: (now) => Math.max(0, now - 100) });
  assert.deepEqual(verdicts.map(([now]) => now), [350, 600, 850, 1100, 1350, 1600, 1850, 2100, 2350]);
  assert.ok(verdicts.every(([, verdict]) => verdict === "ask"));
});

test("a server that hangs is given up 1.15 s after the first move that it did not answer, at the latest", () => {
  for (const hangs of [100, 150, 200, 250, 300, 350, 400, 450, 500]) {
    const verdicts = looks(2000, {
      at: (now, pulse) => now < hangs && answersAll(now, pulse),
      unanswered: (now) => Math.max(0, now - hangs),
    });
    const [at] = verdicts.find(([, verdict]) => verdict === "give up");
    assert.ok(at >= hangs + 750 && at <= hangs + 1150, `hung at ${hangs}, given up at ${at}`);
  }
});

test("any frame is a sign of life", () => {
  assert.deepEqual(looks(3000, { at: (now, pulse) => now % 700 === 0 && pulse.heard() }), []);
});

test("a page that stood still accuses nobody: it looks again first", () => {
  const pulse = new Pulse({ heartbeatMilliseconds: 500, doubtMilliseconds: 250, silenceMilliseconds: 800 });
  pulse.asked(0);
  assert.equal(pulse.look(60_000, 0), null);
  pulse.heard();
  pulse.answered(60_001);
  assert.equal(pulse.look(60_050, 0), "ask");
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
