"""``self.cluster.leaderboard(name)``: in a rule (RuleLeaderboard) and in a Channel (Leaderboard). The guide is docs/cluster.md."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping
from typing import Protocol

from ..core.messages import Fields
from ..services.boards import Boards, checked_limit, checked_name, checked_player, read
from ..services.ranking import View
from ..services.standings import BOARDS, Standings


class BoardBackend(Protocol):
    """A pod, as far as its leaderboards go."""

    @property
    def standings(self) -> Standings: ...

    def ask_once(self, service: str, verb: str, args: Fields) -> Awaitable[Fields]: ...

    def rows(self, table: str) -> Mapping[str, Fields]: ...


class _Reads(ABC):
    """Scores from the highest to the lowest; of equal ones, the one that was reached first is ahead. Entries are
    ``{"rank", "player", "score"}``, ranks from 1. ``season``: an earlier one. Raises Rejected, ``not ready`` while a
    pod that has just come up puts a large leaderboard in order, and ``unknown season``."""

    @abstractmethod
    def _view(self, season: int | None) -> View: ...

    def top(self, limit: int = 10, season: int | None = None) -> list[Fields]:
        """The best, up to 1,000."""
        return self._view(season).top(checked_limit(limit))

    def around(self, player: str, limit: int = 10, season: int | None = None) -> list[Fields]:
        """``limit`` entries with the player in the middle; [] for one without a score."""
        return self._view(season).around(checked_player(player), checked_limit(limit))

    def rank(self, player: str, season: int | None = None) -> int | None:
        """From 1; None without a score."""
        return self._view(season).rank(checked_player(player))

    def score(self, player: str, season: int | None = None) -> float | None:
        entry = self.entry(player, season)
        return None if entry is None else entry["score"]

    def entry(self, player: str, season: int | None = None) -> Fields | None:
        return self._view(season).entry(checked_player(player))

    def count(self, season: int | None = None) -> int:
        """Players who have a score."""
        return self._view(season).count()


class RuleLeaderboard(_Reads):
    """In a rule: changes are part of what the rule changes, and undone with it; reads see them."""

    def __init__(self, boards: Boards, name: str) -> None:
        self._boards, self._name = boards, checked_name(name)

    @property
    def season(self) -> int:
        return self._boards.season(self._name) or 1

    def add(self, player: str, amount: float) -> float:
        """The new score. Scores are ints or finite floats from -2**53 to 2**53; one who has none has 0."""
        return self._boards.add_to(self._name, player, amount)

    def set(self, player: str, score: float) -> None:
        self._boards.set_to(self._name, player, score)

    def best(self, player: str, score: float) -> float:
        """Keeps the better of this and the player's score, which is returned."""
        return self._boards.keep_best(self._name, player, score)

    def remove(self, player: str) -> None:
        self._boards.take_off(self._name, player)

    def new_season(self) -> int:
        """Its number. It begins empty; the last three can still be read, older ones are deleted bit by bit."""
        return self._boards.begin_season(self._name)

    def _view(self, season: int | None) -> View:
        return self._boards.view(self._name, season)


class Leaderboard(_Reads):
    """In a Channel: changes are awaited; reads are of what is committed, as far as this pod knows."""

    def __init__(self, backend: BoardBackend, name: str) -> None:
        self._backend, self._name = backend, checked_name(name)

    @property
    def season(self) -> int:
        row = self._backend.rows(BOARDS).get(self._name)
        return row["season"] if row else 1

    async def add(self, player: str, amount: float) -> float:
        """The new score. Scores are ints or finite floats from -2**53 to 2**53; one who has none has 0."""
        return (await self._ask("add", player=player, amount=amount))["score"]  # type: ignore[no-any-return]

    async def set(self, player: str, score: float) -> None:
        await self._ask("set", player=player, score=score)

    async def best(self, player: str, score: float) -> float:
        """Keeps the better of this and the player's score, which is returned."""
        return (await self._ask("best", player=player, score=score))["score"]  # type: ignore[no-any-return]

    async def remove(self, player: str) -> None:
        await self._ask("remove", player=player)

    async def new_season(self) -> int:
        """Its number. It begins empty; the last three can still be read, older ones are deleted bit by bit."""
        return (await self._ask("new_season"))["season"]  # type: ignore[no-any-return]

    async def _ask(self, verb: str, **args: object) -> Fields:
        return await self._backend.ask_once("boards", verb, {"name": self._name, **args})

    def _view(self, season: int | None) -> View:
        return read(self._backend.standings, self._backend.rows(BOARDS), self._name, season)
