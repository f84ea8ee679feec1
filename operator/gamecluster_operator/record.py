"""The record: who holds the GameState, since which epoch, and who has every acknowledged move. It is kept in the Lease."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import datetime
from typing import NewType

from .labels import IN_SYNC, NEVER_HELD, RESTORE, Object

Incarnation = NewType("Incarnation", str)
"""One life of one server process: ``<pod name>_<pod UID>_<boot number>``."""


@dataclass(frozen=True)
class Record:
    """``version``: the Lease's resourceVersion, on which every write is conditional. ``holder`` None: vacant. ``restore``: all that
    held the GameState were lost, and ``holder`` is to begin with what its storage has."""

    version: int
    holder: Incarnation | None
    epoch: int
    in_sync: tuple[Incarnation, ...]
    never_held: bool = False
    restore: bool = False


def name_of(who: Incarnation) -> str:
    return who.split("_", 1)[0]


def uid_of(who: Incarnation) -> str:
    parts = who.split("_")
    return parts[1] if len(parts) == 3 else ""


def boot_of(who: Incarnation) -> int:
    boot = who.rsplit("_", 1)[-1]
    return int(boot) if boot.isdigit() else 0


def ordinal_of(pod: str) -> int:
    ordinal = pod.rsplit("-", 1)[-1]
    return int(ordinal) if ordinal.isdigit() else -1


def read(lease: Object) -> Record:
    """What a Lease says."""
    meta, spec = lease["metadata"], lease.get("spec") or {}
    notes = meta.get("annotations") or {}
    return Record(
        version=int(meta.get("resourceVersion") or 0),
        holder=Incarnation(spec["holderIdentity"]) if spec.get("holderIdentity") else None,
        epoch=int(spec.get("leaseTransitions") or 0),
        in_sync=tuple(Incarnation(i.strip()) for i in (notes.get(IN_SYNC) or "").split(",") if i.strip()),
        never_held=notes.get(NEVER_HELD) == "true",
        restore=notes.get(RESTORE) == "true",
    )


def write(lease: Object, record: Record, at: datetime) -> Object:
    """The same Lease, saying ``record``; still with the resourceVersion that was read, so that its write is conditional."""
    changed = copy.deepcopy(lease)
    spec = changed.setdefault("spec", {})
    notes = dict(changed["metadata"].get("annotations") or {})
    notes.pop(NEVER_HELD, None)
    notes.pop(RESTORE, None)
    notes[IN_SYNC] = ",".join(record.in_sync)
    if record.never_held:
        notes[NEVER_HELD] = "true"
    if record.restore:
        notes[RESTORE] = "true"
    changed["metadata"]["annotations"] = notes
    spec["leaseTransitions"] = record.epoch
    for moment in ("holderIdentity", "acquireTime", "renewTime"):
        spec.pop(moment, None)
    if record.holder is not None:
        now = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec |= {"holderIdentity": record.holder, "acquireTime": now, "renewTime": now}
    return changed
