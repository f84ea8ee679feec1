"""Which rooms each pod has copies of: an index of ``$rooms`` that is in step with the ledger, whatever is undone.

A change costs what it changes. After ``undo`` only the rooms that this call had changed are looked at again; after ``load``, all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from ..core.messages import Fields, Incarnation
from .ledger import Ledger

TABLE = "$rooms"


class Placements:
    """All changes of the table go through ``put`` and ``delete``."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._version = (-1, -1)
        self._rows: dict[str, Fields] = {}
        self._rooms: dict[Incarnation, dict[str, None]] = {}
        self._held: Counter[Incarnation] = Counter()
        self._pairs: Counter[tuple[Incarnation, Incarnation]] = Counter()
        self._touched: list[str] = []  # by a call that may be undone yet

    def pods(self) -> Collection[Incarnation]:
        """Those that hold a room, back it up, or are about to."""
        self._follow()
        return self._rooms.keys()

    def rooms_of(self, pods: Iterable[Incarnation]) -> list[str]:
        """In which one of ``pods`` has a part."""
        self._follow()
        return list(dict.fromkeys(room for pod in pods for room in self._rooms.get(pod, ())))

    def held(self, pod: Incarnation) -> int:
        """How many rooms it holds."""
        self._follow()
        return self._held[pod]

    def kept(self, pod: Incarnation) -> int:
        """How many others it has a copy of, or will."""
        self._follow()
        return len(self._rooms.get(pod, ())) - self._held[pod]

    def kept_for(self, holder: Incarnation, pod: Incarnation) -> int:
        """How many rooms of ``holder`` it has a copy of, or will."""
        self._follow()
        return self._pairs[holder, pod]

    def put(self, room: str, fields: Fields) -> None:
        self._follow()
        self._ledger.put(TABLE, room, fields)
        self._changed(room)

    def delete(self, room: str) -> None:
        self._follow()
        self._ledger.delete(TABLE, room)
        self._changed(room)

    def _changed(self, room: str) -> None:
        self._touched.append(room)
        self._index(room)
        self._version = self._ledger.version(TABLE)

    def _follow(self) -> None:
        version = self._ledger.version(TABLE)
        if version != self._version:
            is_loaded = version[0] != self._version[0]
            for room in {*self._rows, *self._ledger.rows(TABLE)} if is_loaded else self._touched:
                self._index(room)
            self._version = version
        if self._touched and not self._ledger.has_changed:
            self._touched.clear()

    def _index(self, room: str) -> None:
        """A row is replaced, never changed in place."""
        before, now = self._rows.get(room), self._ledger.rows(TABLE).get(room)
        if before is now:
            return
        was, now_in = pods_of(before), pods_of(now)
        if before is not None:
            self._count(was, -1)
        for pod in was:
            if pod not in now_in:
                self._leave(pod, room)
        for pod in now_in:
            if pod not in was:
                self._rooms.setdefault(pod, {})[room] = None
        if now is not None:
            self._count(now_in, 1)
            self._rows[room] = now
        else:
            del self._rows[room]

    def _count(self, pods: list[Incarnation], by: int) -> None:
        holder = pods[0]
        self._held[holder] += by
        pairs = self._pairs
        for pod in pods[1:]:
            pair = holder, pod
            pairs[pair] += by
            if not pairs[pair]:
                del pairs[pair]

    def _leave(self, pod: Incarnation, room: str) -> None:
        rooms = self._rooms[pod]
        del rooms[room]
        if not rooms:
            del self._rooms[pod]
            del self._held[pod]


def pods_of(row: Fields | None) -> list[Incarnation]:
    """Each once, its holder first: a pod has one part in a room. Who is to hold it is a backup."""
    return [row["holder"], *row["backups"], *row["joining"]] if row is not None else []
