// Which server to use, when to try the next, and one socket to it. Part of client.js.

import { decode, encodePush, isBinary } from "./binary.js";

const BACKOFF_MILLISECONDS = { first: 100, longest: 2000 };

/** Milliseconds before the next try: none until each server has failed once, then exponential with full jitter. */
export function backoff(failures, servers, random = Math.random) {
  const rounds = failures - servers;
  if (rounds < 0) return 0;
  return random() * Math.min(BACKOFF_MILLISECONDS.longest, BACKOFF_MILLISECONDS.first * 2 ** Math.min(rounds, 10));
}

/** The cluster's servers, `{name, url}`, tried in turn. */
export class Servers {
  #at = 0;

  constructor(list, random = Math.random) {
    this.list = list;
    this.random = random;
  }

  get current() {
    return this.list[this.#at];
  }

  /** Begins with the server of this name or address, or anywhere. */
  begin(prefer) {
    const at = this.list.findIndex((server) => server.name === prefer || server.url === prefer);
    this.#at = at >= 0 ? at : Math.floor(this.random() * this.list.length);
  }

  advance() {
    this.#at = (this.#at + 1) % Math.max(1, this.list.length);
  }

  /** The server with this address, which is added if it is not known. */
  at(url) {
    const server = serverAt(url);
    const known = this.list.find((each) => each.url === server.url);
    if (!known) this.list = [...this.list, server];
    return known ?? server;
  }

  /** It is this one's turn. */
  use(server) {
    this.#at = Math.max(0, this.list.indexOf(server));
  }

  /** A new list; the turn stays where it was, if that server is still there. */
  replace(list) {
    const name = this.current?.name;
    this.list = list;
    this.#at = Math.max(0, list.findIndex((server) => server.name === name));
  }
}

/** The servers that `/servers` of this origin lists; null if it can't be read. */
export async function readServers(origin, milliseconds, fetch = globalThis.fetch) {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), milliseconds);
  try {
    const answer = await fetch(`${origin}/servers`, { signal: controller.signal, cache: "no-store" });
    return answer.ok ? (await answer.json()).servers : null;
  } catch {
    return null;
  } finally {
    clearTimeout(timer);
  }
}

/** An address such as ws://host:port/socket as a server, named by its host. */
export function serverAt(url) {
  return { name: new URL(url).host, url: url.replace(/\/+$/, "") };
}

/** The web origin of a WebSocket address. */
export function originOf(url) {
  return new URL(url.replace(/^ws/, "http")).origin;
}

const LOOK_MILLISECONDS = 50; // how late a silence may be noticed

/**
 * Whether the other side is there: asks it every `heartbeatMilliseconds`, or, while a move waits for longer, every
 * `doubtMilliseconds`; `silenceMilliseconds` after a question without any sign of life, gives it up. Decides, sends
 * nothing; all times are milliseconds.
 */
export class Pulse {
  #waits = false; // for an answer
  #askedAt = 0;
  #lookedAt = 0;
  #silentFor = 0;

  constructor({ heartbeatMilliseconds, doubtMilliseconds, silenceMilliseconds }) {
    this.heartbeat = heartbeatMilliseconds;
    this.doubt = doubtMilliseconds;
    this.silence = silenceMilliseconds;
  }

  asked(now) {
    this.#waits = true;
    this.#askedAt = this.#lookedAt = now;
    this.#silentFor = 0;
  }

  /** Any frame is a sign of life. */
  heard() {
    this.#silentFor = 0;
  }

  /** Returns how long the answer took. */
  answered(now) {
    this.#waits = false;
    return now - this.#askedAt;
  }

