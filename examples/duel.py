"""Who calls the higher number wins. Wins are counted on a leaderboard, and who has lost is told, also if they have left since.

gamecluster up examples/duel.py:Duel
"""

from __future__ import annotations

from typing import Any

from gamecluster import Entity, Game, Player, Rejected, Table, on


class Open(Entity):
    player: str = ""
    number: int = 0


class Duel(Game):
    open: Table[Open]  # a call that nobody has answered yet

    @on("call")
    def call(self, player: Player, number: int) -> dict[str, Any]:
        """The first of two calls waits for the second."""
        if not 1 <= number <= 100:
            raise Rejected("bad number", detail="a number from 1 to 100")
        first = self.open.pop("open", None)
        if first is None:
            self.open["open"] = Open(player=player.id, number=number)
            return {"waits": True}
        if first.player == player.id:
            raise Rejected("wait", detail="somebody else has to answer")
        winner, loser = (first.player, player.id) if first.number >= number else (player.id, first.player)
        wins = self.cluster.leaderboard("wins").add(winner, 1)
        self.cluster.notify(loser, {"lost to": winner})
        return {"winner": winner, "wins": wins, "rank": self.cluster.leaderboard("wins").rank(winner)}

    @on("season")
    def season(self, player: Player) -> dict[str, int]:
        """Everyone begins anew."""
        return {"season": self.cluster.leaderboard("wins").new_season()}
