"""Topics whose broadcasts are kept: no client of this pod is told one twice, and none is left out unnoticed.

They come with the log's entries, in order. Only a copy that was replaced as a whole, because this pod was too far behind, skips some:
those are read from the kept ones then, or, if they are gone, clients are made to join again and are told so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from msgspec import Struct

from ..core.effects import Deliver
from ..core.messages import Op, Position
from ..recovery import LetIn
from ..services.stream_view import Rows, StreamView
from .connection import Connection
from .topics import Topics


class _Numbered(Struct):
    offset: int
    epoch: str


_decode = msgspec.json.Decoder(_Numbered).decode


@dataclass
class _Heard:
    """The newest that this pod's clients on a topic were told. ``age``: how many epochs there were while any was on it."""

    epoch: str
    offset: int
    age: int = 0
    clients: dict[tuple[int, int], Connection] = field(default_factory=dict)

    def position(self, epoch: str, offset: int) -> Position:
        """For comparing: whatever belongs to a new epoch is newer."""
        return Position(self.age if epoch == self.epoch else self.age + 1, offset)

    def note(self, epoch: str, offset: int) -> None:
        if epoch != self.epoch:
            self.age += 1
            self.epoch, self.offset = epoch, offset
        else:
            self.offset = max(self.offset, offset)


class Recovering:
    """``begin_again``: ends a client's join so that it joins anew."""

    def __init__(self, rows: Rows, topics: Topics, begin_again: Callable[[Connection, int, str], None]) -> None:
        self._rows = rows
        self._topics = topics
        self._begin_again = begin_again
        self._heard: dict[str, _Heard] = {}

    def joined(self, topic: str, connection: Connection, channel: int, let_in: LetIn) -> None:
        """It is subscribed already."""
        heard = self._heard.setdefault(topic, _Heard(let_in.epoch, let_in.offset))
        heard.clients[connection.number, channel] = connection
        self._topics.knows(topic, connection, heard.position(let_in.epoch, let_in.offset))

    def left(self, topic: str, connection: Connection, channel: int) -> None:
        heard = self._heard.get(topic)
        if heard is not None:
            heard.clients.pop((connection.number, channel), None)
            if not heard.clients:
                del self._heard[topic]

    def position(self, effect: Deliver) -> Position | None:
        """Of a broadcast, for those who know it already; None if it has none, or nobody here asks."""
        heard = self._heard.get(effect.topic)
        if heard is None or effect.binary:
            return None
        try:
            numbered = _decode(effect.payload)
        except msgspec.DecodeError:  # not one of those that are kept
            return None
        heard.note(numbered.epoch, numbered.offset)
        return heard.position(numbered.epoch, numbered.offset)

    def changed(self, ops: list[Op] | None) -> None:
        """The services' tables have; None: they were replaced."""
        if ops is not None:
            return
        for topic, heard in list(self._heard.items()):
            self._catch_up(topic, heard, StreamView(self._rows, topic))

    def _catch_up(self, topic: str, heard: _Heard, stream: StreamView) -> None:
        if (stream.epoch, stream.offset) == (heard.epoch, heard.offset):
            return
        is_same = heard.epoch in ("", stream.epoch) and stream.offset > heard.offset
        missed = stream.shown_after(heard.offset) if is_same else None
        if missed is None:
            for (_, channel), connection in list(heard.clients.items()):
                self._begin_again(connection, channel, topic)
            return
        for line in missed:
            heard.note(stream.epoch, line["offset"])
            at = heard.position(stream.epoch, line["offset"])
            self._topics.fan_out(topic, line["event"], msgspec.json.encode(line["payload"]), at)
