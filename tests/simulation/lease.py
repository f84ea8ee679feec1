"""The Lease: a real compare-and-swap, behind an API whose answers are late, lost, doubled or wrong.

What may become of a write (``Fate``) is all that has been seen of Kubernetes clients: no answer though it landed, no answer
and it lands afterwards, a 409 caused by one's own first try, a 500 without effect. Reads are linearizable, but their answers
may arrive late and overtake each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from random import Random
from typing import Any, Protocol

from msgspec.structs import replace

from gamecluster.core.events import (
    RecordConflicted,
    RecordRead,
    RecordReadFailed,
    RecordUnanswered,
    RecordWritten,
)
from gamecluster.core.messages import Incarnation, Record

Answer = RecordRead | RecordReadFailed | RecordWritten | RecordConflicted | RecordUnanswered
Tell = Callable[[Answer], None]

VACANT = Record(version=1, holder=None, epoch=0, in_sync=(), never_held=True)


class Clock(Protocol):
    now: float

    def at(self, when: float, do: Callable[..., None], *args: Any) -> None: ...


class Store:
    """The Lease itself. Versions grow by more than one, as a cluster's do."""

    def __init__(self, record: Record = VACANT) -> None:
        self.record = record
        self.deleted = False

    def write(self, wanted: Record, step: int = 1) -> int | None:
        """The new version, or None: somebody else has written since ``wanted.version``."""
        if self.deleted or wanted.version != self.record.version:
            return None
        self.record = replace(wanted, version=wanted.version + step)
        return self.record.version


class Fate(StrEnum):
    fine = "fine"
    refused = "500"  # not applied
    unanswered = "answer lost"
    late = "lands after the time-out"
    repeated = "landed, repeated, 409"


_ODD = (Fate.refused, Fate.unanswered, Fate.late, Fate.repeated, Fate.repeated)


class Write:
    """One write on its way. ``writer`` may be dead before it lands."""

    __slots__ = ("record", "request", "tell", "writer")

    def __init__(self, writer: Incarnation, request: int, record: Record, tell: Tell) -> None:
        self.writer, self.request, self.record, self.tell = writer, request, record, tell


class LeaseApi:
    """``flaky``: share of requests with an odd fate; ``slow``: seconds that each way may take; ``away_until``: nobody answers."""

    def __init__(
        self, clock: Clock, random: Random, landed: Callable[[Incarnation, Record, Record], None], flaky: float
    ) -> None:
        self.store = Store()
        self.flaky = flaky
        self.slow = 0.005
        self.timeout = 1.0
        self.away_until = 0.0
        self.unreachable_for: Counter[Incarnation] = Counter()
        self.writes = 0
        self._clock = clock
        self._random = random
        self._landed = landed
        self._in_flight: dict[int, Write] = {}
        self._count = 0
        self.lost: Record | None = (
            None  # what the Lease said before somebody deleted or lowered it, until it is held again
        )
        self._history: list[tuple[float, Record]] = []
        self._told = 0  # the newest version that anybody was told of

    @property
    def record(self) -> Record:
        return self.store.record

    def possible_sets(self) -> list[tuple[Incarnation, ...]]:
        """The set in force, and those of writes on their way that can still land."""
        version = self.record.version
        sets = {
            self.lost.in_sync if self.lost else self.record.in_sync,
            *(w.record.in_sync for w in self._in_flight.values() if w.record.version == version),
        }
        return sorted(members for members in sets if members)

    def read(self, reader: Incarnation, tell: Tell) -> None:
        random, now = self._random, self._clock.now
        if now < self.away_until or self.unreachable_for[reader] or random.random() < self.flaky / 2:
            self._clock.at(now + self.timeout * random.uniform(0.2, 1.0), tell, RecordReadFailed("timeout"))
        else:
            self._clock.at(now + self._way(), self._read, tell)

    def _read(self, tell: Tell) -> None:
        record = None if self.store.deleted else self.record
        self._told = record.version if record else self._told
        self._clock.at(self._clock.now + self._way(), tell, RecordRead(record))

    def write(self, writer: Incarnation, request: int, record: Record, tell: Tell) -> None:
        self._count += 1
        write = self._in_flight[self._count] = Write(writer, request, record, tell)
        now, random = self._clock.now, self._random
        fate = random.choice(_ODD) if random.random() < self.flaky else Fate.fine
        if now < self.away_until or self.unreachable_for[writer]:
            fate = random.choice((Fate.late, Fate.refused))
        if fate is Fate.late:
            self._clock.at(now + self.timeout, tell, RecordUnanswered(request, "timeout"))
            when = max(now + self.timeout, self.away_until) + random.uniform(0.0, 1.5)
        else:
            when = now + self._way()
        self._clock.at(when, self._apply, self._count, write, fate)

    def _apply(self, number: int, write: Write, fate: Fate) -> None:
        del self._in_flight[number]
        now, request = self._clock.now, write.request
        if fate is Fate.refused:
            self._clock.at(now + self._way(), write.tell, RecordUnanswered(request, "500"))
            return
        before = self.record
        version = self.store.write(write.record, self._random.randint(1, 9))
        if version is not None:
            self.writes += 1
            before, self.lost = self.lost or before, None
            self._history.append((now, self.record))
            self._landed(write.writer, before, self.record)
        match fate:
            case Fate.late:
                return
            case Fate.unanswered:
                self._clock.at(now + self.timeout, write.tell, RecordUnanswered(request, "timeout"))
            case Fate.repeated:
                self._clock.at(now + 0.1 + self._way(), write.tell, RecordConflicted(request))
            case _:
                answer = RecordConflicted(request) if version is None else RecordWritten(request, version)
                self._told = version or self._told
                self._clock.at(now + self._way(), write.tell, answer)

    def delete(self) -> bool:
        """Somebody deletes the Lease, if it is there and was ever held."""
        if self.store.deleted or self.record.holder is None:
            return False
        self.store.deleted = True
        self.lost = self.lost or self.record
        return True

    def recreate(self) -> None:
        """What the operator does then (rule 12): a Lease without a holder, with what it saw last, which may be outdated."""
        self.store.deleted = False
        looked = self._clock.now - self._random.choice((0.0, 0.0, self._random.uniform(0.0, 3.0)))
        known = [record for at, record in self._history if at <= looked] or [self._history[0][1]]
        self.store.record = Record(self._next_version(), None, known[-1].epoch, known[-1].in_sync)

    def create(self, record: Record) -> None:
        """By the operator, if it is not there."""
        if self.store.deleted:
            self.store.deleted = False
            self.store.record = replace(record, version=self._next_version())

    def write_by_hand(self, epoch: int) -> None:
        """What docs/operator.md tells somebody to do who knows which set was the last, when nobody else does."""
        if self.lost is not None and not self.store.deleted:
            self.store.record = Record(self._next_version(), None, epoch, self.lost.in_sync)

    def lower(self) -> bool:
        """Somebody lowers the epoch by hand. What nobody was told of was in no force, and nobody can tell that it was undone."""
        if self.store.deleted or self.record.holder is None or self.record.epoch < 2:
            return False
        told = [record for _, record in self._history if record.version <= self._told]
        self.lost = self.lost or (told[-1] if told else self.record)
        self.store.record = replace(
            self.record, version=self._next_version(), epoch=self._random.randrange(1, self.record.epoch)
        )
        return True

    def _next_version(self) -> int:
        return self.record.version + self._random.randint(1, 9)

    def _way(self) -> float:
        return self.slow * self._random.uniform(0.2, 1.0)
