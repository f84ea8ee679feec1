// What a page plays: the game, or a room. One `Play` after the other: as players walk from room to room, so does this. Part of client.js.

import { Listeners, Refusal } from "./channel.js";
import { Play } from "./play.js";

export const ROOM = "game:";
const FINAL = new Set(["replaced", "refused", "ended", "closed"]);

/**
 * Made by `connect` and `Client.room`.
 *
 *   connecting    → connected, joined    looking for a node; on one; in the room
 *   joined        → joined               in another room, or on another node: `migrated`
 *   joined        → reconnecting         the node was lost
 *   any           → replaced, refused    joined elsewhere, not let in: until `rejoin()`
 *   joined        → ended                the room is over
 *   any           → closed               by the page
 *
 * `host`: the client, `{identity, options, add(channel), remove(channel), follow(room, told), over(room), reopen(room), refused(room, session, refusal),
 * failed(room, session)}`.
 */
export class Room {
  #host;
  #listeners;
  #play;
  #isEnding = false; // `ended` was heard
  #isOver = false; // it has ended, and the player is on the way to another one
  #ways = 0; // migrations that are under way, or asked for
  #retired = Promise.resolve();
  #status = { status: "connecting", server: null, url: null, reason: null };
  #firstJoin;

  constructor(topic, host, listeners = new Listeners()) {
    this.#host = host;
    this.#listeners = listeners;
    this.#play = this.#begin(topic);
    /** The first join's response; rejected if it is refused for good. */
    this.joined = new Promise((resolve, reject) => {
      this.#firstJoin = { resolve, reject };
    });
    this.joined.catch(() => {}); // whoever waits for it sees the refusal
  }

  get topic() { return this.#play.topic; }
  /** The room's id; null: it is the game. */
  get id() { return this.topic.startsWith(ROOM) ? this.topic.slice(ROOM.length) : null; }
  /** `{table: {key: {field: value}}}` */
  get state() { return this.#play.copy.state; }
  get position() { return this.#play.copy.position; }
  /** `{status, server, url, reason}` */
  get status() { return this.#status; }
  /** How many moves have not been answered yet. */
  get unanswered() { return this.#play.moves.waiting.length; }

  /**
   * Events: `status`, `state` (replaced), `patch`, `migrated` `{topic, server, url, from: {topic, server}}`, `stayed` (the same, with `reason`: it could
   * not follow), `ended`, and whatever the game broadcasts. Returns what ends it.
   */
  on(event, callback) {
    return this.#listeners.add(event, callback);
  }

  /** Makes a move. It is repeated until it is answered and applied once; rejected with a `Refusal` if a rule says no. */
  async push(event, payload = {}) {
    if (this.isFinal) throw new Refusal(this.#status.status);
    return this.#play.push(event, payload);
  }

  /** Joins again after `replaced` (the other page is then the one replaced), `refused` or `ended`. */
  rejoin() {
    if (this.isFinal && this.#status.status !== "closed") this.#host.reopen(this);
  }

  /** Ends the player's stay in the room: the others see it now. */
  leave() {
    const { channel } = this.#play;
    channel.leave();
    this.end("closed", "left");
  }

  // --- for Client

  get isFinal() { return FINAL.has(this.#status.status); }
  get isPlaying() { return this.#play.isPlaying; }
  get session() { return this.#play.session; }
  get isEmpty() { return this.#play.copy.isEmpty; }
  get moves() { return this.#play.moves; }
  /** Promise: the room before has been left. */
  get retired() { return this.#retired; }

  /** Joins on this session; what comes of it is told. */
  async open(session) {
    if (this.#isOver) return;
    try {
      this.#entered(session, await this.#play.join(session));
    } catch (refusal) {
      if (!session.isOpen || session !== this.session || this.isFinal) return;
      this.#host.refused(this, session, refusal);
    }
  }

  /** To another session, another room, or both. Raises a Refusal if it is not let in there: it is still in its former room then, if that is another. */
  async moveTo(session, topic, milliseconds) {
    if (topic === this.topic) return this.#entered(session, await this.#play.join(session));
    const before = this.#play;
    const next = this.#begin(topic, () => {
      if (this.isFinal) return;
      this.#play = next;
      this.#isEnding = this.#isOver = false;
    });
    try {
      const response = await next.join(session);
      if (next !== this.#play) next.channel.leave(); // the page has left meanwhile
      if (next !== this.#play) throw new Refusal(this.#status.status);
      this.#retired = before.retire(milliseconds).then(() => this.#host.remove(before.channel));
      return this.#entered(session, response);
    } catch (refusal) {
      if (refusal.reason === "timeout") next.channel.leave(); // it may be let in yet
      if (next !== this.#play) this.#host.remove(next.channel);
      throw refusal;
    }
  }

  lost(session) {
    this.#play.lost(session);
  }

  /** It is about to go elsewhere: if the room ends meanwhile, that is no end for the player. */
  expect() {
    this.#ways += 1;
  }

  /** It is there, or will not go. */
  settle() {
    this.#ways -= 1;
    if (this.#isOver && this.#ways === 0) this.#end();
  }

  tell(event, payload) {
    this.#listeners.tell(event, payload);
  }

  say(status, server, reason = null) {
    this.#status = { status, server: server?.name ?? null, url: server?.url ?? null, reason };
    this.#listeners.tell("status", this.#status);
  }

  /** It goes on from one of the final states. */
  begin(server) {
    this.#isEnding = false;
    this.#play.begin();
    this.#host.add(this.#play.channel);
    this.say("reconnecting", server);
  }

  end(status, reason) {
    this.#play.end(status);
    this.#host.remove(this.#play.channel);
    this.#host.over(this);
    this.#firstJoin.reject(new Refusal(reason));
    this.say(status, this.session?.isOpen ? this.session.server : null, reason);
  }

  #begin(topic, entered = () => {}) {
    const isMine = (play) => play === this.#play;
    const page = {
      entered,
      tell: (event, payload) => isMine(play) && this.#told(event, payload),
      closed: () => isMine(play) && this.#closed(),
      failed: () => isMine(play) && this.#host.failed(this, play.session),
    };
    const play = new Play(topic, this.#host, page);
    this.#host.add(play.channel);
    return play;
  }

  #entered(session, response) {
    session.works();
    this.#firstJoin.resolve(response);
    this.say("joined", session.server);
    this.#play.flush();
    return response;
  }

  #told(event, payload) {
    if (event === "ended") this.#isEnding = true;
    this.tell(event, payload);
    if (event === "match.migrate") this.#host.follow(this, payload);
  }

  #closed() {
    if (!this.#isEnding) return this.end("replaced", "the player joined elsewhere");
    if (this.#ways === 0) return this.#end();
    this.#isOver = true;
    return this.#play.end("ended");
  }

  #end() {
    this.#isOver = false;
    this.end("ended", "the room has ended");
  }
}
