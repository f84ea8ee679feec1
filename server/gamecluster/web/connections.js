// One connection after the other: which server is tried when, and whether what was moved to another one goes on there. Part of client.js.

import { backoff, originOf, readServers, serverAt, Servers, Session } from "./connection.js";

const STABLE_MILLISECONDS = 1000; // in the game for so long: earlier failures are forgotten

/**
 * `page`, the client: `{connecting(server), opened(session), received(session, frame), unanswered(session, now), ticked(session, now), beaten(session, ms),
 * lost(session), away(server, reason), closed(reason)}`.
 */
export class Connections {
  #options;
  #page;
  #servers;
  #nextRef;
  #failures = 0;
  #refreshedAt = 0;
  #isDone = false;
  #wake = () => {};
  session = null; // the one that is used

  constructor(options, page) {
    this.#options = options;
    this.#page = page;
    let ref = 0;
    this.#nextRef = () => String(++ref);
    this.#servers = new Servers((options.servers ?? []).map(serverAt), options.random);
  }

  /** `[{name, url}]` */
  get list() { return this.#servers.list; }

  async run() {
    await this.#refresh();
    this.#servers.begin(this.#options.prefer);
    while (!this.#isDone) {
      const { server, end } = await this.#connectOnce();
      if (this.#isDone) return;
      if (end.code === 1000) this.#page.closed(end.reason);
      else await this.#comeBack(server, end);
    }
  }

  /** Tries at once, if it is waiting. */
  wake() {
    this.#wake();
  }

  end() {
    this.#isDone = true;
    this.session?.close();
    this.#wake();
  }

  /** The server with this address. */
  at(url) {
    return this.#servers.at(url);
  }

  /** A session beside the present one. */
  dial(server, opened) {
    const session = new Session(server, this.#options, this.#nextRef);
    session.run({
      opened: () => opened(session),
      received: (frame) => this.#page.received(session, frame),
      unanswered: (now) => this.#page.unanswered(session, now),
      ticked: () => this.#ticked(session),
      beaten: (milliseconds) => this.#page.beaten(session, milliseconds),
    });
    return session;
  }

  /** From now on it is this one. */
  use(session) {
    this.session = session;
    this.#servers.use(session.server);
  }

  /** Until the connection is lost, and those that the client has moved to from there. */
  async #connectOnce() {
    const server = this.#servers.current;
    if (!server) return { server: null, end: { reason: "no servers known", code: null, workedFor: 0 } };
    this.#page.connecting(server);
    this.session = this.dial(server, (session) => this.#page.opened(session));
    for (let session = this.session; ;) {
      const end = await session.ended;
      this.#page.lost(session);
      const next = this.#isDone ? null : await session.successor;
      if (!next) {
        this.session = null;
        return { server: session.server, end };
      }
      session = next;
    }
  }

  async #comeBack(server, end) {
    this.#failures = end.workedFor >= STABLE_MILLISECONDS ? 1 : this.#failures + 1;
    this.#servers.advance();
    this.#page.away(server, end.reason);
    if (this.#failures >= this.#servers.list.length) await this.#refresh();
    await this.#sleep(backoff(this.#failures, this.#servers.list.length, this.#options.random));
  }

  #ticked(session) {
    const now = performance.now();
    this.#page.ticked(session, now);
    if (now - this.#refreshedAt > this.#options.refreshMilliseconds) this.#refresh();
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
}
