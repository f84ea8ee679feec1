"""One connection to a broker, as what uses it sees it, and what is carried there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from ...core.messages import Incarnation
from ...errors import GameClusterError
from .outgoing import Letter

Heard = Callable[[bytes], None]
"""What came from the broker, in its order."""


class BrokerError(GameClusterError):
    """The broker's fault, or the way's to it. The text is for people."""


class Link(Protocol):
    """From ``open`` to ``close``, and never used again. All but ``listen`` end within some seconds; they raise BrokerError."""

    name: str
    """For people, without a password."""

    async def open(self) -> None: ...

    async def listen(self) -> None:
        """Runs beside the others, from ``open`` on. Ends only by raising."""

    async def subscribe(self, topics: Sequence[str]) -> None:
        """From its return on nothing on these topics passes this pod by."""

    async def unsubscribe(self, topics: Sequence[str]) -> None: ...

    async def send(self, letters: Sequence[Letter]) -> None: ...

    async def tend(self) -> None:
        """Every few seconds."""

    async def close(self) -> None:
        """Never raises."""


class Envelope(Struct, frozen=True, array_like=True):
    """What the broker carries, as MessagePack. ``number``: of its origin's; no two messages are the same."""

    origin: Incarnation
    number: int
    topic: str
    event: str
    payload: bytes
    binary: bool


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Envelope).decode


def place_of(url: str) -> str:
    """``host:port`` for people: without user and password."""
    return urlsplit(url).netloc.rpartition("@")[2] or "a socket of this machine"
