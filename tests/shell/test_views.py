"""What clients of a game with Grids are sent: every copy is what is near, after every patch, and no more was sent than that takes."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence

import hypothesis
from hypothesis import given
from hypothesis import strategies as st

from gamecluster.core.messages import Op, Position, Tables
from gamecluster.core.replication import apply
from gamecluster.interest import Grid, seen
from gamecluster.shell.patches import Merged
from gamecluster.shell.views import Views

PLAYERS = ["p0", "p1", "p2"]
GRIDS = [
    (Grid("ships", 10.0, 1, focus="ships"),),
    (Grid("ships", 10.0, 0, focus="eyes"),),
    (Grid("ships", 7.0, 1, focus="eyes"), Grid("eyes", 20, 2, focus="eyes")),
    (Grid("ships", 10.0, 1, focus="ships"), Grid("rocks", 5.0, 2, x="y", y="x", focus="ships")),
]


class Pod:
    """A node's committed state, which may be ahead of what its views were told, and behind other nodes'."""

    def __init__(self, history: Sequence[list[Op]]) -> None:
        self.history = history
        self.states: list[Tables] = [{}]
        for ops in history:
            tables = copy.deepcopy(self.states[-1])
            apply(tables, ops)
            self.states.append(tables)
        self.seq = 0

    def position(self) -> Position:
        return Position(1, self.seq)

    def visible_tables(self) -> Tables:
        return self.states[self.seq]

    def missed(self, since: Position) -> list[Op] | None:
        """Known from every other position."""
        if since.epoch != 1 or since.seq % 2 or since.seq > self.seq:
            return None
        return Merged(op for ops in self.history[since.seq : self.seq] for op in ops).ops()


class Copy:
    """A client's, as ``web/game.js`` keeps it."""

    def __init__(self, player: str, seq: int, state: Tables) -> None:
        self.player, self.seq, self.state = player, seq, copy.deepcopy(state)
        self.known = set(rows_of(state))

    def take(self, event: str, payload: bytes) -> None:
        told = json.loads(payload)
        assert told["epoch"] == 1
        if event == "state" and told["seq"] >= self.seq:
            self.state, self.seq = told["state"], told["seq"]
        elif event == "patch" and told["seq"] > self.seq:
            apply(self.state, told["ops"])
            self.seq = told["seq"]


class Stage:
    """``at``: up to where the views were told; ``told``: how far clients were at the last patch."""

    def __init__(self, grids: tuple[Grid, ...], history: Sequence[list[Op]]) -> None:
        self.grids, self.pod = grids, Pod(history)
        self.views: Views[int] = Views(grids, self.pod)
        self.clients: dict[int, Copy] = {}
        self.settled: set[int] = set()
        self.numbers = 0
        self.at = self.told = self.delivered = 0

    def commit(self, count: int) -> None:
        self.pod.seq = min(self.pod.seq + count, len(self.pod.history))

    def deliver(self, count: int = 99) -> None:
        if self.delivered < self.pod.seq:
            end = min(self.delivered + count, self.pod.seq)
            if (
                self.delivered < self.at
            ):  # what had been committed when the first client came is not delivered with what was not
                end = min(end, self.at)
            self.views.add(Position(1, end), [op for ops in self.pod.history[self.delivered : end] for op in ops])
            self.delivered = end
            self.at = max(self.at, end)

    def join(self, player: str, ahead: int = 0) -> None:
        self.numbers += 1
        since = min(self.pod.seq + ahead, len(self.pod.history))
        if not self.clients:
            self.at = self.told = self.pod.seq
        at, state = self.views.join(self.numbers, player, Position(1, since) if ahead else None)
        assert at == self.pod.position()
        assert json.loads(bytes(state)) == self.shown(player, self.pod.seq)
        seq = since if ahead else self.pod.seq
        self.clients[self.numbers] = Copy(player, seq, self.shown(player, seq))

    def turn(self, count: int) -> None:
        self.commit(count)
        self.deliver()
        self.patch()

    def leave(self, index: int) -> None:
        if self.clients:
            number = sorted(self.clients)[index % len(self.clients)]
            self.views.leave(number)
            del self.clients[number]
            self.settled.discard(number)

    def patch(self) -> None:
        for event, payload, clients in self.views.patches():
            for number in clients:
                self.check_size(number, event, payload)
                self.clients[number].take(event, payload)
        self.settled |= {number for number, client in self.clients.items() if client.seq <= self.at}
        self.told = self.at
        self.check()

    def install(self, count: int) -> None:
        self.commit(count)
        self.at = self.told = self.delivered = self.pod.seq
        self.views.load()
        for event, payload, clients in self.views.states():
            for number in clients:
                self.clients[number].take(event, payload)
        self.settled = {number for number, client in self.clients.items() if client.seq <= self.at}
        self.check()

    def shown(self, player: str, seq: int) -> Tables:
        return seen(self.grids, self.pod.states[seq], player)

    def check(self) -> None:
        for client in self.clients.values():
            assert full(client.state) == full(self.shown(client.player, max(client.seq, self.at))), (
                client.seq,
                self.at,
            )

    def check_size(self, number: int, event: str, payload: bytes) -> None:
        """Who was there at the patch before is sent the rows in sight then or now that are different, and each once."""
        client = self.clients[number]
        if number not in self.settled or event != "patch":
            return
        changes = Merged(op for ops in self.pod.history[self.told : self.at] for op in ops).ops()
        touched = {op[:2] for op in changes}
        before, now = (rows_of(self.shown(client.player, seq)) for seq in (self.told, self.at))
        gridded = {grid.table for grid in self.grids}
        expected = (before ^ now) | (touched & (before | now)) | {row for row in touched if row[0] not in gridded}
        ops = json.loads(payload)["ops"]
        assert {(table, key) for table, key, _ in ops} == expected
        for row in expected:
            told = [op for op in ops if (op[0], op[1]) == row]
            if row[0] in gridded and row in now - before:
                assert told == [[*row, self.pod.states[self.at][row[0]][row[1]]]]
            elif row[0] in gridded and row in before - now:
                assert told == [[*row, None]]
            else:
                assert told == [list(op) for op in changes if op[:2] == row]


