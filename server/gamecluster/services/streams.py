"""Streams: the lines that were said on a topic, numbered from 1, the last of which are kept. Chat and the recovery of channels use them.

| table               | key      | fields                                                                                    |
| ------------------- | -------- | ----------------------------------------------------------------------------------------- |
| ``$streams``        | topic    | epoch (a text of its own), offset of the newest line, first that is kept, at, expires     |
| ``$stream:<topic>`` | offset   | event, payload, at (Unix ms, never falling), nonce; stamped: ``id`` and ``at`` are shown   |

A stream that nobody has added to for ``expires`` seconds loses its lines, and 30 days later its row. One that begins anew has another
epoch.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from ..checks import Mismatch, got, json_object, text
from ..core.messages import Fields, Incarnation
from ..rules import Rejected
from .ledger import Ledger
from .service import Service

TABLE = "$streams"
MOST_KEPT = 10_000
MOST_LINES = 100
"""In one call."""
MOST_STREAMS = 10_000
MOST_SWEPT = 5_000
"""Lines in one entry of the log."""
LONGEST_TOPIC = 250
LONGEST_NONCE = 200
DAY_SECONDS = 86_400
ROW_SECONDS = 30 * DAY_SECONDS
SLACK = 1000

Line = tuple[str, Fields]
"""Event and payload."""


class Streams(Service):
    """``wall_clock``: Unix seconds."""

    name = "streams"
    verbs = frozenset({"append", "sync", "sweep"})

    def __init__(self, ledger: Ledger, wall_clock: Callable[[], float], randomness: random.Random) -> None:
        super().__init__(ledger)
        self._clock = wall_clock
        self._random = randomness
        self._loads = -1
        self._nonces: dict[str, dict[str, int]] = {}

    def append(
        self,
        origin: Incarnation,
        topic: str,
        lines: list[Line],
        keep: int,
        nonce: str | None = None,
        expires: float | None = DAY_SECONDS,
        stamped: bool = False,
        most: tuple[str, int] | None = None,
    ) -> Fields:
        """Adds ``lines``, all or none, and broadcasts each. Gives ``{"offset", "at"}`` of the last; of the first time for a ``nonce`` among
        the last ``keep`` lines. ``most``: so many topics with this beginning may have a stream. Refusals: ``too many streams``."""
        _check_call(topic, lines, keep, nonce, expires)
        for event, payload in lines:
            check_line(event, payload, stamped)
        if nonce is not None and (earlier := self._earlier(topic, nonce)) is not None:
            return earlier
        stream = self._ledger.rows(TABLE).get(topic) or self._begin(topic, most)
        at, offset = max(int(self._clock() * 1000), stream["at"]), stream["offset"]
        for number, (event, payload) in enumerate(lines, 1):
            offset += 1
            row: Fields = {
                "event": event,
                "payload": payload,
                "at": at,
                "nonce": nonce if number == len(lines) else None,
            }
            self._add(topic, stream["epoch"], offset, row | {"stamped": True} if stamped else row)
        first = self._trim(topic, stream["first"], offset - keep + 1)
        self._ledger.put(TABLE, topic, {"offset": offset, "first": first, "at": at, "expires": expires})
        return {"offset": offset, "at": at}

    def sync(self, origin: Incarnation) -> None:
        """Nothing: who has its answer has all that was added before."""

    def sweep(self, origin: Incarnation) -> Fields:
        """Removes what has expired, as much as one entry should; ``more``: there is more of it."""
        now, left = int(self._clock() * 1000), MOST_SWEPT
        for topic, row in list(self._ledger.rows(TABLE).items()):
            if left <= 0:
                break
            if not is_due(row, now):
                continue
            if row["first"] <= row["offset"]:
                left -= row["offset"] - row["first"] + 1
                first = self._trim(topic, row["first"], row["offset"] + 1)
                self._ledger.put(TABLE, topic, {"first": first})
            else:
                self._ledger.delete(TABLE, topic)
                self._nonces.pop(topic, None)
        return {"more": left <= 0}

    def restored(self) -> None:
        """Lines that were shown may be lost, and others will have their numbers: clients have to be told."""
        for topic in list(self._ledger.rows(TABLE)):
            self._ledger.put(TABLE, topic, {"epoch": self._epoch()})

    def _add(self, topic: str, epoch: str, offset: int, row: Fields) -> None:
        self._ledger.put(table_of(topic), str(offset), row)
        self._ledger.broadcast(topic, row["event"], shown(epoch, offset, row))
        if row["nonce"] is not None:
            self._known(topic)[row["nonce"]] = offset

    def _trim(self, topic: str, first: int, wanted: int) -> int:
        for offset in range(first, wanted):
            self._ledger.delete(table_of(topic), str(offset))
        return max(first, wanted)

    def _begin(self, topic: str, most: tuple[str, int] | None) -> Fields:
        streams = self._ledger.rows(TABLE)
        if most is not None and sum(1 for name in streams if name.startswith(most[0])) >= most[1]:
            detail = f"there are {most[1]} topics {most[0]}* with lines already: use one of them"
            raise Rejected("too many topics", detail=detail)
        if len(streams) >= MOST_STREAMS:
            self._make_room(streams)
        stream: Fields = {"epoch": self._epoch(), "offset": 0, "first": 1, "at": 0, "expires": None}
        self._ledger.put(TABLE, topic, stream)
        return stream

    def _make_room(self, streams: Mapping[str, Fields]) -> None:
        empty = [(row["at"], topic) for topic, row in streams.items() if row["first"] > row["offset"]]
        if not empty:
            raise Rejected(
                "too many streams", detail=f"{MOST_STREAMS} topics have lines that are kept: use one of them"
            )
        self._ledger.delete(TABLE, min(empty)[1])

    def _epoch(self) -> str:
        return f"{self._random.getrandbits(40):010x}"

    # --- nonces: where a line with one would be. What is undone or trimmed stays in there, so each is looked up in the rows as well.

    def _earlier(self, topic: str, nonce: str) -> Fields | None:
        if topic not in self._ledger.rows(TABLE):
            return None
        offset = self._known(topic).get(nonce)
        row = self._ledger.rows(table_of(topic)).get(str(offset))
        return {"offset": offset, "at": row["at"]} if row is not None and row["nonce"] == nonce else None

    def _known(self, topic: str) -> dict[str, int]:
        loads, _ = self._ledger.version(TABLE)
        if loads != self._loads:
            self._loads = loads
            self._nonces.clear()
        known, rows = self._nonces.get(topic), self._ledger.rows(table_of(topic))
        if known is None or (len(known) > 2 * len(rows) + SLACK and not self._ledger.has_changed):
            known = {row["nonce"]: int(offset) for offset, row in rows.items() if row["nonce"] is not None}
            self._nonces[topic] = known
        return known


def table_of(topic: str) -> str:
    return f"$stream:{topic}"


def is_due(row: Fields, now: int) -> bool:
    """Whether ``sweep`` has something to do with this stream. ``now``: Unix ms."""
    if row["expires"] is None:
        return False
    seconds = row["expires"] + (ROW_SECONDS if row["first"] > row["offset"] else 0)
    return bool(row["at"] + seconds * 1000 <= now)


def shown(epoch: str, offset: int, row: Fields) -> Fields:
    """What clients get of a line."""
    stamp = {"id": offset, "at": row["at"]} if row.get("stamped") else {}
    return {**stamp, **row["payload"], "offset": offset, "epoch": epoch}


def check_line(event: str, payload: Any, stamped: bool = False) -> Fields:
    """A copy of the payload. Raises ValueError or Mismatch: the application's mistake."""
    if text(event).startswith(("phx_", "presence_")) or not event:
        raise ValueError(f"the event {event!r} is reserved")
    if isinstance(payload, bytes):
        raise ValueError(f"{event!r}: bytes can't be kept; send them with kept=False, or as text in an object")
    taken = {"offset", "epoch", *(("id", "at") if stamped else ())} & json_object(payload).keys()
    if taken:
        names = " and ".join(sorted(taken))
        raise ValueError(
            f"{event!r}: the cluster itself adds {names} to what is kept; call the payload's own otherwise"
        )
    return json_object(payload)


def _check_call(topic: str, lines: list[Line], keep: int, nonce: str | None, expires: float | None) -> None:
    _check_count("keep", keep, MOST_KEPT)
    _check_count("the number of lines", len(lines), MOST_LINES)
    if not 1 <= len(text(topic)) <= LONGEST_TOPIC or topic.split(":")[0] in ("game", "phoenix"):
        raise Mismatch(f"a topic of 1 to {LONGEST_TOPIC} characters that is not the cluster's own", repr(topic[:40]))
    if nonce is not None and len(text(nonce)) > LONGEST_NONCE:
        raise Mismatch(f"at most {LONGEST_NONCE} characters", str(len(nonce)), "nonce")
    if expires is not None and not (isinstance(expires, int | float) and 0 < expires <= 100 * 365 * DAY_SECONDS):
        raise Mismatch("seconds above 0, or None", repr(expires)[:40], "expire_seconds")


def _check_count(what: str, value: Any, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Mismatch("int", got(value), what)
    if not 1 <= value <= most:
        raise Mismatch(f"1 to {most}", str(value), what)
