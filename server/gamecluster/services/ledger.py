"""The services' state on the leader, ahead of what is committed: rows of system tables, whose changes can be undone.

Rows are replaced, never changed in place; so those of the log's copy may be taken over as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from types import MappingProxyType

from ..checks import json_object
from ..core.messages import Broadcast, Fields, Op, Tables

NOTHING: Mapping[str, Fields] = MappingProxyType({})

Mark = tuple[int, int, int]
"""How much had been changed and said at a moment of a call."""


class Ledger:
    """What a call changes and says is kept until ``take`` or ``undo``."""

    def __init__(self) -> None:
        self._tables: Tables = {}
        self._ops: list[Op] = []
        self._broadcasts: list[Broadcast] = []
        self._before: list[tuple[str, str, Fields | None]] = []
        self._versions: Counter[str] = Counter()
        self._loads = 0

    def load(self, tables: Tables) -> None:
        """``tables`` are this ledger's from now on."""
        self.undo()
        self._tables = tables
        self._loads += 1

    def rows(self, table: str) -> Mapping[str, Fields]:
        """By key, oldest first; not to be changed."""
        return self._tables.get(table, NOTHING)

    def tables(self) -> Collection[str]:
        """The names of those that have rows, or had some in this call."""
        return self._tables.keys()

    def version(self, table: str) -> tuple[int, int]:
        """Another one whenever the table may be another: for what is derived from it."""
        return self._loads, self._versions[table]

    def put(self, table: str, key: str, fields: Fields) -> None:
        """Sets ``fields`` of a row, which is made if it is not there."""
        rows = self._tables.setdefault(table, {})
        before = rows.get(key)
        self._before.append((table, key, before))
        self._versions[table] += 1
        rows[key] = fields if before is None else {**before, **fields}
        self._ops.append((table, key, fields))

    def delete(self, table: str, key: str) -> None:
        rows = self._tables.get(table, {})
        if key in rows:
            self._before.append((table, key, rows.pop(key)))
            self._versions[table] += 1
            self._ops.append((table, key, None))

    def broadcast(self, topic: str, event: str, payload: Fields) -> None:
        """To everyone on ``topic``, on every pod, in the log's order."""
        self._broadcasts.append(Broadcast(topic, event, json_object(payload)))

    @property
    def has_changed(self) -> bool:
        return bool(self._ops or self._broadcasts)

    def take(self) -> tuple[list[Op], list[Broadcast]]:
        ops, broadcasts = self._ops, self._broadcasts
        for table in {name for name, _, fields in ops if fields is None}:
            if not self._tables[table]:
                del self._tables[table]
        self._ops, self._broadcasts, self._before = [], [], []
        return ops, broadcasts

    def mark(self) -> Mark:
        """For ``undo``: a part of a call that can fail by itself."""
        return len(self._ops), len(self._broadcasts), len(self._before)

    def undo(self, to: Mark = (0, 0, 0)) -> None:
        """As it was at the mark, or at the last ``take``; the order of rows that were deleted is lost."""
        ops, broadcasts, before = to
        for table, key, fields in reversed(self._before[before:]):
            self._versions[table] += 1
            if fields is None:
                del self._tables[table][key]
            else:
                self._tables.setdefault(table, {})[key] = fields
        del self._ops[ops:], self._broadcasts[broadcasts:], self._before[before:]
