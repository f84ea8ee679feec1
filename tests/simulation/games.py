"""The game that is played: each player has a total, so that lost and doubled moves show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gamecluster.core.messages import Broadcast, Fields, Op, Tables


@dataclass
class Outcome:
    ok: bool
    response: Fields
    ops: list[Op] = field(default_factory=list)
    broadcasts: list[Broadcast] = field(default_factory=list)
    error: str | None = None


class CounterGame:
    """What ``Runtime`` makes of ``gamecluster.demo:Counter``, by hand: ``add`` adds to the player's own total."""

    tick_rate = 0

    def __init__(self, leave_after_seconds: float = 30.0) -> None:
        self.leave_after_seconds = leave_after_seconds
        self._totals: dict[str, Fields] = {}

    def load(self, tables: Tables) -> None:
        self._totals = {player: dict(row) for player, row in tables.get("totals", {}).items()}

    def tables(self) -> Tables:
        return {"totals": self._totals}

    def join(self, player_id: str) -> Outcome:
        if player_id in self._totals:
            return Outcome(True, {})
        self._totals[player_id] = {"value": 0}
        return Outcome(True, {}, [("totals", player_id, {"value": 0})])

    def leave(self, player_id: str) -> Outcome:
        return Outcome(True, {})

    def move(self, player_id: str, event: str, payload: dict[str, Any]) -> Outcome:
        if payload["amount"] < 0:
            return Outcome(False, {"reason": "negative"})
        value = self._totals[player_id]["value"] + payload["amount"]
        self._totals[player_id] = {"value": value}
        return Outcome(True, {"value": value}, [("totals", player_id, {"value": value})])

    def tick(self, seconds: float) -> Outcome:
        return Outcome(True, {})

    def schema(self) -> dict[str, Any]:
        return {"totals": {"value": "int"}}


class GuestBook(CounterGame):
    """It also counts how often each player came and went."""

    def __init__(self, leave_after_seconds: float) -> None:
        super().__init__(leave_after_seconds)
        self._visits: dict[str, Fields] = {}

    def load(self, tables: Tables) -> None:
        super().load(tables)
        self._visits = {player: dict(row) for player, row in tables.get("visits", {}).items()}

    def tables(self) -> Tables:
        return {**super().tables(), "visits": self._visits}

    def join(self, player_id: str) -> Outcome:
        joined = super().join(player_id)
        visits = self._visits.setdefault(player_id, {"came": 0, "went": 0})
        visits["came"] += 1
        return Outcome(True, {}, [*joined.ops, ("visits", player_id, dict(visits))])

    def leave(self, player_id: str) -> Outcome:
        visits = self._visits[player_id]
        visits["went"] += 1
        return Outcome(True, {}, [("visits", player_id, dict(visits))])
