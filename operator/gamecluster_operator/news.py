"""Kubernetes Events: what people read at the end of ``kubectl describe gc``. Pure.

An Event's name is made from what it says, so that saying it twice (after a crash, or by two operators) changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from . import labels as names
from .labels import Object
from .observed import Failover, ObservedPod, Position
from .record import Asleep, Incarnation, name_of
from .record import asleep as read_asleep
from .status import HIBERNATED, HIBERNATING, condition, what_was_lost

HANDED_OVER = "handed over by"
"""How a leader's account begins that did not take over: its predecessor lives and gave the GameState to it."""


@dataclass(frozen=True)
class News:
    """``once``: what makes this one different from others of its reason (an epoch, a generation)."""

    reason: str
    message: str
    once: str
    warning: bool = False


def created(replicas: int, image: str) -> News:
    return News("Created", f"created the StatefulSet, Services, Lease and Secret for {replicas} pods of {image}", "")


def adopted(uid: str) -> News:
    text = "took over the StatefulSet, its pods, Lease and Secret, which an earlier GameCluster left without an owner: play goes on"
    return News("Adopted", text, uid)


def scaled(before: int, after: int, generation: int) -> News:
    return News("Scaled", f"from {before} to {after} pods", f"{generation}/{before}/{after}")


def second_pod(going: ObservedPod) -> News:
    text = f"{going.name}, the only pod, goes: a second one takes the GameState over, and stays until the one in its place is ready"
    return News("SecondPod", text, going.uid)


def backstop_named(who: Incarnation, before: Incarnation | None, epoch: int) -> News:
    lost = name_of(before) if before else "nobody"
    text = f"{lost} holds the GameState but does not lead, and no pod took over: named {name_of(who)}, in sync, at epoch {epoch}"
    return News("BackstopNamed", text, str(epoch), warning=True)


def reclaimed(who: Incarnation, before: Incarnation | None, epoch: int) -> News:
    lost = "its epoch was lowered" if before else "it was deleted"
    text = (
        f"the Lease was lost ({lost}) and not all of the last in-sync set are left to reclaim it: named {name_of(who)}, which has "
        f"the longest log of those that are, at epoch {epoch}"
    )
    return News("BackstopNamed", text, str(epoch), warning=True)


def freed_from_seal(who: Incarnation, dead: tuple[Incarnation, ...]) -> News:
    ended = ", ".join(dict.fromkeys(name_of(member) for member in dead))
    text = (
        f"{name_of(who)} is bound by a seal, made while the API server was away, to pods that can't answer any more: wrote into the "
        f"Lease that {ended} as they were then have certainly ended"
    )
    return News("SealReleased", text, ",".join((who, *dead)), warning=True)


def total_loss(lost: tuple[Incarnation, ...], epoch: int, missing: Asleep | None = None) -> News:
    text = f"{what_was_lost(lost, missing)}: it begins anew, after epoch {epoch}, with an empty state"
    return News("TotalLoss", text, str(epoch), warning=True)


def restored(who: Incarnation, lost: tuple[Incarnation, ...], stored: Position, missing: Asleep | None = None) -> News:
    why = f"{what_was_lost(lost, missing)}: it" if lost else "the game"
    text = f"{why} goes on with what {name_of(who)} has in its storage, up to entry {stored[1]} of epoch {stored[0]}"
    return News("Restored", text, f"{stored[0]}/{stored[1]}/{who}", warning=bool(lost))


def hibernation(previous: Object, current: Object, generation: int) -> Iterator[News]:
    """Going to sleep, and asleep: each is told once."""
    before, now = _reasons(previous), _reasons(current)
    if HIBERNATING in now and not {HIBERNATING, HIBERNATED} & before:
        yield News(HIBERNATING, "spec.replicas is 0: everything is stored, then the last pod goes", str(generation))
    if HIBERNATED in now and HIBERNATED not in before:
        is_stored = "asleep" in (current.get("gameState") or {}) or not current.get("epoch")
        text = str((condition(current, "Ready") or {}).get("message"))
        yield News(HIBERNATED, text, f"{generation}/{current.get('epoch')}", warning=not is_stored)


def _reasons(status: Object) -> set[str]:
    found = (condition(status, type) for type in ("Ready", "Reconciling"))
    return {str(one["reason"]) for one in found if one is not None}


def lease_restored(epoch: int) -> News:
    text = f"the Lease was deleted: made it anew, vacant, at epoch {epoch}; the pod that led reclaims it"
    return News("LeaseRestored", text, str(epoch), warning=True)


def pod_freed(pod: str, uid: str) -> News:
    text = f"{pod} hangs on a lost node, is not in sync and can't harm: deleted it by force, so that it is replaced"
    return News("PodFreed", text, uid, warning=True)


def rollout_started(pods: int, revision: str, generation: int) -> News:
    which = "one pod" if pods == 1 else f"{pods} pods, one after another, the leader last,"
    return News("RolloutStarted", f"replacing {which} by revision {revision}", f"{revision}/{generation}")


def rollout_stuck(text: str, once: str) -> News:
    return News("RolloutStuck", text, once, warning=True)


