"""State patches on their way to the clients: what is committed within one interval becomes one patch.

Time is cut into slots of 1/rate seconds, the first of which begins with the first patch after a quiet one.

| in a slot                     | what happens                                                              |
| ----------------------------- | ------------------------------------------------------------------------- |
| the first patch               | it is sent at once                                                        |
| any other                     | it waits, merged into what waits already, and is sent as the next one begins |
| a patch of another epoch      | what waits is sent at once; the new one waits                             |
| an event of the game          | what waits is sent at once, so that the event does not overtake it        |
| the whole state               | what waits is dropped: the state has it, or has replaced it               |

Nothing runs while nothing waits. A patch that is late by less than a slot does not make the next one late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from ..core.messages import Fields, Op, Position
from .timers import Timer

SendPatch = Callable[[Position, list[Op]], None]


class Clock(Protocol):
    """The event loop, as far as patches need it."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer: ...


class Merged:
    """Ops as one change: at most one deletion and one setting of fields for each key, in this order."""

    def __init__(self, ops: Iterable[Op] = ()) -> None:
        self._latest: dict[tuple[str, str], list[Fields | None]] = {}
        self.add(ops)

    def add(self, ops: Iterable[Op]) -> None:
        latest = self._latest
        for table, key, fields in ops:
            before = latest.get((table, key))
            if fields is None:
                latest[table, key] = [None]
            elif before is None:
                latest[table, key] = [fields]
            elif before[-1] is None:
                before.append(fields)
            else:
                before[-1] = {**before[-1], **fields}

    def ops(self) -> list[Op]:
        return [(table, key, fields) for (table, key), changes in self._latest.items() for fields in changes]


class Patches:
    """``rate``: patches a second at most, 0: each at once. ``send`` is given ``(position, ops)``, of one epoch each time."""

    def __init__(self, rate: int, clock: Clock, send: SendPatch) -> None:
        self._interval = 1 / rate if rate else 0.0
        self._clock = clock
        self._send = send
        self._next_slot = clock.time()
        self._waiting: Merged | None = None
        self._position = Position(0, 0)
        self._timer: Timer | None = None

    def add(self, position: Position, ops: list[Op]) -> None:
        """``position``: of the newest of ``ops``."""
        if not self._interval:
            self._send(position, ops)
            return
        if self._waiting is None and self._clock.time() >= self._next_slot:
            self._begin_slot()
            self._send(position, ops)
            return
        if self._waiting is not None and position.epoch != self._position.epoch:
            self.flush()
        if self._waiting is None:
            self._waiting = Merged()
            self._timer = self._clock.call_at(self._next_slot, self._due)
        self._waiting.add(ops)
        self._position = position

    def flush(self) -> None:
        """Sends what waits, if anything does."""
        waiting = self._waiting
        self.drop()
        if waiting is not None:
            self._send(self._position, waiting.ops())

    def drop(self) -> None:
        """Forgets what waits."""
        self._waiting = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        self._begin_slot()
        self.flush()

    def _begin_slot(self) -> None:
        now, end = self._clock.time(), self._next_slot + self._interval
        self._next_slot = end if end > now else now + self._interval
