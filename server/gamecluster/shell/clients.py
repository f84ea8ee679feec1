"""The clients of this pod: their sockets and sessions, who is on which topic, and what the application does for them.

A frame's way in: ``received`` → Session → Pushed → an event for the node, or a call of the topic's Channel. A broadcast's way
out: the node's effect → encoded once per serializer → the Outbox of every subscriber.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, assert_never

from msgspec import Raw, Struct

from ..channel import Channel, ChannelRuntime, Publish, Push, Reaction
from ..checks import Mismatch, json_object
from ..core.effects import Answer, Deliver, DeliverPatch, DeliverState, Replace
from ..core.events import ConnectionsCounted, Event, PlayerJoined, PlayerLeft, PlayerMoved, Published
from ..core.messages import Fields, Position, Tables
from ..phoenix.codec import ProtocolError, Ref, Vsn, encode_json
from ..phoenix.session import JoinRequested, Leaving, LeftTopic, Output, Pushed, Send, Session
from ..settings import Settings
from .connection import Bucket, Connection
from .joins import Tokens, Unwelcome, read_join, take_count
from .metrics import Metrics
from .outbox import ClientSocket, Flusher, Outbox, text_frame
from .topics import Topics

GAME = "game"
MAX_WAITING = 1000
"""Requests of one client that the node has not answered yet."""

GOING_AWAY, BAD_DATA, RESTARTING = 1001, 1007, 1012

log = logging.getLogger("gamecluster.clients")


class Backend(Protocol):
    """What the hub needs of the node's driver."""

    def dispatch(self, event: Event) -> None: ...

    def position(self) -> Position: ...

    def visible_tables(self) -> Tables: ...


class Clock(Protocol):
    """The event loop, as far as the hub needs it."""

    def time(self) -> float: ...

    def call_soon(self, callback: Callable[[], None], /) -> object: ...


class _Waiting(Struct, frozen=True):
    """A request that the node will answer. ``ref`` is a move's; a join has none of its own."""

    connection: Connection
    channel: int
    ref: Ref
    is_join: bool


