"""The rows of a table by the cells of its Grid, and what becomes of them between two patches, for whoever looks from somewhere.

| what is sent of a row that   | is seen now        | is not seen now |
| ---------------------------- | ------------------ | --------------- |
| was seen at the patch before | what it was set to | its deletion    |
| was not                      | all its fields     | nothing         |

Each of these is encoded at once for all rows that stayed in a cell, or went from one cell to another, when the first one needs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from ..core.messages import Fields, Op
from ..interest import Cell, Grid, near

Rows = Mapping[str, Fields]
_NOTHING: Rows = {}


class Cells:
    """One table. The rows that it is given are not changed, nor may those that it gives be."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._cells: dict[Cell, dict[str, Fields]] = {}
        self._at: dict[str, Cell] = {}
        self._was: dict[str, Cell | None] = {}
        self._changes: dict[str, list[Op]] = {}

    def load(self, rows: Rows) -> None:
        """Replaces all. Nothing has changed then."""
        self._cells, self._at, self._was, self._changes = {}, {}, {}, {}
        for key, row in rows.items():
            self._put(key, row, self.grid.cell_of(row))

    def row(self, key: str) -> Fields | None:
        cell = self._at.get(key)
        return None if cell is None else self._cells[cell][key]

    def rows(self, cell: Cell | None) -> dict[str, Fields]:
        """All that are seen from there."""
        rows: dict[str, Fields] = {}
        for seen in near(cell, self.grid.reach):
            rows.update(self._cells.get(seen, _NOTHING))
        return rows

    def change(self, op: Op) -> None:
        _, key, fields = op
        was = self._at.get(key)
        self._note(key, op, was)
        if fields is None:
            if was is not None:
                self._take(key, was)
            return
        row = fields if was is None else {**self._cells[was][key], **fields}
        now = self.grid.cell_of(row)
        if now == was:
            self._cells[now][key] = row
        else:
            if was is not None:
                self._take(key, was)
            self._put(key, row, now)

    def step(self) -> Step:
        """What has changed since the last one; to be used before anything else changes."""
        changes, self._changes = self._changes, {}
        was, self._was = self._was, {}
        return Step(self.grid, self._cells, self._at, was, changes)

    def _note(self, key: str, op: Op, was: Cell | None) -> None:
        """At most a deletion and a setting of fields are kept of each row, in this order."""
        ops = self._changes.get(key)
        if ops is None:
            self._changes[key] = [op]
            self._was[key] = was
            return
        latest = ops[-1][2]
        if op[2] is None:
            ops[:] = [op]
        elif latest is None:
            ops.append(op)
        else:
            ops[-1] = (op[0], key, {**latest, **op[2]})

    def _put(self, key: str, row: Fields, cell: Cell) -> None:
        self._at[key] = cell
        self._cells.setdefault(cell, {})[key] = row

    def _take(self, key: str, cell: Cell) -> None:
        del self._at[key]
        rows = self._cells[cell]
        del rows[key]
        if not rows:
            del self._cells[cell]


class _Way:
    """Rows that were in a cell and still are, or went from one to another; ``rows``: of the cell in which they are now, if in any."""

    __slots__ = ("_changes", "_deletions", "_rows", "_table", "_whole", "keys", "ops")

    def __init__(self, table: str, keys: list[str], rows: Rows, ops: list[Op]) -> None:
        self._table, self._rows, self.keys, self.ops = table, rows, keys, ops
        self._changes: bytes | None = None
        self._whole: bytes | None = None
        self._deletions: bytes | None = None

    def changes(self) -> bytes:
        if self._changes is None:
            self._changes = encoded(self.ops)
        return self._changes

    def whole(self) -> bytes:
        if self._whole is None:
            self._whole = encoded([(self._table, key, self._rows[key]) for key in self.keys])
        return self._whole

    def deletions(self) -> bytes:
        if self._deletions is None:
            self._deletions = encoded([(self._table, key, None) for key in self.keys])
        return self._deletions


class Step:
    """One table between two patches. ``changes``: the ops of each row that has any."""

    def __init__(
        self,
        grid: Grid,
        cells: Mapping[Cell, Rows],
        at: Mapping[str, Cell],
        was: Mapping[str, Cell | None],
        changes: Mapping[str, list[Op]],
    ) -> None:
        self.changes = changes
        self._grid, self._cells = grid, cells
        self._stayed: dict[Cell, list[Op]] = {}
        self._changed: dict[Cell, bytes] = {}
        self._stays: dict[Cell, _Way] = {}
        self._came: dict[Cell | None, dict[Cell | None, _Way]] = {}
        self._went: dict[Cell | None, dict[Cell | None, _Way]] = {}
        self._fragments: dict[tuple[Cell | None, Cell | None], bytes] = {}
        for key, ops in changes.items():
            before, now = was[key], at.get(key)
            if before != now:
                self._cross(key, before, now, ops)
            elif now is not None:
                self._stayed.setdefault(now, []).extend(ops)
        self._touched = {*self._stayed, *self._came, *self._went}

    def fragment(self, before: Cell | None, now: Cell | None) -> bytes:
        """The ops, as JSON with commas between them, for who looked from ``before`` at the last patch, and looks from ``now``."""
        found = self._fragments.get((before, now))
        if found is None:
            seen, sees = near(before, self._grid.reach), near(now, self._grid.reach)
            is_quiet = before == now and sees.isdisjoint(self._touched)
            found = b"" if is_quiet else b",".join(filter(None, self._parts(seen, sees)))
            self._fragments[before, now] = found
        return found

    def _parts(self, before: frozenset[Cell], now: frozenset[Cell]) -> list[bytes]:
        parts: list[bytes] = []
        for cell in now:
            if cell not in before:
                parts.append(self._stay(cell).whole())
            elif cell in self._changed:
                parts.append(self._changed[cell])
            elif cell in self._stayed:
                parts.append(encoded(self._stayed[cell]))
                self._changed[cell] = parts[-1]
            if cell in self._came:
                for source, way in self._came[cell].items():
                    parts.append(way.changes() if source in before else way.whole())
        for cell in before:
            if cell not in now:
                parts.append(self._stay(cell).deletions())
            if cell in self._went:
                for target, way in self._went[cell].items():
                    if target not in now:
                        parts.append(way.deletions())
        return parts

    def _stay(self, cell: Cell) -> _Way:
        way = self._stays.get(cell)
        if way is None:
            rows = self._cells.get(cell, _NOTHING)
            came = {key for way in self._came.get(cell, {}).values() for key in way.keys}
            way = _Way(self._grid.table, [key for key in rows if key not in came], rows, [])
            self._stays[cell] = way
        return way

    def _cross(self, key: str, before: Cell | None, now: Cell | None, ops: list[Op]) -> None:
        ways = self._came.setdefault(now, {})
        way = ways.get(before)
        if way is None:
            rows = _NOTHING if now is None else self._cells[now]
            way = ways[before] = self._went.setdefault(before, {})[now] = _Way(self._grid.table, [], rows, [])
        way.keys.append(key)
        way.ops += ops


def encoded(ops: Iterable[Op]) -> bytes:
    """As JSON, with commas between them."""
    return msgspec.json.encode(ops)[1:-1]
