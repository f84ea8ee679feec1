// The browser's side of a GameCluster: joins the game on one of its nodes, keeps a copy of the state, and goes on with
// another node when that one is lost. ES modules without dependencies; docs/client.md says how to use them.
//
//   const game = connect({ player: "ann" });
//   game.on("patch", () => draw(game.state));
//   await game.push("move", { dx: 1, dy: 0 });

import { Channel, isNotNow, Listeners, Refusal } from "./channel.js";
import { isBinary } from "./binary.js";
import { readPatch } from "./compact.js";
import { backoff, originOf, readServers, serverAt, Servers, Session } from "./connection.js";
import { Copy, Moves } from "./game.js";
import { Identity } from "./identity.js";

export { Refusal };
export { Presence } from "./presence.js";

/** Joins the game and stays in it until `close()` or `leave()`. Options: see `Client`. */
export function connect(options = {}) {
  return new Client(options);
}

const DEFAULTS = {
  topic: "game", // or "game:<room id>"; null: no game, only other channels
  limit: 64, // unanswered moves; one more is refused
  patches: "json", // or "binary": the same as bytes, a third of the size
  connectMilliseconds: 1500, // until a handshake is given up
  joinMilliseconds: 2000,
  // A node answers a heartbeat at once, even while moves wait for another node to take over: no answer means that this one
  // hangs. A loop that stands still for 300 ms does not, so the silence is well above twice that. As the doubt comes early, a
  // node that hangs is given up after 1.15 s by those who play, and after 1.35 s by those who watch (looks every 50 ms included).
  heartbeatMilliseconds: 500,
  doubtMilliseconds: 250, // while a move has been waiting for so long, a heartbeat as often; most moves take a tenth of it
  silenceMilliseconds: 800, // after a heartbeat, without a sign of life: the node is given up
  answerMilliseconds: 10_000, // for a push
  patienceMilliseconds: 500, // with a node that takes no moves, such as one that knows no leader
  refreshMilliseconds: 30_000, // between looks at /servers
};

const STABLE_MILLISECONDS = 1000; // in the game for so long: earlier failures are forgotten
const FINAL = new Set(["replaced", "refused", "closed"]);

/**
 * One player's game. Options: `servers` (addresses such as ws://host:port/socket; default: what `/servers` of `origin`
 * lists), `origin` (default: the page's), `prefer` (name or address of the server to begin with), `player`, `token`,
 * `nonce`, `storage` (default: the tab's sessionStorage), and those of DEFAULTS.
 */
export class Client {
  #options;
  #listeners = new Listeners();
  #wire;
  #servers;
  #identity;
  #moves;
  #copy = new Copy();
  #channels = new Map();
  #game = null;
  #session = null;
  #status = { status: "connecting", server: null, url: null, reason: null };
  #failures = 0;
  #refreshedAt = 0;
  #schema = []; // of patches that come as bytes
  #early = null; // what came since the game was asked for; the join's response may still be on its way through promises
  #isPlaying = false; // joined, and what the join brought was taken
  #isDone = false;
  #wake = () => {};
  #firstJoin;

