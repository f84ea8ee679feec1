"""Topic ``game``, or ``game:<id>`` of a room: joins and moves of this pod's clients go to the node, answers and patches come back."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from ..core.effects import Answer, DeliverPatch, DeliverState
from ..core.events import PlayerJoined, PlayerLeft, PlayerMoved
from ..core.messages import Fields, Op, Position
from ..phoenix.codec import Ref, Vsn, encode_json
from ..phoenix.session import JoinRequested, Leaving, LeftTopic, Pushed
from .compact import Schema
from .connection import Backend, Connection, Perform
from .joins import GameJoin, Tokens, Unwelcome, checked, read_join, take_count
from .metrics import Metrics
from .patches import Clock, Patches
from .resume import Game, Welcome
from .topics import Topics

GAME = "game"
MAX_WAITING = 1000
"""Requests of one client that the node has not answered yet, whatever topics they are of."""
EMPTY = b"{}"

Blocked = dict[int, dict[str, Position]]
"""Who does not read: by topic, since which position nothing of its state was queued for it."""
Admit = Callable[[GameJoin], None]
"""Raises Unwelcome for who may not join."""


class Waiting(Struct, frozen=True):
    """A request that the node will answer. ``ref`` is a move's; a join has none of its own. ``since``: a joiner's position;
    ``compact``: it would have patches as bytes."""

    game: GameTopic
    connection: Connection
    channel: int
    ref: Ref
    is_join: bool
    since: Position | None = None
    compact: bool = False


class Requests:
    """Of this process, whatever topics they are of. Their numbers are above 0: those below are ``calls.Calls``'."""

    def __init__(self) -> None:
        self._last = 0
        self._waiting: dict[int, Waiting] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, waiting: Waiting) -> int:
        self._last = request = self._last + 1
        self._waiting[request] = waiting
        waiting.connection.waiting += 1
        return request

    def take(self, request: int) -> Waiting | None:
        """It has been answered."""
        if (waiting := self._waiting.pop(request, None)) is not None:
            waiting.connection.waiting -= 1
        return waiting


class Shared(Struct, frozen=True):
    """What all topics of this kind have in common."""

    backend: Backend
    topics: Topics
    tokens: Tokens
    metrics: Metrics
    perform: Perform
    clock: Clock
    requests: Requests
    blocked: Blocked


