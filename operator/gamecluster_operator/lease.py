"""With what a Lease that is not there is created (rule 12). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .backstop import newest_held
from .observed import ObservedPod
from .record import Asleep, Incarnation, name_of


@dataclass(frozen=True)
class LastKnown:
    """The record as the status has it. ``epoch`` None: this cluster never had a leader, as far as the operator has seen."""

    epoch: int | None
    in_sync: tuple[Incarnation, ...]
    never_held: bool = False
    """The newest Lease that was seen let any pod begin (after a total loss)."""
    asleep: Asleep | None = None
    """The newest Lease that was seen said that the game sleeps."""


@dataclass(frozen=True)
class NewLease:
    epoch: int
    in_sync: tuple[Incarnation, ...]
    never_held: bool
    asleep: Asleep | None = None


def new_lease(known: LastKnown, pods: Sequence[ObservedPod]) -> NewLease | None:
    """None: wait. A Lease that vanished comes back vacant, as the status knows it, and its incumbent claims it.

    "Never held" lets any pod begin with an empty state, so it is said only of a cluster that has no past: none in the status, and
    none in its pods. (The operator may have been away when the first leader was elected and the Lease deleted, so a pod that runs
    but does not answer is reason to wait.) A game that sleeps has a past, but none in its pods: it sleeps on.
    """
    told = [pod.told for pod in pods if pod.told is not None]
    highest = max((telling.epoch for telling in told), default=0)
    if known.epoch is not None and not known.never_held and known.asleep is None:
        return NewLease(max(known.epoch, highest), known.in_sync, never_held=False)
    begun = known.epoch or 0
    newest = newest_held(pods)
    if newest is not None and newest.epoch > begun:  # all of its set, those too that do not answer now
        return NewLease(max(highest, newest.epoch), newest.in_sync, never_held=False)
    if highest > begun:
        members = {name for telling in told if telling.epoch == highest for name in telling.in_sync}
        in_sync = tuple(t.incarnation for t in told if name_of(t.incarnation) in members)
        return NewLease(highest, in_sync, never_held=False) if in_sync else None
    if all(pod.told is not None or not pod.running for pod in pods):
        return NewLease(begun, (), known.asleep is None, known.asleep)
    return None
