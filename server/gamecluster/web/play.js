// One topic that is played: the game's, or a room's. Joins it on whichever session it is told to, keeps the copy of its state, and sees to it
// that each move is answered. Part of client.js.

import { isBinary } from "./binary.js";
import { Channel, Refusal } from "./channel.js";
import { readPatch } from "./compact.js";
import { Copy, Moves } from "./game.js";

/**
 * `identity`, `options`: the client's. `page`: `{tell(event, payload), entered(play), closed(play), failed(play)}`; `entered` is called when a
 * join was accepted, before what it brought is told.
 */
export class Play {
  #identity;
  #options;
  #page;
  #underway = new Set(); // promises of the moves
  #schema = []; // of patches that come as bytes
  #early = null; // what came since it was asked for; the join's response may still be on its way through promises
  #isPlaying = false; // joined, and what the join brought was taken
  #isOver = false;
  copy = new Copy();
  session = null;

  constructor(topic, { identity, options }, page) {
    this.#identity = identity;
    this.#options = options;
    this.#page = page;
    this.moves = new Moves(options.limit);
    this.channel = new Channel(topic, () => this.#params());
    this.channel.onOther = (event, payload) => {
      if (this.#early) this.#early.push([event, payload]);
      else this.#take(event, payload);
    };
    this.channel.onClosed = () => page.closed(this);
    this.channel.onError = () => page.failed(this);
  }

  get topic() { return this.channel.topic; }
  get isPlaying() { return this.#isPlaying; }

  /** Joins on `session`, and leaves no other: that one's server has heard of it by then. Moves that were not answered are repeated there. Raises a Refusal. */
  async join(session) {
    if (this.#isOver) throw new Refusal("closed");
    this.#pause();
    this.session = session;
    this.#early = [];
    const { token } = this.#identity;
    try {
      const response = await this.channel.open(this.#options.joinMilliseconds, session);
      if (this.#isOver || !session.isOpen || session !== this.session) throw new Refusal("unknown");
      this.#joined(response);
      return response;
    } catch (refusal) {
      if (!session.isOpen || !token || !/token/.test(refusal.reason)) throw refusal;
      if (token === this.#identity.token) this.#identity.forget(); // it is of a cluster that is no more
      this.copy = new Copy();
      return this.join(session);
    }
  }

  /** Resolves with the rule's answer. */
  push(event, payload) {
    const answer = new Promise((resolve, reject) => {
      this.moves.add(event, payload, resolve, reject);
      this.flush();
    });
    this.#underway.add(answer);
    const done = () => this.#underway.delete(answer);
    answer.then(done, done);
    return answer;
  }

  flush() {
    if (!this.#isPlaying) return;
    for (const move of this.moves.take(performance.now())) {
      this.channel.request(move.event, { ...move.payload, n: move.n }, (ok, response) => this.#answered(move, ok, response));
    }
  }

  /** The connection is gone. */
  lost(session) {
    this.channel.disconnected(session);
    if (session !== this.session) return;
    this.#pause();
    if (this.#isOver) this.moves.abandon("unknown");
  }

  /** Leaves the topic once its moves are answered, or after so long. */
  async retire(milliseconds) {
    this.#isOver = true;
    if (this.#isPlaying) await within(milliseconds, Promise.allSettled([...this.#underway]));
    this.end("unknown");
    if (this.channel.isJoined) await within(milliseconds, new Promise((resolve) => this.channel.request("phx_leave", {}, resolve, resolve)));
    this.channel.end("left");
  }

  end(reason) {
    this.#isOver = true;
    this.#isPlaying = false;
    this.moves.abandon(reason);
  }

  /** It may be joined once more. */
  begin() {
    this.#isOver = false;
  }

  #pause() {
    this.#isPlaying = false;
    this.channel.disconnected(this.session);
    this.moves.disconnected();
  }

  #params() {
    const resume = this.copy.isEmpty ? {} : this.copy.position;
    const form = this.#options.patches === "binary" ? { patches: "binary" } : {};
    return { ...this.#identity.params(), ...resume, ...form };
  }

  #joined(response) {
    this.#identity.granted(response);
    if (!response.resumed && this.copy.isAheadOf(response)) this.copy = new Copy(); // the cluster, or the room, began anew
    this.#schema = response.schema ?? [];
    this.#page.entered(this);
    this.#catchUp(response);
    const early = this.#early ?? [];
    this.#early = null;
    for (const [event, payload] of early) this.#take(event, payload);
    this.moves.joined(response.n, response.resumed);
    this.#isPlaying = true;
  }

  /** A join's response has what was missed since the copy's position, or all of the state. */
  #catchUp({ epoch, seq, ops, state }) {
    if (state && this.copy.replace({ epoch, seq, state })) this.#page.tell("state", this.copy.state);
    else if (ops) this.#patched({ epoch, seq, ops });
  }

  #take(event, payload) {
    if (event === "patch") this.#patched(isBinary(payload) ? this.#read(payload) : payload);
    else if (event !== "state") this.#page.tell(event, payload);
    else if (this.copy.replace(payload)) this.#page.tell("state", this.copy.state);
  }

  #patched(patch) {
    if (patch && this.copy.apply(patch)) this.#page.tell("patch", patch);
  }

  /** A patch that came as bytes. What can't be read would be missed: the next join brings it. */
  #read(bytes) {
    try {
      return readPatch(bytes, this.#schema);
    } catch {
      return void this.session?.lost("a patch that can't be read");
    }
  }

  #answered(move, ok, response) {
    this.moves.answered(move, ok, response, performance.now());
    const pause = this.moves.pause();
    if (pause !== null) this.#repeatAfter(pause);
  }

  #repeatAfter(milliseconds) {
    const { session } = this;
    setTimeout(() => {
      if (session !== this.session || !this.#isPlaying) return;
      this.moves.again();
      this.flush();
    }, milliseconds);
  }
}

function within(milliseconds, promise) {
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
