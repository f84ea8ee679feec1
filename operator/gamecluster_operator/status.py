"""(cluster, what was observed) → the status and its conditions. Pure.

    condition        True when
    Ready            players can play: a leader leads and at least one pod takes connections
    Reconciling      something is on its way: pods start, end or are replaced; it becomes False by itself
    Stalled          nothing will get better until somebody changes something; the message says what
    LeaderElected    the pod that the Lease names is there and ready
    FullyReplicated  as many pods as the spec asks for hold every acknowledged move
    TotalLoss        all of them were lost at once, and nobody leads yet since. Absent if that never happened
    ScalingLimited   the load asks for more pods than autoscaling may make. Absent without autoscaling

``lastTransitionTime`` changes only when a condition's status does, and no message holds a number that changes by itself:
so a status that says nothing new is equal to the old one, and is not written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from . import labels as names
from .labels import Object
from .lease import LastKnown
from .observed import Failover, Observed, ObservedPod, Position
from .record import Asleep, Incarnation, Record, name_of
from .record import asleep as read_asleep
from .rollout import Progress, Stuck
from .spec import GameCluster, Problem

HIBERNATING, HIBERNATED = "Hibernating", "Hibernated"


@dataclass(frozen=True)
class Counters:
    """What changes all the time and is written seldom."""

    players: int
    connections: int


@dataclass(frozen=True)
class Situation:
    """What a reconciliation found and did, beside what can be seen of the objects. ``limited``: whether the load asks for more
    pods than autoscaling may make; None: it is not on. ``rollout``: how far the replacement of pods is, while there is one.
    ``missing``: of a game that slept, what was stored and is not there any more."""

    problem: Problem | None = None
    trouble: str | None = None
    waiting: str | None = None
    failover: Failover | None = None
    counters: Counters | None = None
    lost: tuple[Incarnation, ...] = ()
    restored: Position | None = None
    leading: bool = True
    limited: bool | None = None
    rollout: Progress | None = None
    missing: Asleep | None = None


def last_known(status: Object) -> LastKnown:
    """What the status remembers of the record, for a Lease that vanished."""
    epoch, state = status.get("epoch"), status.get("gameState") or {}
    members = tuple(Incarnation(str(who)) for who in state.get("inSync") or [])
    is_new, asleep = bool(state.get("neverHeld")), read_asleep(state.get("asleep"))
    return LastKnown(int(epoch) if epoch is not None else None, members, is_new, asleep)


def derive(
    name: str,
    generation: int,
    cluster: GameCluster | None,
    observed: Observed,
    previous: Object,
    situation: Situation,
    now: datetime,
) -> Object:
    """The whole status. ``cluster`` None: its spec can't be read. ``previous``: the status that is there."""
    record, leader = observed.record, _leader(observed, situation)
    pods, sleeps = observed.stateful_set, is_asleep(cluster, observed, situation)
    if sleeps:
        situation = replace(situation, counters=Counters(0, 0), failover=None)
    status: Object = {
        "observedGeneration": generation,
        "replicas": pods.existing if pods else 0,
        "readyReplicas": pods.ready if pods else 0,
        "selector": ",".join(f"{key}={value}" for key, value in names.selector(name).items()),
        "leader": name_of(record.holder) if record and record.holder and not sleeps else "",
        "inSync": _in_sync(record, previous) if not sleeps else [],
        "players": situation.counters.players if situation.counters else previous.get("players") or 0,
        "connections": situation.counters.connections if situation.counters else previous.get("connections") or 0,
    }
    status |= _remembered(record, previous)
    failover = _failover(situation.failover, now) if situation.failover else previous.get("lastFailover")
    if failover:
        status["lastFailover"] = failover
    wanted = cluster.game_state.replicas if cluster else 1
    conditions = [
        _hibernated(name, record, previous) if sleeps else _ready(leader, observed, situation, cluster),
        _reconciling(cluster, observed, situation),
        _stalled(situation),
        _leader_elected(leader, observed, situation, cluster, sleeps),
        _fully_replicated(min(wanted, cluster.replicas if cluster else 1), observed),
        *_total_loss(leader, cluster, previous, situation),
        *_scaling_limited(cluster, situation),
    ]
    status["conditions"] = [_dated(c, generation, previous, now) for c in conditions]
    return status


def is_asleep(cluster: GameCluster | None, observed: Observed, situation: Situation) -> bool:
    """It is to have no pods, and has none."""
    pods = observed.stateful_set
    if cluster is None or cluster.replicas > 0 or situation.problem is not None or pods is None:
        return False
    return pods.replicas == 0 and pods.settled and not observed.pods


def _in_sync(record: Record | None, previous: Object) -> list[str]:
    if record is None:
        return previous.get("inSync") or []
    return list(dict.fromkeys(name_of(who) for who in record.in_sync))


