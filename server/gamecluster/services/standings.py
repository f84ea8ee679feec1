"""One pod's index of all leaderboards: what is committed, in order, kept as it changes.

| rows of a board                   | then                                                                               |
| --------------------------------- | ---------------------------------------------------------------------------------- |
| change                            | the index follows, at once                                                         |
| may all be others (a new copy)    | it is made anew: at once if it is small, else a part at a time; until then not ready |
| are of a season that is over      | the index is kept while there is one, else made at the first read                  |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from ..core.messages import Fields, Op
from ..rules import Rejected
from .ranking import Ranking

BOARDS = "$boards"
PREFIX = "$board:"
KEEP_SEASONS = 3
"""Seasons that are over and can still be read."""
MANY = 10_000
"""Changes at once, of a pod that was behind: then the index is made anew, a part at a time."""
AT_ONCE = 2_000
"""Rows that are put in order without a pause: some milliseconds."""

Rows = Callable[[str], Mapping[str, Fields]]


def table_of(name: str, season: int) -> str:
    return f"{PREFIX}{name}:{season}"


def season_of(table: str) -> tuple[str, int]:
    """A table's board and season."""
    name, _, season = table.removeprefix(PREFIX).rpartition(":")
    return name, int(season)


class Standings:
    """``rows``: of this pod's copy, committed. ``at_once``: how long a board may be to be put in order without a pause."""

    def __init__(self, rows: Rows, at_once: int = AT_ONCE) -> None:
        self._rows = rows
        self._at_once = at_once
        self._rankings: dict[str, Ranking] = {}
        self._building: dict[str, Iterator[str]] = {}
        self._discarded: list[Ranking] = []
        self.wake: Callable[[], None] = lambda: None
        """Called when there is something to build, which may be because of a read."""

    @property
    def is_building(self) -> bool:
        """There is something for ``build`` to do."""
        return bool(self._building or self._discarded)

    def changed(self, ops: list[Op] | None) -> None:
        """``ops`` were committed; None: all may be different."""
        if ops is None:
            for table in list(self._rankings):
                self._discard(table)
            for name, row in self._rows(BOARDS).items():
                self._begin(table_of(name, row["season"]))
            return
        anew = self._begin_again(ops) if len(ops) > MANY else ()
        for table, key, fields in ops:
            if table.startswith(PREFIX):
                if table not in anew:
                    self._follow(table, key, fields)
            elif table == BOARDS:
                self._forget_old(key)

    def ready(self, table: str) -> Ranking:
        """Not to be changed. Raises Rejected (``not ready``)."""
        ranking = self._rankings.get(table)
        if ranking is None:
            ranking = self._begin(table)
        if table in self._building:
            name, _ = season_of(table)
            done, all = len(ranking), max(1, len(self._rows(table)))
            detail = (
                f"the leaderboard {name} is being put in order, {100 * done // all} % are: try again in some seconds"
            )
            raise Rejected("not ready", detail=detail)
        return ranking

    def build(self, count: int) -> None:
        """Puts up to ``count`` more rows in order, or lets go of some of an index that is not wanted any more."""
        if self._discarded:
            if not self._discarded[-1].shrink():
                self._discarded.pop()
            return
        for table, players in list(self._building.items())[:1]:
            ranking, rows = self._rankings[table], self._rows(table)
            batch = list(islice(players, count))
            for player in batch:
                if player not in ranking and (row := rows.get(player)) is not None:
                    ranking.put(player, row)
            if len(batch) < count:
                del self._building[table]

    def _begin_again(self, ops: list[Op]) -> set[str]:
        """With the rows as they are now, which is after all of ``ops``. Returns whose."""
        tables = {table for table, _, _ in ops if table in self._rankings}
        for table in tables:
            self._discard(table)
            self._begin(table)
        return tables

    def _begin(self, table: str) -> Ranking:
        rows = self._rows(table)
        if len(rows) <= self._at_once:
            ranking = Ranking(rows)
        else:
            ranking = Ranking()
            self._building[table] = iter(list(rows))
            self.wake()
        if rows:
            self._rankings[table] = ranking
        return ranking

    def _follow(self, table: str, player: str, fields: Fields | None) -> None:
        ranking = self._rankings.get(table)
        if ranking is None:
            name, season = season_of(table)
            if season == self._rows(BOARDS).get(name, {}).get("season"):
                self._begin(table)
        elif fields is None:
            ranking.remove(player)
        else:
            ranking.put(player, fields)

    def _forget_old(self, name: str) -> None:
        """Of a season that is being deleted."""
        row = self._rows(BOARDS).get(name)
        if row is None:
            return
        for table in [t for t in self._rankings if season_of(t)[0] == name]:
            if season_of(table)[1] < max(row["oldest"], row["season"] - KEEP_SEASONS):
                self._discard(table)

    def _discard(self, table: str) -> None:
        self._building.pop(table, None)
        ranking = self._rankings.pop(table)
        if len(ranking) > self._at_once:
            self._discarded.append(ranking)