class GameTopic:
    """``room``: "" if it is the GameState's; ``game``: its state. ``emptied`` is called when the last client is gone."""

    def __init__(
        self,
        shared: Shared,
        room: str,
        game: Game,
        patch_rate: int,
        schema: Schema,
        admit: Admit = lambda join: None,
        emptied: Callable[[str], None] = lambda topic: None,
    ) -> None:
        self.topic = f"{GAME}:{room}" if room else GAME
        self._room = room
        self._admit = admit
        self._emptied = emptied
        self._backend = shared.backend
        self._topics = shared.topics
        self._tokens = shared.tokens
        self._metrics = shared.metrics
        self._perform = shared.perform
        self._requests = shared.requests
        self._blocked = shared.blocked
        self._clients: dict[int, tuple[Connection, int]] = {}
        """Who has asked to join or has joined, by which channel: at most one of a connection."""
        self._game = Welcome(game)
        self._schema = schema
        self._patches = Patches(patch_rate, shared.clock, self._send_patch)
        self._told = Position(0, 0)

    # --- from a client

    def join(self, connection: Connection, asked: JoinRequested) -> None:
        self._clients[connection.number] = connection, asked.channel
        try:
            join = read_join(checked(asked.payload), connection.token, self._tokens)
            self._admit(join)
        except Unwelcome as error:
            self._refuse_join(connection, asked.channel, error.response)
            return
        connection.players[asked.channel] = join.player
        compact = join.compact and connection.session.vsn is not Vsn.V1
        waiting = Waiting(self, connection, asked.channel, None, is_join=True, since=join.since, compact=compact)
        request = self._requests.add(waiting)
        joined = PlayerJoined(request, connection.number, join.player, join.stay, join.nonce, self._room)
        self._backend.dispatch(joined)

    def move(self, connection: Connection, pushed: Pushed) -> None:
        player = connection.players[pushed.channel]
        if connection.waiting >= MAX_WAITING:
            self._refuse_move(connection, pushed, {"reason": "overloaded"})
            return
        try:
            payload, n = take_count(checked(pushed.payload))
        except Unwelcome as error:
            self._refuse_move(connection, pushed, error.response)
            return
        request = self._requests.add(Waiting(self, connection, pushed.channel, pushed.ref, False))
        moved = PlayerMoved(request, connection.number, player, pushed.event, payload, n, self._room)
        self._backend.dispatch(moved)

    def left(self, connection: Connection, left: LeftTopic) -> None:
        player = connection.players.get(left.channel)
        self._forget(connection, left.channel)
        if player is not None:
            self._backend.dispatch(PlayerLeft(connection.number, player, left.why is Leaving.left, self._room))

    # --- from the node

    def answer(self, waiting: Waiting, effect: Answer) -> None:
        connection = waiting.connection
        if not waiting.is_join:
            self._metrics.moved(effect.ok, effect.response)
        if not connection.is_open:
            return
        if not waiting.is_join:
            self._perform(
                connection, connection.session.reply(waiting.channel, waiting.ref, effect.ok, effect.response)
            )
        elif waiting.channel not in connection.players:
            return  # it has given up
        elif effect.ok:
            self._welcome(connection, waiting, effect.response)
        else:
            self._refuse_join(connection, waiting.channel, effect.response)

    def deliver_patch(self, effect: DeliverPatch) -> None:
        if self._topics.has(self.topic):
            self._patches.add(Position(effect.epoch, effect.seq), effect.ops)

    def deliver_state(self, effect: DeliverState) -> None:
        self._patches.drop()
        if self._topics.has(self.topic):
            self._fan_out(Position(effect.epoch, effect.seq), "state", {"state": self._game.state()})

    def flush_patches(self) -> None:
        """An event of the game is about to be told: what was committed before comes first."""
        self._patches.flush()

    def push_to(self, player: str, event: str, payload: Fields) -> None:
        """To the clients by which this player has joined."""
        for connection, channel in self._joined():
            if connection.players.get(channel) == player:
                self._perform(connection, connection.session.push(channel, event, payload))

    def replace(self, connection: Connection, player: str) -> None:
        """The player has joined by another connection."""
        _, channel = self._clients.get(connection.number, (None, None))
        if channel is not None and connection.players.get(channel) == player:
            self._forget(connection, channel)
            self._perform(connection, connection.session.close_topic(channel))

    def end(self) -> None:
        """There is nothing to play any more: who has joined is told so. Who has only asked to is answered by the node."""
        self._patches.flush()
        self._metrics.messages_out.count += self._topics.fan_out(self.topic, "ended", EMPTY)
        for connection, channel in self._joined():
            self._perform(connection, connection.session.close_topic(channel))
            self._forget(connection, channel)

    # --- clients that do not read: the newest state is worth more to them than every step on the way there

    def catch_up(self, connection: Connection, since: Position) -> None:
        """It reads again: what it has missed is sent as one patch, or as the state."""
        if connection.number not in self._clients:
            return
        _, channel = self._clients[connection.number]
        missed = self._game.since(since)
        self._topics.knows(self.topic, connection, Position(missed["epoch"], missed["seq"]))
        event = "patch" if "ops" in missed else "state"
        self._perform(connection, connection.session.push(channel, event, missed))

    # --- private

    def _joined(self) -> list[tuple[Connection, int]]:
        return [self._clients[number] for number in self._topics.members(self.topic, self._clients)]

    def _forget(self, connection: Connection, channel: int) -> None:
        """It is not on the topic any more."""
        self._topics.unsubscribe(self.topic, connection)
        connection.players.pop(channel, None)
        self._clients.pop(connection.number, None)
        if behind := self._blocked.get(connection.number):
            behind.pop(self.topic, None)
        if not self._clients:
            self._patches.drop()
            self._emptied(self.topic)

    def _welcome(self, connection: Connection, waiting: Waiting, response: Fields) -> None:
        player = connection.players[waiting.channel]
        answer = {name: value for name, value in response.items() if name != "stay"} | {
            "player": player,
            "token": self._tokens.sign(player, response["stay"]),
            **self._enter(connection, waiting, waiting.since if response.get("resumed") else None),
        }
        self._perform(connection, connection.session.accept_join(waiting.channel, answer))

    def _enter(self, connection: Connection, waiting: Waiting, since: Position | None) -> Fields:
        """It is on the topic from now on. What it is to know of the game."""
        missed = self._game.since(since)
        self._topics.subscribe(self.topic, connection, Position(missed["epoch"], missed["seq"]), waiting.compact)
        return missed | {"schema": self._schema.told} if waiting.compact else missed

    def _refuse_join(self, connection: Connection, channel: int, response: Fields) -> None:
        self._forget(connection, channel)
        self._perform(connection, connection.session.refuse_join(channel, response))

    def _refuse_move(self, connection: Connection, pushed: Pushed, response: Fields) -> None:
        self._metrics.moved(False, response)
        self._perform(connection, connection.session.reply(pushed.channel, pushed.ref, False, response))

    def _send_patch(self, position: Position, ops: list[Op]) -> None:
        compact = self._schema.encode(position, ops) if self._topics.has_compact(self.topic) else None
        self._fan_out(position, "patch", {"ops": ops}, compact)

    def _fan_out(self, at: Position, event: str, payload: Fields, compact: bytes | None = None) -> None:
        """A client never sees a position below that of its join's answer."""
        data = encode_json({"epoch": at.epoch, "seq": at.seq, **payload})
        behind = self._behind() if self._blocked else ()
        for number in behind:
            known = self._topics.known(self.topic, number) or self._told
            self._blocked[number].setdefault(self.topic, max(self._told, known))
        sent = self._topics.fan_out(self.topic, event, data, at, without=behind, compact=compact)
        self._metrics.messages_out.count += sent
        self._told = at

    def _behind(self) -> list[int]:
        return self._topics.members(self.topic, self._clients.keys() & self._blocked.keys())
