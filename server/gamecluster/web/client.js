// The browser's side of a GameCluster: joins the game on one of its nodes, keeps a copy of the state, and goes on with
// another node when that one is lost. ES modules without dependencies; docs/client.md says how to use them.
//
//   const game = connect({ player: "ann" });
//   game.on("patch", () => draw(game.state));
//   await game.push("move", { dx: 1, dy: 0 });

import { Channel, isNotNow, Listeners, Refusal } from "./channel.js";
import { Connections } from "./connections.js";
import { Identity } from "./identity.js";
import { findMatch } from "./matching.js";
import { Migrations } from "./migrations.js";
import { ROOM, Room } from "./room.js";

export { Refusal };
export { Presence } from "./presence.js";

/** Joins the game and stays in it until `close()` or `leave()`. Options: see `Client`. */
export function connect(options = {}) {
  return new Client(options);
}

const DEFAULTS = {
  topic: "game", // or "game:<room id>"; null: no game, only rooms and other channels
  follow: true, // `match.migrate`: to another room, another node; false: the page is only told
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
  leaveMilliseconds: 2000, // for answers, before what was left for another room or node is given up
  patienceMilliseconds: 500, // with a node that takes no moves, such as one that knows no leader
  refreshMilliseconds: 30_000, // between looks at /servers
};

const AGAIN_MILLISECONDS = 500; // at least, before a topic is joined once more on the same node

/**
 * One player's game. Options: `servers` (addresses such as ws://host:port/socket; default: what `/servers` of `origin`
 * lists), `origin` (default: the page's), `prefer` (name or address of the server to begin with), `player`, `token`,
 * `nonce`, `storage` (default: the tab's sessionStorage), and those of DEFAULTS.
 */
export class Client {
  #options;
  #listeners = new Listeners();
  #connections;
  #identity;
  #channels = new Map();
  #played = new Set(); // channels of rooms
  #shared = new Set(); // channels that were opened here, and that the page may have
  #rooms = new Set();
  #game = null; // the room that `topic` is
  #host;
  #migrations;
  #admitted = Promise.resolve(); // until there is a token, one room is joined after the other
  #status = { status: "connecting", server: null, url: null, reason: null }; // without a game
  #isDone = false;
  #noGame = () => {};

