"""A large state on its way to one pod: in parts, a few in each turn of the loop, so that neither pod stands still for it.

| while parts are on their way   | then                                                                        |
| ------------------------------ | --------------------------------------------------------------------------- |
| a message for that pod         | waits behind them, so that it comes after the state                         |
| Hello, or a broadcast          | goes at once: it says how things are now, and nobody counts on their order  |
| the peer reads slowly          | no more is made than it has room for                                        |
| the link is lost               | all of it is dropped, on both sides                                         |

One that is not large is a message like any other: it is encoded, sent and read at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice

import msgspec
from msgspec import Raw, Struct

from ..core.messages import Fields, Hello, Install, Message, Position, Publish, Tables

LARGE = 50_000
"""Rows: some milliseconds to encode, and twice that to read."""
FEWEST_ROWS, MOST_ROWS = 16, 1024
PART_BYTES = 65_536
UNSENT_BYTES = 4 * 1_048_576
PARTS_OF_A_TURN = 1
PAUSE_SECONDS = 0.002
"""About as fast as a pod reads them: what waits in its socket is read in one turn of its loop."""

_encode = msgspec.msgpack.Encoder().encode


class InstallBegun(Struct, frozen=True, array_like=True, tag=6):
    epoch: int
    position: Position


class InstallRows(Struct, frozen=True, array_like=True, tag=7):
    table: str
    rows: dict[str, Fields]


class EncodedRows(Struct, frozen=True, array_like=True, tag=7):
    """InstallRows, as it is sent."""

    table: str
    rows: Raw


class InstallEnded(Struct, frozen=True, array_like=True, tag=8):
    pass


Part = InstallBegun | InstallRows | InstallEnded


def is_large(install: Install) -> bool:
    return sum(map(len, install.tables.values())) > LARGE


def parts(install: Install) -> Iterator[InstallBegun | EncodedRows | InstallEnded]:
    """Each has 64 KiB or so, or one row."""
    yield InstallBegun(install.epoch, install.position)
    for name, rows in install.tables.items():
        count, items = FEWEST_ROWS, iter(rows.items())
        some = dict(islice(items, count))
        while True:  # a table without rows is one, too
            longest = 0
            for encoded in _split(some):
                longest = max(longest, len(encoded))
                yield EncodedRows(name, Raw(encoded))
            count = min(MOST_ROWS, count * 2) if longest < PART_BYTES // 2 else max(1, count // 2)
            if not (some := dict(islice(items, count))):
                break
    yield InstallEnded()


def _split(rows: dict[str, Fields]) -> Iterator[bytes]:
    encoded = _encode(rows)
    if len(encoded) <= 4 * PART_BYTES or len(rows) == 1:
        yield encoded
    else:
        items = list(rows.items())
        yield from _split(dict(items[: len(items) // 2]))
        yield from _split(dict(items[len(items) // 2 :]))


class Outgoing:
    """``tell`` sends a part; ``unsent``: bytes that wait to be written; ``later`` calls after seconds; ``done`` sends what has waited."""

    def __init__(
        self,
        install: Install,
        tell: Callable[[InstallBegun | EncodedRows | InstallEnded], None],
        unsent: Callable[[], int],
        later: Callable[[float, Callable[[], None]], object],
        done: Callable[[deque[Message]], None],
    ) -> None:
        self._parts = parts(install)
        self._tell = tell
        self._unsent = unsent
        self._later = later
        self._done = done
        self._behind: deque[Message] = deque()
        self._is_over = False
        later(0.0, self._go_on)

    def takes(self, message: Message) -> bool:
        """It waits."""
        if isinstance(message, Hello | Publish):
            return False
        self._behind.append(message)
        return True

    def drop(self) -> None:
        self._is_over = True
        self._behind.clear()

    def _go_on(self) -> None:
        if self._is_over:
            return
        if self._unsent() < UNSENT_BYTES:
            for _ in range(PARTS_OF_A_TURN):
                part = next(self._parts, None)
                if part is None:
                    self._is_over = True
                    self._done(self._behind)
                    return
                self._tell(part)
        self._later(PAUSE_SECONDS, self._go_on)


class Incoming:
    """What has come on one link."""

    def __init__(self) -> None:
        self._begun: InstallBegun | None = None
        self._tables: Tables = {}

    def take(self, part: Part) -> Install | None:
        """The state, once it is whole."""
        match part:
            case InstallBegun():
                self._begun, self._tables = part, {}
            case InstallRows(table, rows):
                self._tables.setdefault(table, {}).update(rows)
            case InstallEnded() if self._begun is not None:
                whole = Install(self._begun.epoch, self._begun.position, self._tables)
                self._begun, self._tables = None, {}
                return whole
        return None
