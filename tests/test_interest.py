"""Declaring Grids, and what a player sees by them."""

from __future__ import annotations

from typing import Any

import pytest

from gamecluster import Entity, Game, Grid, Player, Room, Table
from gamecluster.checks import DefinitionError
from gamecluster.interest import near, seen
from gamecluster.testing import play


class Ship(Entity):
    x: float = 0.0
    y: float = 0.0
    name: str = ""


class Rock(Entity):
    column: int = 0
    row: int = 0
    x: float = 0.0
    y: float = 0.0


class Score(Entity):
    wins: int = 0


class World(Game):
    ships: Table[Ship]
    rocks: Table[Rock]
    scores: Table[Score]
    interest = Grid("ships", 50.0)


def declare(interest: Any) -> type[Game]:
    """The world with these Grids."""
    return type("Wrong", (World,), {"interest": interest, "__module__": __name__})


def test_a_players_own_row_is_in_the_first_grids_table_unless_it_is_said_otherwise() -> None:
    many = declare((Grid("rocks", 10, x="x"), Grid("ships", 50.0, 2), Grid("scores", 5, focus="rocks"))[:2])
    assert [(grid.table, grid.focus) for grid in many._grids] == [("rocks", "rocks"), ("ships", "rocks")]
    assert declare(Grid("ships", 5, focus="rocks"))._grids[0].focus == "rocks"
    assert World._grids == (Grid("ships", 50.0, focus="ships"),)


def test_a_game_without_grids_has_none_and_a_derived_one_has_its_parents() -> None:
    class Plain(Game):
        ships: Table[Ship]

    class Derived(World):
        pass

    class Zone(Room):
        rooms = "zone-*"
        ships: Table[Ship]
        interest = (Grid("ships", 9.0),)

    assert (Plain._grids, Derived._grids, Zone._grids) == ((), World._grids, (Grid("ships", 9.0, focus="ships"),))


@pytest.mark.parametrize(
    ("interest", "told"),
    [
        (lambda: Grid("ships", 0), "Grid.cell: expected the side of a square, a number above 0, got 0"),
        (lambda: Grid("ships", float("inf")), "Grid.cell: expected the side of a square, a number above 0, got inf"),
        (lambda: Grid("ships", True), "Grid.cell: expected the side of a square, a number above 0, got True"),
        (lambda: Grid("ships", 1, 17), "Grid.reach: expected an int from 0 to 16 (cells), got 17"),
        (lambda: Grid("ships", 1, 1.0), "Grid.reach: expected an int from 0 to 16 (cells), got 1.0"),  # type: ignore[arg-type]
        (lambda: Grid(Ship, 1), "Grid.table: expected a name, got type"),  # type: ignore[arg-type]
        (lambda: Grid("ships", 1, x=3), "Grid.x: expected a name, got int"),  # type: ignore[arg-type]
        (
            lambda: 50.0,
            'Wrong.interest: expected a Grid or a tuple of them, as in Grid("ships", 50.0), got float',
        ),
        (
            lambda: [Grid("ships", 50.0)],
            'Wrong.interest: expected a Grid or a tuple of them, as in Grid("ships", 50.0), got list',
        ),
        (
            lambda: (Grid("ships", 1), Grid("ships", 2)),
            "Wrong.interest: two Grids for the table 'ships'; a table has one at most",
        ),
        (
            lambda: Grid("boats", 1),
            "Wrong.interest: Grid of 'boats': there is no table 'boats', only ships, rocks, scores",
        ),
        (
            lambda: Grid("ships", 1, focus="boats"),
            "Wrong.interest: Grid of 'ships': there is no table 'boats', only ships, rocks, scores",
        ),
        (
            lambda: Grid("scores", 1),
            "Wrong.interest: Grid of 'scores': Score has no field 'x'; name its fields with x= and y=",
        ),
        (
            lambda: Grid("rocks", 1, x="column", y="row", focus="ships"),
            "Wrong.interest: Grid of 'rocks': Ship has no field 'column'; name its fields with x= and y=",
        ),
        (
            lambda: Grid("ships", 1, x="name"),
            "Wrong.interest: Grid of 'ships': Ship.name has to be float or int, it is str",
        ),
    ],
)
def test_what_is_wrong_with_a_grid_is_told_when_the_game_is_declared(interest: Any, told: str) -> None:
    with pytest.raises(DefinitionError) as error:
        declare(interest())
    assert str(error.value) == told


def test_no_table_of_a_game_is_called_interest() -> None:
    with pytest.raises(DefinitionError, match="Game itself has interest; call the table otherwise"):
        type("Wrong", (Game,), {"__annotations__": {"interest": Table[Ship]}, "__module__": __name__})


@pytest.mark.parametrize(
    ("x", "reach", "first", "last"), [(0.0, 1, -10, 19.9), (-0.1, 1, -20, 9.9), (25, 0, 20, 29.9), (9.9, 2, -20, 29.9)]
)
def test_a_player_sees_the_squares_within_reach_of_its_own(x: float, reach: int, first: float, last: float) -> None:
    """``first`` and ``last``: of the tenths that it sees on either axis."""
    row = {f"{n}": {"x": n / 10, "y": x} for n in range(-600, 600)}
    column = {f"{n} down": {"x": x, "y": n / 10} for n in range(-600, 600)}
    grid = Grid("ships", 10.0, reach, focus="ships")
    shown = seen([grid], {"ships": {**row, **column, "me": {"x": x, "y": x}}}, "me")["ships"]
    for axis in ("x", "y"):
        assert (min(r[axis] for r in shown.values()), max(r[axis] for r in shown.values())) == (first, last)
    assert len(shown) == 2 * round((last - first) * 10 + 1) + 1


def test_who_has_no_row_sees_only_tables_without_a_grid() -> None:
    tables: Any = {"ships": {"a": {"x": 0.0, "y": 0.0}}, "scores": {"a": {"wins": 1}}}
    assert seen(World._grids, tables, "b") == {"ships": {}, "scores": {"a": {"wins": 1}}}
    assert seen(World._grids, tables, "a") == tables


def test_rows_of_a_version_without_the_fields_are_at_the_origin() -> None:
    tables: Any = {"ships": {"a": {"x": 60.0, "y": 3.0}, "b": {"name": "b"}, "c": {"x": "far", "y": 120.0}}}
    assert set(seen(World._grids, tables, "a")["ships"]) == {"a", "b"}


@pytest.mark.parametrize("place", [1e300, -1e300, 2.0**60, -(2**63)])
def test_places_far_beyond_the_cells_that_a_float_can_count_are_seen_by_who_is_there(place: float) -> None:
    rows: Any = {"a": {"x": place, "y": place}, "b": {"x": place, "y": place}, "c": {"x": 0.0, "y": 0.0}}
    for cell in (1e-300, 1.0, 1e300):
        grid = Grid("ships", cell, focus="ships")
        assert {"a", "b"} <= set(seen([grid], {"ships": rows}, "a")["ships"])
        assert len(near(grid.cell_of(rows["a"]), 1)) <= 9


def test_in_a_test_one_asks_what_a_player_sees() -> None:
    class Sea(Game):
        ships: Table[Ship]
        interest = Grid("ships", 10.0)

        def join(self, player: Player) -> None:
            self.ships[player.id] = Ship(x=100.0 * len(self.ships))

    sea = play(Sea)
    sea.join("ann")
    sea.join("bob")
    assert set(sea.tables["ships"]) == {"ann", "bob"}
    assert set(sea.seen_by("ann")["ships"]) == {"ann"}
