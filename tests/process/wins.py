"""What the tests of leaderboards and notifications play: a counter whose totals are on a leaderboard as well, and a channel for both."""

from __future__ import annotations

from typing import Any

from gamecluster import Channel, Entity, Game, Player, Table, on


class Total(Entity):
    value: int = 0


class Wins(Game):
    totals: Table[Total]

    @on("add")
    def add(self, player: Player, amount: int) -> dict[str, Any]:
        total = self.totals.setdefault(player.id, Total())
        total.value += amount
        score = self.cluster.leaderboard("wins").add(player.id, amount)
        assert score == total.value
        return {"value": total.value}

    @on("tell")
    def tell(self, player: Player, to: str, body: int) -> dict[str, Any]:
        return {"id": self.cluster.notify(to, body)}


class Desk(Channel):
    topic = "desk"

    @on("add")
    async def add(self, player: str, amount: int) -> dict[str, Any]:
        return {"score": await self.cluster.leaderboard("desk").add(player, amount)}

    @on("tell")
    async def tell(self, to: str, body: int) -> dict[str, Any]:
        return {"id": await self.cluster.notify(to, body)}
