"""Leaderboards. ``$boards``: name → ``{"season", "oldest"}``; ``$board:<name>:<season>``: player → ``{"score", "at"}``.

``at``: the leader's wall clock in ms when the score was reached: of equal scores the first is ahead, then they go by name. A new season
begins with an empty table; the one that is too old then is deleted by ``sweep``, a part at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from math import isfinite
from typing import Any

from ..checks import got, text
from ..core.messages import Fields, Incarnation, Op
from ..rules import Rejected
from .ledger import Ledger
from .ranking import Key, Ranking, View, key_of
from .service import Service
from .standings import BOARDS, KEEP_SEASONS, PREFIX, Standings, table_of

ROWS_AT_A_TIME = 1_000
LARGEST = 2**53
LIMIT = 1_000
LONGEST_PLAYER = 200
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")


class Boards(Service):
    name = "boards"
    verbs = frozenset({"add", "set", "best", "remove", "new_season", "sweep"})

    def __init__(self, ledger: Ledger, now: Callable[[], int]) -> None:
        super().__init__(ledger)
        self._now = now
        self._ahead: dict[
            str, dict[str, None]
        ] = {}  # of each table the players whose rows are ahead of what is committed
        self.standings: Standings | None = None
        """The pod's index of what is committed, where there is one."""

    # --- calls, each asked once

    def add(self, origin: Incarnation, name: str, player: str, amount: float) -> Fields:
        return {"score": self.add_to(name, player, amount)}

    def set(self, origin: Incarnation, name: str, player: str, score: float) -> Fields:
        return {"score": self.set_to(name, player, score)}

    def best(self, origin: Incarnation, name: str, player: str, score: float) -> Fields:
        return {"score": self.keep_best(name, player, score)}

    def remove(self, origin: Incarnation, name: str, player: str) -> Fields:
        return self.take_off(name, player)

    def new_season(self, origin: Incarnation, name: str) -> Fields:
        return {"season": self.begin_season(name)}

    def sweep(self, origin: Incarnation) -> Fields:
        """Deletes some of what is too old; ``{"left": how many boards have more}``."""
        due = [(name, row) for name, row in self._ledger.rows(BOARDS).items() if is_due(row)]
        for name, row in due[:1]:
            self._delete_some(name, row)
        return {"left": len(due)}

    # --- changes, of rules too

    def add_to(self, name: str, player: str, amount: float) -> float:
        """The new score."""
        table = self._begin(checked_name(name))
        row = self._ledger.rows(table).get(checked_player(player))
        score: float = checked_score((row["score"] if row else 0) + checked_score(amount, "amount"))
        self._put(table, player, score, row)
        return score

    def set_to(self, name: str, player: str, score: float) -> float:
        table = self._begin(checked_name(name))
        self._put(table, checked_player(player), checked_score(score), self._ledger.rows(table).get(player))
        return score

    def keep_best(self, name: str, player: str, score: float) -> float:
        """The better one: what the player's score is now."""
        table = self._begin(checked_name(name))
        row = self._ledger.rows(table).get(checked_player(player))
        if checked_score(score) > (row["score"] if row else float("-inf")):
            self._put(table, player, score, row)
            return score
        assert row is not None
        kept: float = row["score"]
        return kept

    def take_off(self, name: str, player: str) -> Fields:
        """Harmless for one who has no score."""
        season = self.season(checked_name(name))
        table = table_of(name, season or 1)
        if season and checked_player(player) in self._ledger.rows(table):
            self._ledger.delete(table, player)
            self._note(table, player)
        return {}

    def begin_season(self, name: str) -> int:
        """Its number. The scores of the last one stay readable."""
        season = (self.season(checked_name(name)) or 1) + 1
        self._ledger.put(BOARDS, name, {"season": season} if name in self._ledger.rows(BOARDS) else begun(season))
        return season

    # --- reads, of rules

    def season(self, name: str) -> int:
        """The one that is on; 0: nobody has had a score yet."""
        row = self._ledger.rows(BOARDS).get(name)
        return row["season"] if row else 0

    def view(self, name: str, season: int | None = None) -> View:
        """As this rule and earlier ones left it."""
        table = table_in(self._ledger.rows(BOARDS), name, season)
        rows = self._ledger.rows(table)
        if self.standings is None:
            return View(Ranking(rows))
        ranking = self.standings.ready(table)
        gone: list[Key] = []
        came: list[Key] = []
        for player in self._ahead.get(table, ()):
            now, before = rows.get(player), ranking.key(player)
            key = None if now is None else key_of(player, now)
            if key != before:
                gone += [] if before is None else [before]
                came += [] if key is None else [key]
        view = View(ranking, gone, came)
        if view.count() != len(rows):  # it was restored a moment ago, and the index does not know yet
            raise Rejected(
                "not ready", detail=f"the leaderboard {name} is being put in order: try again in some seconds"
            )
        return view

    # --- of the node

    def loaded(self, ahead: Sequence[Op]) -> None:
        """This pod leads. ``ahead``: what is in the ledger and not committed yet."""
        self._ahead.clear()
        for table, player, _ in ahead:
            if table.startswith(PREFIX):
                self._note(table, player)

    def committed(self, ops: list[Op] | None) -> None:
        """To be told after the standings."""
        for table, player, fields in ops or ():
            ahead = self._ahead.get(table, {})
            if player in ahead and self._ledger.rows(table).get(player) == fields:
                del ahead[player]

    def _begin(self, name: str) -> str:
        if name not in self._ledger.rows(BOARDS):
            self._ledger.put(BOARDS, name, begun(1))
        return table_of(name, self.season(name))

    def _put(self, table: str, player: str, score: float, before: Fields | None) -> None:
        if before is None or before["score"] != score:
            at = self._now() if before is None else max(self._now(), before["at"] + 1)
            self._ledger.put(table, player, {"score": score, "at": at})
            self._note(table, player)

    def _note(self, table: str, player: str) -> None:
        if self.standings is not None:
            self._ahead.setdefault(table, {})[player] = None

    def _delete_some(self, name: str, row: Fields) -> None:
        table = table_of(name, row["oldest"])
        players = list(islice(self._ledger.rows(table), ROWS_AT_A_TIME))
        for player in players:
            self._ledger.delete(table, player)
        if len(players) < ROWS_AT_A_TIME:
            self._ledger.put(BOARDS, name, {"oldest": row["oldest"] + 1})


