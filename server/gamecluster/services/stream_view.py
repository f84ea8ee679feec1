"""What a Game's rules and Channels have of a stream: ``self.cluster.stream(topic)``."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping

from msgspec import Struct

from ..core.messages import Fields, Incarnation
from .streams import DAY_SECONDS, TABLE, Line, Streams, check_line, shown, table_of

HERE = Incarnation("")
Rows = Callable[[str], Mapping[str, Fields]]
Ask = Callable[[str, str, Fields], Awaitable[Fields]]


class StreamView:
    """What is kept of one topic. A line: ``{"offset", "event", "payload", "at"}``, ``at`` in Unix milliseconds."""

    def __init__(self, rows: Rows, topic: str) -> None:
        self.topic = topic
        self._rows = rows

    @property
    def epoch(self) -> str:
        """Empty before the first line."""
        row = self._rows(TABLE).get(self.topic)
        return row["epoch"] if row else ""

    @property
    def offset(self) -> int:
        """Of the newest line; 0 before the first."""
        row = self._rows(TABLE).get(self.topic)
        return row["offset"] if row else 0

    def lines(self, limit: int = 100, before: int | None = None, event: str | None = None) -> list[Fields]:
        """The newest ``limit``, newest last; only those before an offset, or of one event."""
        found: list[Fields] = []
        offset = self.offset if before is None else min(before - 1, self.offset)
        lines = self._rows(table_of(self.topic))
        while len(found) < limit and (row := lines.get(str(offset))) is not None:
            if event is None or row["event"] == event:
                found.append(_line(offset, row))
            offset -= 1
        return found[::-1]

    def shown_after(self, offset: int) -> list[Fields] | None:
        """All lines after ``offset`` as clients get them: ``{"event", "payload", "offset", "at"}``. None if one is not kept any more."""
        lines, epoch = self._rows(table_of(self.topic)), self.epoch
        rows = [(n, lines.get(str(n))) for n in range(offset + 1, self.offset + 1)]
        found = [{**_line(n, row), "payload": shown(epoch, n, row)} for n, row in rows if row is not None]
        return found if len(found) == len(rows) else None


def _line(offset: int, row: Fields) -> Fields:
    return {"offset": offset, "event": row["event"], "payload": row["payload"], "at": row["at"]}


class Kept(Struct, frozen=True):
    """How a stream is kept: its last ``lines``, until nobody has added one for so long (None: for ever). ``stamped``: what is broadcast has
    ``id`` and ``at`` as well. ``topics``: a beginning, and how many topics with it may have a stream."""

    lines: int
    expire_seconds: float | None
    stamped: bool = False
    topics: tuple[str, int] | None = None


class RuleStream(StreamView):
    """In a rule: what is added travels with what the rule changes, and is undone with it."""

    def __init__(self, streams: Streams, rows: Rows, topic: str) -> None:
        super().__init__(rows, topic)
        self._streams = streams

    def append(
        self,
        event: str,
        payload: Fields,
        *,
        keep: int = 100,
        nonce: str | None = None,
        expire_seconds: float | None = DAY_SECONDS,
    ) -> Fields:
        """Adds a line and broadcasts it on the topic. Gives ``{"offset", "at"}``, of the first time for a ``nonce`` of a kept line."""
        line = (event, check_line(event, payload))
        return self._streams.append(HERE, self.topic, [line], keep, nonce, expire_seconds)


class ChannelStream(StreamView):
    """In a Channel: adding is awaited. ``lines`` and ``offset`` are of this pod's copy."""

    def __init__(self, ask: Ask, rows: Rows, topic: str) -> None:
        super().__init__(rows, topic)
        self._ask = ask

    async def append(
        self,
        event: str,
        payload: Fields,
        *,
        keep: int = 100,
        nonce: str | None = None,
        expire_seconds: float | None = DAY_SECONDS,
    ) -> Fields:
        """Adds a line and broadcasts it on the topic. Gives ``{"offset", "at"}`` once it is committed.

        A ``nonce`` among the kept lines is answered as the first time. Raises Rejected if it can't be done, or nobody knows whether it was.
        """
        return await self.keep([(event, payload)], Kept(keep, expire_seconds), nonce)

    async def keep(self, lines: list[Line], how: Kept, nonce: str | None = None) -> Fields:
        """All of ``lines`` or none."""
        args: Fields = {
            "topic": self.topic,
            "lines": [[event, check_line(event, payload, how.stamped)] for event, payload in lines],
            "keep": how.lines,
            "nonce": nonce or secrets.token_hex(8),
            "expires": how.expire_seconds,
            "stamped": how.stamped,
            "most": list(how.topics) if how.topics else None,
        }
        answer = await self._ask("streams", "append", args)
        return {"offset": answer["offset"], "at": answer["at"]}

    async def sync(self) -> None:
        """Waits until this pod's copy has all that was added before, by anybody."""
        await self._ask("streams", "sync", {})
