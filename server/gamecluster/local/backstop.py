"""Rules 9 and 12, played locally: what happens when a leader's process is gone, or the Lease is lost, and no node goes on.

A process that is not running is certainly dead: its parent has reaped it.

| record                  | who lives                     | after 10 s without the holder                                  |
| ----------------------- | ----------------------------- | -------------------------------------------------------------- |
| never held              | any                           | nothing: the nodes claim it themselves                         |
| held                    | the holder, and answers       | nothing; if a seal binds it to dead ones: the same, with those |
| held                    | one that leads already        | nothing (rule 10: it writes the record itself)                 |
| held                    | some other of the in-sync set | the first that answers, in the record's order, is named        |
| lost                    | one that says that it leads   | nothing: it has not read the Lease yet                         |
| lost                    | one that does not answer      | nothing: it may know a newer record                            |
| lost, and all answer    | some of the last set          | of these the one with the longest log is named, epoch + 1000   |
| any other               | none of the set               | what ``restore.py`` says of the storage; without               |
|                         |                               | one: vacant, never held, epoch + 1000                          |

Lost: vacant after a deletion, or changed by hand so that it does not follow from a record that was seen before it. The last set is that
of the newest record with a holder that any node has seen, or ``up`` itself (``known``); only if that has seen none, and the Lease's
epoch is above all that any node has heard of, it is the Lease's own. Why the longest log has all that was acknowledged, the operator's
backstop says. Never is anyone named outside that set. With a name goes who is dead (``dead``), which frees those whom a seal binds to
them (rule 10). The result is to be written on the very version that was judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from ..core.messages import Incarnation, Position, Record
from .restore import is_undecided

GRACE_SECONDS = 10.0
EPOCH_LEAP = 1000
"""Past every epoch that could have been promised without being in the record."""


@dataclass(frozen=True)
class Told:
    """What a node says of itself. ``held``: the newest record with a holder that it knows; ``bound``: whom a seal binds it to."""

    leads: bool = False
    epoch: int = 0
    held: Record | None = None
    last: Position = Position(0, 0)
    bound: tuple[Incarnation, ...] = ()


Tellings = Mapping[Incarnation, Told]


def leads(record: Record, told: Tellings) -> bool:
    """The holder says so, and can write the record."""
    says = told.get(record.holder) if record.holder else None
    return says is not None and says.leads and not says.bound


def backstop(
    record: Record,
    live: Mapping[str, Incarnation],
    told: Tellings,
    leaderless_since: float | None,
    now: float,
    known: Record | None = None,
) -> Record | None:
    """The record that should replace ``record``, or None.

    ``live``: every running process' incarnation by node name. ``told``: what those said that answer.
    ``leaderless_since``: since when (same clock as ``now``) no holder of this record leads. ``known``: the newest record with a
    holder that ``up`` has seen.
    """
    if record.never_held or leaderless_since is None or now - leaderless_since < GRACE_SECONDS:
        return None
    if is_undecided(record, newest_held(told, known)):  # of a cluster that had a storage, and has none any more
        return reset(record, told)
    dead = tuple(who for who in _members(record, told, known) if who not in live.values())
    if is_lost(record, told, known):
        return _after_loss(record, live, told, dead, known)
    if record.asleep is not None:  # who has stored what it says claims it; else see ``restore``
        return None
    if record.holder in told:
        return _free_from_seal(record, told, dead)
    if any(says.leads and says.epoch > record.epoch for says in told.values()):
        return None  # elected under a seal, and will write that itself (rule 10)
    if not set(record.in_sync) & set(live.values()):
        return reset(record, told) if record.in_sync else None
    return _after_failure(record, told, dead)


def newest_held(told: Tellings, known: Record | None = None) -> Record | None:
    held = [known, *(says.held for says in told.values())]
    return max(filter(None, held), key=lambda record: (record.epoch, record.version), default=None)


def is_lost(record: Record, told: Tellings, known: Record | None = None) -> bool:
    if record.holder is None and record.asleep is None:
        return not record.never_held
    newest = newest_held(told, known)
    if newest is None or record.version <= newest.version:
        return False
    return record.epoch < newest.epoch or (record.epoch == newest.epoch and record.holder != newest.holder)


def is_total_loss(record: Record, live: Mapping[str, Incarnation], told: Tellings, known: Record | None = None) -> bool:
    """Nobody lives who had every acknowledged move, or nobody has looked yet whether the storage has them."""
    if record.never_held:
        return False
    if is_undecided(record, newest_held(told, known)):
        return True
    if is_lost(record, told, known):
        lost = set(_last_set(record, told, known))
        return _may_judge(record, live, told, known) and bool(lost) and not told.keys() & lost
    return bool(record.in_sync) and not {record.holder, *record.in_sync} & set(live.values())


def highest_epoch(told: Tellings) -> int:
    """Promised, held or logged by anybody."""
    known = ((says.epoch, says.last.epoch, says.held.epoch if says.held else 0) for says in told.values())
    return max((epoch for epochs in known for epoch in epochs), default=0)


def reset(record: Record, told: Tellings | None = None) -> Record:
    """A fresh start after a total loss: memory was the only storage."""
    return Record(record.version, None, max(record.epoch, highest_epoch(told or {})) + EPOCH_LEAP, (), never_held=True)


def _after_loss(
    record: Record,
    live: Mapping[str, Incarnation],
    told: Tellings,
    dead: tuple[Incarnation, ...],
    known: Record | None,
) -> Record | None:
    above = max(record.epoch, known.epoch if known else 0)
    if is_total_loss(record, live, told, known):
        return reset(replace(record, epoch=above), told)
    able = [who for who in _last_set(record, told, known) if who in told]
    if not able or not _may_judge(record, live, told, known):
        return None
    best = max(able, key=lambda who: told[who].last)
    if any(says.last.epoch > told[best].last.epoch for says in told.values()):
        return None  # by a record that none of them knows: somebody else may have more
    epoch = max(above, highest_epoch(told)) + EPOCH_LEAP
    in_sync = (best, *(who for who in able if who != best))
    return Record(record.version, best, epoch, in_sync, dead=dead)


def _last_set(record: Record, told: Tellings, known: Record | None) -> tuple[Incarnation, ...]:
    newest = newest_held(told, known)
    is_the_leases = newest is None or (known is None and bool(record.in_sync) and record.epoch > highest_epoch(told))
    return record.in_sync if newest is None or is_the_leases else newest.in_sync


def _may_judge(record: Record, live: Mapping[str, Incarnation], told: Tellings, known: Record | None) -> bool:
    """All have said what they know, and nobody leads on."""
    newest = newest_held(told, known) or record
    is_led = any(says.leads and says.epoch >= newest.epoch for says in told.values())
    return not is_led and set(live.values()) <= told.keys()


def _after_failure(record: Record, told: Tellings, dead: tuple[Incarnation, ...]) -> Record | None:
    in_sync = tuple(who for who in record.in_sync if who != record.holder)
    named = next((who for who in in_sync if who in told), None)
    if named is None:
        return None
    epoch = max(record.epoch, highest_epoch(told)) + 1
    return Record(record.version, named, epoch, in_sync, dead=dead)


def _free_from_seal(record: Record, told: Tellings, dead: tuple[Incarnation, ...]) -> Record | None:
    says = told.get(record.holder) if record.holder else None
    if says is None or not set(says.bound) & set(dead) - set(record.dead):
        return None
    return replace(record, dead=tuple(dict.fromkeys([*record.dead, *dead])))


def _members(record: Record, told: Tellings, known: Record | None) -> tuple[Incarnation, ...]:
    """All whose death may matter."""
    records = [r for r in (record, known, *(says.held for says in told.values())) if r is not None]
    holders = [r.holder for r in records if r.holder is not None]
    named = [who for r in records for who in r.in_sync]
    return tuple(dict.fromkeys([*holders, *named, *(who for says in told.values() for who in says.bound)]))
