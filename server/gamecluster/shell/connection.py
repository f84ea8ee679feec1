"""One client's connection: its socket, session and limits, and what it has joined."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from ..cluster import Backend as ClusterBackend
from ..core.events import Event
from ..core.messages import Op
from ..phoenix.session import Output, Session
from .outbox import ClientSocket, Outbox
from .resume import Game
from .seat import Seat


class Backend(ClusterBackend, Game, Protocol):
    """What clients need of the node's driver."""

    def dispatch(self, event: Event) -> None: ...

    def room(self, room: str) -> Game:
        """What this pod knows of the room's state, whenever it is asked."""
        ...

    def follow(self, follower: Callable[[list[Op] | None], None]) -> None:
        """Has it called with every change of the services' tables, once committed; with None when all may be different."""

    def want(self, topic: str, then: Callable[[], None]) -> None:
        """Calls ``then`` when no other pod's broadcast on ``topic`` can pass this one by any more."""

    def want_no_more(self, topic: str) -> None:
        """The last client has left ``topic``."""


class Bucket:
    """``rate`` messages a second; bursts of twice that."""

    __slots__ = ("_at", "_rate", "_tokens")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._tokens = 2 * rate
        self._at = now

    def take(self, now: float) -> bool:
        self._tokens = min(2 * self._rate, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Owner(Protocol):
    """``clients.Hub``, as far as a connection tells it what came from its socket."""

    def received(self, connection: Connection, data: bytes) -> None: ...

    def received_binary(self, connection: Connection, data: bytes) -> None: ...

    def blocked(self, connection: Connection) -> None: ...

    def unblocked(self, connection: Connection) -> None: ...

    def disconnected(self, connection: Connection) -> None: ...


class Connection:
    """``token``: given at the handshake, for a join of the game or a room that brings none. A ``sockets.Client``."""

    __slots__ = (
        "bucket",
        "channels",
        "is_open",
        "number",
        "outbox",
        "owner",
        "players",
        "session",
        "socket",
        "token",
        "waiting",
    )

    def __init__(
        self,
        owner: Owner,
        number: int,
        socket: ClientSocket,
        session: Session,
        outbox: Outbox,
        bucket: Bucket,
        token: str | None,
    ) -> None:
        self.owner = owner
        self.number = number
        self.socket = socket
        self.session = session
        self.outbox = outbox
        self.bucket = bucket
        self.token = token
        self.is_open = True
        self.players: dict[int, str] = {}
        """By the channel that joined the game or a room."""
        self.channels: dict[int, Seat] = {}
        """By the number that the session gave the join."""
        self.waiting = 0
        """Requests that the node has not answered yet."""

    def text(self, data: bytes) -> None:
        self.owner.received(self, data)

    def binary(self, data: bytes) -> None:
        self.owner.received_binary(self, data)

    def full(self) -> None:
        self.outbox.full()
        self.owner.blocked(self)

    def writable(self) -> None:
        self.outbox.writable()
        if not self.outbox.is_full:  # what had waited may have filled the buffers again
            self.owner.unblocked(self)

    def lost(self) -> None:
        self.owner.disconnected(self)


Perform = Callable[[Connection, Iterable[Output]], None]
"""Does what a session's method has returned."""
