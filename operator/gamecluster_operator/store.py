"""The newest version of every object that the operator has seen: by watches, by lists, and by its own writes.

Versions are compared as numbers (Kubernetes KEP-5504), so late and repeated news changes nothing. What was deleted leaves its
version behind until the next list, so that an older sighting does not bring it back.
"""

from __future__ import annotations

import itertools
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

import msgspec

from .labels import Object
from .sighting import Id, Key, Sighting, gist, sighting_of, trimmed

__all__ = ["Id", "Key", "Listing", "News", "Store"]


class News(Enum):
    """``OLD``: it was known; ``RENEWED``: only its version, and times of a Lease; ``NEW``: anything else."""

    OLD = auto()
    RENEWED = auto()
    NEW = auto()


@dataclass(frozen=True, slots=True)
class _Kept:
    """``data``: the object as compressed JSON: 0.7 KB on average, of 1.8."""

    version: int
    gist: int
    key: Key | None
    data: bytes

    @property
    def object(self) -> Object:
        found: Object = msgspec.json.decode(zlib.decompress(self.data))
        return found


class Store:
    """What it returns is the asker's own."""

    def __init__(self) -> None:
        self._objects: dict[Id, _Kept] = {}
        self._deleted: dict[Id, int] = {}
        self._of_cluster: defaultdict[Key, set[Id]] = defaultdict(set)
        self._changed: dict[Key, int] = {}
        self._count = itertools.count(1)

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        known = self._objects.get((kind, namespace, name))
        return known.object if known is not None else None

    def clusters(self) -> Iterator[Key]:
        return ((namespace, name) for kind, namespace, name in list(self._objects) if kind == "GameCluster")

    def of_cluster(self, key: Key) -> list[Object]:
        """All that carry the cluster's label, itself left out."""
        return [self._objects[id].object for id in self._of_cluster.get(key, ()) if id[0] != "GameCluster"]

    def change_of(self, key: Key) -> int:
        """Another number whenever anything of the cluster is another."""
        return self._changed.get(key, 0)

    def put(self, obj: Object) -> bool:
        """False: it was not news."""
        return self.see(sighting_of(obj)) is not News.OLD

    def drop(self, obj: Object) -> bool:
        """``obj``: as it was when it was deleted; its version is that of the deletion."""
        return self.see_end(sighting_of(obj))

    def see(self, seen: Sighting) -> News:
        """Raises msgspec.MsgspecError: not an object."""
        id, version = seen.id, seen.version
        known = self._objects.get(id)
        if version <= self._deleted.get(id, -1) or (known is not None and version <= known.version):
            return News.OLD
        if known is not None and known.key != seen.cluster:
            self._forget(id)
        kept = _Kept(version, gist(seen), seen.cluster, zlib.compress(trimmed(seen), 1))
        self._objects[id] = kept
        if seen.cluster is not None:
            self._of_cluster[seen.cluster].add(id)
            self._changed[seen.cluster] = next(self._count)
        return News.RENEWED if known is not None and known.gist == kept.gist else News.NEW

    def see_end(self, seen: Sighting) -> bool:
        id, version = seen.id, seen.version
        known = self._objects.get(id)
        if known is not None and version < known.version:
            return False
        self._deleted[id] = max(version, self._deleted.get(id, -1))
        if known is not None:
            self._forget(id)
        return known is not None

    def listing(self, kind: str, namespace: str | None) -> Listing:
        """A list begins: of one namespace, or of all."""
        return Listing(self, kind, namespace)

    def vanished(self, kind: str, namespace: str | None, present: set[Id], version: int) -> Iterator[Key]:
        """What a list of that version did not have is gone. Returns whose it was."""
        for id, known in list(self._objects.items()):
            if id[0] == kind and namespace in (None, id[1]) and id not in present and known.version <= version:
                self._forget(id)
                if known.key is not None:
                    yield known.key
        self._deleted = {
            id: v for id, v in self._deleted.items() if id[0] != kind or namespace not in (None, id[1]) or v > version
        }

    def _forget(self, id: Id) -> None:
        key = self._objects.pop(id).key
        if key is not None:
            self._changed[key] = next(self._count)
            self._of_cluster[key].discard(id)
            if not self._of_cluster[key]:
                del self._of_cluster[key], self._changed[key]


class Listing:
    """A list that comes page by page. Tells whose objects the watches had not told of: the changed, and the vanished."""

    def __init__(self, store: Store, kind: str, namespace: str | None) -> None:
        self._store, self._kind, self._namespace = store, kind, namespace
        self._present: set[Id] = set()

    def page(self, sightings: Iterable[Sighting]) -> list[Key]:
        found = list(sightings)
        self._present.update(seen.id for seen in found)
        news = [seen for seen in found if self._store.see(seen) is News.NEW]
        return [seen.cluster for seen in news if seen.cluster is not None]

    def end(self, version: int) -> list[Key]:
        """``version``: of the list."""
        return list(self._store.vanished(self._kind, self._namespace, self._present, version))
