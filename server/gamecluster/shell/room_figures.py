"""Counts the rooms of this pod for the metrics, as ``$rooms`` changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from enum import Enum

from ..core.messages import Fields, Incarnation, Op
from ..services.placements import TABLE
from .metrics import Metrics


class _Part(Enum):
    """Of this pod in a room."""

    holder = "holder"
    backup = "backup"
    none = "none"


class RoomFigures:
    """``changed`` follows the driver. A room that this pod holds and did not hold before, though there was the room, has come to it."""

    def __init__(self, me: Incarnation, rows: Callable[[str], Mapping[str, Fields]], metrics: Metrics) -> None:
        self._me, self._rows, self._metrics = me, rows, metrics
        self._parts: dict[str, _Part] = {}
        self._counts: Counter[_Part] = Counter()

    def changed(self, ops: list[Op] | None) -> None:
        """None: everything may be different."""
        rows = self._rows(TABLE)
        changed = (
            {key for table, key, _ in ops if table == TABLE} if ops is not None else self._parts.keys() | rows.keys()
        )
        for room in changed:
            self._take(room, rows.get(room))
        if changed:
            self._metrics.have_rooms(self._counts[_Part.holder], self._counts[_Part.backup])

    def _take(self, room: str, row: Fields | None) -> None:
        before = self._parts.pop(room, None)
        if before is not None:
            self._counts[before] -= 1
        if row is None:
            return
        part = self._parts[room] = self._part(row)
        self._counts[part] += 1
        if part is _Part.holder and before not in (None, _Part.holder):
            self._metrics.room_moves.inc()

    def _part(self, row: Fields) -> _Part:
        if row["holder"] == self._me:
            return _Part.holder
        return _Part.backup if self._me in row["backups"] else _Part.none
