// Who the player is: name, token and nonce, kept per tab so that a reload resumes. Part of client.js.

export class Identity {
  #storage;
  #key;

  constructor({ player, token, nonce, storage = tabStorage(), topic }) {
    this.#storage = storage;
    this.#key = `gamecluster:${topic}`;
    const kept = this.#read();
    const mine = player === undefined || kept.player === player ? kept : {};
    this.player = player ?? mine.player ?? `player-${randomText(6)}`;
    this.token = token ?? mine.token;
    this.nonce = nonce ?? mine.nonce ?? randomText(24);
    this.#write();
  }

  /** What a join says of the player. */
  params() {
    return { player: this.player, nonce: this.nonce, ...(this.token ? { token: this.token } : {}) };
  }

  granted({ player, token }) {
    this.player = player ?? this.player;
    this.token = token ?? this.token;
    this.#write();
  }

  /** The nonce stays: a join that a slow node finds in its socket later begins a stay that is still this client's. */
  forget() {
    this.token = undefined;
    this.#write();
  }

  #read() {
    try {
      return JSON.parse(this.#storage?.getItem(this.#key)) ?? {};
    } catch {
      return {};
    }
  }

  #write() {
    try {
      this.#storage?.setItem(this.#key, JSON.stringify(this.params()));
    } catch {
      // a full or forbidden storage: a reload will be a new player
    }
  }
}

function tabStorage() {
  try {
    return globalThis.sessionStorage ?? null;
  } catch {
    return null; // forbidden by the browser's settings
  }
}

function randomText(length) {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(length));
  return Array.from(bytes, (byte) => (byte % 36).toString(36)).join("");
}
