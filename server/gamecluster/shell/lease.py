"""The Lease: the one small record, outside the pods, that says who holds the GameState. Its forms and its JSON.

Every write is one try, conditional on the version of the record that was read. What it raises tells what is known:

============== ========================================================================================================
LeaseConflict  The store said no: the Lease has another version, or there is none. Still no proof that *no* write of
               this node landed: read, decide anew.
LeaseUnanswered No answer, or one that leaves it open: the write may have landed, or land later.
LeaseUnreadable There is a Lease, but not one that can be understood. Somebody has to look.
============== ========================================================================================================
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec
from msgspec import Struct, field

from ..core.messages import Asleep, Incarnation, Record, boot_of, pod_of
from ..errors import GameClusterError
from ..settings import Settings

IN_SYNC = "gamecluster.dev/in-sync"
NEVER_HELD = "gamecluster.dev/never-held"
RESTORE = "gamecluster.dev/restore"
DEAD = "gamecluster.dev/dead"
ASLEEP = "gamecluster.dev/asleep"

OnRecord = Callable[[Record | None], None]


class LeaseError(GameClusterError):
    """The Lease could not be read or written."""


class LeaseConflict(LeaseError):
    """The store refused the write: it has another version of the Lease, or none."""


class LeaseUnanswered(LeaseError):
    """The store did not answer, or not so that anything is known of this request."""


class LeaseUnreadable(LeaseError):
    """What the store has is no Lease of a GameState."""


class Lease(Protocol):
    """Made and used within one event loop. Every call ends within about two seconds, but for ``watch``."""

    async def read(self) -> Record | None:
        """What the store says now (never a cache); None if there is no Lease. Raises LeaseUnanswered, LeaseUnreadable."""
        ...

    async def write(self, record: Record) -> int:
        """One try to replace version ``record.version``; returns the new version. Raises LeaseConflict, LeaseUnanswered."""
        ...

    async def watch(self, on_record: OnRecord) -> None:
        """Reads and reports the Lease at the start and whenever it has changed; endless. A burst may be reported once."""
        ...

    async def close(self) -> None: ...


def open_lease(settings: Settings) -> Lease:
    """The Lease that GAMECLUSTER_LEASE names; without one, a Lease in memory. Raises ConfigurationError."""
    kind, _, place = settings.lease.partition(":")
    match kind:
        case "file":
            from pathlib import Path

            from .lease_file import FileLease

            return FileLease(Path(place), settings.lease_duration_seconds)
        case "kubernetes":
            from .lease_kubernetes import KubernetesLease  # loads an HTTP client, which other nodes do without

            namespace, _, name = place.partition("/")
            return KubernetesLease(namespace, name, settings.lease_duration_seconds)
        case _:
            return MemoryLease()


class MemoryLease:
    """For a node that is alone by choice: vacant and never held at first, or ``begin``; gone with the process."""

    def __init__(self, begin: Record | None = None) -> None:
        self._record: Record | None = begin or Record(1, None, 0, (), never_held=True)
        self._changed = asyncio.Event()

    async def read(self) -> Record | None:
        return self._record

    async def write(self, record: Record) -> int:
        if self._record is None or self._record.version != record.version:
            raise LeaseConflict(f"the Lease has another version than {record.version}")
        self._record = msgspec.structs.replace(record, version=record.version + 1)
        self._changed.set()
        return self._record.version

    async def watch(self, on_record: OnRecord) -> None:
        while True:
            self._changed.clear()
            on_record(self._record)
            await self._changed.wait()

    async def close(self) -> None:
        return None


# --- the JSON of a Kubernetes Lease (coordination.k8s.io/v1), in a file too


class _Metadata(Struct):
    resourceVersion: str
    annotations: dict[str, str] | None = None


class _Spec(Struct):
    holderIdentity: str | None = None
    leaseTransitions: int | None = None


class _Document(Struct):
    metadata: _Metadata
    spec: _Spec | None = field(default_factory=_Spec)


def parse_document(document: Any) -> Record:
    """The record in a Lease's JSON object. Raises LeaseUnreadable, with what is wrong."""
    try:
        lease = msgspec.convert(document, _Document)
        spec, notes = lease.spec or _Spec(), lease.metadata.annotations or {}
        return Record(
            version=int(lease.metadata.resourceVersion),
            holder=_incarnation(spec.holderIdentity) if spec.holderIdentity else None,
            epoch=spec.leaseTransitions or 0,
            in_sync=_incarnations(notes.get(IN_SYNC, "")),
            never_held=notes.get(NEVER_HELD) == "true",
            restore=notes.get(RESTORE) == "true",
            dead=_incarnations(notes.get(DEAD, "")),
            asleep=_asleep(notes[ASLEEP]) if notes.get(ASLEEP) else None,
        )
    except (msgspec.ValidationError, ValueError) as error:
        raise LeaseUnreadable(f"the Lease can't be understood: {error}") from None


def patch_of(record: Record, duration_seconds: int, acquired: bool) -> dict[str, Any]:
    """JSON merge patch (RFC 7386) that makes a Lease say ``record`` and leaves alone all that is not ours.

    With the version in it, Kubernetes refuses it unless the Lease still has that version (409).
    ``acquired``: somebody begins to hold it. The times are for people; no decision rests on them.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec: dict[str, Any] = {
        "holderIdentity": record.holder,
        "leaseTransitions": record.epoch,
        "leaseDurationSeconds": duration_seconds,
        "renewTime": now if record.holder else None,
    }
    if acquired or not record.holder:
        spec["acquireTime"] = now if record.holder else None
    notes = {
        IN_SYNC: ",".join(record.in_sync),
        NEVER_HELD: "true" if record.never_held else None,
        RESTORE: "true" if record.restore else None,
        DEAD: ",".join(record.dead) or None,
        ASLEEP: f"{at.by}@{at.epoch}/{at.seq}" if (at := record.asleep) else None,
    }
    return {"metadata": {"resourceVersion": str(record.version), "annotations": notes}, "spec": spec}


def merge(target: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def _incarnations(text: str) -> tuple[Incarnation, ...]:
    return tuple(_incarnation(who.strip()) for who in text.split(",") if who.strip())


def _asleep(text: str) -> Asleep:
    """``<incarnation>@<epoch>/<seq>``."""
    by, _, place = text.rpartition("@")
    epoch, _, seq = place.partition("/")
    return Asleep(_incarnation(by), int(epoch), int(seq))


def _incarnation(text: str) -> Incarnation:
    who = Incarnation(text)
    try:
        boot_of(who)
    except (ValueError, IndexError):
        raise ValueError(f"{text!r} is no incarnation (<name>_<uid>_<boot>)") from None
    if "_" not in pod_of(who):
        raise ValueError(f"{text!r} is no incarnation (<name>_<uid>_<boot>)")
    return who