  /** What to do now: "ask", "give up", or null. `unanswered`: for how long the oldest move has been waiting. */
  look(now, unanswered) {
    // A page that stood still accuses nobody: what came meanwhile may be read after this look, and before the next.
    this.#silentFor += Math.min(now - this.#lookedAt, this.silence / 2);
    this.#lookedAt = now;
    if (this.#waits) return this.#silentFor > this.silence ? "give up" : null;
    const interval = unanswered >= this.doubt ? this.doubt : this.heartbeat;
    return now - this.#askedAt >= interval ? "ask" : null;
  }
}

/** One socket, from the handshake until it is lost, or until its `Pulse` is. `nextRef()`: unique among all of a client's. */
export class Session {
  isOpen = false;
  ended = null; // what `run` has promised
  successor = null; // promise of the session that the client is moving to, or of null
  #socket = null;
  #finish = () => {};
  #worksSince = null;
  #pulse = null;
  #beatRef = null;

  constructor(server, options, nextRef) {
    this.server = server;
    this.options = options;
    this.nextRef = nextRef;
  }

  /**
   * Resolves with `{reason, code, workedFor}` when the socket is gone. `handlers`: opened, received(frame), ticked, beaten(ms),
   * and `unanswered(now)`, which says for how many milliseconds the oldest move has been waiting.
   */
  run(handlers) {
    this.ended = new Promise((resolve) => {
      const giveUp = setTimeout(() => this.lost("no connection"), this.options.connectMilliseconds);
      let ticking = null;
      this.#finish = (reason, code) => {
        this.#finish = () => {};
        this.isOpen = false;
        clearTimeout(giveUp);
        clearInterval(ticking);
        resolve({ reason, code, workedFor: this.#worksSince === null ? 0 : performance.now() - this.#worksSince });
      };
      const opened = () => {
        clearTimeout(giveUp);
        ticking = setInterval(() => this.#tick(handlers), LOOK_MILLISECONDS);
        this.isOpen = true;
        this.#pulse = new Pulse(this.options);
        this.#ask();
        handlers.opened();
      };
      this.#connect(opened, (data) => this.#received(data, handlers));
    });
    return this.ended;
  }

  send(frame) {
    if (this.isOpen) this.#socket.send(isBinary(frame[4]) ? encodePush(frame) : JSON.stringify(frame));
  }

  /** The other side does what is wanted of it. */
  works() {
    this.#worksSince ??= performance.now();
  }

  /** Gives it up, without waiting for a goodbye. */
  lost(reason) {
    this.#finish(reason, null);
    this.#socket?.close();
  }

  close() {
    this.#finish("closed", 1000);
    this.#socket?.close(1000);
  }

  #connect(opened, received) {
    const WebSocket = this.options.WebSocket ?? globalThis.WebSocket;
    const finish = (reason, code) => this.#finish(reason, code);
    try {
      this.#socket = new WebSocket(`${this.server.url}/websocket?vsn=2.0.0`);
    } catch (error) {
      finish(String(error), null); // an address that the browser forbids
      return;
    }
    this.#socket.binaryType = "arraybuffer";
    this.#socket.addEventListener("open", opened);
    this.#socket.addEventListener("message", ({ data }) => this.isOpen && received(data));
    this.#socket.addEventListener("error", () => this.isOpen || finish("no connection", null));
    this.#socket.addEventListener("close", ({ code, reason }) => {
      finish(reason || (this.isOpen ? "connection lost" : "no connection"), code);
    });
  }

  #received(data, handlers) {
    const frame = typeof data === "string" ? JSON.parse(data) : decode(data);
    this.#pulse.heard();
    if (!frame) return;
    if (frame[2] !== "phoenix") handlers.received(frame);
    else if (frame[1] === this.#beatRef) handlers.beaten(this.#pulse.answered(performance.now()));
  }

  #tick(handlers) {
    const now = performance.now();
    const verdict = this.#pulse.look(now, handlers.unanswered(now));
    if (verdict === "ask") this.#ask();
    else if (verdict === "give up") this.lost("silence");
    handlers.ticked();
  }

  #ask() {
    this.#beatRef = this.nextRef();
    this.#pulse.asked(performance.now());
    this.send([null, this.#beatRef, "phoenix", "heartbeat", {}]);
  }
}
