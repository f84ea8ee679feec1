// Who is on a channel's topic, on all nodes: kept from `presence_state` and `presence_diff` (https://hexdocs.pm/phoenix/presence.html).
// Part of client.js.

/**
 *   const present = new Presence(game.channel("room:1", { player: "ann" }));
 *   present.on("sync", () => show(present.keys()));
 *
 * A key is there as long as it has one meta: a player in two tabs has two. What is known stays through a lost connection; after it,
 * `join` and `leave` tell what has changed meanwhile.
 */
export class Presence {
  #present = new Map(); // key → metas
  #listeners = { join: new Set(), leave: new Set(), sync: new Set() };

  constructor(channel) {
    channel.on("presence_state", (state) => this.#take(state));
    channel.on("presence_diff", (diff) => this.#change(diff.joins, diff.leaves));
  }

  /** The keys of all who are there. */
  keys() {
    return [...this.#present.keys()];
  }

  /** The metas under `key`: what its channels track, and `phx_ref`. None: nobody is there. */
  metas(key) {
    return this.#present.get(key) ?? [];
  }

  has(key) {
    return this.#present.has(key);
  }

  /**
   * `sync`: after every change. `join`: `(key, metas, isNew)`, metas that came. `leave`: `(key, metas, isGone)`, metas that went.
   * A player who comes back in time, or whose meta changes, joins with the new meta, and then leaves with the old one, and is never
   * new nor gone. Returns what ends it.
   */
  on(event, callback) {
    if (!Object.hasOwn(this.#listeners, event)) throw new Error(`a presence has no event ${event}; there are: join, leave, sync`);
    this.#listeners[event].add(callback);
    return () => this.#listeners[event].delete(callback);
  }

  #take(state) {
    const joins = {}, leaves = {};
    for (const [key, { metas }] of Object.entries(state)) {
      const known = new Set(this.metas(key).map((meta) => meta.phx_ref));
      const fresh = metas.filter((meta) => !known.has(meta.phx_ref));
      if (fresh.length) joins[key] = { metas: fresh };
    }
    for (const [key, metas] of this.#present) {
      const there = new Set(Object.hasOwn(state, key) ? state[key].metas.map((meta) => meta.phx_ref) : []);
      const gone = metas.filter((meta) => !there.has(meta.phx_ref));
      if (gone.length) leaves[key] = { metas: gone };
    }
    this.#change(joins, leaves);
  }

  #change(joins, leaves) {
    for (const [key, { metas }] of Object.entries(joins)) {
      const isNew = !this.#present.has(key);
      this.#present.set(key, [...this.metas(key), ...metas]);
      this.#tell("join", key, metas, isNew);
    }
    for (const [key, { metas }] of Object.entries(leaves)) {
      const gone = new Set(metas.map((meta) => meta.phx_ref));
      const left = this.metas(key).filter((meta) => !gone.has(meta.phx_ref));
      if (left.length) this.#present.set(key, left);
      else this.#present.delete(key);
      this.#tell("leave", key, metas, left.length === 0);
    }
    this.#tell("sync");
  }

  #tell(event, ...what) {
    for (const callback of [...this.#listeners[event]]) callback(...what);
  }
}
