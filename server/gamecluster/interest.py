"""Interest management: of the tables that have a Grid, a player is sent what is near its own row. The guide is docs/game.md."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence

from .checks import DefinitionError, got
from .core.messages import Fields, Tables
from .entity import Entity

FARTHEST = 16
"""Cells: so far a Grid may reach."""

Cell = tuple[float, float]
"""Column and row of a square, whole numbers."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """Squares of ``cell`` × ``cell``, in which the rows of ``table`` are by their fields ``x`` and ``y``.

    A player sees those in the square of its own row and in the ``reach`` squares around it, on all sides. Its own row has the player's
    id as key, and is in the table ``focus``, which is that of the game's first Grid unless it is named.
    """

    table: str
    cell: float
    reach: int = 1
    x: str = "x"
    y: str = "y"
    focus: str = ""

    def __post_init__(self) -> None:
        for name in ("table", "x", "y", "focus"):
            if not isinstance(value := getattr(self, name), str):
                raise DefinitionError(f"Grid.{name}: expected a name, got {got(value)}")
        if type(self.cell) not in (int, float) or not 0 < self.cell < math.inf:
            raise DefinitionError(f"Grid.cell: expected the side of a square, a number above 0, got {self.cell!r}")
        if type(self.reach) is not int or not 0 <= self.reach <= FARTHEST:
            raise DefinitionError(f"Grid.reach: expected an int from 0 to {FARTHEST} (cells), got {self.reach!r}")

    def cell_of(self, row: Fields) -> Cell:
        """Where a row is. A row of a version of the game that had no such fields is at 0."""
        try:
            return row[self.x] // self.cell, row[self.y] // self.cell
        except (KeyError, TypeError):
            return _number(row.get(self.x)) // self.cell, _number(row.get(self.y)) // self.cell

    def seen_from(self, row: Fields | None) -> frozenset[Cell]:
        """The cells that a player sees whose own row this is; none without a row."""
        return near(None if row is None else self.cell_of(row), self.reach)


def _number(value: object) -> float:
    return value if isinstance(value, int | float) else 0.0


@functools.lru_cache(maxsize=65_536)
def near(cell: Cell | None, reach: int) -> frozenset[Cell]:
    """The cells within ``reach`` of this one on each axis, itself among them; None: nowhere."""
    if cell is None:
        return frozenset()
    steps = range(-reach, reach + 1)
    return frozenset((cell[0] + across, cell[1] + down) for across in steps for down in steps)


def seen(grids: Sequence[Grid], tables: Tables, player: str) -> Tables:
    """What of the state this player sees. ``grids``: as ``checked`` gives them."""
    shown = dict(tables)
    for grid in grids:
        cells = grid.seen_from(tables.get(grid.focus, {}).get(player))
        rows = tables.get(grid.table, {})
        shown[grid.table] = {key: row for key, row in rows.items() if grid.cell_of(row) in cells}
    return shown


def checked(interest: object, tables: Mapping[str, type[Entity]], who: str) -> tuple[Grid, ...]:
    """The Grids that a game declares, each with its ``focus``. Raises DefinitionError."""
    grids = interest if isinstance(interest, tuple) else (interest,)
    for grid in grids:
        if not isinstance(grid, Grid):
            raise DefinitionError(
                f'{who}: expected a Grid or a tuple of them, as in Grid("ships", 50.0), got {got(grid)}'
            )
        if [other.table for other in grids].count(grid.table) > 1:
            raise DefinitionError(f"{who}: two Grids for the table {grid.table!r}; a table has one at most")
    bound = tuple(dataclasses.replace(grid, focus=grid.focus or grids[0].table) for grid in grids)
    for grid in bound:
        for table in dict.fromkeys((grid.table, grid.focus)):
            _check_fields(grid, table, tables, f"{who}: Grid of {grid.table!r}")
    return bound


def _check_fields(grid: Grid, table: str, tables: Mapping[str, type[Entity]], who: str) -> None:
    if table not in tables:
        raise DefinitionError(f"{who}: there is no table {table!r}, only {', '.join(tables) or 'none at all'}")
    fields = tables[table]._fields
    for name in (grid.x, grid.y):
        if name not in fields:
            raise DefinitionError(
                f"{who}: {tables[table].__name__} has no field {name!r}; name its fields with x= and y="
            )
        if (kind := fields[name].kind.name) not in ("int", "float"):
            raise DefinitionError(f"{who}: {tables[table].__name__}.{name} has to be float or int, it is {kind}")
