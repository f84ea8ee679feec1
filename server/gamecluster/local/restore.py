"""With what a cluster begins whose GameState is in no pod's memory: at the start, or when all that had it are dead. Pure.

| what the nodes' storages hold                             | what is written                                             |
| --------------------------------------------------------- | ----------------------------------------------------------- |
| not all have said, for less than 30 s                     | nothing yet                                                 |
| something, and it is wanted                               | who has the most, alone, epoch + 1000, to be restored       |
| nothing, or it is not wanted                              | vacant, never held, epoch + 1000: a fresh start             |
| nothing so far, but a node that was in sync has not said  | nothing: it may have it                                     |

A game that sleeps begins with what its last node has stored, nothing less. Who has just that claims the Lease by itself; if nobody has
after 10 s, ``wake`` names one that has it, or, if the last node says that it is not there any more, does as above.

Epochs count from the highest that anybody knows or has stored: what is written from now on is newer than all that was.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ..core.messages import Incarnation, Position, Record, name_of

ASK_SECONDS = 30.0
WAKE_SECONDS = 10.0
EPOCH_LEAP = 1000


@dataclass(frozen=True)
class Shelf:
    """What one node says that its storage holds. ``known`` False: it has not found out yet, or can't."""

    known: bool
    stored: Position | None = None


def is_undecided(record: Record, held: Record | None) -> bool:
    """Of a cluster with a storage, before anybody has looked into it. ``held``: the newest that had a holder, as its nodes know."""
    is_new = record.never_held or record.asleep is not None
    return record.holder is None and not record.in_sync and not is_new and held is None


def begin(
    record: Record,
    shelves: Mapping[Incarnation, Shelf],
    expected: Collection[str],
    waited_seconds: float,
    restores: bool,
    above: int = 0,
) -> Record | None:
    """``shelves``: of all that live and have a storage. ``expected``: the names of all nodes that there should be. ``above``: the
    highest epoch that any node knows."""
    known = {who: shelf.stored for who, shelf in shelves.items() if shelf.known}
    missing = set(expected) - {name_of(who) for who in known}
    if not known or (missing and waited_seconds < ASK_SECONDS):
        return None
    held = {who: position for who, position in known.items() if position is not None}
    epoch = max([record.epoch, above, *(position.epoch for position in held.values())]) + EPOCH_LEAP
    if restores and held:
        richest = max(held, key=lambda who: (held[who], who in record.in_sync, who))
        return Record(record.version, richest, epoch, (richest,), restore=True)
    if restores and missing & {name_of(who) for who in record.in_sync}:
        return None
    return Record(record.version, None, epoch, (), never_held=True)


def wake(
    record: Record,
    shelves: Mapping[Incarnation, Shelf],
    expected: Collection[str],
    waited_seconds: float,
    restores: bool,
    above: int = 0,
    is_own: bool = True,
) -> Record | None:
    """The same for a record that says that the game sleeps. ``is_own``: each node has a storage of its own."""
    asleep = record.asleep
    if asleep is None or waited_seconds < WAKE_SECONDS:
        return None
    last = name_of(asleep.by)
    known = {
        who: shelf.stored for who, shelf in shelves.items() if shelf.known and (not is_own or name_of(who) == last)
    }
    heir = min((who for who, position in known.items() if position == asleep.position), default=None)
    if heir is not None:
        return Record(record.version, heir, max(record.epoch, above) + EPOCH_LEAP, (heir,), restore=True)
    return begin(record, shelves, expected, waited_seconds, restores, above) if known else None
