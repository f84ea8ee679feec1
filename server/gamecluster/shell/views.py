"""What each client of a game with Grids is sent: at a join what is in sight, with each patch what has changed in sight.

| a client                                         | is sent with the next patch after ``since``                          |
| ------------------------------------------------ | -------------------------------------------------------------------- |
| has joined, and knows the rows of its answer     | by itself, what it does not know, or may know wrong                  |
| has joined with a copy that is ahead of this pod | the whole state that it sees: what its copy has can't be said here   |
| has had such a patch, and so has a spot          | what all are who look from the same cells, and did at the last patch |

A spot is the cells from which one looks, one for each Grid. What goes to all at a spot is joined from fragments (``cells``), most of which
are for several spots: nothing is encoded for one client alone once it has a spot.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from msgspec import Raw

from ..core.messages import Fields, Op, Position, Tables
from ..core.replication import apply
from ..interest import Cell, Grid, seen
from ..phoenix.codec import encode_json
from .cells import Cells, Step, encoded
from .patches import Merged
from .resume import Game

Who = TypeVar("Who", bound=Hashable)
Spot = tuple[Cell | None, ...]
Sent = tuple[str, bytes, Sequence[Who]]
"""An event of the game, its payload as JSON, and those who get it."""


@dataclass(slots=True)
class _Viewer:
    """``spot``: at the last patch; None: it has just joined, with the state at ``since``, of which it has the keys ``known`` of each
    Grid's table; None: who knows."""

    player: str
    since: Position
    known: list[set[str]] | None
    spot: Spot | None = None