  constructor(options) {
    this.#options = { ...DEFAULTS, ...options };
    let ref = 0;
    this.#wire = { send: (frame) => this.#session?.send(frame), nextRef: () => String(++ref) };
    this.#servers = new Servers((options.servers ?? []).map(serverAt), options.random);
    this.#identity = new Identity(this.#options);
    this.#moves = new Moves(this.#options.limit);
    if (this.#options.topic) this.#game = this.#gameChannel(this.#options.topic);
    /** Milliseconds that the last heartbeat took. */
    this.latency = null;
    /** The first join's response; rejected if it is refused for good. */
    this.joined = new Promise((resolve, reject) => {
      this.#firstJoin = { resolve, reject };
    });
    this.joined.catch(() => {}); // whoever waits for it sees the refusal
    this.#run();
  }

  /** `{table: {key: {field: value}}}` */
  get state() { return this.#copy.state; }
  get position() { return this.#copy.position; }
  get player() { return this.#identity.player; }
  get token() { return this.#identity.token; }
  /** `{status, server, url, reason}`; status: connecting, connected, joined, reconnecting, replaced, refused, closed. */
  get status() { return this.#status; }
  /** `[{name, url}]` */
  get servers() { return this.#servers.list; }
  /** How many moves have not been answered yet. */
  get unanswered() { return this.#moves.waiting.length; }

  /** Events: `status`, `state` (replaced), `patch`, and whatever the game broadcasts. Returns what ends it. */
  on(event, callback) {
    return this.#listeners.add(event, callback);
  }

  /** Makes a move. It is repeated until it is answered and applied once; rejected with a `Refusal` if a rule says no. */
  push(event, payload = {}) {
    return new Promise((resolve, reject) => {
      if (!this.#game) throw new Refusal("no game");
      if (FINAL.has(this.#status.status)) throw new Refusal(this.#status.status);
      this.#moves.add(event, payload, resolve, reject);
      this.#flush();
    });
  }

  /** Another topic (chat, …) over the same socket. It is joined again after each reconnect. `params`: or a function, asked at each join. */
  channel(topic, params = {}) {
    if (this.#channels.has(topic)) throw new Error(`topic ${topic} has a channel already`);
    const channel = new Channel(topic, typeof params === "function" ? params : () => params, this.#wire);
    channel.onLeft = channel.onClosed = () => this.#channels.delete(topic);
    channel.onError = () => this.#openLater(channel);
    this.#channels.set(topic, channel);
    if (this.#session?.isOpen) this.#open(channel);
    return channel;
  }

  /** Joins again after `replaced` (the other page is then the one replaced) or `refused`. */
  rejoin() {
    if (!this.#game || this.#isDone || !FINAL.has(this.#status.status)) return;
    this.#say("reconnecting", this.#session?.server);
    if (this.#session?.isOpen) this.#joinGame();
    else this.#wake();
  }

  /** Ends the connection. The player stays for the game's grace, and a reload resumes. */
  close() {
    this.#end("closed", "closed by the page");
  }

  /** Ends the player's stay: the others see it now. */
  leave() {
    if (this.#game?.isJoined) this.#game.leave();
    this.#identity.forget();
    this.#end("closed", "left");
  }

  // --- one connection after the other

  async #run() {
    await this.#refresh();
    this.#servers.begin(this.#options.prefer);
    while (!this.#isDone) {
      const { server, end } = await this.#connectOnce();
      if (this.#isDone) return;
      if (end.code === 1000) this.#end("closed", end.reason);
      else await this.#comeBack(server, end);
    }
  }

  async #connectOnce() {
    const server = this.#servers.current;
    if (!server) return { server: null, end: { reason: "no servers known", code: null, workedFor: 0 } };
    if (!FINAL.has(this.#status.status)) this.#say(this.#copy.isEmpty ? "connecting" : "reconnecting", server);
    const session = new Session(server, this.#options, this.#wire);
    this.#session = session;
    const end = await session.run({
      opened: () => this.#opened(session),
      received: ([joinRef, ref, topic, event, payload]) => {
        this.#channels.get(topic)?.received(joinRef, ref, event, payload);
      },
      unanswered: (now) => this.#moves.unansweredFor(now),
      ticked: () => this.#ticked(session),
      beaten: (milliseconds) => this.#beaten(session, milliseconds),
    });
    this.#session = null;
    this.#isPlaying = false;
    for (const channel of this.#channels.values()) channel.disconnected();
    this.#moves.disconnected();
    return { server, end };
  }

  async #comeBack(server, end) {
    this.#failures = end.workedFor >= STABLE_MILLISECONDS ? 1 : this.#failures + 1;
    this.#servers.advance();
    if (!FINAL.has(this.#status.status)) this.#say("reconnecting", server, end.reason);
    if (this.#failures >= this.#servers.list.length) await this.#refresh();
    await this.#sleep(backoff(this.#failures, this.#servers.list.length, this.#options.random));
  }

  #sleep(milliseconds) {
    if (milliseconds === 0) return undefined;
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async #refresh() {
    this.#refreshedAt = performance.now();
    if (this.#options.servers) return;
    const origin = this.#options.origin ?? globalThis.location.origin;
    const known = this.#servers.list.map((server) => originOf(server.url));
    for (const source of new Set([origin, ...known])) {
      const list = await readServers(source, this.#options.connectMilliseconds, this.#options.fetch);
      if (list?.length) return void this.#servers.replace(list);
    }
    if (!known.length) this.#servers.replace([serverAt(`${origin.replace(/^http/, "ws")}/socket`)]);
  }

  #opened(session) {
    for (const channel of this.#channels.values()) if (channel !== this.#game) this.#open(channel);
    if (FINAL.has(this.#status.status)) return;
    this.#say("connected", session.server);
    if (this.#game) this.#joinGame();
  }

  #beaten(session, milliseconds) {
    this.latency = milliseconds;
    if (!this.#game) session.works();
  }

  #ticked(session) {
    const now = performance.now();
    const { answerMilliseconds, patienceMilliseconds, refreshMilliseconds } = this.#options;
    if (this.#moves.unansweredFor(now) > answerMilliseconds) session.lost("no answer");
    else if (this.#moves.stuckFor(now) > patienceMilliseconds) session.lost("no moves taken");
    for (const channel of this.#channels.values()) if (channel !== this.#game) channel.expire(answerMilliseconds);
    if (now - this.#refreshedAt > refreshMilliseconds) this.#refresh();
  }

  async #open(channel) {
    try {
      await channel.open(this.#options.joinMilliseconds);
    } catch (refusal) {
      const isStale = refusal.reason === "bad token" && this.#game && !this.#isPlaying; // the game's join brings another
      if (isNotNow(refusal.reason) || isStale) this.#openLater(channel);
      else channel.refused(refusal);
    }
  }

  #openLater(channel) {
    const session = this.#session;
    const isWanted = () => session?.isOpen && session === this.#session && this.#channels.get(channel.topic) === channel;
    setTimeout(() => isWanted() && this.#open(channel), 500 + 500 * Math.random());
  }

  // --- the game

  #gameChannel(topic) {
    const resume = () => (this.#copy.isEmpty ? {} : this.#copy.position);
    const form = this.#options.patches === "binary" ? { patches: "binary" } : {};
    const channel = new Channel(topic, () => ({ ...this.#identity.params(), ...resume(), ...form }), this.#wire);
    channel.onOther = (event, payload) => {
      if (this.#early) this.#early.push([event, payload]);
      else this.#take(event, payload);
    };
    channel.onClosed = () => this.#stop("replaced", "the player joined elsewhere");
    channel.onError = () => this.#session?.lost("the game's channel failed");
    this.#channels.set(topic, channel);
    return channel;
  }

  #take(event, payload) {
    if (event === "patch") this.#patched(isBinary(payload) ? this.#read(payload) : payload);
    else if (event !== "state") this.#listeners.tell(event, payload);
    else if (this.#copy.replace(payload)) this.#listeners.tell("state", this.state);
  }

  #patched(patch) {
    if (patch && this.#copy.apply(patch)) this.#listeners.tell("patch", patch);
  }

  /** A patch that came as bytes. What can't be read would be missed: the next join brings it. */
  #read(bytes) {
    try {
      return readPatch(bytes, this.#schema);
    } catch {
      return void this.#session?.lost("a patch that can't be read");
    }
  }

  async #joinGame() {
    const session = this.#session;
    this.#early = [];
    const opening = this.#game.open(this.#options.joinMilliseconds);
    const [response, refusal] = await opening.then((answer) => [answer], (error) => [null, error]);
    if (!session.isOpen) return;
    if (response) this.#joined(session, response);
    else this.#notJoined(session, refusal);
  }

  #joined(session, response) {
    session.works();
    this.#identity.granted(response);
    if (!response.resumed && this.#copy.isAheadOf(response)) this.#copy = new Copy(); // the cluster began anew
    this.#schema = response.schema ?? [];
    this.#catchUp(response);
    const early = this.#early ?? [];
    this.#early = null;
    for (const [event, payload] of early) this.#take(event, payload);
    this.#moves.joined(response.n, response.resumed);
    this.#isPlaying = true;
    this.#firstJoin.resolve(response);
    this.#say("joined", session.server);
    this.#flush();
  }

  /** A join's response has what was missed since the copy's position, or all of the state. */
  #catchUp({ epoch, seq, ops, state }) {
    if (state && this.#copy.replace({ epoch, seq, state })) this.#listeners.tell("state", this.state);
    else if (ops) this.#patched({ epoch, seq, ops });
  }

  #notJoined(session, { reason }) {
    if (isNotNow(reason)) return session.lost(reason);
    if (!/token/.test(reason) || !this.token) return this.#stop("refused", reason);
    this.#identity.forget(); // the token is of a cluster that is no more
    this.#copy = new Copy();
    return this.#joinGame();
  }

  #flush() {
    if (!this.#isPlaying) return;
    for (const move of this.#moves.take(performance.now())) {
      this.#game.request(move.event, { ...move.payload, n: move.n }, (ok, response) => this.#answered(move, ok, response));
    }
  }

  #answered(move, ok, response) {
    this.#moves.answered(move, ok, response, performance.now());
    const pause = this.#moves.pause();
    if (pause !== null) this.#repeatAfter(pause);
  }

  #repeatAfter(milliseconds) {
    const session = this.#session;
    setTimeout(() => {
      if (session !== this.#session) return;
      this.#moves.again();
      this.#flush();
    }, milliseconds);
  }

  // --- what the page is told

  #say(status, server, reason = null) {
    this.#status = { status, server: server?.name ?? null, url: server?.url ?? null, reason };
    this.#listeners.tell("status", this.#status);
  }

  #stop(status, reason) {
    this.#isPlaying = false;
    this.#moves.abandon(status);
    this.#firstJoin.reject(new Refusal(reason));
    this.#say(status, this.#session?.server, reason);
  }

  #end(status, reason) {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#stop(status, reason);
    for (const channel of this.#channels.values()) channel.end(status);
    this.#session?.close();
    this.#wake();
  }
}
