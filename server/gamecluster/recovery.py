"""Channels whose broadcasts are kept for a while: each has a number, and who comes back gets what it missed, on whichever pod."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from .checks import Mismatch, got
from .core.messages import Fields
from .services.stream_view import ChannelStream
from .services.streams import Line

if TYPE_CHECKING:
    from .channel import Channel

MOST_RECOVERED = 1_000
MOST_BYTES = 1_048_576
"""Of what was missed, as JSON: more is as good as gone."""


class Asked(Struct, frozen=True):
    """How far the client has come: ``{"epoch", "offset"}`` of the newest broadcast that it has."""

    epoch: str
    offset: int


class LetIn(Struct, frozen=True):
    """What is added to the join's response, and the broadcasts that follow it: ``(event, payload)``.

    ``epoch`` and ``offset``: of the stream as this pod has it; broadcasts up to there are not for this client any more.
    """

    response: Fields
    following: list[Line]
    epoch: str
    offset: int


class Recovery:
    """One client's join of such a channel."""

    def __init__(self, channel: Channel, stream: ChannelStream) -> None:
        self._channel = channel
        self._stream = stream
        self._asked: Asked | None = None
        self._own: tuple[int, int] | None = None

    def asks(self, payload: Fields) -> bool:
        """Takes note of the join's ``recover``; says whether this pod's copy must catch up first. Raises Mismatch."""
        self._asked = _asked(payload.get("recover"))
        if self._asked is None:
            return False
        if self._asked.epoch == self._stream.epoch:
            return self._asked.offset > self._stream.offset
        return self._asked.epoch != ""

    async def catch_up(self) -> None:
        """Who comes from a pod that was ahead must not be told that what it has is gone. Raises Rejected."""
        await self._stream.sync()

    async def broadcast(self, lines: Sequence[Line], is_join: bool) -> None:
        """All of them or, raising Rejected, none, as far as anybody knows."""
        done = await self._stream.keep(list(lines), self._channel._kept())
        if is_join:
            self._own = done["offset"], len(lines)

    def let_in(self) -> LetIn:
        """At the very moment from which on broadcasts reach the client: what it gets with its answer, and nothing twice or never."""
        stream, epoch, offset = self._stream, self._stream.epoch, self._stream.offset
        if self._asked is not None:
            missed = self._missed(self._asked)
            recovery = {"epoch": epoch, "offset": offset, "recovered": missed is not None, "missed": missed or []}
            response = self._channel._welcome(offset, missed is not None)
            return LetIn({**response, "recovery": recovery}, [], epoch, offset)
        begin = self._before_own(offset)
        own = stream.shown_after(begin)
        if own is None:
            begin, own = offset, []
        recovery = {"epoch": epoch, "offset": begin, "recovered": False, "missed": []}
        response = {**self._channel._welcome(begin, False), "recovery": recovery}
        return LetIn(response, [(line["event"], line["payload"]) for line in own], epoch, offset)

    def _missed(self, asked: Asked) -> list[Fields] | None:
        """None: other broadcasts have its numbers, or not all that it missed is there, young and short enough."""
        stream = self._stream
        begun_since = asked == Asked("", 0)  # it joined before the first of all
        if not (begun_since or asked.epoch == stream.epoch) or asked.offset > stream.offset:
            return None
        if stream.offset - asked.offset > self._channel.recover:
            return None
        missed = stream.shown_after(asked.offset)
        oldest = (time.time() - self._channel.recover_seconds) * 1000
        if missed is None or (missed and missed[0]["at"] < oldest) or len(msgspec.json.encode(missed)) > MOST_BYTES:
            return None
        return missed

    def _before_own(self, offset: int) -> int:
        """A client hears what its own join has broadcast."""
        if self._own is None:
            return offset
        last, count = self._own
        return min(offset, max(last - count, 0))


def _asked(value: object) -> Asked | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise Mismatch('{"epoch": text, "offset": number}', got(value), "recover")
    epoch, offset = value.get("epoch"), value.get("offset")
    if not isinstance(epoch, str):
        raise Mismatch("str", got(epoch), "recover.epoch")
    if not isinstance(offset, int) or isinstance(offset, bool):
        raise Mismatch("int", got(offset), "recover.offset")
    return Asked(epoch, offset)
