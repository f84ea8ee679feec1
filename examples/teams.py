"""Chat of teams, beside a game: who is in a team reads and says; what was said is kept, and heard by who was away.

gamecluster up examples/coins.py:Coins examples/teams.py:TeamChat
"""

from __future__ import annotations

from typing import Any

from gamecluster import Rejected, on
from gamecluster.chat import Chat


class TeamChat(Chat):
    topic = "team:*"
    keep = 500  # lines of each team
    topics_at_most = 100

    def join(self, payload: dict[str, Any]) -> Any:
        if self.player is None:
            raise Rejected("token needed", detail="join with the token that the game's join has given you")
        return super().join(payload)

    def checked(self, body: str) -> str:
        return super().checked(body).strip()

    @on("cheer")
    def cheer(self, for_whom: str) -> None:
        self.broadcast("cheered", {"by": self.player, "for": for_whom})  # kept, as lines are

    @on("typing")
    def typing(self) -> None:
        self.broadcast("typing", {"who": self.player}, kept=False)