def begun(season: int) -> Fields:
    return {"season": season, "oldest": 1}


def is_due(row: Fields) -> bool:
    """A season of this board is to be deleted."""
    return bool(row["season"] - row["oldest"] > KEEP_SEASONS)


def table_in(boards: Mapping[str, Fields], name: str, season: int | None) -> str:
    """The table of a board's present season, or of an earlier one. Raises Rejected."""
    row = boards.get(checked_name(name)) or begun(1)
    if season is None:
        return table_of(name, row["season"])
    oldest = max(row["oldest"], row["season"] - KEEP_SEASONS)
    if type(season) is not int or not oldest <= season <= row["season"]:
        raise Rejected("unknown season", detail=f"there are {oldest} to {row['season']}")
    return table_of(name, season)


def read(standings: Standings, boards: Mapping[str, Fields], name: str, season: int | None = None) -> View:
    """What is committed. Raises Rejected."""
    return View(standings.ready(table_in(boards, name, season)))


def checked_name(name: Any) -> str:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise Rejected(
            "bad name",
            detail="a leaderboard's name has 1 to 64 letters, digits and _ . : -, the first a letter or digit",
        )
    return name


def checked_player(player: Any) -> str:
    if not 1 <= len(text(player)) <= LONGEST_PLAYER:
        raise Rejected("bad player", detail=f"a player's name has 1 to {LONGEST_PLAYER} characters")
    return str(player)


def checked_score(score: Any, what: str = "score") -> Any:
    is_number = isinstance(score, int | float) and not isinstance(score, bool)
    if not is_number or not isfinite(score) or abs(score) > LARGEST:
        shown = score if is_number else got(score)
        raise Rejected(f"bad {what}", detail=f"{what}: expected a number from -2**53 to 2**53, got {shown}")
    return score


def checked_limit(limit: Any, most: int = LIMIT) -> int:
    if type(limit) is not int or not 1 <= limit <= most:
        raise Rejected(
            "bad limit", detail=f"limit: expected 1 to {most}, got {got(limit) if type(limit) is not int else limit}"
        )
    return limit