class Hub:
    """All is called on the event loop. ``drain`` and lost sockets apart, no client can affect another."""

    def __init__(
        self,
        settings: Settings,
        backend: Backend,
        channels: Sequence[type[Channel]],
        tokens: Tokens,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._rate = settings.limit_messages_per_second
        self._limit = settings.limit_connections
        self._backend = backend
        self._channel_classes = tuple(channels)
        self._tokens = tokens
        self._metrics = metrics
        self._clock = clock
        self._flusher = Flusher(clock.call_soon)
        self._connections: dict[int, Connection] = {}
        self._topics = Topics(self._drop)
        self._waiting: dict[int, _Waiting] = {}
        self._numbers = 0
        self._counted = 0
        self._state: tuple[Position, Raw] | None = None
        self._gone: str | None = None

    # --- sockets -----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def is_full(self) -> bool:
        return len(self._connections) >= self._limit

    @property
    def is_closing(self) -> bool:
        return self._gone is not None

    def connect(self, socket: ClientSocket, vsn: Vsn, token: str | None = None) -> Connection:
        """``socket`` has been accepted."""
        now = self._clock.time()
        number = self._number()
        connection = Connection(
            number,
            socket,
            Session(vsn, self._serves, now),
            Outbox(socket, self._flusher),
            Bucket(self._rate, now),
            token,
        )
        self._connections[number] = connection
        self._metrics.connections.set(len(self._connections))
        if self._gone is not None:
            self._close(connection, RESTARTING, self._gone)
        return connection

    def received(self, connection: Connection, data: str | bytes) -> None:
        """A text frame has come."""
        if not connection.is_open:
            return
        self._metrics.messages_in.inc()
        now = self._clock.time()
        session = connection.session
        try:
            message = session.decode(data, now)
        except ProtocolError as error:
            self._close(connection, BAD_DATA, str(error))
            return
        if connection.bucket.take(now) or message.event == "phx_leave":
            self._perform(connection, session.receive(message))
        else:
            self._perform(connection, session.refuse(message, {"reason": "rate limited"}))

    def refuse(self, connection: Connection, code: int, reason: str) -> None:
        """The client sent what is not to be read."""
        if connection.is_open:
            self._close(connection, code, reason)

    def disconnected(self, connection: Connection) -> None:
        """The socket is gone. Harmless if that is known."""
        if connection.is_open:
            self._forget(connection)

    def sweep(self) -> None:
        """Once a second: ends sockets that have been silent for too long, tells the node how many there are."""
        now = self._clock.time()
        for connection in list(self._connections.values()):
            connection.session.heard(connection.socket.heard_at)
            if connection.session.is_idle(now):
                self._close(connection, GOING_AWAY, "nothing was heard from you for 60 seconds")
        if len(self._connections) != self._counted:
            self._counted = len(self._connections)
            self._backend.dispatch(ConnectionsCounted(self._counted))

    def turn_away(self, reason: str) -> None:
        """This pod is about to go: nobody new is let in; who is here stays until ``close_all``."""
        self._gone = reason

    def close_all(self) -> None:
        """Every client is sent elsewhere."""
        self._gone = self._gone or "this node ends: connect to another"
        for connection in list(self._connections.values()):
            self._close(connection, RESTARTING, self._gone)

    # --- from the node -----------------------------------------------------------------------------------------------

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
            self._welcome(connection, waiting.channel, effect.response)

    def deliver(self, effect: Deliver) -> None:
        self._count_sent(self._topics.fan_out(effect.topic, effect.event, effect.payload))

    def deliver_patch(self, effect: DeliverPatch) -> None:
        if self._topics.has(GAME):
            payload = {"epoch": effect.epoch, "seq": effect.seq, "ops": effect.ops}
            self._fan_out_game(effect.epoch, effect.seq, "patch", payload)

    def deliver_state(self, effect: DeliverState) -> None:
        if self._topics.has(GAME):
            payload = {"epoch": effect.epoch, "seq": effect.seq, "state": self._encoded_state()}
            self._fan_out_game(effect.epoch, effect.seq, "state", payload)

    def _fan_out_game(self, epoch: int, seq: int, event: str, payload: Fields) -> None:
        """A client never sees a position below that of its join's answer."""
        self._count_sent(self._topics.fan_out(GAME, event, encode_json(payload), Position(epoch, seq)))

    def replace(self, effect: Replace) -> None:
        connection = self._connections.get(effect.connection)
        if connection is None:
            return
        for channel in [c for c, player in connection.players.items() if player == effect.player]:
            del connection.players[channel]
            self._topics.unsubscribe(GAME, connection)
            self._perform(connection, connection.session.close_topic(channel))

    # --- what a session asks for -------------------------------------------------------------------------------------

    def _serves(self, topic: str) -> bool:
        return topic == GAME or self._class_for(topic) is not None

    def _class_for(self, topic: str) -> type[Channel] | None:
        return next((c for c in self._channel_classes if c.matches(topic)), None)

    def _perform(self, connection: Connection, outputs: Iterable[Output]) -> None:
        for output in outputs:
            if not (connection.is_open or isinstance(output, LeftTopic)):
                continue  # dropped meanwhile: it did not read
            match output:
                case Send(frame):
                    self._count_sent(1)
                    if not connection.outbox.send(text_frame(frame)):
                        self._drop(connection)
                case JoinRequested(topic="game"):
                    self._join_game(connection, output)
                case JoinRequested():
                    self._join_channel(connection, output)
                case Pushed(topic="game"):
                    self._move(connection, output)
                case Pushed():
                    self._push_channel(connection, output)
                case LeftTopic():
                    self._left(connection, output)
                case _:
                    assert_never(output)

    # --- topic game

    def _join_game(self, connection: Connection, asked: JoinRequested) -> None:
        try:
            join = read_join(_checked(asked.payload), connection.token, self._tokens)
        except Unwelcome as error:
            self._perform(connection, connection.session.refuse_join(asked.channel, error.response))
            return
        connection.players[asked.channel] = join.player
        request = self._wait(connection, asked.channel, None, is_join=True)
        self._backend.dispatch(PlayerJoined(request, connection.number, join.player, join.stay, join.nonce))

    def _welcome(self, connection: Connection, channel: int, response: Fields) -> None:
        player, position = connection.players[channel], self._backend.position()
        answer = {name: value for name, value in response.items() if name != "stay"} | {
            "player": player,
            "token": self._tokens.sign(player, response["stay"]),
            "epoch": position.epoch,
            "seq": position.seq,
            "state": self._encoded_state(),
        }
        self._topics.subscribe(GAME, connection, since=position)
        self._perform(connection, connection.session.accept_join(channel, answer))

    def _move(self, connection: Connection, pushed: Pushed) -> None:
        player = connection.players[pushed.channel]
        if connection.waiting >= MAX_WAITING:
            self._refuse_move(connection, pushed, {"reason": "overloaded"})
            return
        try:
            payload, n = take_count(_checked(pushed.payload))
        except Unwelcome as error:
            self._refuse_move(connection, pushed, error.response)
            return
        request = self._wait(connection, pushed.channel, pushed.ref, is_join=False)
        self._backend.dispatch(PlayerMoved(request, connection.number, player, pushed.event, payload, n))

    def _refuse_move(self, connection: Connection, pushed: Pushed, response: Fields) -> None:
        self._metrics.moved(False, response)
        self._perform(connection, connection.session.reply(pushed.channel, pushed.ref, False, response))

    def _wait(self, connection: Connection, channel: int, ref: Ref, is_join: bool) -> int:
        request = self._number()
        self._waiting[request] = _Waiting(connection, channel, ref, is_join)
        connection.waiting += 1
        return request

    # --- all other topics

    def _join_channel(self, connection: Connection, asked: JoinRequested) -> None:
        channel_class = self._class_for(asked.topic)
        assert channel_class is not None, "the session asks for topics that are served only"
        runtime = ChannelRuntime(channel_class, asked.topic)
        reaction = runtime.join(asked.payload)
        if reaction.error is not None:
            _log_crash(asked.topic, "join", reaction.error)
            self._perform(connection, connection.session.crash_topic(asked.channel))
        elif not reaction.ok:
            self._perform(connection, connection.session.refuse_join(asked.channel, reaction.response))
        else:
            connection.channels[asked.channel] = runtime
            self._topics.subscribe(asked.topic, connection)
            self._perform(connection, connection.session.accept_join(asked.channel, reaction.response))
            self._send_outputs(connection, asked.channel, asked.topic, reaction)

    def _push_channel(self, connection: Connection, pushed: Pushed) -> None:
        try:
            payload = _checked(pushed.payload)
        except Unwelcome as error:
            self._perform(connection, connection.session.reply(pushed.channel, pushed.ref, False, error.response))
            return
        reaction = connection.channels[pushed.channel].push(pushed.event, payload)
        if reaction.error is not None:
            _log_crash(pushed.topic, pushed.event, reaction.error)
            del connection.channels[pushed.channel]
            self._topics.unsubscribe(pushed.topic, connection)
            self._perform(connection, connection.session.crash_topic(pushed.channel))
            return
        self._send_outputs(connection, pushed.channel, pushed.topic, reaction)
        reply = connection.session.reply(pushed.channel, pushed.ref, reaction.ok, reaction.response)
        self._perform(connection, reply)

    def _send_outputs(self, connection: Connection, channel: int, topic: str, reaction: Reaction) -> None:
        for output in reaction.outputs:
            match output:
                case Push(event, payload):
                    self._perform(connection, connection.session.push(channel, event, payload))
                case Publish(event, payload):
                    self._backend.dispatch(Published(topic, event, encode_json(payload)))
                case _:
                    assert_never(output)

    # --- leaving

    def _left(self, connection: Connection, left: LeftTopic) -> None:
        self._topics.unsubscribe(left.topic, connection)
        if left.topic == GAME:
            player = connection.players.pop(left.channel, None)
            if player is not None:
                self._backend.dispatch(PlayerLeft(connection.number, player, left.why is Leaving.left))
        elif (runtime := connection.channels.pop(left.channel, None)) is not None:
            reaction = runtime.leave()
            if reaction.error is not None:
                _log_crash(left.topic, "leave", reaction.error)
            self._send_outputs(connection, left.channel, left.topic, reaction)

    def _close(self, connection: Connection, code: int, reason: str) -> None:
        connection.outbox.flush()
        connection.socket.close(code, reason)
        self._metrics.closed.labels(str(code)).inc()
        self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        connection.is_open = False
        self._connections.pop(connection.number, None)
        self._metrics.connections.set(len(self._connections))
        self._perform(connection, connection.session.close())

    # --- sending -----------------------------------------------------------------------------------------------------

    def _drop(self, connection: Connection) -> None:
        self._metrics.slow_consumers.inc()
        log.warning("client %d dropped: it does not read what it is sent", connection.number)
        connection.socket.abort()
        self._forget(connection)

    def _count_sent(self, frames: int) -> None:
        self._metrics.messages_out.inc(frames)

    def _encoded_state(self) -> Raw:
        """Encoded once for all who join at the same position: after a failover many do."""
        position = self._backend.position()
        if self._state is None or self._state[0] != position:
            self._state = position, Raw(encode_json(self._backend.visible_tables()))
        return self._state[1]

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers


def _checked(payload: Fields) -> Fields:
    """JSON allows what the mesh can't carry: numbers beyond 64 bits, nesting without end."""
    try:
        return json_object(payload)
    except Mismatch as error:
        raise Unwelcome("bad payload", str(error)) from None


def _log_crash(topic: str, event: str, traceback: str) -> None:
    log.warning("channel %r failed in %r\n%s", topic, event, traceback)
