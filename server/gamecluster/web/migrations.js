// To another node or room, because the game said so (`match.migrate`): joined there first, left here only then. Part of client.js.

import { isNotNow, Refusal } from "./channel.js";

const MOST_WAITING = 64;
const LOOK_MILLISECONDS = 20;
const PAUSE_MILLISECONDS = 100; // at least, before what is refused for now is asked for once more

/**
 * One after the other, in the order in which they were asked for. `pilot`, of the client: `session()`, `isDone()`, `roomOn(topic)`, `newRoom(topic)`,
 * `serverAt(url)`, `dial(server, opened)`, `goOn(session)`, `isIdle(session)`, `tell(room, event, told)`.
 */
export class Migrations {
  #last = Promise.resolve();
  #waiting = 0;

  constructor(pilot, options) {
    this.pilot = pilot;
    this.options = options;
  }

  /** Resolves with the room. Rejected with a Refusal if it was not let in, and is where it was. */
  ask(room, where) {
    if (this.#waiting >= MOST_WAITING) return Promise.reject(new Refusal("too many migrations"));
    this.#waiting += 1;
    room?.expect();
    const done = this.#last.then(() => this.#go(room, where)).finally(() => {
      this.#waiting -= 1;
      room?.settle();
    });
    this.#last = done.catch(() => {});
    return done;
  }

  async #go(asked, { url, topic }) {
    const { pilot } = this;
    if (pilot.isDone()) throw new Refusal("closed");
    const known = pilot.roomOn(topic) ?? (asked?.isFinal ? null : asked);
    const room = known ?? pilot.newRoom(topic);
    const server = this.#other(url);
    if (isThere(room, topic) && !server) return room;
    const from = { topic: known ? room.topic : null, server: pilot.session()?.server.name ?? null };
    const isMoved = server && (await this.#elsewhere(server, room, topic));
    const reason = isMoved || isThere(room, topic) ? null : await this.#here(room, topic);
    if (reason !== null && !known) room.end("refused", reason);
    const told = { topic: room.topic, server: room.status.server, url: room.status.url, from };
    if (reason === null && (isMoved || from.topic !== topic)) pilot.tell(room, "migrated", told);
    else if (reason !== null || server) pilot.tell(room, "stayed", { ...told, reason: reason ?? `no way to ${server.url}` });
    if (reason !== null) throw new Refusal(reason);
    return room;
  }

  /** The server at `url`; null: it is this one, or no address. */
  #other(url) {
    if (!/^wss?:/.test(url ?? "")) return null;
    const server = this.pilot.serverAt(url);
    return server.url === this.pilot.session()?.server.url ? null : server;
  }

  /** Says whether it is played there now; if not, all is as it was. */
  async #elsewhere(server, room, topic) {
    const { pilot } = this;
    const before = pilot.session();
    if (!before?.isOpen) return false;
    let settle;
    before.successor = new Promise((resolve) => {
      settle = resolve;
    });
    const session = await this.#dial(server);
    const isLetIn = session && (await this.#letIn(session, room, topic));
    if (!isLetIn || pilot.isDone()) {
      before.successor = null;
      session?.close();
      if (room.session === session && before.isOpen && !room.isFinal) await room.open(before);
      settle(null);
      return false;
    }
    settle(session);
    await Promise.race([pilot.goOn(session), session.ended]);
    await room.retired;
    await this.#until(() => pilot.isIdle(before) || !before.isOpen);
    before.close();
    return true;
  }

  #dial(server) {
    return new Promise((resolve) => {
      this.pilot.dial(server, resolve).ended.then(() => resolve(null));
    });
  }

  async #letIn(session, room, topic) {
    try {
      return await room.moveTo(session, topic, this.options.leaveMilliseconds);
    } catch {
      return null;
    }
  }

  /** Over the present connection, again and again as long as it is only refused for now. Returns why it was not let in, or null. */
  async #here(room, topic) {
    const { pilot, options } = this;
    const late = performance.now() + options.answerMilliseconds;
    for (let reason = "timeout"; ; await sleep(PAUSE_MILLISECONDS * (1 + Math.random()))) {
      if (isThere(room, topic)) return null;
      if (pilot.isDone() || performance.now() > late) return reason;
      const session = pilot.session();
      if (!session?.isOpen) continue;
      try {
        await room.moveTo(session, topic, options.leaveMilliseconds);
        await room.retired;
        return null;
      } catch (refusal) {
        ({ reason } = refusal);
        if (!isNotNow(reason)) return reason;
      }
    }
  }

  async #until(condition) {
    const late = performance.now() + this.options.leaveMilliseconds;
    while (!condition() && performance.now() < late) await sleep(LOOK_MILLISECONDS);
  }
}

function isThere(room, topic) {
  return room.topic === topic && room.isPlaying;
}

function sleep(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
