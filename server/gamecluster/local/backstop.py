"""Rule 9, played locally: what happens when a leader's process is gone and no other node takes over.

| record                  | who lives                     | after 10 s without the holder                    |
| ----------------------- | ----------------------------- | ------------------------------------------------ |
| never held              | any                           | nothing: the nodes claim it themselves           |
| held                    | the holder                    | nothing                                          |
| held                    | some other of the in-sync set | the first of them in the record's order is named |
| vacant after a deletion | one of the in-sync set        | that one is named, alone, epoch + 1000           |
| vacant after a deletion | several of the in-sync set    | nothing: they claim it together                  |
| any other               | none of the in-sync set       | what ``restore.py`` says of the storage; without |
|                         |                               | one: vacant, never held, epoch + 1000            |

Never is anyone named outside the in-sync set. The result is to be written on the very version that was judged.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..core.messages import Incarnation, Record
from .restore import is_undecided

GRACE_SECONDS = 10.0
EPOCH_LEAP = 1000
"""Past every epoch that could have been promised without being in the record."""


def holder_lives(record: Record, live: Mapping[str, Incarnation]) -> bool:
    return record.holder is not None and record.holder in live.values()


def backstop(
    record: Record, live: Mapping[str, Incarnation], leaderless_since: float | None, now: float
) -> Record | None:
    """The record that should replace ``record``, or None.

    ``live``: every running process' incarnation by node name; who is not in it is certainly dead: reaped by its parent.
    ``leaderless_since``: since when (same clock as ``now``) no holder of this record was alive.
    """
    if record.never_held or holder_lives(record, live):
        return None
    if leaderless_since is None or now - leaderless_since < GRACE_SECONDS:
        return None
    if is_undecided(record):  # of a cluster that had a storage, and has none any more
        return reset(record)
    alive = [member for member in record.in_sync if member in live.values()]
    if not alive:
        return reset(record) if record.in_sync else None
    if record.holder is None:
        return _name_last_survivor(record, alive)
    remaining = tuple(member for member in record.in_sync if member != record.holder)
    return msgspec.structs.replace(record, holder=alive[0], epoch=record.epoch + 1, in_sync=remaining)


def _name_last_survivor(record: Record, alive: list[Incarnation]) -> Record | None:
    """A Lease made anew may have an older set than the last one: only who is left of it alone may go on."""
    if len(alive) > 1:
        return None
    return msgspec.structs.replace(record, holder=alive[0], epoch=record.epoch + EPOCH_LEAP, in_sync=(alive[0],))


def is_total_loss(record: Record, live: Mapping[str, Incarnation]) -> bool:
    """Nobody lives who had every acknowledged move, or nobody has looked yet whether the storage has them."""
    if record.never_held or holder_lives(record, live):
        return False
    return is_undecided(record) or (bool(record.in_sync) and not any(m in live.values() for m in record.in_sync))


def reset(record: Record) -> Record:
    """A fresh start after a total loss: memory was the only storage."""
    return Record(record.version, None, record.epoch + EPOCH_LEAP, (), never_held=True)