def rows_of(tables: Tables) -> set[tuple[str, str]]:
    return {(table, key) for table, rows in tables.items() for key in rows}


def full(tables: Tables) -> Tables:
    return {table: rows for table, rows in tables.items() if rows}


def whole(history: list[list[Op]]) -> list[list[Op]]:
    """As a game says it: a row that is not there begins with all of its fields, and what is not there is not deleted."""
    there: set[tuple[str, str]] = set()
    made = []
    for ops in history:
        entry: list[Op] = []
        for table, key, fields in ops:
            if fields is not None:
                entry.append((table, key, fields if (table, key) in there else {"x": 0.0, "y": 0.0, "hp": 0, **fields}))
                there.add((table, key))
            elif (table, key) in there:
                entry.append((table, key, None))
                there.remove((table, key))
        made.append(entry)
    return made


places = st.sampled_from([-25.0, -12.0, 0.0, 4.0, 12.0, 25.0])
tables = st.sampled_from(["ships", "ships", "rocks", "eyes", "wins"])
keys = st.sampled_from([*PLAYERS, "k0", "k1", "k2"])
moved = st.fixed_dictionaries({}, optional={"x": places, "y": places, "hp": st.integers(0, 9)})
placed = st.fixed_dictionaries({"x": places, "y": places})
changes = st.tuples(tables, keys, st.one_of(moved, moved, moved, st.none()))
beginnings = st.lists(st.tuples(tables, keys, placed), min_size=6, max_size=16)
histories = st.tuples(beginnings, st.lists(st.lists(changes, min_size=1, max_size=6), min_size=4, max_size=14)).map(
    lambda told: whole([told[0], *told[1]])
)
turns = st.tuples(st.just("turn"), st.integers(1, 3))
joins = st.tuples(st.just("join"), st.sampled_from(PLAYERS), st.sampled_from([0, 0, 0, 1, 2]))
others = st.one_of(
    joins,
    st.tuples(st.just("commit"), st.integers(1, 3)),
    st.tuples(st.just("deliver"), st.just(1)),
    st.tuples(st.just("patch")),
    st.tuples(st.just("leave"), st.integers(0, 3)),
    st.tuples(st.just("install"), st.integers(0, 2)),
)
actions = st.lists(st.one_of(turns, others, others), min_size=2, max_size=14)


@hypothesis.settings(max_examples=300, deadline=None)
@given(st.sampled_from(GRIDS), histories, st.lists(joins, max_size=3), actions)
def test_every_copy_is_what_is_near_at_every_patch(
    grids: tuple[Grid, ...], history: list[list[Op]], first: list[tuple[str, str, int]], acts: list[tuple[str, int]]
) -> None:
    stage = Stage(grids, history)
    stage.commit(1)
    for name, *arguments in [*first, *acts]:
        getattr(stage, name)(*arguments)
    for _ in range(2):
        stage.turn(len(history))
