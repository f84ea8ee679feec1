"""The matchmaker's topic. Named as a target, or as a class of your own derived from it. The guide is docs/cluster.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from .channel import Channel
from .checks import DefinitionError
from .core.messages import Fields
from .matching import Range
from .rules import Rejected, on


class Matchmaker(Channel):
    """Players wait here with tickets, and are told on their own topic ``player:<id>``: ``match.found`` with the topic to join,
    ``match.expired``, ``match.cancelled``. Derive from it to say how near numbers must be, and where a match is played::

        class Duels(Matchmaker):
            ranges = {"skill": Range(within=50, per_second=25)}
            match_topic = "duel:{match}"
    """

    topic = "matchmaker"
    ranges: ClassVar[Mapping[str, Range]] = {}
    """By property; others have Range(): within 100 at first, 50 more for each second."""
    match_topic: ClassVar[str] = "match:{match}"
    """Where a match is played; ``{match}`` is its id."""
    expire_seconds: ClassVar[float] = 120
    """After so long nobody is looked for any more."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        who = cls.__name__
        if cls.topic != "matchmaker":
            raise DefinitionError(f'{who}.topic: a cluster has one matchmaker, on the topic "matchmaker"')
        if not isinstance(cls.match_topic, str) or cls.match_topic.count("{match}") != 1:
            raise DefinitionError(
                f'{who}.match_topic: expected a topic such as "duel:{{match}}", got {cls.match_topic!r}'
            )
        if not all(isinstance(r, Range) for r in cls.ranges.values()):
            raise DefinitionError(f"{who}.ranges: expected Ranges, as in {{'skill': Range(within=50)}}")
        if not isinstance(cls.expire_seconds, (int, float)) or not 0 < cls.expire_seconds < float("inf"):
            raise DefinitionError(f"{who}.expire_seconds: expected seconds, got {cls.expire_seconds!r}")

    @on("enqueue")
    async def enqueue(
        self,
        size: int,
        properties: dict[str, Any] | None = None,
        players: list[str] | None = None,
        nonce: str | None = None,
    ) -> Fields:
        """``players``: a party, the asking one among them. ``nonce``: the client's, so that a repeat is the same ticket."""
        return await self.cluster.matchmaker.enqueue(self._me, size, properties or {}, players, nonce)

    @on("cancel")
    async def cancel(self, ticket: str) -> Fields:
        return await self.cluster.matchmaker.cancel(self._me, ticket)

    @on("ticket")
    def ticket(self, ticket: str) -> Fields:
        return self.cluster.matchmaker.ticket(self._me, ticket)

    @property
    def _me(self) -> str:
        if self.player is None:
            raise Rejected("token needed", detail="the token of the game's join says who asks")
        return self.player
