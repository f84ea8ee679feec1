"""A player's own topic, ``player:<id>``: every cluster serves it."""

from __future__ import annotations

from .channel import Channel
from .core.messages import Fields
from .rules import Rejected, on

PREFIX = "player:"
NOTIFICATION = "notification"


class PlayerTopic(Channel):
    """Joined with the player's token only. All that is kept for the player follows the join's answer as ``notification``
    ``{"id", "body", "at"}`` (ms), the oldest first; what comes later is sent at once. ``ack`` ``{"id"}`` has one dropped everywhere."""

    topic = PREFIX + "*"
    _is_own = True

    def join(self, payload: Fields) -> None:
        if self.player is None:
            raise Rejected("token needed", detail="join with the token that the join of the game has given you")
        if self.topic != PREFIX + self.player:
            raise Rejected("not yours", detail=f"your topic is {PREFIX}{self.player}")

    @on("ack")
    async def ack(self, id: str) -> None:
        assert self.player is not None
        await self.cluster.notifications.acknowledge(self.player, id)

    def _entered(self) -> None:
        assert self.player is not None
        for notice in self.cluster.notifications.kept(self.player):
            self.push(NOTIFICATION, notice)
