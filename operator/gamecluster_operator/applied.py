"""Whether an object is as it was applied, also by another process: so a new one need not apply everything again. Pure.

Each applied object has a hash of what was applied in an annotation. And the API server notes which fields we applied, last of all
(``metadata.managedFields``, ``fieldsV1``: https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management): who
changes or removes one of them takes it from us there. So nothing has to be compared with values, which the API server rewrites
("1000m" becomes "1").
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec

from .labels import APPLIED, Object
from .sighting import is_ours

UNMANAGED = {"apiVersion", "kind"}
UNMANAGED_META = {"name", "namespace", "uid", "resourceVersion"}


def marked(obj: Object) -> Object:
    """With its hash."""
    notes = {**(obj["metadata"].get("annotations") or {}), APPLIED: digest(obj)}
    return {**obj, "metadata": {**obj["metadata"], "annotations": notes}}


def is_applied(known: Object, wanted: Object) -> bool:
    """``wanted``: marked. When in doubt, no."""
    notes = known["metadata"].get("annotations") or {}
    return notes.get(APPLIED) == wanted["metadata"]["annotations"][APPLIED] and owns(known, wanted)


def owns(known: Object, wanted: Object) -> bool:
    """All fields of ``wanted`` are ours."""
    meta = {key: value for key, value in wanted["metadata"].items() if key not in UNMANAGED_META}
    body = {key: value for key, value in wanted.items() if key not in UNMANAGED} | {"metadata": meta}
    return any(_covers(fields, body) for fields in fields_of(known))


def fields_of(known: Object) -> list[Any]:
    """``fieldsV1`` of what we applied: at most one."""
    return [entry.get("fieldsV1") for entry in known["metadata"].get("managedFields") or [] if is_ours(entry)]


def digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()[:32]


def _covers(fields: Any, wanted: Any) -> bool:
    """A node without members stands for all that is below it."""
    if not isinstance(fields, dict):
        return False
    if not fields or (fields.keys() == {"."} and not wanted):
        return True
    if isinstance(wanted, dict):
        return all(f"f:{key}" in fields and _covers(fields[f"f:{key}"], value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return all(any(_covers(below, item) for below in _of_item(fields, item)) for item in wanted)
    return False


def _of_item(fields: Object, item: Any) -> Iterator[Any]:
    """The nodes that may be an item's: those with its key (what the API server added to that is not ours), or its value."""
    for name, below in fields.items():
        if name.startswith("k:") and isinstance(item, dict):
            key = msgspec.json.decode(name[2:])
            if all(item.get(part, value) == value for part, value in key.items()):
                yield below
        elif name.startswith("v:") and msgspec.json.decode(name[2:]) == item:
            yield {}
