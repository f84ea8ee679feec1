"""How many rooms a pod has, and how many have come to it, as the metrics tell."""

from __future__ import annotations

from gamecluster.core.messages import Fields, Incarnation
from gamecluster.shell.metrics import Metrics
from gamecluster.shell.room_figures import RoomFigures

ME, ANN, BOB = Incarnation("arena-0_u_1"), Incarnation("arena-1_u_1"), Incarnation("arena-2_u_1")


class Stage:
    def __init__(self) -> None:
        self.rooms: dict[str, Fields] = {}
        self.metrics = Metrics()
        self.figures = RoomFigures(ME, lambda table: {"$rooms": self.rooms}[table], self.metrics)

    def put(self, **rooms: tuple[Incarnation, ...]) -> None:
        """Each: its holder, and its backups."""
        rows: dict[str, Fields] = {id: {"holder": pods[0], "backups": list(pods[1:])} for id, pods in rooms.items()}
        self.rooms |= rows
        self.figures.changed([("$rooms", id, row) for id, row in rows.items()])

    def end(self, room: str) -> None:
        del self.rooms[room]
        self.figures.changed([("$rooms", room, None)])

    def shown(self) -> tuple[float, float, float]:
        """Held, backed up, moved here."""
        lines = dict(line.rsplit(" ", 1) for line in self.metrics.text().decode().splitlines() if line[0] != "#")
        names = 'gamecluster_rooms{role="holder"}', 'gamecluster_rooms{role="backup"}', "gamecluster_room_moves_total"
        held, backed_up, moved = (float(lines[name]) for name in names)
        return held, backed_up, moved


def test_rooms_are_counted_as_they_come_and_go() -> None:
    stage = Stage()
    assert stage.shown() == (0, 0, 0)
    stage.put(a=(ME, ANN), b=(ANN, ME), c=(ANN, BOB), d=(ME,))
    assert stage.shown() == (2, 1, 0)
    stage.end("d")
    stage.end("c")
    assert stage.shown() == (1, 1, 0)


def test_a_room_that_comes_here_is_a_move_and_one_that_stays_or_is_made_here_is_none() -> None:
    stage = Stage()
    stage.put(a=(ME, ANN), b=(ANN, ME), c=(ANN, BOB))
    stage.put(a=(ME, BOB), b=(ME, ANN))
    assert stage.shown() == (2, 0, 1)
    stage.put(a=(BOB, ME), c=(ME, BOB))
    assert stage.shown() == (2, 1, 2)
    stage.put(a=(ME, BOB))
    assert stage.shown() == (3, 0, 3)


def test_a_copy_that_is_replaced_is_counted_anew() -> None:
    stage = Stage()
    stage.rooms = {"a": {"holder": ME, "backups": []}, "b": {"holder": ANN, "backups": [ME]}}
    stage.figures.changed(None)
    assert stage.shown() == (1, 1, 0)
    stage.rooms = {"b": {"holder": ME, "backups": []}}
    stage.figures.changed(None)
    assert stage.shown() == (1, 0, 1)


def test_changes_of_other_tables_are_of_no_account() -> None:
    stage = Stage()
    stage.figures.changed([("$names", "a", {"pod": ME})])
    assert stage.shown() == (0, 0, 0)
