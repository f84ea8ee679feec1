"""Which of the operator's replicas works: it holds a Lease. Pure; no I/O, no clock.

    state     what is known                                          next
    standby   there is no Lease                                      Create
    standby   nobody holds it, or it has not changed for its time    Take
    standby   another holds it                                       Wait, and look again
    leading   renewed less than 5 s ago                              Wait
    leading   renewed less than 10 s ago                             Renew
    leading   another holds it, or not renewed for 10 s              Deposed, for good

How old a Lease is, is measured by the own clock from when this version of it was first seen: the times in it are for people.
A term counts from before its write was sent, and ends 5 s before anybody else may take the Lease.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import datetime

from . import labels as names
from .labels import Object

LEASE_NAME = "gamecluster-operator"
DURATION_SECONDS = 15
RENEW_SECONDS = 5.0
TERM_SECONDS = 10.0
LOOK_SECONDS = 1.0
"""A standby looks this often, and a leader tries again, so that a Lease that was given back is taken within as long."""


@dataclass(frozen=True)
class Create:
    pass


@dataclass(frozen=True)
class Take:
    """On condition that it is still the Lease that was seen. A renewal is one, too."""


@dataclass(frozen=True)
class Wait:
    seconds: float


@dataclass(frozen=True)
class Deposed:
    reason: str


Step = Create | Take | Wait | Deposed


class Election:
    """``identity``: of this process alone, not of its pod, whose earlier process may have held the Lease."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.lease: Object | None = None
        self._unchanged_since = float("-inf")
        self._term_since: float | None = None
        self._try_at = float("-inf")
        self._deposed: str | None = None

    def saw(self, lease: Object | None, now: float) -> None:
        """The Lease as it was read; None: there is none."""
        if _version(lease) != _version(self.lease):
            self._unchanged_since = now
        self.lease = lease
        if self._term_since is not None and lease is not None and _holder(lease) != self.identity:
            self._deposed = f"{_holder(lease) or 'nobody'} holds the Lease now"

    def won(self, lease: Object, sent_at: float, now: float) -> None:
        """A write was accepted, which left at ``sent_at``."""
        self.saw(lease, now)
        self._term_since, self._try_at = sent_at, sent_at + RENEW_SECONDS

    def failed(self, now: float) -> None:
        """A write was not, or nobody knows."""
        self._try_at = now + LOOK_SECONDS

    def leads(self, now: float) -> bool:
        """May this process still write?"""
        return self._deposed is None and self._term_since is not None and now < self._term_since + TERM_SECONDS

    def next(self, now: float) -> Step:
        if self._term_since is None:
            return self._standing_by(now)
        if self._deposed is None and not self.leads(now):
            self._deposed = f"the Lease could not be renewed for {TERM_SECONDS:.0f} s"
        if self._deposed is not None:
            return Deposed(self._deposed)
        if now < self._try_at:
            return Wait(min(self._try_at, self._term_since + TERM_SECONDS) - now)
        return Create() if self.lease is None else Take()

    def _standing_by(self, now: float) -> Step:
        if now < self._try_at:
            return Wait(self._try_at - now)
        if self.lease is None:
            return Create()
        free_at = self._unchanged_since + _duration(self.lease)
        if not _holder(self.lease) or now >= free_at:
            return Take()
        return Wait(min(LOOK_SECONDS, free_at - now))


def held(before: Object | None, namespace: str, identity: str, at: datetime) -> Object:
    """The Lease to write: made anew, taken over or renewed. With the version of ``before``, on which the write is conditional."""
    now = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    lease = copy.deepcopy(before) if before is not None else _new(namespace)
    spec = lease.setdefault("spec", {})
    if spec.get("holderIdentity") != identity:
        spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + (before is not None)
        spec["acquireTime"] = now
    return lease | {
        "spec": {**spec, "holderIdentity": identity, "leaseDurationSeconds": DURATION_SECONDS, "renewTime": now}
    }


def given_back(lease: Object) -> Object:
    """Held by nobody, so that the next one need not wait."""
    spec = {key: value for key, value in lease["spec"].items() if key not in ("holderIdentity", "renewTime")}
    return {**lease, "spec": spec}


def _new(namespace: str) -> Object:
    labels = {names.NAME: "gamecluster-operator", names.MANAGED_BY: names.FIELD_MANAGER, names.COMPONENT: "operator"}
    meta = {"name": LEASE_NAME, "namespace": namespace, "labels": labels}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": {}}


def _version(lease: Object | None) -> str:
    return str(lease["metadata"].get("resourceVersion")) if lease is not None else ""


def is_held_by(lease: Object | None, identity: str) -> bool:
    return lease is not None and _holder(lease) == identity


def _holder(lease: Object) -> str:
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


def _duration(lease: Object) -> float:
    return float((lease.get("spec") or {}).get("leaseDurationSeconds") or DURATION_SECONDS)
