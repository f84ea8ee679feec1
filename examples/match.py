"""Duels between two players whom the matchmaker has found: each a room of its own, which ends with the duel. Winners are counted.

gamecluster up gamecluster.demo:Counter examples/match.py:Duels examples/match.py:Duel --nodes=3
"""

from __future__ import annotations

from gamecluster import Entity, Player, Rejected, Room, Table, on
from gamecluster.matching import Range
from gamecluster.matchmaking import Matchmaker

POINTS_TO_WIN = 2
SECONDS_TO_SIGNAL = 2  # on average


class Duels(Matchmaker):
    """Clients push ``enqueue`` ``{"size": 2, "properties": {"skill": …}}``, and are told ``match.found`` on their own topic."""

    ranges = {"skill": Range(within=50, per_second=25)}  # noqa: RUF012
    match_topic = "game:duel-{match}"


class Score(Entity):
    points: int = 0


class Round(Entity):
    """When the signal comes is not in it: what is in a table, clients can see."""

    drawn: bool = False


class Duel(Room):
    """Who shoots first after the signal has a point; who shoots before it gives one away."""

    rooms = "duel-*"
    on_demand = False  # the matchmaker makes it, for the two that it has found
    tick_rate = 10
    empty_seconds = 60
    scores: Table[Score]
    rounds: Table[Round]

    def join(self, player: Player) -> None:
        self.scores.setdefault(player.id, Score())
        if len(self.scores) == len(self.invited) and "now" not in self.rounds:
            self.rounds["now"] = Round()

    def tick(self, seconds: float) -> None:
        current = self.rounds.get("now")
        if current is not None and not current.drawn and self.random.random() < seconds / SECONDS_TO_SIGNAL:
            current.drawn = True
            self.broadcast("draw", {})

    @on("shoot")
    def shoot(self, player: Player) -> dict[str, int]:
        if "now" not in self.rounds:
            raise Rejected("wait", detail="the other one is not here yet")
        other = next(name for name in self.invited if name != player.id)
        scorer = player.id if self.rounds["now"].drawn else other
        self.scores[scorer].points += 1
        self.broadcast("point", {"to": scorer})
        if self.scores[scorer].points >= POINTS_TO_WIN:
            self._won(scorer)
        else:
            self.rounds["now"] = Round()
        return {name: score.points for name, score in self.scores.items()}

    def _won(self, winner: str) -> None:
        """Counted once, and told to who has lost, whatever dies meanwhile."""
        self.broadcast("won", {"by": winner})
        self.cluster.leaderboard("winners").add(winner, 1)
        for name in self.invited:
            if name != winner:
                self.cluster.notify(name, {"lost to": winner})
        self.end()