def condition(status: Object, type: str) -> Object | None:
    return next((c for c in status.get("conditions") or [] if c.get("type") == type), None)


def _remembered(record: Record | None, previous: Object) -> Object:
    """The newest record seen. A Lease that never had a holder is no past: the status then has no epoch."""
    kept: Object = {key: previous[key] for key in ("epoch", "gameState") if key in previous}
    if record is None or (record.holder is None and not record.in_sync and record.epoch == 0):
        return kept
    if record.epoch < int(previous.get("epoch") or 0):
        return kept
    state: Object = {"holder": record.holder or "", "inSync": list(record.in_sync)}
    if record.never_held:
        state["neverHeld"] = True
    if record.asleep is not None:
        state["asleep"] = str(record.asleep)
    return {"epoch": record.epoch, "gameState": state}


def _leader(observed: Observed, situation: Situation) -> ObservedPod | None:
    """The pod that the record names, if it is there, ready, and (as far as it was asked) leads."""
    record = observed.record
    if record is None or record.holder is None or not situation.leading:
        return None
    pod = observed.pod(name_of(record.holder))
    return pod if pod is not None and pod.ready and pod.uid in record.holder else None


Condition = tuple[str, bool, str, str]
"""Type, status, reason, message."""


def _ready(
    leader: ObservedPod | None, observed: Observed, situation: Situation, cluster: GameCluster | None
) -> Condition:
    ready = any(pod.ready for pod in observed.pods)
    if leader is not None and ready:
        return ("Ready", True, "Serving", f"{leader.name} leads and pods take connections")
    if situation.problem is not None:
        return ("Ready", False, situation.problem.reason, situation.problem.message)
    if cluster is not None and cluster.replicas == 0:
        return ("Ready", False, HIBERNATING, "it goes to sleep: moves are refused")
    if not observed.pods:
        return ("Ready", False, "NoPods", "there are no pods yet")
    if not ready:
        return ("Ready", False, "NoPodReady", "no pod is ready to take connections: see `kubectl describe pod`")
    return ("Ready", False, "NoLeader", "pods are ready but none leads: moves are refused until one does")


def _hibernated(name: str, record: Record | None, previous: Object) -> Condition:
    asleep = record.asleep if record is not None else last_known(previous).asleep
    if asleep is not None:
        end = f"up to entry {asleep.seq} of epoch {asleep.epoch}, by {name_of(asleep.by)}"
        stored = f"everything acknowledged is stored, {end}"
    elif record is not None and record.holder is not None:
        stored = (
            f"{name_of(record.holder)} went last, without its word that everything is stored, so at waking it is restored as "
            "after a total loss, from what there is"
        )
    else:
        stored = "nobody has led since it began, so there is nothing to store"
    wake = f"`kubectl scale gc/{name} --replicas=3` (or another number) wakes it"
    return ("Ready", False, HIBERNATED, f"it sleeps, for spec.replicas is 0: {stored}. {wake}")


def _reconciling(cluster: GameCluster | None, observed: Observed, situation: Situation) -> Condition:
    pods = observed.stateful_set
    if cluster is not None and cluster.paused:
        return ("Reconciling", False, "Paused", "spec.paused is true: its objects are left as they are")
    if situation.problem is not None:
        return ("Reconciling", False, "Stalled", "see the condition Stalled")
    if situation.trouble is not None:
        return ("Reconciling", True, "Retrying", situation.trouble)
    if is_asleep(cluster, observed, situation):
        return ("Reconciling", False, HIBERNATED, "there are no pods, as wanted")
    if cluster is not None and cluster.replicas == 0 and pods is not None:
        return ("Reconciling", True, HIBERNATING, situation.waiting or _going(observed))
    if situation.waiting is not None:
        return ("Reconciling", True, "Waiting", situation.waiting)
    if pods is None:
        return ("Reconciling", True, "Creating", "its objects are being created")
    rollout = situation.rollout
    if rollout is not None:
        return ("Reconciling", True, "RolloutStuck" if isinstance(rollout.step, Stuck) else "Updating", rollout.text)
    if not pods.settled:
        return ("Reconciling", True, "Updating", f"the StatefulSet is on its way to {pods.replicas} pods")
    if pods.ready < pods.replicas:
        return ("Reconciling", True, "PodsNotReady", f"{pods.ready} of {pods.replicas} pods are ready")
    return ("Reconciling", False, "Settled", f"all {pods.replicas} pods are ready and of the newest revision")


def _going(observed: Observed) -> str:
    there = ", ".join(pod.name for pod in observed.pods)
    if observed.record is not None and observed.record.asleep is not None:
        return f"everything is stored, and {there or 'the last pod'} ends"
    return f"{there or 'the last pod'} stores everything, and goes"


def _stalled(situation: Situation) -> Condition:
    if situation.problem is None:
        return ("Stalled", False, "Progressing", "nothing stands in the way")
    return ("Stalled", True, situation.problem.reason, situation.problem.message)