class Views(Generic[Who]):
    """``grids``: at least one, as ``interest.checked`` gives them. ``Who``: a client. Follows the game while it has any."""

    def __init__(self, grids: Sequence[Grid], game: Game) -> None:
        self._game = game
        self._grids = grids
        self.at = Position(0, 0)
        """Up to where what was committed has been added."""
        self._cells = {grid.table: Cells(grid) for grid in grids}
        self._focuses = {grid.focus for grid in grids}
        self._lookouts: Tables = {table: {} for table in self._focuses - self._cells.keys()}
        """Tables without a Grid that have rows of those who look."""
        self._rest = Merged()
        """What has changed in tables without a Grid."""
        self._viewers: dict[Who, _Viewer] = {}
        self._clients: dict[str, list[Who]] = {}
        """By the player."""
        self._new: dict[Who, None] = {}
        self._spots: dict[Spot, dict[Who, None]] = {}
        self._moved: set[str] = set()
        """Players whose own row has changed."""

    # --- clients

    def join(self, who: Who, player: str, since: Position | None = None) -> tuple[Position, Raw]:
        """What it sees, as JSON, and as of when. ``since``: where its own copy ends, if it has one."""
        if not self._viewers:
            self.load()
        at, tables = self._game.position(), self._game.visible_tables()
        shown = self._shown(tables, player)
        is_ahead = since is not None and since > at
        known = None if is_ahead else [set(shown[table]) for table in self._cells]
        self.leave(who)
        self._viewers[who] = _Viewer(player, since if since is not None and is_ahead else at, known)
        self._clients.setdefault(player, []).append(who)
        self._new[who] = None
        return at, Raw(encode_json(shown))

    def leave(self, who: Who) -> None:
        """It is sent nothing more. Harmless if it is not there."""
        viewer = self._viewers.pop(who, None)
        if viewer is None:
            return
        clients = self._clients[viewer.player]
        clients.remove(who)
        if not clients:
            del self._clients[viewer.player]
        self._new.pop(who, None)
        self._leave_spot(who, viewer)

    # --- the game

    def load(self) -> None:
        """All may be different."""
        self.at, tables = self._game.position(), self._game.visible_tables()
        for table, cells in self._cells.items():
            cells.load(tables.get(table, {}))
        for table in self._lookouts:
            self._lookouts[table] = dict(tables.get(table, {}))
        self._rest = Merged()
        self._moved.clear()

    def add(self, position: Position, ops: Iterable[Op]) -> None:
        """Has been committed, up to ``position``."""
        if position <= self.at or not self._viewers:
            return
        self.at = position
        rest: list[Op] = []
        for op in ops:
            table, key, _ = op
            if (cells := self._cells.get(table)) is not None:
                cells.change(op)
            else:
                rest.append(op)
                if table in self._lookouts:
                    apply(self._lookouts, [op])
            if key in self._clients and table in self._focuses:
                self._moved.add(key)
        self._rest.add(rest)

    def patches(self) -> list[Sent[Who]]:
        """What has changed since the last time. Who sees no change is sent nothing."""
        steps = [cells.step() for cells in self._cells.values()]
        rest, self._rest = encoded(self._rest.ops()), Merged()
        crossing = self._crossing()
        sent: list[Sent[Who]] = []
        for (before, now), clients in [*(((spot, spot), c) for spot, c in self._spots.items()), *crossing.items()]:
            fragments = [step.fragment(*between) for step, *between in zip(steps, before, now, strict=True)]
            sent += self._patch([rest, *fragments], clients)
        for (_, now), clients in crossing.items():
            for who in clients:
                self._settle(who, now)
        return sent + [one for who in list(self._new) for one in self._first(who, rest, steps)]

    def states(self) -> list[Sent[Who]]:
        """All that each client sees; after ``load``."""
        for who, viewer in self._viewers.items():
            if viewer.since <= self.at:
                self._settle(who, self._spot(viewer.player))
            else:
                viewer.known = None
        return [self._state(spot, list(clients)) for spot, clients in self._spots.items()]

    # --- private

    def _shown(self, tables: Tables, player: str) -> Tables:
        """As ``seen``, which looks at all rows: at those only that were near, or have changed since, where that is known."""
        ops = self._game.missed(self.at)
        if ops is None:
            return seen(self._grids, tables, player)
        shown = dict(tables)
        for table, cells in self._cells.items():
            grid, rows, row = cells.grid, tables.get(table, {}), tables.get(cells.grid.focus, {}).get(player)
            cell, near = None if row is None else grid.cell_of(row), grid.seen_from(row)
            keys = cells.rows(cell).keys() | {key for name, key, _ in ops if name == table}
            shown[table] = {key: rows[key] for key in keys if key in rows and grid.cell_of(rows[key]) in near}
        return shown

    def _crossing(self) -> dict[tuple[Spot, Spot], list[Who]]:
        """Who looks from elsewhere than at the last patch; they are at no spot now."""
        crossing: dict[tuple[Spot, Spot], list[Who]] = {}
        for player in self._moved:
            now = self._spot(player)
            for who in self._clients.get(player, ()):
                viewer = self._viewers[who]
                if viewer.spot is not None and viewer.spot != now:
                    crossing.setdefault((viewer.spot, now), []).append(who)
                    self._leave_spot(who, viewer)
        self._moved.clear()
        return crossing

    def _first(self, who: Who, rest: bytes, steps: list[Step]) -> Iterator[Sent[Who]]:
        """For one who has just joined."""
        viewer = self._viewers[who]
        if self.at < viewer.since:
            return
        self._settle(who, spot := self._spot(viewer.player))
        if self.at == viewer.since:
            return
        if viewer.known is None:
            yield self._state(spot, [who])
            return
        ops: list[Op] = []
        for cells, step, cell, known in zip(self._cells.values(), steps, spot, viewer.known, strict=True):
            ops += _catching_up(cells.grid.table, step, known, cells.rows(cell))
        yield from self._patch([rest, encoded(ops)], [who])

    def _spot(self, player: str) -> Spot:
        rows = [self._own_row(grid.focus, player) for grid in self._grids]
        return tuple(None if row is None else grid.cell_of(row) for grid, row in zip(self._grids, rows, strict=True))

    def _own_row(self, table: str, player: str) -> Fields | None:
        cells = self._cells.get(table)
        return self._lookouts[table].get(player) if cells is None else cells.row(player)

    def _settle(self, who: Who, spot: Spot) -> None:
        viewer = self._viewers[who]
        if viewer.spot != spot:
            self._leave_spot(who, viewer)
            viewer.spot = spot
            self._spots.setdefault(spot, {})[who] = None
        self._new.pop(who, None)

    def _leave_spot(self, who: Who, viewer: _Viewer) -> None:
        if viewer.spot is not None:
            clients = self._spots[viewer.spot]
            del clients[who]
            if not clients:
                del self._spots[viewer.spot]
            viewer.spot = None

    def _patch(self, fragments: Iterable[bytes], clients: Iterable[Who]) -> Iterator[Sent[Who]]:
        if ops := b",".join(filter(None, fragments)):
            at = self.at
            yield "patch", b'{"epoch":%d,"seq":%d,"ops":[%b]}' % (at.epoch, at.seq, ops), list(clients)

    def _state(self, spot: Spot, clients: list[Who]) -> Sent[Who]:
        shown = dict(self._game.visible_tables())
        for (table, cells), cell in zip(self._cells.items(), spot, strict=True):
            shown[table] = cells.rows(cell)
        return "state", encode_json({"epoch": self.at.epoch, "seq": self.at.seq, "state": shown}), clients


def _catching_up(table: str, step: Step, known: set[str], rows: Mapping[str, Fields]) -> Iterator[Op]:
    """For who had the rows ``known`` at some time since the last patch, and sees ``rows`` now."""
    for key in known - rows.keys():
        yield table, key, None
    for key, row in rows.items():
        if key not in known or key in step.changes:
            yield table, key, row
