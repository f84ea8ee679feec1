// One topic of the Phoenix protocol (V2, https://hexdocs.pm/phoenix/writing_a_channels_client.html), and how an answer
// or a refusal reaches the page. Part of client.js.

/** What the server said no to, or what came to nothing: `reason` is short and fixed, `response` the whole answer. */
export class Refusal extends Error {
  constructor(reason, response = { reason }) {
    super(reason);
    this.name = "Refusal";
    this.reason = reason;
    this.response = response;
  }
}

// These say "not now", and the rule did not run. All others are answers.
const NOT_NOW = new Set([
  "draining",
  "gap",
  "join crashed",
  "join is pending",
  "no leader",
  "not joined",
  "overloaded",
  "rate limited",
  "stalled",
  "timed out",
  "timeout",
  "unknown",
]);

export function isNotNow(reason) {
  return NOT_NOW.has(reason);
}

const MOST_PENDING = 128;
const PAUSE_MILLISECONDS = 100; // at least, before something is pushed once more

/**
 * One topic on the socket.
 *
 *   closed   → open                    → joining
 *   joining  → ok                      → joined
 *   joining  → error, or no answer     → closed
 *   joined   → phx_close               → closed: the server has ended it
 *   joined   → phx_error, connection   → closed, until it is opened again
 *
 * Pushes are answered, refused, or rejected as `unknown` when the connection is lost.
 */
export class Channel {
  #params;
  #wire;
  #listeners = new Listeners();
  #gone = new Listeners();
  #joins = new Listeners();
  #pending = new Map();
  #joinRef = null; // of the join that is in use
  #joining = null; // ref of the newest try
  #settleFirst;
  #at = null; // {epoch, offset} of the newest broadcast, on a topic that keeps them
  #last = Promise.resolve(); // of what is pushed once
  #unanswered = 0;
  #waiting = new Set(); // for the join: {resolve, reject}
  #ended = null;
  onOther = () => {};
  onClosed = () => {};
  onError = () => {};
  onLeft = () => {};

  /** `params`: a function, asked at each join. `wire`: what sends until `open` names another, `{send(frame), nextRef()}`, such as a `Session`. */
  constructor(topic, params, wire = null) {
    this.topic = topic;
    this.isJoined = false;
    this.#params = params;
    this.#wire = wire;
    /** The first join's response. */
    this.joined = new Promise((resolve, reject) => {
      this.#settleFirst = { resolve, reject };
    });
    this.joined.catch(() => {}); // whoever waits for it sees the refusal
  }

  on(event, callback) {
    return this.#listeners.add(event, callback);
  }

  push(event, payload = {}) {
    return new Promise((resolve, reject) => {
      if (!this.isJoined) throw new Refusal("not joined");
      if (this.#pending.size >= MOST_PENDING) throw new Refusal("too many unanswered pushes");
      this.request(event, payload, settling(resolve, reject), () => reject(new Refusal("unknown")));
    });
  }

  /**
   * Pushes, and repeats that until it is answered, with the same `nonce`, over lost connections too: for events that take a nonce, such as a
   * chat's `say`. One at a time, in order.
   */
  pushOnce(event, payload = {}) {
    if (this.#unanswered >= MOST_PENDING) return Promise.reject(new Refusal("too many unanswered pushes"));
    this.#unanswered += 1;
    const sent = { nonce: crypto.randomUUID(), ...payload };
    const answer = this.#last.then(() => this.#untilAnswered(event, sent)).finally(() => {
      this.#unanswered -= 1;
    });
    this.#last = answer.catch(() => {});
    return answer;
  }

  /** Broadcasts were missed that are not kept any more: called with the response of the join that said so. Returns what ends it. */
  onGone(callback) {
    return this.#gone.add("gone", callback);
  }

  /** Called with the response of each join, the first and those after a lost connection. Returns what ends it. */
  onJoin(callback) {
    return this.#joins.add("joined", callback);
  }

  leave() {
    this.#request("phx_leave", {});
    this.end("left");
    this.onLeft();
  }

  // --- for Client

