"""The record as it was before the Lease was lost: deleted, or its epoch lowered by hand (rule 12).

| knows                             | event                                   | then                                        |
| --------------------------------- | --------------------------------------- | ------------------------------------------- |
| the newest record with a holder   | a newer one                             | that one; writes on older ones are settled  |
|                                   | the record is lost                      | my unanswered writes stay: they may have landed |
| lost                              | Held: somebody knows a newer one        | that one                                    |
| lost                              | a promise, with that pod's open writes  | those whom they name are asked as well      |

Nobody can know whether the record had changed once more before it was lost. But the first change of the newest record that I know was
written by a member of its set, or named one, who then read it. So all of that set have to promise. Who knows a newer record says that
instead; who has sent a write and never heard of it says so with the promise. When nobody is left to be asked, no later record was
ever acted on: each member of the newest set holds all that was committed, and one of them goes on, with that set.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from .messages import Incarnation, Record


class Past:
    """``held``: the newest record with a holder that I know of. ``open``: those that I tried to write on it or after it."""

    def __init__(self) -> None:
        self.held: Record | None = None
        self.open: tuple[Record, ...] = ()
        self._promised: dict[Incarnation, tuple[Record, ...]] = {}

    def is_lost(self, record: Record) -> bool:
        """It does not follow from what was there: nobody leads by it before all of the last set have promised."""
        if record.holder is None and record.asleep is None:
            return not record.never_held
        held = self.held
        return held is not None and (
            record.epoch < held.epoch or (record.epoch == held.epoch and record.holder != held.holder)
        )

    def saw(self, record: Record, unanswered: Iterable[Record]) -> None:
        """``unanswered``: what I tried to write since ``held``, and do not know to have failed."""
        if self.is_lost(record):
            self._open([*self.open, *unanswered])
            for mine in self.open:
                if (mine.epoch, mine.in_sync) == (record.epoch, record.in_sync):
                    self.learn(replace(mine, version=mine.version + 1))  # the operator had seen it: it landed
        else:
            self.held = record if record.holder is not None else None
            self.open = ()

    def led(self, epoch: int, members: tuple[Incarnation, ...]) -> None:
        """I led off the record (rule 10): by the promises of all who were sealed, which counts as if it had been written."""
        if self.held is not None:
            self.held = replace(self.held, holder=members[0], epoch=epoch, in_sync=members)

    def newer_than(self, other: Record) -> Record | None:
        """What I know of the past, if whoever reclaims with ``other`` does not."""
        return self.held if self.held is not None and _order(self.held) > _order(other) else None

    def learn(self, record: Record) -> None:
        if self.held is None or _order(record) > _order(self.held):
            self.held = record
            self._open(self.open)

    # --- while I reclaim

    def ask_anew(self) -> None:
        self._promised.clear()

    def promised(self, peer: Incarnation, open: tuple[Record, ...]) -> None:
        self._promised[peer] = open

    def wanted(self) -> set[Incarnation]:
        """All whose promises are needed."""
        if self.held is None:
            return set()
        told = [self.open, *self._promised.values()]
        possible = [r for records in told for r in records if r.version >= self.held.version]
        return {m for r in (self.held, *possible) for m in r.in_sync}

    def missing(self, me: Incarnation) -> set[Incarnation]:
        return self.wanted() - self._promised.keys() - {me}

    def highest_epoch(self) -> int:
        """Of all that may have been written: who goes on begins above it."""
        told = [self.open, *self._promised.values()]
        return max([self.held.epoch if self.held else 0, *(r.epoch for records in told for r in records)])

    def _open(self, records: Iterable[Record]) -> None:
        since = self.held.version if self.held is not None else 0
        self.open = tuple(dict.fromkeys(r for r in records if r.version >= since))


def _order(record: Record) -> tuple[int, int]:
    return record.epoch, record.version
