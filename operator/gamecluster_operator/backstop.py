"""Rules 9 and 12: what the operator does about the record when the pods don't. Pure; no I/O, no clock.

The pods take over from each other, and reclaim a lost Lease, by themselves within seconds. The operator steps in only when they
did not for ten:

    holder                        in-sync set                               what is written
    alive, or record renewed      any                                       nothing
    alive, but a seal binds it    of the sealed some certainly dead         the same, with those as dead
    failed, another leads already any                                       nothing (rule 10: it writes the record itself)
    failed 10 s, record unchanged one of it is alive and answers            that one as the holder, epoch + 1
    failed                        all certainly dead                        vacant, never held, epoch + 1000 (total loss)
    failed                        none answers, not all certainly dead      nothing: unreachable is not dead
    none: the game sleeps         any                                       nothing here: see ``restore``

The Lease is lost when it is vacant after a deletion, or does not follow from a record that was seen before it, for it was changed by
hand. Its own set comes from the status, and may be outdated. The last set is that of the newest record with a holder that any pod has
seen (``held``), or this operator. (Only if it has seen none itself since it started, and the Lease's epoch is above all that any pod
has heard of, it is the Lease's own.)

    all pods there are                   members of the last set, and the Lease's      what is written
    one of them says that it leads       any                                           nothing: it has not read the Lease yet
    one neither answers nor has ended    any                                           nothing: it may know a newer record
    all answer or have ended             one neither answers nor is certainly dead     nothing
                                         some of the last set alive                    of these the one with the longest log, epoch + 1000
                                         all of the last set certainly dead            vacant, never held, epoch + 1000 (total loss)

Why that is safe: each member of the last set has all that was committed, unless somebody acted on a later record of which no
living pod knows. Then whatever that one got acknowledged by the others is in a living log: it is the end of the longest, as logs
of one epoch are beginnings of each other and those of a later epoch have all that was committed before. What a pod acknowledged
quite alone, by a record that nobody else has read, died with it. So a log outside the set that ends in a later epoch than all of
the set's is proof of such a record: then nobody is named. The new epoch is above all that may have been promised, and whoever is
named leads only with the promises of all who live of that set.

With a name goes who of all these is certainly dead (``dead``): it counts like a death certificate, and so frees pods that a seal
binds to others which can't answer any more (rule 10).

What counts as *certainly dead*, for an incarnation:

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
from dataclasses import dataclass, replace

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
    idle_since: float | None,
    gone_since: Mapping[str, float] | None = None,
    gone_seconds: float = GONE_SECONDS,
    known: Record | None = None,
) -> Record | TotalLoss | None:
    """What to write instead of ``record``, if anything.

    ``idle_since``: when this very record (its version too) was first seen without its holder leading, or with a holder that a
    seal binds, in seconds of the same monotonic clock as ``now``; None while it leads unbound. ``gone_since``: since when pod
    UIDs of those who may count are missing. ``known``: the newest record with a holder that the operator has seen itself.
    """
    if record.never_held or idle_since is None or now - idle_since < GRACE_SECONDS:
        return None
    gone = {uid for uid, since in (gone_since or {}).items() if now - max(since, idle_since) >= gone_seconds}
    dead = tuple(who for who in members(record, pods, known) if is_certainly_dead(who, pods, gone))
    if is_lost(record, pods, known):
        return _after_loss(record, pods, dead, known)
    if record.asleep is not None:
        return None
    if record.holder is not None and is_alive(record.holder, pods):
        return _free_from_seal(record, pods, dead)
    return _after_failure(record, pods, dead)


def members(record: Record | None, pods: Iterable[ObservedPod], known: Record | None = None) -> tuple[Incarnation, ...]:
    """All whose life or death may matter: by the record, by older ones that were seen, by the seals that bind them."""
    tellings = [pod.told for pod in pods if pod.told is not None]
    records = [r for r in (record, known, *(told.held for told in tellings)) if r is not None]
    holders = [r.holder for r in records if r.holder is not None]
    named = [who for r in records for who in r.in_sync]
    return tuple(dict.fromkeys([*holders, *named, *(who for told in tellings for who in told.bound)]))


def newest_held(pods: Iterable[ObservedPod], known: Record | None = None) -> Record | None:
    held = [known, *(pod.told.held for pod in pods if pod.told is not None)]
    return max(filter(None, held), key=lambda record: (record.epoch, record.version), default=None)


def is_lost(record: Record, pods: Iterable[ObservedPod], known: Record | None = None) -> bool:
    """It does not follow from what was there: deleted and made anew, or changed by hand."""
    if record.holder is None and record.asleep is None:
        return not record.never_held
    newest = newest_held(pods, known)
    if newest is None or record.version <= newest.version:
        return False
    return record.epoch < newest.epoch or (record.epoch == newest.epoch and record.holder != newest.holder)


def _after_loss(
    record: Record, pods: Sequence[ObservedPod], dead: tuple[Incarnation, ...], known: Record | None
) -> Record | TotalLoss | None:
    last_set = _last_set(record, pods, known)
    last = {pod.told.incarnation: pod.told.last for pod in pods if pod.told is not None}
    if not _may_judge(record, pods, known) or not {*record.in_sync, *last_set} <= {*dead, *last}:
        return None
    epoch = max(_epoch(record, pods), known.epoch if known else 0)
    able = [who for who in last_set if who in last]
    if not able:
        return _total_loss(record, epoch, last_set)
    best = max(able, key=lambda who: last[who])
    if any(ends[0] > last[best][0] for ends in last.values()):
        return None
    in_sync = (best, *(who for who in able if who != best))
    return Record(record.version, best, epoch + EPOCH_LEAP, in_sync, dead=dead)


def _last_set(record: Record, pods: Sequence[ObservedPod], known: Record | None) -> tuple[Incarnation, ...]:
    newest = newest_held(pods, known)
    is_the_leases = newest is None or (known is None and bool(record.in_sync) and record.epoch > _highest(pods))
    return record.in_sync if newest is None or is_the_leases else newest.in_sync


def _may_judge(record: Record, pods: Sequence[ObservedPod], known: Record | None) -> bool:
    """All have said what they know, and nobody leads on."""
    newest = newest_held(pods, known) or record
    tellings = [pod.told for pod in pods if pod.told is not None]
    is_led = any(told.leader == name_of(told.incarnation) and told.epoch >= newest.epoch for told in tellings)
    return not is_led and all(pod.told is not None or pod.ended or pod.unplaced for pod in pods)


def _free_from_seal(record: Record, pods: Iterable[ObservedPod], dead: tuple[Incarnation, ...]) -> Record | None:
    bound = {who for pod in pods if pod.told and pod.told.incarnation == record.holder for who in pod.told.bound}
    if not bound & set(dead) - set(record.dead):
        return None
    return replace(record, dead=tuple(dict.fromkeys([*record.dead, *dead])))


def _after_failure(
    record: Record, pods: Sequence[ObservedPod], dead: tuple[Incarnation, ...]
) -> Record | TotalLoss | None:
    if leads_off_the_record(record, pods):
        return None
    if set(record.in_sync) <= set(dead):
        return _total_loss(record, _epoch(record, pods), record.in_sync)
    in_sync = tuple(who for who in record.in_sync if who != record.holder)
    candidate = next((who for who in in_sync if is_alive(who, pods)), None)
    if candidate is None:
        return None
    return Record(record.version, candidate, _epoch(record, pods) + 1, in_sync, dead=dead)


def _total_loss(record: Record, epoch: int, lost: tuple[Incarnation, ...]) -> TotalLoss | None:
    return TotalLoss(Record(record.version, None, epoch + EPOCH_LEAP, (), True), lost) if lost else None


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
    return max(record.epoch, _highest(pods))


def _highest(pods: Iterable[ObservedPod]) -> int:
    """Epoch, promised, held or logged by any pod."""
    told = [pod.told for pod in pods if pod.told is not None]
    return max((e for t in told for e in (t.epoch, t.last[0], t.held.epoch if t.held else 0)), default=0)
