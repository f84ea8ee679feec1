"""The clients of this pod: their sockets and sessions, who is on which topic, and what the application does for them.

A frame's way in: ``received`` → Session → Pushed → an event for the node, or a call of the topic's Channel. A broadcast's way
out: the node's effect → encoded once per serializer → the Outbox of every subscriber.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar, assert_never

from ..channel import Channel
from ..core.effects import Answer, Deliver, DeliverPatch, DeliverState, EndRoom, PresenceChanged, Replace
from ..core.events import ConnectionsCounted
from ..interest import Grid
from ..phoenix.codec import Message, ProtocolError, Vsn
from ..phoenix.session import JoinRequested, LeftTopic, Output, Pushed, Send, Session
from ..settings import Settings
from .channel_topics import ChannelTopics
from .compact import Schema
from .connection import Backend, Bucket, Connection
from .game_topic import Requests, Shared
from .game_topics import GameTopics, RoomClass, UrlOf
from .grid_topic import make_topic
from .joins import Tokens
from .metrics import Metrics
from .outbox import ClientSocket, Flusher, Outbox, binary_frame, text_frame
from .patches import Clock as PatchClock
from .presence import Presence
from .timers import TimerWheel
from .topics import Topics
from .websocket import BAD_DATA, GOING_AWAY, RESTARTING, UNSUPPORTED_DATA

log = logging.getLogger("gamecluster.clients")

Frame = TypeVar("Frame", str | bytes, bytes)


class Clock(PatchClock, Protocol):
    """The event loop, as far as the hub needs it."""

    def call_soon(self, callback: Callable[[], None], /) -> object: ...


class Hub:
    """All is called on the event loop. ``drain`` and lost sockets apart, no client can affect another. ``patch_rate``: the game's;
    ``fields``: of its tables, by their names. ``rooms``: their classes; ``url_of``: where the pod is that holds one;
    ``grids``: the game's."""

    def __init__(
        self,
        settings: Settings,
        backend: Backend,
        channels: Sequence[type[Channel]],
        tokens: Tokens,
        metrics: Metrics,
        clock: Clock,
        patch_rate: int = 0,
        fields: Mapping[str, Sequence[str]] | None = None,
        rooms: Sequence[RoomClass] = (),
        url_of: UrlOf = lambda room: None,
        grids: Sequence[Grid] = (),
    ) -> None:
        self._rate = settings.limit_messages_per_second
        self._limit = settings.limit_connections
        self._backend = backend
        self._metrics = metrics
        self._clock = clock
        self._flusher = Flusher(clock.call_soon)
        self._connections: dict[int, Connection] = {}
        metrics.connections.set_function(self.__len__)
        self._idle = TimerWheel()
        self._topics = Topics(self._flusher, self._drop_number)
        shared = Shared(backend, self._topics, tokens, metrics, self._perform, clock, Requests(), {})
        game = make_topic(shared, "", backend, patch_rate, Schema(fields or {}), grids)
        self._games = GameTopics(shared, game, rooms, url_of)
        self._presence = Presence(backend, self._topics, self._perform, self._count_sent)
        self._channels = ChannelTopics(channels, backend, self._topics, tokens, self._presence, self._perform)
        self._numbers = 0
        self._counted = 0
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
        self._numbers = number = self._numbers + 1
        connection = Connection(
            self,
            number,
            socket,
            Session(vsn, self._serves, now),
            Outbox(number, socket.write, self._flusher),
            Bucket(self._rate, now),
            token,
        )
        self._connections[number] = connection
        self._idle.look_at(number, connection.session.idle_at)
        if self._gone is not None:
            self._close(connection, RESTARTING, self._gone)
        return connection

    def received(self, connection: Connection, data: str | bytes) -> None:
        """A text frame has come."""
        self._receive(connection, connection.session.decode, data, BAD_DATA)

    def received_binary(self, connection: Connection, data: bytes) -> None:
        """A binary frame has come."""
        code = UNSUPPORTED_DATA if connection.session.vsn is Vsn.V1 else BAD_DATA
        self._receive(connection, connection.session.decode_binary, data, code)

    def blocked(self, connection: Connection) -> None:
        """It does not read what it is sent."""
        self._games.blocked(connection)

    def unblocked(self, connection: Connection) -> None:
        """It reads again."""
        if connection.is_open:
            self._games.unblocked(connection)

    def disconnected(self, connection: Connection) -> None:
        """The socket is gone. Harmless if that is known."""
        if connection.is_open:
            self._forget(connection)

    def sweep(self) -> None:
        """Once a second: ends sockets that have been silent for too long, tells the node how many there are."""
        now = self._clock.time()
        for number in self._idle.due(now):
            connection = self._connections.get(number)
            if connection is None:
                continue
            connection.session.heard(connection.socket.heard_at)
            if connection.session.idle_at < now:
                self._close(connection, GOING_AWAY, "nothing was heard from you for 60 seconds")
            else:
                self._idle.look_at(number, connection.session.idle_at)
        if len(self._connections) != self._counted:
            self._counted = len(self._connections)
            self._backend.dispatch(ConnectionsCounted(self._counted))

    def player_of(self, token: str) -> str | None:
        """Whose token it is. Raises Unwelcome."""
        return self._channels.player_of({"token": token}, None)

    def turn_away(self, reason: str) -> None:
        """This pod is about to go: nobody new is let in; who is here stays until ``close_all``."""
        self._gone = reason

    def close_all(self) -> None:
        """Every client is sent elsewhere."""
        self._gone = self._gone or "this node ends: connect to another"
        for connection in list(self._connections.values()):
            self._close(connection, RESTARTING, self._gone)

    def has(self, topic: str) -> bool:
        """A client is on it."""
        return self._topics.has(topic)

    @property
    def rooms(self) -> list[str]:
        """That a client is in, or has asked to join."""
        return self._games.rooms

    def topics(self, beginning: str) -> list[str]:
        """Those with a client whose names begin so."""
        return self._topics.names(beginning)

    # --- from the node -----------------------------------------------------------------------------------------------

    def deliver(self, effect: Deliver) -> None:
        if (told := self._games.deliver(effect)) is None:
            return
        at = self._channels.position(told)
        self._count_sent(self._topics.fan_out(told.topic, told.event, told.payload, at, told.binary))

    def deliver_patch(self, effect: DeliverPatch) -> None:
        self._games.deliver_patch(effect)

    def deliver_state(self, effect: DeliverState) -> None:
        self._games.deliver_state(effect)

    def answer(self, effect: Answer) -> None:
        self._games.answer(effect)

    def presence_changed(self, effect: PresenceChanged) -> None:
        self._presence.changed(effect)

    def replace(self, effect: Replace) -> None:
        connection = self._connections.get(effect.connection)
        if connection is not None:
            self._games.replace(connection, effect)

    def end_room(self, effect: EndRoom) -> None:
        self._games.end(effect)

    # --- what a session asks for -------------------------------------------------------------------------------------

    def _receive(
        self, connection: Connection, decode: Callable[[Frame, float], Message], data: Frame, unreadable: int
    ) -> None:
        """``unreadable``: the code to close with if it can't be decoded."""
        if not connection.is_open:
            return
        self._metrics.messages_in.count += 1
        now, session = self._clock.time(), connection.session
        try:
            message = decode(data, now)
        except ProtocolError as error:
            self._close(connection, unreadable, str(error))
            return
        if connection.bucket.take(now) or message.event == "phx_leave":
            self._perform(connection, session.receive(message))
        else:
            self._perform(connection, session.refuse(message, {"reason": "rate limited"}))

    def _serves(self, topic: str) -> bool:
        return self._games.serves(topic) or self._channels.serves(topic)

    def _perform(self, connection: Connection, outputs: Iterable[Output]) -> None:
        for output in outputs:
            if not (connection.is_open or isinstance(output, LeftTopic)):
                continue  # dropped meanwhile: it did not read
            match output:
                case Send(frame, is_binary):
                    self._metrics.messages_out.count += 1
                    if not connection.outbox.send(binary_frame(frame) if is_binary else text_frame(frame)):
                        self._drop(connection)
                case JoinRequested(topic=topic):
                    joins = self._games if self._games.serves(topic) else self._channels
                    joins.join(connection, output)
                case Pushed(topic=topic):
                    if (game := self._games.on(topic)) is not None:
                        game.move(connection, output)
                    else:
                        self._channels.push(connection, output)
                case LeftTopic(topic=topic):
                    (self._games.on(topic) or self._channels).left(connection, output)
                case _:
                    assert_never(output)

    def _close(self, connection: Connection, code: int, reason: str) -> None:
        connection.outbox.finish()
        connection.socket.close(code, reason)
        self._metrics.closed.labels(str(code)).inc()
        self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        connection.is_open = False
        connection.outbox.close()
        self._games.gone(connection)
        self._connections.pop(connection.number, None)
        self._perform(connection, connection.session.close())

    def _count_sent(self, messages: int) -> None:
        self._metrics.messages_out.count += messages

    # --- sending -----------------------------------------------------------------------------------------------------

    def _drop_number(self, number: int) -> None:
        if (connection := self._connections.get(number)) is not None:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self._metrics.slow_consumers.inc()
        log.warning("client %d dropped: it does not read what it is sent", connection.number)
        connection.socket.abort()
        self._forget(connection)