  /** Joins; resolves with the response. Over another connection: the join here stays in use until the one there is accepted. */
  async open(milliseconds, wire = this.#wire) {
    const ref = wire.nextRef();
    this.#joining = ref;
    if (!this.isJoined || wire === this.#wire) this.#use(wire, ref, false);
    try {
      const response = await this.#join(milliseconds, wire, ref);
      this.#settleFirst.resolve(response);
      this.#joins.tell("joined", response);
      return response;
    } catch (refusal) {
      if (!isNotNow(refusal.reason)) this.#settleFirst.reject(refusal);
      throw refusal;
    }
  }

  /** Pushes; exactly one of `answered(ok, response)` and `lost()` is called. */
  request(event, payload, answered, lost = () => {}) {
    const ref = this.#request(event, payload);
    this.#pending.set(ref, { answered, lost, since: performance.now(), wire: this.#wire });
  }

  /** `wire`: by which it came. */
  received(joinRef, ref, event, payload, wire = this.#wire) {
    if (event === "phx_reply") return this.#replied(ref, payload);
    if (wire !== this.#wire || (joinRef !== null && joinRef !== this.#joinRef)) return; // of an earlier join
    if (event === "phx_close") {
      this.end("closed");
      this.onClosed();
    } else if (event === "phx_error") {
      this.disconnected(this.#wire);
      this.onError();
    } else if (!this.#isNew(payload)) return;
    else if (!this.#listeners.tell(event, payload)) this.onOther(event, payload);
  }

  /** The connection is gone: this one, or all. */
  disconnected(wire = null) {
    if (wire === null || wire === this.#wire) this.isJoined = false;
    this.#giveUp((pending) => wire === null || wire === pending.wire);
  }

  /** Whether something that was pushed over this connection has not been answered. */
  waitsOn(wire) {
    return [...this.#pending.values()].some((pending) => pending.wire === wire);
  }

  /** It is not joined again. */
  end(reason) {
    this.#ended ??= reason;
    this.disconnected();
    this.refused(new Refusal(this.#ended));
  }

  /** It was not let in, for a reason that will hold: nothing waits for that any more. */
  refused(refusal) {
    for (const { reject } of this.#waiting) reject(refusal);
    this.#waiting.clear();
  }

  /** Gives up what has waited for so long. */
  expire(milliseconds) {
    const before = performance.now() - milliseconds;
    this.#giveUp(({ since }) => since <= before);
  }

  #giveUp(isHopeless) {
    for (const [ref, pending] of [...this.#pending]) {
      if (isHopeless(pending) && this.#pending.delete(ref)) pending.lost();
    }
  }

  #use(wire, joinRef, isJoined) {
    this.#wire = wire;
    this.#joinRef = joinRef;
    this.isJoined = isJoined;
  }

  #join(milliseconds, wire, ref) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Refusal("timeout")), milliseconds);
      const settle = settling(resolve, reject);
      const answered = (ok, response) => {
        clearTimeout(timer);
        if (ref !== this.#joining) return reject(new Refusal("unknown"));
        if (ok) this.#use(wire, ref, true);
        if (ok) this.#recover(response);
        settle(ok, response);
        if (ok) this.#wakeWaiting();
        return undefined;
      };
      const lost = () => {
        clearTimeout(timer);
        reject(new Refusal("unknown"));
      };
      this.#pending.set(ref, { answered, lost, since: performance.now(), wire });
      const payload = this.#at ? { ...this.#params(), recover: this.#at } : this.#params();
      wire.send([ref, ref, this.topic, "phx_join", payload]);
    });
  }

  /** On a topic that keeps its broadcasts, a join says where it begins, and what was missed since the last one. */
  #recover(response) {
    const { epoch, offset, recovered, missed } = response?.recovery ?? {};
    if (!Number.isInteger(offset)) return;
    const isBack = this.#at !== null;
    if (isBack && recovered) {
      for (const { event, payload } of missed) if (this.#isNew(payload)) this.#listeners.tell(event, payload);
    }
    this.#at = { epoch, offset };
    if (isBack && !recovered) this.#gone.tell("gone", response);
  }

  /** False for a broadcast that the page was told. */
  #isNew(payload) {
    const { epoch, offset } = payload ?? {};
    if (this.#at === null || !Number.isInteger(offset) || typeof epoch !== "string") return true;
    if (epoch === this.#at.epoch && offset <= this.#at.offset) return false;
    this.#at = { epoch, offset };
    return true;
  }

  async #untilAnswered(event, payload) {
    for (;;) {
      await this.#untilJoined();
      try {
        return await this.push(event, payload);
      } catch (refusal) {
        if (!isNotNow(refusal.reason)) throw refusal;
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MILLISECONDS * (1 + Math.random())));
    }
  }

  #untilJoined() {
    return new Promise((resolve, reject) => {
      if (this.#ended) reject(new Refusal(this.#ended));
      else if (this.isJoined) resolve();
      else this.#waiting.add({ resolve, reject });
    });
  }

  #wakeWaiting() {
    for (const { resolve } of this.#waiting) resolve();
    this.#waiting.clear();
  }

  #request(event, payload) {
    const ref = this.#wire?.nextRef();
    this.#wire?.send([this.#joinRef, ref, this.topic, event, payload]);
    return ref;
  }

  #replied(ref, { status, response }) {
    const waiting = this.#pending.get(ref);
    this.#pending.delete(ref);
    waiting?.answered(status === "ok", response ?? {});
  }
}

/** Callbacks by event. */
export class Listeners {
  #callbacks = new Map();

  add(event, callback) {
    if (!this.#callbacks.has(event)) this.#callbacks.set(event, new Set());
    this.#callbacks.get(event).add(callback);
    return () => this.#callbacks.get(event).delete(callback);
  }

  /** Says whether anybody listens. A callback's error is the page's: it is shown, and stops nothing here. */
  tell(event, payload) {
    const callbacks = [...(this.#callbacks.get(event) ?? [])];
    for (const callback of callbacks) {
      try {
        callback(payload);
      } catch (error) {
        console.error(error);
      }
    }
    return callbacks.length > 0;
  }
}

function settling(resolve, reject) {
  return (ok, response) => {
    if (ok) resolve(response);
    else reject(new Refusal(response.reason ?? "refused", response));
  };
}