def _leader_elected(
    leader: ObservedPod | None, observed: Observed, situation: Situation, cluster: GameCluster | None, sleeps: bool
) -> Condition:
    record = observed.record
    if sleeps:
        return ("LeaderElected", False, HIBERNATED, "no pod leads while it sleeps")
    if leader is not None and record is not None:
        return ("LeaderElected", True, "Leading", f"{leader.name} leads at epoch {record.epoch}")
    if record is None:
        return ("LeaderElected", False, "NoLease", "the Lease of the GameState is not there yet")
    if cluster is not None and cluster.replicas == 0:
        return ("LeaderElected", False, HIBERNATING, "it goes to sleep, and no pod leads")
    if record.asleep is not None:
        last = f"{name_of(record.asleep.by)}, up to entry {record.asleep.seq} of epoch {record.asleep.epoch}"
        return ("LeaderElected", False, "Waking", f"waiting for a pod that has what was stored last: by {last}")
    if record.never_held:
        return ("LeaderElected", False, "NotYetHeld", "waiting for the first pod to take the GameState")
    if record.holder is None:
        members = ", ".join(name_of(who) for who in record.in_sync) or "the pod that led before"
        return (
            "LeaderElected",
            False,
            "Vacant",
            f"the Lease was deleted and made anew: waiting for {members} to reclaim it. If not all of them are left, the operator names "
            "the one with the longest log, once every pod answers or has certainly ended",
        )
    return (
        "LeaderElected",
        False,
        "LeaderLost",
        f"{name_of(record.holder)} held the GameState at epoch {record.epoch} and does not lead now: another in-sync pod takes over, "
        "or else is named by the operator",
    )


def _fully_replicated(wanted: int, observed: Observed) -> Condition:
    held = len(observed.record.in_sync) if observed.record else 0
    if wanted == 0:
        return ("FullyReplicated", True, HIBERNATED, "no pod is wanted, so none has to hold anything")
    if held >= wanted:
        return ("FullyReplicated", True, "InSync", f"{held} pods hold every acknowledged move")
    return ("FullyReplicated", False, "CatchingUp", f"{held} of {wanted} pods hold every acknowledged move")


def _total_loss(
    leader: ObservedPod | None, cluster: GameCluster | None, previous: Object, situation: Situation
) -> Sequence[Condition]:
    before = condition(previous, "TotalLoss")
    if situation.lost:
        lost = what_was_lost(situation.lost, situation.missing)
        if situation.restored:
            epoch, seq = situation.restored
            return [
                (
                    "TotalLoss",
                    True,
                    "Restored",
                    f"{lost}; restored from the storage, up to entry {seq} of epoch {epoch}",
                )
            ]
        return [("TotalLoss", True, "Reset", f"{lost}; {_why_reset(cluster)}, so the game begins anew")]
    if before is None:
        return []
    still = before["status"] == "True" and leader is None
    reason = "Restored" if before.get("reason") == "Restored" else "Reset" if still else "BegunAnew"
    return [("TotalLoss", still, reason, str(before["message"]))]


def _scaling_limited(cluster: GameCluster | None, situation: Situation) -> Sequence[Condition]:
    if cluster is None or cluster.autoscaling is None or situation.limited is None:
        return []
    if not situation.limited:
        return [("ScalingLimited", False, "WithinBounds", "autoscaling.maxReplicas is enough for the load")]
    allowed = f"the {cluster.autoscaling.max_replicas} that autoscaling.maxReplicas allows"
    return [("ScalingLimited", True, "TooManyReplicas", f"the load asks for more pods than {allowed}: raise it")]


def what_was_lost(lost: Sequence[Incarnation], missing: Asleep | None) -> str:
    if missing is not None:
        end = f"up to entry {missing.seq} of epoch {missing.epoch}"
        return f"what {name_of(missing.by)} had stored when the game went to sleep ({end}) is not there any more"
    pods = ", ".join(dict.fromkeys(name_of(who) for who in lost))
    return f"all pods that held the GameState were lost ({pods})"


def _why_reset(cluster: GameCluster | None) -> str:
    if cluster is None or cluster.storage.type == "Memory":
        return "storage is Memory"
    return "onTotalLoss is Reset" if cluster.game_state.on_total_loss == "Reset" else "nothing was stored"


def _failover(last: Failover, now: datetime) -> Object:
    facts = {"from": last.source, "to": last.target, "epoch": last.epoch, "reason": last.reason, "time": _text(now)}
    return facts | last.milliseconds()


def _dated(new: Condition, generation: int, previous: Object, now: datetime) -> dict[str, Any]:
    type, holds, reason, message = new
    word = "True" if holds else "False"
    before = condition(previous, type)
    same = before is not None and before.get("status") == word
    since = before["lastTransitionTime"] if before is not None and same else _text(now)
    return {
        "type": type,
        "status": word,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": since,
    }


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
