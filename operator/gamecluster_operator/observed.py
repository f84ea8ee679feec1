"""What the API and the pods themselves showed of one cluster, parsed into values."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from . import labels as names
from . import record as records
from .labels import Object
from .record import Incarnation, Record


@dataclass(frozen=True)
class Failover:
    """The last change of leader, as the new leader tells it; older servers leave some of the times out.

    To detect: from the last sign of the old leader until it was suspected; to claim: until the record was written; to equalise:
    until all in sync had promised and held the same; the takeover: from the suspicion until the new one led; the first commit:
    from the suspicion too.
    """

    source: str
    target: str
    epoch: int
    reason: str
    detect_milliseconds: float | None = None
    takeover_milliseconds: float | None = None
    claim_milliseconds: float | None = None
    equalise_milliseconds: float | None = None
    first_commit_milliseconds: float | None = None

    def milliseconds(self) -> dict[str, int]:
        """Those that are known, by their names in the status."""
        times = {
            "detectMilliseconds": self.detect_milliseconds,
            "claimMilliseconds": self.claim_milliseconds,
            "equaliseMilliseconds": self.equalise_milliseconds,
            "takeoverMilliseconds": self.takeover_milliseconds,
            "firstCommitMilliseconds": self.first_commit_milliseconds,
        }
        return {name: round(value) for name, value in times.items() if value is not None}


STARTING = ("ContainerCreating", "PodInitializing")
"""Why a container waits that nothing is wrong with."""

Position = tuple[int, int]
"""Epoch and number of an entry: where what is stored ends."""


@dataclass(frozen=True)
class Telling:
    """What one pod says of itself and of the cluster (``GET /cluster`` of its admin port). ``stored`` None: nothing, if it knows.

    ``held``: the newest record with a holder that it has seen; ``last``: where its log ends; ``bound``: whom a seal binds it to;
    ``storage``: Memory, Unknown, Ready or Failing; ``loads``: the connections of each pod that it is in touch with.
    """

    incarnation: Incarnation
    leader: str | None = None
    epoch: int = 0
    status: str = ""
    in_sync: tuple[str, ...] = ()
    players: int = 0
    connections: int = 0
    last_failover: Failover | None = None
    stored: Position | None = None
    knows_stored: bool = False
    held: Record | None = None
    last: Position = (0, 0)
    bound: tuple[Incarnation, ...] = ()
    storage: str = ""
    loads: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class ObservedPod:
    """``running``: its server container has a process, as far as the kubelet has said; ``ended``: the kubelet says it has none;
    ``unplaced``: it has no node yet, so nothing of it has ever run; ``waiting``: why one of its containers can't start, as
    Kubernetes calls it; ``copies``: how many pods hold every acknowledged move when this one leads, if it says so."""

    name: str
    uid: str
    address: str = ""
    running: bool = False
    ended: bool = False
    unplaced: bool = False
    ready: bool = False
    deleting: bool = False
    grace_seconds: float = 30.0
    restarts: int = 0
    revision: str = ""
    waiting: str = ""
    copies: int | None = None
    role: str | None = None
    told: Telling | None = None

    @property
    def ordinal(self) -> int:
        return records.ordinal_of(self.name)


@dataclass(frozen=True)
class ObservedSet:
    """The StatefulSet. ``settled``: its controller has seen the last change, and there are as many pods as it says; ``revision``: what new
    pods are made of, "" until the controller has said it; ``deleting``: it makes no pods any more."""

    replicas: int
    existing: int
    ready: int
    settled: bool
    revision: str = ""
    deleting: bool = False


@dataclass(frozen=True)
class Observed:
    """One cluster, at one moment. ``objects``: the JSON of what belongs to it, by kind and name; ``strangers``: UIDs of pods that
    look like its own but are not (any more): those of an earlier GameCluster of this name, or of a deleted StatefulSet."""

    stateful_set: ObservedSet | None = None
    record: Record | None = None
    pods: tuple[ObservedPod, ...] = ()
    strangers: frozenset[str] = frozenset()
    admin_token: str | None = None
    objects: Mapping[tuple[str, str], Object] = field(default_factory=dict)

    def pod(self, name: str) -> ObservedPod | None:
        return next((pod for pod in self.pods if pod.name == name), None)

    def with_tellings(self, tellings: Mapping[str, Telling | None]) -> Observed:
        """``tellings`` by pod UID; pods that are not in it were not asked."""
        pods = tuple(replace(pod, told=tellings.get(pod.uid)) for pod in self.pods)
        return replace(self, pods=pods)


def observe(uid: str, name: str, objects: Iterable[Object]) -> Observed:
    """From all objects that carry the cluster's label; those that another owner controls are left out."""
    everything = list(objects)
    mine = {(o["kind"], o["metadata"]["name"]): o for o in everything if o["kind"] != "Pod" and is_owned(o, uid)}
    stateful_set, lease = mine.get(("StatefulSet", name)), mine.get(("Lease", names.lease_name(name)))
    ours, strangers = sort_pods(everything, stateful_set)
    secret = mine.get(("Secret", names.mesh_name(name)))
    return Observed(
        stateful_set=_set(stateful_set) if stateful_set else None,
        record=records.read(lease) if lease else None,
        pods=ours,
        strangers=strangers,
        admin_token=admin_token(secret) if secret else None,
        objects=mine,
    )