  constructor(options) {
    this.#options = { ...DEFAULTS, ...options };
    this.#connections = new Connections(this.#options, this.#makePage());
    this.#identity = new Identity(this.#options);
    this.#host = this.#makeHost();
    this.#migrations = new Migrations(this.#makePilot(), this.#options);
    if (this.#options.topic) this.#game = this.#newRoom(this.#options.topic, this.#listeners);
    /** Milliseconds that the last heartbeat took. */
    this.latency = null;
    /** The first join's response; rejected if it is refused for good. */
    this.joined = this.#game ? this.#game.joined : new Promise((_, reject) => { this.#noGame = reject; });
    this.joined.catch(() => {});
    this.#connections.run();
  }

  /** `{table: {key: {field: value}}}` */
  get state() { return this.#game?.state ?? {}; }
  get position() { return this.#game?.position ?? { epoch: 0, seq: 0 }; }
  get player() { return this.#identity.player; }
  get token() { return this.#identity.token; }
  /** `{status, server, url, reason}`; status: connecting, connected, joined, reconnecting, replaced, refused, ended, closed. */
  get status() { return this.#game?.status ?? this.#status; }
  /** `[{name, url}]` */
  get servers() { return this.#connections.list; }
  /** How many moves have not been answered yet. */
  get unanswered() { return this.#game?.unanswered ?? 0; }
  /** What is played now: `game`, or `game:<room id>`; null: no game. */
  get topic() { return this.#game?.topic ?? null; }
  /** All that is played: a `Room` each, the game itself too. */
  get rooms() { return [...this.#rooms]; }

  /** Events: as a `Room`'s. `migrated` and `stayed` of other rooms are told here, too, with `room`. Returns what ends it. */
  on(event, callback) {
    return this.#listeners.add(event, callback);
  }

  /** Makes a move. It is repeated until it is answered and applied once; rejected with a `Refusal` if a rule says no. */
  async push(event, payload = {}) {
    if (!this.#game) throw new Refusal("no game");
    return this.#game.push(event, payload);
  }

  /** Plays in the room `id` besides, over the same socket, as the same player. The room that is played already, if it is. */
  room(id) {
    const topic = id.startsWith(ROOM) ? id : ROOM + id;
    const room = this.#roomOn(topic) ?? this.#newRoom(topic);
    if (this.#session?.isOpen && room.session === null) this.#admit(room, this.#session);
    return room;
  }

  /**
   * Goes where a `match.migrate` says, as is done by itself with `follow`: `{url, topic}`. `room`: what is to go there; without it, the only room that is
   * played. Null, or none is: another one besides. Resolves with the room; rejected with a Refusal if it was not let in.
   */
  migrate({ url = null, topic }, room = this.#onlyRoom()) {
    return this.#migrations.ask(room ?? null, { url, topic });
  }

  /**
   * Waits for a match, and plays it: `{size, properties, players}` of the ticket, or `{ticket}`. Resolves with what `match.found` says and `room` (null if
   * the match is on a topic of another kind). Rejected with a Refusal: `expired`, `cancelled`, or what the matchmaker says. `signal`: an AbortSignal, cancels.
   */
  match(asked, { signal } = {}) {
    return findMatch(this, (topic) => this.#share(topic), asked, signal);
  }

  /** Another topic (chat, …) over the same socket. It is joined again after each reconnect. `params`: or a function, asked at each join. */
  channel(topic, params = {}) {
    const known = this.#channels.get(topic);
    if (this.#shared.has(known)) return known;
    if (known) throw new Error(`topic ${topic} has a channel already`);
    const channel = new Channel(topic, typeof params === "function" ? params : () => params);
    channel.onLeft = channel.onClosed = () => this.#channels.delete(topic);
    channel.onError = () => this.#openLater(channel);
    this.#channels.set(topic, channel);
    if (this.#session?.isOpen) this.#open(channel, this.#session);
    return channel;
  }

  /** Joins again after `replaced` (the other page is then the one replaced), `refused` or `ended`. */
  rejoin() {
    if (!this.#isDone) this.#game?.rejoin();
  }

  /** Ends the connection. The player stays for the game's grace, and a reload resumes. */
  close() {
    this.#end("closed", "closed by the page");
  }

  /** Ends the player's stay: the others see it now. */
  leave() {
    for (const room of this.#rooms) if (room.isPlaying) room.leave();
    this.#identity.forget();
    this.#end("closed", "left");
  }

  // --- connections

  get #session() { return this.#connections.session; }

  #makePage() {
    return {
      connecting: (server) => this.#sayAll((room) => (room.isEmpty ? "connecting" : "reconnecting"), server),
      opened: (session) => this.#opened(session),
      received: (session, frame) => this.#received(session, frame),
      unanswered: (session, now) => Math.max(0, ...this.#roomsOn(session).map((room) => room.moves.unansweredFor(now))),
      ticked: (session, now) => this.#ticked(session, now),
      beaten: (session, milliseconds) => this.#beaten(session, milliseconds),
      lost: (session) => this.#lost(session),
      away: (server, reason) => this.#sayAll(() => "reconnecting", server, reason),
      closed: (reason) => this.#end("closed", reason),
    };
  }

  #lost(session) {
    for (const room of this.#rooms) room.lost(session);
    for (const channel of this.#channels.values()) channel.disconnected(session);
  }

  #opened(session) {
    for (const channel of this.#channels.values()) if (!this.#isPlayed(channel)) this.#open(channel, session);
    this.#sayAll(() => "connected", session.server);
    for (const room of this.#rooms) if (!room.isFinal) this.#admit(room, session);
  }

  #received(session, [joinRef, ref, topic, event, payload]) {
    this.#channels.get(topic)?.received(joinRef, ref, event, payload, session);
    if (event === "match.migrate" && topic === `player:${this.player}`) this.#follow(this.#onlyRoom(), payload);
  }

  #beaten(session, milliseconds) {
    this.latency = milliseconds;
    if (!this.#game) session.works();
  }

  #ticked(session, now) {
    const { answerMilliseconds, patienceMilliseconds } = this.#options;
    const isLate = this.#roomsOn(session).some((room) => room.moves.unansweredFor(now) > answerMilliseconds);
    if (isLate) session.lost("no answer");
    else if (this.#game?.session === session && this.#game.moves.stuckFor(now) > patienceMilliseconds) session.lost("no moves taken");
    for (const channel of this.#channels.values()) if (!this.#isPlayed(channel)) channel.expire(answerMilliseconds);
  }

  async #open(channel, session) {
    try {
      await channel.open(this.#options.joinMilliseconds, session);
    } catch (refusal) {
      const isStale = refusal.reason === "bad token" && this.#game && !this.#game.isPlaying; // the game's join brings another
      if (isNotNow(refusal.reason) || isStale) this.#openLater(channel);
      else channel.refused(refusal);
    }
  }

  /** A channel that the page may have opened, or may ask for later. */
  #share(topic) {
    if (this.#channels.has(topic)) return this.#channels.get(topic);
    const channel = this.channel(topic, () => ({ token: this.token }));
    this.#shared.add(channel);
    return channel;
  }

  #openLater(channel) {
    this.#later((session) => this.#channels.get(channel.topic) === channel && this.#open(channel, session));
  }

  /** A moment later, on the same session, if that is still there. */
  #later(callback) {
    const session = this.#session;
    setTimeout(() => session?.isOpen && session === this.#session && callback(session), AGAIN_MILLISECONDS * (1 + Math.random()));
  }

  // --- rooms

  #newRoom(topic, listeners = undefined) {
    const room = new Room(topic, this.#host, listeners);
    this.#rooms.add(room);
    return room;
  }

  #makeHost() {
    return {
      identity: this.#identity,
      options: this.#options,
      add: (channel) => {
        this.#channels.set(channel.topic, channel);
        this.#played.add(channel);
      },
      remove: (channel) => {
        if (this.#channels.get(channel.topic) === channel) this.#channels.delete(channel.topic);
        this.#played.delete(channel);
      },
      over: (room) => this.#rooms.delete(room),
      reopen: (room) => this.#reopen(room),
      refused: (room, session, { reason }) => {
        if (!isNotNow(reason)) room.end("refused", reason);
        else if (room === this.#game) session.lost(reason);
        else this.#later((now) => !room.isFinal && this.#admit(room, now));
      },
      failed: (room, session) => {
        if (room === this.#game) session.lost("the game's channel failed");
        else this.#later((now) => !room.isFinal && this.#admit(room, now));
      },
      follow: (room, told) => this.#follow(room, told),
    };
  }

  #admit(room, session) {
    this.#admitted = this.#admitted.then(() => {
      if (!session.isOpen || room.isFinal) return undefined;
      const opening = room.open(session);
      return this.token ? undefined : opening;
    });
  }

  #reopen(room) {
    this.#rooms.add(room);
    room.begin(this.#session?.server);
    if (this.#session?.isOpen) this.#admit(room, this.#session);
    else this.#connections.wake();
  }

  #roomOn(topic) {
    return this.rooms.find((room) => room.topic === topic && !room.isFinal);
  }

  #roomsOn(session) {
    return this.rooms.filter((room) => room.session === session);
  }

  #isPlayed(channel) {
    return this.#played.has(channel);
  }

  // --- to other nodes and rooms

  /** Whom word on the player's own topic is for: who is in several rooms, hears it on the room's. */
  #onlyRoom() {
    const rooms = this.rooms.filter((room) => room.id !== null && !room.isFinal);
    return rooms.length > 1 ? undefined : (rooms[0] ?? null);
  }

  #follow(room, told) {
    if (this.#options.follow && room !== undefined && typeof told?.topic === "string") this.#migrations.ask(room, told).catch(() => {});
  }

  #makePilot() {
    return {
      session: () => this.#session,
      isDone: () => this.#isDone,
      roomOn: (topic) => this.#roomOn(topic),
      newRoom: (topic) => this.#newRoom(topic),
      serverAt: (url) => this.#connections.at(url),
      dial: (server, opened) => this.#connections.dial(server, opened),
      goOn: (session) => this.#goOn(session),
      isIdle: (session) => ![...this.#channels.values()].some((channel) => channel.waitsOn(session)),
      tell: (room, event, told) => {
        room.tell(event, { ...told, room });
        if (room !== this.#game) this.#listeners.tell(event, { ...told, room });
      },
    };
  }

  /** From now on on this session: what is not there yet joins there, and is left where it was only then. Resolves once all have tried. */
  async #goOn(session) {
    this.#connections.use(session);
    const channels = [...this.#channels.values()].filter((channel) => !this.#isPlayed(channel));
    const rooms = this.rooms.filter((room) => !room.isFinal && room.session !== session);
    await Promise.all([...channels.map((channel) => this.#open(channel, session)), ...rooms.map((room) => room.open(session))]);
  }

  // --- what the page is told

  /** `status`: of a room. */
  #sayAll(status, server, reason = null) {
    for (const room of this.#rooms) if (!room.isFinal) room.say(status(room), server, reason);
    if (!this.#game) this.#say(status({ isEmpty: true }), server, reason);
  }

  #say(status, server, reason = null) {
    this.#status = { status, server: server?.name ?? null, url: server?.url ?? null, reason };
    this.#listeners.tell("status", this.#status);
  }

  #end(status, reason) {
    if (this.#isDone) return;
    this.#isDone = true;
    for (const room of this.#rooms) room.end(status, reason);
    if (!this.#game) this.#say(status, this.#session?.server, reason);
    this.#noGame(new Refusal(reason));
    for (const channel of this.#channels.values()) channel.end(status);
    this.#connections.end();
  }
}
