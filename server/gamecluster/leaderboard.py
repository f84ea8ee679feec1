"""Leaderboards for clients, on topics ``leaderboard:<name>``: every cluster serves them. A class of your own for those comes first."""

from __future__ import annotations

from .channel import Channel
from .core.messages import Fields
from .facades.boards import Leaderboard
from .rules import Rejected, on
from .services.boards import checked_limit

PREFIX = "leaderboard:"
TOP = 10
"""Entries that clients are sent when they change."""
AT_MOST = 100


class LeaderboardTopic(Channel):
    """Anyone may read. While a client is joined, it is sent ``top`` when the first ten have changed, twice a second at most.

    ====== ================================== =====================================================================
    join                                      ``{"season", "entries"}``, the first ten
    top    ``{"limit"?, "season"?}``          ``{"entries": [{"rank", "player", "score"}]}``; limit 10, 100 at most
    around ``{"player", "limit"?, "season"?}`` the same, with the player in the middle; ``[]`` without a score
    rank   ``{"player", "season"?}``          ``{"rank", "score"}``, both null without a score
    ====== ================================== =====================================================================
    """

    topic = PREFIX + "*"

    def join(self, payload: Fields) -> Fields:
        board = self._board()
        try:
            entries = board.top(TOP)
        except Rejected as refusal:
            if refusal.reason != "not ready":
                raise
            entries = []  # they follow
        return {"season": board.season, "entries": entries}

    @on("top")
    def top(self, limit: int = TOP, season: int | None = None) -> Fields:
        return {"entries": self._board().top(checked_limit(limit, AT_MOST), season)}

    @on("around")
    def around(self, player: str, limit: int = TOP, season: int | None = None) -> Fields:
        return {"entries": self._board().around(player, checked_limit(limit, AT_MOST), season)}

    @on("rank")
    def rank(self, player: str, season: int | None = None) -> Fields:
        entry = self._board().entry(player, season) or {"rank": None, "score": None}
        return {"rank": entry["rank"], "score": entry["score"]}

    def _board(self) -> Leaderboard:
        return self.cluster.leaderboard(self.topic.removeprefix(PREFIX))