def sort_pods(objects: Iterable[Object], stateful_set: Object | None) -> tuple[tuple[ObservedPod, ...], frozenset[str]]:
    """Pods of the StatefulSet, and orphans that it would adopt, by ordinal; and the UIDs of all others."""
    set_uid = stateful_set["metadata"]["uid"] if stateful_set else ""
    found = [o for o in objects if o["kind"] == "Pod"]
    ours = [o for o in found if not o["metadata"].get("ownerReferences") or is_owned(o, set_uid)]
    strangers = frozenset(o["metadata"]["uid"] for o in found if o not in ours)
    return tuple(sorted((pod(o) for o in ours), key=lambda p: p.ordinal)), strangers


def is_owned(obj: Object, uid: str) -> bool:
    return any(owner.get("uid") == uid for owner in obj["metadata"].get("ownerReferences") or [])


def admin_token(secret: Object) -> str | None:
    try:
        return base64.b64decode((secret.get("data") or {})[names.ADMIN_TOKEN]).decode()
    except (KeyError, binascii.Error, UnicodeDecodeError):
        return None


def pod(obj: Object) -> ObservedPod:
    meta, status = obj["metadata"], obj.get("status") or {}
    container: Object = next((c for c in status.get("containerStatuses") or [] if c.get("name") == names.CONTAINER), {})
    state, last = container.get("state") or {}, container.get("lastState") or {}
    ended = "terminated" in state or ("waiting" in state and "terminated" in last)
    conditions = {c.get("type"): c.get("status") for c in status.get("conditions") or []}
    return ObservedPod(
        name=meta["name"],
        uid=meta["uid"],
        address=status.get("podIP") or "",
        running="running" in state,
        ended=ended,
        unplaced=conditions.get("PodScheduled") == "False",
        ready=conditions.get("Ready") == "True",
        deleting="deletionTimestamp" in meta,
        grace_seconds=float(meta.get("deletionGracePeriodSeconds") or 0),
        restarts=int(container.get("restartCount") or 0),
        revision=(meta.get("labels") or {}).get(names.REVISION) or "",
        waiting=_waiting(status),
        copies=_number((meta.get("annotations") or {}).get(names.COPIES)),
        role=(meta.get("labels") or {}).get(names.ROLE),
    )


def _waiting(status: Object) -> str:
    """Of the first container that can't start; those that are only starting don't count."""
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    reasons = [((c.get("state") or {}).get("waiting") or {}).get("reason") for c in containers]
    return next((str(reason) for reason in reasons if reason and reason not in STARTING), "")


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _set(obj: Object) -> ObservedSet:
    spec, status = obj["spec"], obj.get("status") or {}
    wanted = int(spec.get("replicas") or 0)
    seen = status.get("observedGeneration") == obj["metadata"].get("generation")
    return ObservedSet(
        replicas=wanted,
        existing=int(status.get("replicas") or 0),
        ready=int(status.get("readyReplicas") or 0),
        settled=seen and int(status.get("replicas") or 0) == wanted,
        revision=str(status.get("updateRevision") or "") if seen else "",
        deleting="deletionTimestamp" in obj["metadata"],
    )


def telling(answer: Any) -> Telling | None:
    """``GET /cluster`` parsed; None if it is not what a pod of ours says."""
    try:
        nodes = answer["nodes"]
        me = next(node for node in nodes if node["name"] == answer["self"])
        return Telling(
            incarnation=Incarnation(str(me["incarnation"])),
            leader=answer.get("leader"),
            epoch=int(answer.get("epoch") or 0),
            status=str(answer.get("status") or ""),
            in_sync=tuple(str(name) for name in answer.get("inSync") or ()),
            players=int(answer.get("players") or 0),
            connections=sum(int(node.get("connections") or 0) for node in nodes),
            last_failover=_failover(answer.get("lastFailover")),
            stored=(stored := _position(answer.get("stored"))),
            knows_stored=stored is not None or answer.get("storage") == "Ready",
            held=_held(answer.get("held")),
            last=_position(answer.get("last")) or (0, 0),
            bound=tuple(Incarnation(str(who)) for who in answer.get("bound") or ()),
            storage=str(answer.get("storage") or ""),
            loads=tuple(_load(node) for node in nodes if node.get("state") == "alive" and "connections" in node),
        )
    except (KeyError, TypeError, ValueError, StopIteration, AttributeError):
        return None


def _load(node: Any) -> tuple[str, int]:
    return str(node["name"]), int(node["connections"])


def _position(answer: Any) -> Position | None:
    return (int(answer["epoch"]), int(answer["seq"])) if isinstance(answer, dict) else None


def _held(answer: Any) -> Record | None:
    if not isinstance(answer, dict):
        return None
    in_sync = tuple(Incarnation(str(who)) for who in answer["inSync"])
    return Record(int(answer["version"]), Incarnation(str(answer["holder"])), int(answer["epoch"]), in_sync)


def _failover(answer: Any) -> Failover | None:
    if not isinstance(answer, dict) or not answer.get("to"):
        return None
    return Failover(
        source=str(answer.get("from") or ""),
        target=str(answer["to"]),
        epoch=int(answer.get("epoch") or 0),
        reason=str(answer.get("reason") or ""),
        detect_milliseconds=_milliseconds(answer.get("detectMilliseconds")),
        takeover_milliseconds=_milliseconds(answer.get("takeoverMilliseconds")),
        claim_milliseconds=_milliseconds(answer.get("claimMilliseconds")),
        equalise_milliseconds=_milliseconds(answer.get("equaliseMilliseconds")),
        first_commit_milliseconds=_milliseconds(answer.get("firstCommitMilliseconds")),
    )


def _milliseconds(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**53
    return float(value) if is_number else None
