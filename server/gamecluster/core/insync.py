"""Who is to be in the in-sync set next, and who is to lead it after a hand-over. Pure functions of what a pod sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from .messages import Incarnation, Position, Record, name_of

STANDSTILL = 0.5
"""Of ``suspect_after``: who is in the set and has acknowledged nothing for as long stands still, and everybody waits for it.

Loops that are stalled for 200 ms now and then are no reason to have a copy less.
"""
FEWEST = 2
"""Copies that are kept though one of them stands still."""


@dataclass(frozen=True)
class Facts:
    """What a decision is based on, gathered by the node. ``now``: monotonic seconds."""

    now: float
    silence: Callable[[Incarnation], float]
    overdue: Callable[[Incarnation], float]
    """Seconds for which a peer has owed an acknowledgement and sent none, of those in which this pod's own loop ran."""
    reason: Callable[[Incarnation], str]
    heard_at: Callable[[Incarnation], float]
    linked: frozenset[Incarnation]
    draining: frozenset[Incarnation]
    has_promised: Callable[[Incarnation], bool]
    knows_sealed: Callable[[Incarnation], bool]
    is_caught_up: Callable[[Incarnation], bool]
    revision: Callable[[Incarnation], str]
    all_committed: bool
    closed: Position | None
    """Where the storage ends, if this pod has put all into it to go."""
    can_wake: bool
    """My storage holds what the record of a sleeping game says."""


def planned_set(
    record: Record,
    facts: Facts,
    me: Incarnation,
    leaving: bool,
    replicas: int,
    suspect_after: float,
    resting: frozenset[Incarnation] = frozenset(),
) -> list[Incarnation]:
    """Without the suspected (rule 3), with learners that hold everything (rule 4), those that leave last.

    ``me`` leads; ``leaving``: it is about to go itself. At most ``replicas`` that stay. Who stands still is left out early, and does not
    come back while it is ``resting``, unless that left fewer than ``FEWEST`` copies, or somebody waits for a replacement to go.
    """
    patience = _patience(record, facts, me, suspect_after)
    alive = [m for m in record.in_sync if m == me or facts.silence(m) <= patience]
    quick = [m for m in alive if m == me or not stands_still(m, facts, suspect_after)]
    if len(quick) >= FEWEST:
        alive = quick
    staying = [m for m in alive if m not in facts.draining and not (m == me and leaving)]
    waits = len(staying) < FEWEST or len(staying) < len(alive)
    candidates = sorted(
        m
        for m in facts.linked
        if m not in alive
        and m not in facts.draining
        and (waits or m not in resting)
        and facts.silence(m) <= suspect_after
        and not stands_still(m, facts, suspect_after)
        and facts.is_caught_up(m)
    )
    joining = candidates[: max(0, replicas - len(staying))]
    possible = len(facts.linked - facts.draining) + (0 if leaving else 1)
    if len(staying) + len(joining) >= min(replicas, possible):
        alive = [m for m in alive if m not in facts.draining or m == me]
    return alive + joining


def stands_still(member: Incarnation, facts: Facts, suspect_after: float) -> bool:
    return facts.overdue(member) > suspect_after * STANDSTILL


def successor_of(
    me: Incarnation, wanted: str | None, record: Record, facts: Facts, suspect_after: float
) -> Incarnation | None:
    """Of the set, by preference of another revision than mine; ``wanted``: only the pod of that name."""
    fit = [
        m
        for m in record.in_sync
        if m != me
        and m in facts.linked
        and m not in facts.draining
        and facts.silence(m) <= suspect_after
        and (wanted is None or name_of(m) == wanted)
    ]
    mine = facts.revision(me)
    return min(fit, key=lambda m: (facts.revision(m) == mine, record.in_sync.index(m)), default=None)


def _patience(record: Record, facts: Facts, me: Incarnation, suspect_after: float) -> float:
    """On the smaller side of a partition the leader waits longer, so that the larger side goes on (rule 5).

    Members cut off at the same moment do not become suspects at the same moment: half the time counts here, which is
    still several heartbeats.
    """
    silences = [facts.silence(m) for m in record.in_sync if m != me]
    heard = 1 + sum(1 for s in silences if s <= suspect_after / 2)
    silent = sum(1 for s in silences if suspect_after / 2 < s < inf)
    return suspect_after * (2.5 if silent > heard else 1.0)
