"""Topic ``game``: joins and moves of this pod's clients go to the node, its answers and the patches come back."""

from __future__ import annotations

from msgspec import Struct

from ..core.effects import Answer, DeliverPatch, DeliverState
from ..core.events import PlayerJoined, PlayerLeft, PlayerMoved
from ..core.messages import Fields, Op, Position
from ..phoenix.codec import Ref, Vsn, encode_json
from ..phoenix.session import JoinRequested, Leaving, LeftTopic, Pushed
from .compact import Schema
from .connection import Backend, Connection, Perform
from .joins import Tokens, Unwelcome, checked, read_join, take_count
from .metrics import Metrics
from .patches import Clock, Patches
from .resume import Welcome
from .topics import Topics

GAME = "game"
MAX_WAITING = 1000
"""Requests of one client that the node has not answered yet."""


class _Waiting(Struct, frozen=True):
    """A request that the node will answer. ``ref`` is a move's; a join has none of its own. ``since``: a joiner's position;
    ``compact``: it would have patches as bytes."""

    connection: Connection
    channel: int
    ref: Ref
    is_join: bool
    since: Position | None = None
    compact: bool = False


class GameTopic:
    def __init__(
        self,
        backend: Backend,
        topics: Topics,
        tokens: Tokens,
        metrics: Metrics,
        perform: Perform,
        clock: Clock,
        patch_rate: int,
        schema: Schema,
    ) -> None:
        self._backend = backend
        self._topics = topics
        self._tokens = tokens
        self._metrics = metrics
        self._perform = perform
        self._requests = 0
        self._waiting: dict[int, _Waiting] = {}
        self._game = Welcome(backend)
        self._schema = schema
        self._patches = Patches(patch_rate, clock, self._send_patch)
        self._told = Position(0, 0)
        self._blocked: dict[int, Position | None] = {}
        """Who does not read, and since which position nothing of the state was queued for it."""

    # --- from a client

    def join(self, connection: Connection, asked: JoinRequested) -> None:
        try:
            join = read_join(checked(asked.payload), connection.token, self._tokens)
        except Unwelcome as error:
            self._perform(connection, connection.session.refuse_join(asked.channel, error.response))
            return
        connection.players[asked.channel] = join.player
        compact = join.compact and connection.session.vsn is not Vsn.V1
        request = self._wait(connection, asked.channel, None, is_join=True, since=join.since, compact=compact)
        self._backend.dispatch(PlayerJoined(request, connection.number, join.player, join.stay, join.nonce))

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
        request = self._wait(connection, pushed.channel, pushed.ref, is_join=False)
        self._backend.dispatch(PlayerMoved(request, connection.number, player, pushed.event, payload, n))

    def left(self, connection: Connection, left: LeftTopic) -> None:
        self._topics.unsubscribe(GAME, connection)
        self._skipped_nothing(connection)
        player = connection.players.pop(left.channel, None)
        if player is not None:
            self._backend.dispatch(PlayerLeft(connection.number, player, left.why is Leaving.left))

    # --- from the node

    def answer(self, effect: Answer) -> None:
        waiting = self._waiting.pop(effect.request, None)
        if waiting is None:
            return
        connection = waiting.connection
        connection.waiting -= 1
        if not waiting.is_join:
            self._metrics.moved(effect.ok, effect.response)
        if not connection.is_open:
            return
        if not waiting.is_join:
            self._perform(
                connection, connection.session.reply(waiting.channel, waiting.ref, effect.ok, effect.response)
            )
        elif not effect.ok:
            connection.players.pop(waiting.channel, None)
            self._perform(connection, connection.session.refuse_join(waiting.channel, effect.response))
        elif waiting.channel in connection.players:
            self._welcome(connection, waiting, effect.response)

    def deliver_patch(self, effect: DeliverPatch) -> None:
        if self._topics.has(GAME):
            self._patches.add(Position(effect.epoch, effect.seq), effect.ops)

    def deliver_state(self, effect: DeliverState) -> None:
        self._patches.drop()
        if self._topics.has(GAME):
            self._fan_out_game(Position(effect.epoch, effect.seq), "state", {"state": self._game.state()})

    def flush_patches(self) -> None:
        """An event of the game is about to be told: what was committed before comes first."""
        self._patches.flush()

    def replace(self, connection: Connection, player: str) -> None:
        """The player has joined by another connection."""
        self._skipped_nothing(connection)
        for channel in [c for c, p in connection.players.items() if p == player]:
            del connection.players[channel]
            self._topics.unsubscribe(GAME, connection)
            self._perform(connection, connection.session.close_topic(channel))

    # --- clients that do not read: the newest state is worth more to them than every step on the way there

    def blocked(self, connection: Connection) -> None:
        """Patches are kept from it until it reads again."""
        self._blocked.setdefault(connection.number, None)

    def unblocked(self, connection: Connection) -> None:
        """What it has missed is sent as one patch, or as the state."""
        since = self._blocked.pop(connection.number, None)
        if since is None:
            return
        missed = self._game.since(since)
        self._topics.knows(GAME, connection, Position(missed["epoch"], missed["seq"]))
        event = "patch" if "ops" in missed else "state"
        for channel in connection.players:
            self._perform(connection, connection.session.push(channel, event, missed))

    def gone(self, connection: Connection) -> None:
        self._blocked.pop(connection.number, None)

    # --- private

    def _skipped_nothing(self, connection: Connection) -> None:
        """It is not on the topic any more."""
        if connection.number in self._blocked:
            self._blocked[connection.number] = None

    def _welcome(self, connection: Connection, waiting: _Waiting, response: Fields) -> None:
        player = connection.players[waiting.channel]
        missed = self._game.since(waiting.since if response.get("resumed") else None)
        answer = {name: value for name, value in response.items() if name != "stay"} | {
            "player": player,
            "token": self._tokens.sign(player, response["stay"]),
            **missed,
        }
        if waiting.compact:
            answer["schema"] = self._schema.told
        self._topics.subscribe(GAME, connection, Position(missed["epoch"], missed["seq"]), waiting.compact)
        self._perform(connection, connection.session.accept_join(waiting.channel, answer))

    def _refuse_move(self, connection: Connection, pushed: Pushed, response: Fields) -> None:
        self._metrics.moved(False, response)
        self._perform(connection, connection.session.reply(pushed.channel, pushed.ref, False, response))

    def _wait(
        self,
        connection: Connection,
        channel: int,
        ref: Ref,
        is_join: bool,
        since: Position | None = None,
        compact: bool = False,
    ) -> int:
        self._requests = request = self._requests + 1
        self._waiting[request] = _Waiting(connection, channel, ref, is_join, since, compact)
        connection.waiting += 1
        return request

    def _send_patch(self, position: Position, ops: list[Op]) -> None:
        compact = self._schema.encode(position, ops) if self._topics.has_compact(GAME) else None
        self._fan_out_game(position, "patch", {"ops": ops}, compact)

    def _fan_out_game(self, at: Position, event: str, payload: Fields, compact: bytes | None = None) -> None:
        """A client never sees a position below that of its join's answer."""
        data = encode_json({"epoch": at.epoch, "seq": at.seq, **payload})
        behind = self._topics.members(GAME, self._blocked) if self._blocked else ()
        for number in behind:
            if self._blocked[number] is None:
                self._blocked[number] = max(self._told, self._topics.known(GAME, number) or self._told)
        sent = self._topics.fan_out(GAME, event, data, at, without=behind, compact=compact)
        self._metrics.messages_out.count += sent
        self._told = at
