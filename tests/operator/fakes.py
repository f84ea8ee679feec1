"""An API server and pods in memory. FakeKube passes the same tests as the real one (kube_contract.py)."""

from __future__ import annotations

import asyncio
import copy
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from gamecluster_operator.kinds import OPTIONAL
from gamecluster_operator.kube import Change, Changes, Conflict, Expired, NotFound, Page, Refused, Unavailable
from gamecluster_operator.labels import FIELD_MANAGER, Object
from gamecluster_operator.observed import ObservedPod, Telling
from gamecluster_operator.sighting import Id, sighting_of

Path = tuple[str, ...]
PAGE = 2
CONDITIONS = {"uid", "resourceVersion"}


class FakeKube:
    """``writes``: what was accepted, as (verb, kind, name); ``lists``: kinds, as they were listed; ``watches``: those that are open;
    ``fail``: raised instead by the named verbs; ``unknown``: kinds whose CRD is not installed; ``forgotten``: up to which version
    nothing can be watched."""

    def __init__(self) -> None:
        self.objects: dict[Id, Object] = {}
        self.writes: list[tuple[str, str, str]] = []
        self.fail: dict[str, Exception] = {}
        self.unknown = set(OPTIONAL)
        self.lists: list[str] = []
        self.watches: list[_Watch] = []
        self.forgotten = 0
        self._past: list[tuple[int, Object, bool]] = []
        self._ours: dict[Id, set[Path]] = {}
        self._version = 0

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        self._maybe_fail("get")
        return copy.deepcopy(self.objects.get((kind, namespace, name)))

    async def pages(self, kind: str, namespace: str | None, selector: str | None) -> AsyncIterator[Page]:
        self._maybe_fail("list")
        self.lists.append(kind)
        if kind in self.unknown:
            raise NotFound("the server could not find the requested resource")
        found = [sighting_of(obj) for obj in self.objects.values() if _is_chosen(obj, kind, namespace, selector)]
        version = self._version
        yield Page(found[:PAGE], version)
        for at in range(PAGE, len(found), PAGE):
            yield Page(found[at : at + PAGE], version)

    @asynccontextmanager
    async def watch(self, kind: str, namespace: str | None, selector: str | None, since: int) -> AsyncIterator[Changes]:
        self._maybe_fail("watch")
        if since < self.forgotten:
            raise Expired("too old resource version")
        watch = _Watch(lambda obj: _is_chosen(obj, kind, namespace, selector))
        for version, obj, is_deleted in self._past:
            if version > since:
                watch.tell(version, obj, is_deleted)
        self.watches.append(watch)
        try:
            yield watch.changes()
        finally:
            self.watches.remove(watch)

    async def create(self, obj: Object) -> Object:
        self._maybe_fail("create")
        _check(obj)
        if id_of(obj) in self.objects:
            raise Conflict(f"{obj['kind']} {obj['metadata']['name']} already exists")
        return self._save("create", copy.deepcopy(obj))

    async def apply(self, obj: Object) -> Object:
        self._maybe_fail("apply")
        _check(obj)
        if obj["kind"] in self.unknown:
            raise NotFound("the server could not find the requested resource")
        id = id_of(obj)
        before = self.objects.get(id)
        for key in CONDITIONS & obj["metadata"].keys():
            if before is None or obj["metadata"][key] != before["metadata"][key]:
                raise Conflict(f"metadata.{key} differs")
        after = (
            copy.deepcopy(before) if before else {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": {}}
        )
        fields = _leaves(obj)
        for path in self._ours.get(id, set()) - fields.keys():
            _remove(after, path)
        for path, value in fields.items():
            _set(after, path, value)
        self._ours[id] = set(fields)
        return self._save("apply", after)

    async def apply_status(self, obj: Object) -> Object:
        self._maybe_fail("apply_status")
        found = self.objects.get(id_of(obj))
        if found is None:
            raise Unavailable("not found")
        if obj["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
            raise Conflict("the object has been modified")
        return self._save("apply_status", {**copy.deepcopy(found), "status": copy.deepcopy(obj["status"])})

    async def replace(self, obj: Object) -> Object:
        self._maybe_fail("replace")
        found = self.objects.get(id_of(obj))
        if found is None:
            raise Unavailable("not found")
        if obj["metadata"].get("resourceVersion") != found["metadata"]["resourceVersion"]:
            raise Conflict("the object has been modified")
        return self._save("replace", copy.deepcopy(obj))

    async def merge(self, kind: str, namespace: str, name: str, patch: Object) -> Object:
        self._maybe_fail("merge")
        found = self.objects.get((kind, namespace, name))
        if found is None:
            raise Unavailable("not found")
        if patch.get("metadata", {}).get("uid") not in (None, found["metadata"]["uid"]):
            raise Conflict("uid differs")
        after = _merged(copy.deepcopy(found), patch)
        id = id_of(found)
        self._ours[id] = {p for p in self._ours.get(id, set()) if _look(found, p) == _look(after, p)}
        return self._save("merge", after)

    async def delete(self, kind: str, namespace: str, name: str, uid: str, grace_seconds: int | None = None) -> None:
        self._maybe_fail("delete")
        found = self.objects.get((kind, namespace, name))
        if found is not None and found["metadata"]["uid"] != uid:
            raise Conflict("the UID in the precondition differs")
        if self.objects.pop((kind, namespace, name), None) is not None:
            self._ours.pop((kind, namespace, name), None)
            self._gone(found)
            self.writes.append(("delete", kind, name))

    # --- for tests

    def one(self, kind: str, name: str, namespace: str = "games") -> Object:
        return self.objects[kind, namespace, name]

    def names(self, kind: str) -> set[str]:
        return {name for k, _, name in self.objects if k == kind}

    def put(self, obj: Object) -> Object:
        """As others write: not counted."""
        saved = self._save("put", copy.deepcopy(obj))
        self.writes.pop()
        return saved

    def remove(self, kind: str, name: str, namespace: str = "games") -> None:
        self._ours.pop((kind, namespace, name), None)
        self._gone(self.objects.pop((kind, namespace, name)))

    def forget(self) -> None:
        """What happened until now can't be watched any more."""
        self.forgotten = self._version
        self._past.clear()

    def _save(self, verb: str, obj: Object) -> Object:
        id, meta = id_of(obj), obj["metadata"]
        before = self.objects.get(id)
        managed = [{"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": _fields_v1(self._ours.get(id, set()))}]
        meta["managedFields"] = managed
        if before is None:
            meta.setdefault("uid", f"uid-{self._version + 1}")
            meta.setdefault("generation", 1)
        elif before.get("spec") != obj.get("spec") and verb != "apply_status":
            meta["generation"] = before["metadata"]["generation"] + 1
        self.writes.append((verb, id[0], id[2]))
        if before is not None and _said(before) == _said(obj):
            return copy.deepcopy(before)
        self._version += 1
        meta["resourceVersion"] = str(self._version)
        self.objects[id] = obj
        self._tell(obj, is_deleted=False)
        return copy.deepcopy(obj)

    def _gone(self, obj: Object | None) -> None:
        self._version += 1
        if obj is not None:
            obj["metadata"]["resourceVersion"] = str(self._version)
            self._tell(obj, is_deleted=True)

    def _tell(self, obj: Object, *, is_deleted: bool) -> None:
        told = self._version, copy.deepcopy(obj), is_deleted
        self._past.append(told)
        for watch in self.watches:
            watch.tell(*told)

    def _maybe_fail(self, verb: str) -> None:
        if verb in self.fail:
            raise self.fail[verb]


class FakePods:
    """``tells``: by pod UID; who is not in it does not answer."""

    def __init__(self) -> None:
        self.tells: dict[str, Telling] = {}
        self.asked: list[str] = []
        self.handed_off: list[tuple[str, str | None]] = []

    async def ask(self, pods: Iterable[ObservedPod], token: str) -> dict[str, Telling | None]:
        asked = list(pods)
        self.asked += [pod.name for pod in asked]
        return {pod.uid: self.tells.get(pod.uid) for pod in asked}

    async def hand_off(self, pod: ObservedPod, token: str, to: str | None) -> None:
        self.handed_off.append((pod.name, to))


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class _Watch:
    def __init__(self, is_chosen: Callable[[Object], bool]) -> None:
        self._is_chosen = is_chosen
        self._told: asyncio.Queue[Change | Exception | None] = asyncio.Queue()

    def tell(self, version: int, obj: Object, is_deleted: bool) -> None:
        if self._is_chosen(obj):
            self._told.put_nowait(Change(version, sighting_of(obj), is_deleted))

    def bookmark(self, version: int) -> None:
        self._told.put_nowait(Change(version))

    def end(self, error: Exception | None = None) -> None:
        """In order, or by that."""
        self._told.put_nowait(error)

    async def changes(self) -> Changes:
        while (told := await self._told.get()) is not None:
            if isinstance(told, Exception):
                raise told
            yield [told]


def _is_chosen(obj: Object, kind: str, namespace: str | None, selector: str | None) -> bool:
    meta = obj["metadata"]
    wanted = dict(part.split("=", 1) for part in selector.split(",")) if selector else {}
    is_there = obj["kind"] == kind and namespace in (None, meta["namespace"])
    return is_there and wanted.items() <= (meta.get("labels") or {}).items()


def id_of(obj: Object) -> Id:
    return obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"]


def _check(obj: Object) -> None:
    if not re.fullmatch(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?", obj["metadata"]["name"]):
        raise Refused(f"metadata.name: Invalid value: {obj['metadata']['name']}")


def _fields_v1(paths: set[Path]) -> Object:
    """To this fake, lists are atomic."""
    fields: Object = {}
    for path in sorted(paths):
        node = fields
        for name in path:
            node = node.setdefault(f"f:{name}", {})
    return fields


def _leaves(obj: Object, path: Path = ()) -> dict[Path, Any]:
    if path[:1] == ("metadata",) and path[1:] and path[1] in CONDITIONS:
        return {}
    if path in (("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")):
        return {path: obj}
    if isinstance(obj, dict) and obj:
        found: dict[Path, Any] = {}
        for key, value in obj.items():
            found |= _leaves(value, (*path, key))
        return found
    return {path: copy.deepcopy(obj)}


def _set(obj: Object, path: Path, value: Any) -> None:
    for key in path[:-1]:
        obj = obj.setdefault(key, {})
    obj[path[-1]] = copy.deepcopy(value)


def _remove(obj: Object, path: Path) -> None:
    for key in path[:-1]:
        obj = obj.get(key) or {}
    obj.pop(path[-1], None)


def _look(obj: Any, path: Path) -> Any:
    for key in path:
        obj = obj.get(key) if isinstance(obj, dict) else None
    return obj


def _merged(obj: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(obj) if isinstance(obj, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


def _said(obj: Object) -> str:
    meta = {k: v for k, v in obj["metadata"].items() if k != "resourceVersion"}
    return json.dumps({**obj, "metadata": meta}, sort_keys=True)
