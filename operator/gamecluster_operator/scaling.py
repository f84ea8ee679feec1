"""How many pods to have right now, on the way to as many as are wanted. Pure.

Growing is done at once. Shrinking takes the highest ordinals away, so before that the GameState must be elsewhere:

    the leader goes, and keeps no copy but its own → remove it: only as it goes it takes in one that stays, if that is ready
    the leader goes           → ask it to hand over, and wait for at most HAND_OFF_SECONDS
    all of the in-sync go     → keep the lowest of them until a pod that stays is in sync, for at most REFILL_SECONDS

After that the pods are removed all the same: a pod hands over by itself when it is told to end, too.

None at all (hibernation): first all but one go, as above; then that one, which stores everything as it goes (rule 8). For that

    it has a process, and does not lead, or others are not gone  → wait
    its storage does not take what it is given                   → wait: what it holds may be nowhere else
    it leads, and its storage works                              → remove it
    no pod has a process, or nobody ever led                     → remove it: there is nothing to lose

One, of a game that is in memory only, needs a second one as long as the only one goes (a drain, ``kubectl delete pod``):

    there is one, it was told to end, and has a process          → a second one, to hand over to
    there are more, and the first is not there, or not ready     → one of the others stays
    the first is ready                                           → as for any other shrinking
"""

from __future__ import annotations

from dataclasses import dataclass

from .observed import ObservedPod, ObservedSet
from .record import Record, name_of, ordinal_of

HAND_OFF_SECONDS = 10.0
REFILL_SECONDS = 30.0


@dataclass(frozen=True)
class HandOff:
    """Ask the pod that leads; ``to``: a pod's name, None for its own choice."""

    leader: ObservedPod
    to: str | None


@dataclass(frozen=True)
class Plan:
    """``waiting``: why there are more pods than wanted, for the condition Reconciling."""

    replicas: int
    hand_off: HandOff | None = None
    waiting: str | None = None


def plan(
    wanted: int,
    current: int | None,
    record: Record | None,
    pods: tuple[ObservedPod, ...],
    shrinking_seconds: float,
    copies: int,
) -> Plan:
    """``shrinking_seconds``: for how long fewer pods have been wanted than there are; ``copies``: as many as the spec wants, for a
    leader that does not say how many it keeps."""
    if wanted == 0 and current:
        return _to_none(current, record, pods, shrinking_seconds, copies)
    if current is None or wanted >= current or record is None:
        return Plan(wanted)
    leader = next((p for p in pods if record.holder and p.name == name_of(record.holder)), None)
    in_sync = {ordinal_of(name_of(who)) for who in record.in_sync}
    stay = sorted(ordinal for ordinal in in_sync if ordinal < wanted)
    keeps_no_other = leader is not None and in_sync == {leader.ordinal} and (leader.copies or copies) == 1
    if keeps_no_other and not stay and any(p.ordinal < wanted and p.ready and not p.deleting for p in pods):
        return Plan(wanted)
    if leader and leader.ordinal >= wanted and leader.running and shrinking_seconds < HAND_OFF_SECONDS:
        to = next((p.name for o in stay for p in pods if p.ordinal == o and p.ready and not p.deleting), None)
        waiting = f"{leader.name} is asked to hand the GameState over to {to or 'another pod'} before it is removed"
        return Plan(current, HandOff(leader, to), waiting)
    if in_sync and not stay and any(p.running for p in pods) and shrinking_seconds < REFILL_SECONDS:
        kept = min(in_sync)
        return Plan(max(wanted, min(current, kept + 1)), None, f"pod {kept} stays until one below {wanted} is in sync")
    return Plan(wanted)


def needs_second(current: ObservedSet | None, pods: tuple[ObservedPod, ...]) -> bool:
    """Whether a game that is to have one pod, and nothing but its memory, is to have two right now."""
    if current is None or current.deleting or not current.replicas:
        return False
    if current.replicas == 1:
        return only_one_going(pods) is not None
    first = next((pod for pod in pods if pod.ordinal == 0), None)
    return first is None or first.deleting or not first.ready


def only_one_going(pods: tuple[ObservedPod, ...]) -> ObservedPod | None:
    """The pod that has a process, if every pod there is was told to end."""
    return next((pod for pod in pods if pod.running), None) if all(pod.deleting for pod in pods) else None


def _to_none(
    current: int, record: Record | None, pods: tuple[ObservedPod, ...], shrinking_seconds: float, copies: int
) -> Plan:
    running = [pod for pod in pods if pod.running]
    if not running or record is None or (record.holder is None and not record.in_sync):
        return Plan(0)
    if record.holder is None:
        return Plan(current, None, "the Lease was lost: all pods stay until one of them leads")
    if current > 1:
        fewer = plan(1, current, record, pods, shrinking_seconds, copies)
        return Plan(fewer.replicas, fewer.hand_off, fewer.waiting or "all pods but one go first")
    if len(pods) > 1:
        return Plan(current, None, f"waiting for the end of {', '.join(pod.name for pod in pods[1:])}")
    last = pods[0]
    told = last.told
    if told is None or told.incarnation != record.holder or told.leader != last.name:
        return Plan(current, None, f"{last.name} stays until it leads: only a leader knows what is to be stored")
    if told.storage != "Ready":
        return Plan(current, None, f"{last.name} stays until its storage takes what it holds (it is {told.storage})")
    return Plan(0)
