"""The record: who holds the GameState, since which epoch, and who has every acknowledged move. It is kept in the Lease."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import datetime
from typing import NewType

from .labels import ASLEEP, DEAD, IN_SYNC, NEVER_HELD, RESTORE, Object

Incarnation = NewType("Incarnation", str)
"""One life of one server process: ``<pod name>_<pod UID>_<boot number>``."""


@dataclass(frozen=True)
class Asleep:
    """The last word of the pod that led last: all that was acknowledged is in the storage, which ends there, and no pod holds it."""

    by: Incarnation
    epoch: int
    seq: int

    @property
    def position(self) -> tuple[int, int]:
        return self.epoch, self.seq

    def __str__(self) -> str:
        return f"{self.by}@{self.epoch}/{self.seq}"


@dataclass(frozen=True)
class Record:
    """``version``: the Lease's resourceVersion, on which every write is conditional. ``holder`` None: vacant. ``restore``: all that
    held the GameState were lost, or all have gone, and ``holder`` is to begin with what its storage has. ``dead``: these have
    certainly ended. ``asleep``: of a vacant one; who has stored just that claims it."""

    version: int
    holder: Incarnation | None
    epoch: int
    in_sync: tuple[Incarnation, ...]
    never_held: bool = False
    restore: bool = False
    dead: tuple[Incarnation, ...] = ()
    asleep: Asleep | None = None


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
        in_sync=_incarnations(notes.get(IN_SYNC)),
        never_held=notes.get(NEVER_HELD) == "true",
        restore=notes.get(RESTORE) == "true",
        dead=_incarnations(notes.get(DEAD)),
        asleep=asleep(notes.get(ASLEEP)),
    )


def asleep(text: str | None) -> Asleep | None:
    """``<incarnation>@<epoch>/<seq>``; None if it is not that."""
    by, _, place = (text or "").rpartition("@")
    epoch, _, seq = place.partition("/")
    return Asleep(Incarnation(by), int(epoch), int(seq)) if by and epoch.isdigit() and seq.isdigit() else None


def write(lease: Object, record: Record, at: datetime) -> Object:
    """The same Lease, saying ``record``; still with the resourceVersion that was read, so that its write is conditional."""
    changed = copy.deepcopy(lease)
    spec = changed.setdefault("spec", {})
    notes = dict(changed["metadata"].get("annotations") or {})
    for note in (NEVER_HELD, RESTORE, DEAD, ASLEEP):
        notes.pop(note, None)
    notes[IN_SYNC] = ",".join(record.in_sync)
    if record.never_held:
        notes[NEVER_HELD] = "true"
    if record.restore:
        notes[RESTORE] = "true"
    if record.dead:
        notes[DEAD] = ",".join(record.dead)
    if record.asleep:
        notes[ASLEEP] = str(record.asleep)
    changed["metadata"]["annotations"] = notes
    if record.holder is None or record.holder != spec.get("holderIdentity"):
        _begin(spec, record.holder, at)
    spec["leaseTransitions"] = record.epoch
    return changed


def _begin(spec: Object, holder: Incarnation | None, at: datetime) -> None:
    """The times are for people: who holds already has renewed last when it did so itself."""
    for moment in ("holderIdentity", "acquireTime", "renewTime"):
        spec.pop(moment, None)
    if holder is not None:
        now = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec.update({"holderIdentity": holder, "acquireTime": now, "renewTime": now})


def _incarnations(note: str | None) -> tuple[Incarnation, ...]:
    return tuple(Incarnation(who.strip()) for who in (note or "").split(",") if who.strip())
