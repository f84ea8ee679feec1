"""What a list or a watch tells of one object, as JSON that is decoded no further than it is needed. Pure.

Most of what is told is known already, and of the rest most is never looked at: so only the head is decoded at first, and what is
kept is cut out of the JSON as it came.
"""

from __future__ import annotations

import msgspec

from . import labels as names
from .kinds import api_version
from .labels import Object

Key = tuple[str, str]
"""Namespace and name of a GameCluster."""
Id = tuple[str, str, str]
"""Kind, namespace, name."""
Fields = dict[str, msgspec.Raw]


class _Labels(msgspec.Struct, gc=False):
    cluster: str | None = msgspec.field(name=names.INSTANCE, default=None)


class _Meta(msgspec.Struct, rename="camel", gc=False):
    name: str
    namespace: str = ""
    resource_version: str = "0"
    labels: _Labels | None = None


class _Head(msgspec.Struct, gc=False):
    metadata: _Meta


class _Manager(msgspec.Struct, gc=False):
    manager: str = ""
    operation: str = ""
    subresource: str = ""


class _Notes(msgspec.Struct, gc=False):
    in_sync: str | None = msgspec.field(name=names.IN_SYNC, default=None)
    never_held: str | None = msgspec.field(name=names.NEVER_HELD, default=None)


class _LeaseMeta(msgspec.Struct, gc=False):
    uid: str = ""
    annotations: _Notes | None = None


class _LeaseSpec(msgspec.Struct, rename="camel", gc=False):
    holder_identity: str | None = None
    lease_transitions: int | None = None


class _Lease(msgspec.Struct, gc=False):
    metadata: _LeaseMeta
    spec: _LeaseSpec | None = None


class Sighting(msgspec.Struct, frozen=True, gc=False):
    """``cluster``: the GameCluster that the object belongs to, by its label; ``json``: all of it, perhaps without its kind."""

    kind: str
    namespace: str
    name: str
    version: int
    cluster: Key | None
    json: msgspec.Raw

    @property
    def id(self) -> Id:
        return self.kind, self.namespace, self.name


def sighting(kind: str, json: msgspec.Raw) -> Sighting:
    """Raises msgspec.MsgspecError or ValueError: not an object of Kubernetes'."""
    meta = _head.decode(json).metadata
    cluster = meta.name if kind == "GameCluster" else meta.labels.cluster if meta.labels else None
    key = (meta.namespace, cluster) if cluster else None
    return Sighting(kind, meta.namespace, meta.name, int(meta.resource_version or 0), key, json)


def sighting_of(obj: Object) -> Sighting:
    return sighting(obj["kind"], msgspec.Raw(msgspec.json.encode(obj)))


def trimmed(seen: Sighting) -> bytes:
    """As JSON with its kind, but without what the operator never looks at: other managers' fields, a pod's spec, and a StatefulSet's
    template of it."""
    obj = _fields.decode(seen.json)
    meta = _fields.decode(obj["metadata"])
    managed = meta.pop("managedFields", None)
    if seen.kind == "Pod":
        obj.pop("spec", None)
    else:
        entries = (_raws.decode(managed) if managed is not None else None) or []
        meta["managedFields"] = _raw([entry for entry in entries if _is_ours(entry)])
    if seen.kind == "StatefulSet" and "spec" in obj:
        spec = _fields.decode(obj["spec"])
        spec.pop("template", None)
        obj["spec"] = _raw(spec)
    whole = {"apiVersion": api_version(seen.kind), "kind": seen.kind, "metadata": meta}
    return msgspec.json.encode(obj | whole)


def gist(seen: Sighting) -> int:
    """Of a Lease: the hash of all that it says, but for its times. Of the others nothing may be left out: their version."""
    if seen.kind != "Lease":
        return seen.version
    lease = _lease.decode(seen.json)
    spec, notes = lease.spec or _LeaseSpec(), lease.metadata.annotations or _Notes()
    said = (spec.holder_identity, spec.lease_transitions, notes.in_sync, notes.never_held)
    return hash((lease.metadata.uid, *said))


def is_ours(entry: Object) -> bool:
    """What the operator applied to the object itself (not to its status): an entry of ``metadata.managedFields``."""
    applied = entry.get("manager") == names.FIELD_MANAGER and entry.get("operation") == "Apply"
    return applied and not entry.get("subresource")


def _is_ours(entry: msgspec.Raw) -> bool:
    found = _manager.decode(entry)
    return (found.manager, found.operation, found.subresource) == (names.FIELD_MANAGER, "Apply", "")


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


_head = msgspec.json.Decoder(_Head)
_fields = msgspec.json.Decoder(Fields)
_raws = msgspec.json.Decoder(list[msgspec.Raw] | None)
_manager = msgspec.json.Decoder(_Manager)
_lease = msgspec.json.Decoder(_Lease)
