// What a player's page knows of the game: its copy of the state, and the moves that were not answered yet. Decides,
// sends nothing. Part of client.js.

import { isNotNow, Refusal } from "./channel.js";

/** The client's copy of the state. A patch may tell again what it has: fields are set, not added to. Frames that are not newer than it are ignored: it never goes back. */
export class Copy {
  state = {};
  position = { epoch: 0, seq: 0 };

  get isEmpty() {
    return this.position.epoch === 0;
  }

  /** Whether it is of a later position than this. */
  isAheadOf({ epoch, seq }) {
    return this.#compare(epoch, seq) < 0;
  }

  /** Takes a whole state; says whether it was taken. */
  replace({ epoch, seq, state }) {
    if (this.#compare(epoch, seq) < 0) return false;
    this.state = state;
    this.position = { epoch, seq };
    return true;
  }

  /** Takes a patch; says whether it was taken. */
  apply({ epoch, seq, ops }) {
    if (this.#compare(epoch, seq) <= 0) return false;
    for (const [table, key, fields] of ops) this.#change(table, key, fields);
    this.position = { epoch, seq };
    return true;
  }

  #change(table, key, fields) {
    const rows = own(this.state, table) ?? define(this.state, table, {});
    if (fields === null) delete rows[key];
    else define(rows, key, { ...own(rows, key), ...fields });
  }

  #compare(epoch, seq) {
    return epoch - this.position.epoch || seq - this.position.seq;
  }
}

const PAUSE_MILLISECONDS = { first: 50, longest: 500 };

/**
 * Moves that have not been answered, oldest first; each has the player's own count `n`.
 *
 *   new      → taken to be sent                      → sent
 *   sent     → answered                              → gone
 *   sent     → refused before its rule ran           → refused (and so will be those sent after it: "gap")
 *   refused  → nothing is in flight, after a pause   → new: repeated in order, with the same n
 *   any      → joined again                          → new: repeated in order, with the same n
 *   sent     → joined again, in another stay         → gone: whether it was applied stays unknown
 *
 * Nothing is sent while one is refused, so the order is kept.
 */
export class Moves {
  waiting = [];
  #next = 1;
  #expected = null;
  #refusals = 0;
  #stuckSince = null;

  constructor(limit) {
    this.limit = limit;
  }

  add(event, payload, resolve, reject) {
    if (this.waiting.length >= this.limit) throw new Refusal("too many unanswered moves");
    this.waiting.push({ n: null, event, payload, resolve, reject, is: "new", sentAt: null });
  }

  /** Those to send now. They are counted when they are first taken, and count as sent from then on. */
  take(now) {
    if (this.#some("refused")) return [];
    const moves = this.waiting.filter((move) => move.is === "new");
    for (const move of moves) Object.assign(move, { n: move.n ?? this.#next++, is: "sent", sentAt: now });
    return moves;
  }

  answered(move, ok, response, now) {
    if (move.is !== "sent") return; // an answer to an earlier try
    if (ok) this.#settle(move, () => move.resolve(response));
    else if (isNotNow(response.reason)) this.#refused(move, response, now);
    else this.#settle(move, () => move.reject(new Refusal(response.reason ?? "refused", response)));
  }

  /** Milliseconds until refused moves are to be repeated; null if there are none, or some are in flight. */
  pause() {
    if (!this.#some("refused") || this.#some("sent")) return null;
    const { first, longest } = PAUSE_MILLISECONDS;
    return Math.min(longest, first * 2 ** this.#refusals++);
  }

  /** After the pause: all are to be sent again. */
  again() {
    this.#followOn(this.#expected);
    this.#restart();
  }

  disconnected() {
    this.#restart();
    this.#refusals = 0;
    this.#stuckSince = null;
  }

  /** `last`: the count of the last move of this stay that the game knows of. */
  joined(last, isSameStay) {
    this.disconnected();
    if (!isSameStay) this.#forgetSent();
    if (!Number.isInteger(last)) return;
    this.#followOn(last + 1);
    this.#next = Math.max(this.#next, last + 1);
  }

  /** Rejects all. */
  abandon(reason) {
    for (const move of this.waiting.splice(0)) finish(move, () => move.reject(new Refusal(reason)));
  }

  /** For how long the oldest move in flight has not been answered. */
  unansweredFor(now) {
    const oldest = this.waiting.find((move) => move.is === "sent");
    return oldest ? now - oldest.sentAt : 0;
  }

  /** For how long this node has been taking no moves at all. */
  stuckFor(now) {
    return this.#stuckSince === null ? 0 : now - this.#stuckSince;
  }

  #some(is) {
    return this.waiting.some((move) => move.is === is);
  }

  #refused(move, response, now) {
    if (response.reason === "gap" && move.n < response.expected) {
      return this.#settle(move, () => move.reject(new Refusal("unknown", response))); // applied once; answer forgotten
    }
    move.is = "refused";
    if (response.reason === "gap") this.#expected = response.expected;
    else if (response.reason !== "rate limited") this.#stuckSince ??= now;
    return undefined;
  }

  #settle(move, callback) {
    this.waiting.splice(this.waiting.indexOf(move), 1);
    this.#refusals = 0;
    this.#stuckSince = null;
    finish(move, callback);
  }

  #restart() {
    for (const move of this.waiting) move.is = "new";
    this.#expected = null;
  }

  #forgetSent() {
    const counted = this.#counted();
    this.waiting = this.waiting.filter((move) => move.n === null);
    for (const move of counted) finish(move, () => move.reject(new Refusal("unknown")));
    this.#next = 1;
  }

  /** The game knows of fewer moves than were counted here: what waits follows on what it knows. */
  #followOn(expected) {
    const counted = this.#counted();
    const first = counted[0]?.n ?? this.#next;
    if (expected === null || first <= expected) return;
    counted.forEach((move, i) => {
      move.n = expected + i;
    });
    this.#next = expected + counted.length;
  }

  #counted() {
    return this.waiting.filter((move) => move.n !== null);
  }
}

function finish(move, callback) {
  move.is = "gone";
  callback();
}

function own(object, key) {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

/** Sets a key of the server's choosing, `__proto__` too, as plain data. */
function define(object, key, value) {
  Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
  return value;
}