def rollout_finished(revision: str, generation: int) -> News:
    return News("RolloutFinished", f"all pods are of revision {revision}", f"{revision}/{generation}")


def stalled(previous: Object, current: Object, generation: int) -> Iterator[News]:
    """What stands in the way, each time that it changes."""
    before, now = condition(previous, "Stalled"), condition(current, "Stalled")
    if now and now["status"] == "True" and (not before or before.get("message") != now["message"]):
        yield News(str(now["reason"]), str(now["message"]), f"{generation}/{now['message']}", warning=True)


def has_new_leader(previous: Object, current: Object) -> bool:
    return bool(current.get("leader")) and current.get("epoch") not in (None, previous.get("epoch"))


def is_accounted_for(current: Object) -> bool:
    """The new leader itself has said how it came to lead, and how long all of it took (older servers know less of that)."""
    last = current.get("lastFailover") or {}
    is_told = last.get("epoch") == current.get("epoch") and bool(last.get("reason"))
    return is_told and ("firstCommitMilliseconds" in last or "claimMilliseconds" not in last)


def leadership(previous: Object, current: Object, named_epoch: int | None) -> Iterator[News]:
    """The change of leader between two statuses. ``named_epoch``: in which the operator itself named the leader."""
    old, new = previous.get("epoch"), current.get("epoch")
    leader = current.get("leader")
    if not leader or new is None or new == old:
        return
    held_before = name_of(Incarnation((previous.get("gameState") or {}).get("holder") or ""))
    asleep = read_asleep((previous.get("gameState") or {}).get("asleep"))
    if asleep is not None:
        text = f"{leader} leads at epoch {new}, with everything up to entry {asleep.seq} of epoch {asleep.epoch}"
        yield News("Woken", text, str(new))
        return
    if not held_before:
        yield News("LeaderElected", f"{leader} leads at epoch {new}", str(new))
        return
    last = current.get("lastFailover") or {}
    text = f"{held_before} → {leader}, epoch {new}{account(last) if last.get('epoch') == new else ''}"
    if held_before == leader:
        return  # it leads on, in a newer epoch
    if new != named_epoch and is_hand_over(previous, current):
        yield News("HandedOver", text, str(new))
    else:
        yield News("Failover", text, str(new), warning=True)


def account(last: Object) -> str:
    """How long each part of a change of leader took, and why it was, as far as that is known."""
    parts = {
        "detectMilliseconds": "noticed in",
        "claimMilliseconds": "claimed in",
        "equaliseMilliseconds": "equalised in",
        "takeoverMilliseconds": "taken over in",
        "firstCommitMilliseconds": "first commit after",
    }
    if str(last.get("reason") or "").startswith(HANDED_OVER):
        left_out = {"detectMilliseconds", "claimMilliseconds", "equaliseMilliseconds"}  # nothing was to be noticed
    else:
        has_parts = "claimMilliseconds" in last and "equaliseMilliseconds" in last
        left_out = {"takeoverMilliseconds"} if has_parts else set()  # the sum of the others
    told = ", ".join(f"{word} {last[name]} ms" for name, word in parts.items() if name in last and name not in left_out)
    why = f" ({last['reason']})" if last.get("reason") else ""
    return (f": {told}" if told else "") + why


def is_hand_over(previous: Object, current: Object) -> bool:
    """As the new leader says; else by the record: one who hands over stays in the in-sync set, one who failed is out of it."""
    last = current.get("lastFailover") or {}
    if last.get("epoch") == current.get("epoch") and last.get("reason"):
        return str(last["reason"]).startswith(HANDED_OVER)
    holder = (previous.get("gameState") or {}).get("holder")
    return holder in ((current.get("gameState") or {}).get("inSync") or [])


def failover(previous: Object, leader: str | None, epoch: int, told: Failover | None) -> Failover | None:
    """The last change of leader, for the status; None when nothing changed since the one that is there. A game's beginning is none."""
    known = previous.get("lastFailover") or {}
    if told is not None and told.epoch == epoch:
        if not told.source:
            return None
        better = bool(told.milliseconds().keys() - known.keys())
        return told if known.get("epoch") != epoch or better else None
    holder = (previous.get("gameState") or {}).get("holder")
    if not leader or not holder or previous.get("epoch") in (None, epoch) or known.get("epoch") == epoch:
        return None
    return Failover(name_of(Incarnation(holder)), leader, epoch, "")


def event(body: Object, news: News, at: datetime) -> Object:
    """A core/v1 Event about a GameCluster."""
    meta = body["metadata"]
    digest = hashlib.sha256("\n".join((meta["uid"], news.reason, news.once)).encode()).hexdigest()[:16]
    moment = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    about = {"apiVersion": names.API_VERSION, "kind": "GameCluster", "name": meta["name"]}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{meta['name']}.{digest}", "namespace": meta["namespace"]},
        "involvedObject": about | {"namespace": meta["namespace"], "uid": meta["uid"]},
        "type": "Warning" if news.warning else "Normal",
        "reason": news.reason,
        "message": news.message[:1000],
        "source": {"component": names.FIELD_MANAGER},
        "reportingComponent": names.FIELD_MANAGER,
        "reportingInstance": names.FIELD_MANAGER,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }
