"""Rule 9: what the operator does about the record when the pods don't. Pure; no I/O, no clock.

The pods take over from each other by themselves within a second. The operator steps in only when they did not for ten:

    holder                        in-sync set                               what is written
    alive, or record renewed      any                                       nothing
    failed, another leads already any                                       nothing (rule 10: it writes the record itself)
    failed 10 s, record unchanged one of it is alive and answers            that one as the holder, epoch + 1
    failed, or vacant             all certainly dead                        vacant, never held, epoch + 1000 (total loss)
    vacant after a deletion       one alive, all others certainly dead      that one as the holder, epoch + 1000
    failed                        none answers, not all certainly dead      nothing: unreachable is not dead

What counts as *certainly dead*, for an incarnation of the in-sync set:

1. A later boot answers in the same pod UID (the kubelet never runs two at once).
2. The kubelet says of that very pod that its container has ended, and this boot can't be a later one (a pod that was restarted
   k times has had at most k + 1 boots).
3. The pod's UID has been gone from the API, and the record unchanged, for longer than ``gone_seconds``. A pod object
   disappears when the kubelet has confirmed the end of its containers, when its Node object was deleted, or when somebody
   forced it, which Kubernetes defines as that person's word that the pod does not run. For the last two there is the wait:
   60 s, and at least twice the Lease's duration, which is what rule 11 asks of a restore: it counts from the last renewal,
   and so does the wait. A pod UID that has been gone for less is only a suspicion, and so is every pod that merely does not
   answer, is not ready, or failed by phase. The operator's own clock counts, from its own sight; an operator that starts
   anew begins to wait anew.

Every result is written on condition that the Lease still has the version of the record given here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .observed import ObservedPod
from .record import Incarnation, Record, boot_of, name_of, uid_of

GRACE_SECONDS = 10.0
GONE_SECONDS = 60.0
EPOCH_LEAP = 1000
"""Past every epoch that may have been promised without the record."""


@dataclass(frozen=True)
class TotalLoss:
    """The record to write when nobody is left who has every acknowledged move."""

    record: Record
    lost: tuple[Incarnation, ...]


def backstop(
    record: Record,
    pods: Sequence[ObservedPod],
    now: float,
    not_leading_since: float | None,
    gone_since: Mapping[str, float] | None = None,
    gone_seconds: float = GONE_SECONDS,
) -> Record | TotalLoss | None:
    """What to write instead of ``record``, if anything.

    ``not_leading_since``: when this very record (its version too) was first seen without its holder leading, in seconds of
    the same monotonic clock as ``now``; None while it leads. ``gone_since``: since when pod UIDs of the set are missing.
    """
    if record.never_held or not_leading_since is None or now - not_leading_since < GRACE_SECONDS:
        return None
    if record.holder is not None and is_alive(record.holder, pods):
        return None
    if leads_off_the_record(record, pods):
        return None
    gone = {uid for uid, since in (gone_since or {}).items() if now - max(since, not_leading_since) >= gone_seconds}
    dead = {member for member in record.in_sync if is_certainly_dead(member, pods, gone)}
    if record.in_sync and len(dead) == len(set(record.in_sync)):
        return TotalLoss(Record(record.version, None, _epoch(record, pods) + EPOCH_LEAP, (), True), record.in_sync)
    candidate = next((who for who in record.in_sync if who != record.holder and is_alive(who, pods)), None)
    if candidate is None:
        return None
    if record.holder is None:
        return _name_last_survivor(record, candidate, dead, pods)
    in_sync = tuple(who for who in record.in_sync if who != record.holder)
    return Record(record.version, candidate, _epoch(record, pods) + 1, in_sync)


def _name_last_survivor(
    record: Record, candidate: Incarnation, dead: set[Incarnation], pods: Sequence[ObservedPod]
) -> Record | None:
    """A Lease made anew has the set of the status, which may be older than the last one: only who is left of it alone may go on."""
    if any(who != candidate and who not in dead for who in record.in_sync):
        return None
    return Record(record.version, candidate, _epoch(record, pods) + EPOCH_LEAP, (candidate,))


def leads_off_the_record(record: Record, pods: Iterable[ObservedPod]) -> bool:
    """A pod was elected by the others while the API server was away, and will write that itself (rule 10)."""
    told = [pod.told for pod in pods if pod.told is not None]
    return any(t.leader == name_of(t.incarnation) and t.epoch > record.epoch for t in told)


def is_alive(who: Incarnation, pods: Iterable[ObservedPod]) -> bool:
    """It answers, in its own words, right now."""
    return any(pod.told is not None and pod.told.incarnation == who for pod in pods)


def is_certainly_dead(who: Incarnation, pods: Iterable[ObservedPod], gone: set[str]) -> bool:
    pod = next((pod for pod in pods if pod.uid == uid_of(who)), None)
    if pod is None:
        return uid_of(who) in gone
    if pod.told is not None and uid_of(pod.told.incarnation) == pod.uid:
        return boot_of(pod.told.incarnation) > boot_of(who)
    return pod.ended and boot_of(who) <= pod.restarts + 1


def _epoch(record: Record, pods: Iterable[ObservedPod]) -> int:
    return max([record.epoch, *(pod.told.epoch for pod in pods if pod.told is not None)])
