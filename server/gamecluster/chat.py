"""Chat with history, on topics ``chat:<name>``. Every cluster serves it; a target of your own for those topics comes first."""

from __future__ import annotations

from typing import Any, ClassVar

from .channel import Channel
from .checks import got
from .core.messages import Fields
from .rules import Rejected, on
from .services.stream_view import Kept

SAID = "said"
LONGEST_NONCE = 64


class Chat(Channel):
    """A line is said to everyone on the topic, on every pod, once it is part of the GameState: who was answered finds it in the history
    for as long as it is among the last ``keep``. To change it, derive from it; the class's attributes are its settings.

    ========= ============================ =========================================================================
    join      ``{"history": 50}``          ``{"messages": [{"id", "from", "body", "at"}, …]}``, the newest last
    say       ``{"body", "nonce"?}``       ``{"id"}``; the same for a nonce that was heard already. All hear ``said``
    history   ``{"before"?, "limit"?}``    ``{"messages"}`` before that id
    ========= ============================ =========================================================================
    """

    topic = "chat:*"
    recover = 100
    recover_seconds = 3600.0
    kept_seconds = None
    keep: ClassVar[int] = 500
    """Lines of each topic; older ones are gone. 10,000 at most."""
    history_at_most: ClassVar[int] = 100
    """In one answer."""
    longest_body: ClassVar[int] = 1000
    """In characters."""
    topics_at_most: ClassVar[int] = 200
    """With something said on them. All that is kept is in every pod's memory: these bounds are for games that never thought of chat."""

    def join(self, payload: Fields) -> Any:
        self._wanted = self._count(payload.get("history", 50), "history", 0)

    @on("say")
    async def say(self, body: str, nonce: str | None = None) -> dict[str, Any]:
        author, body = self.author(), self.checked(body)
        if nonce is not None:
            if not 1 <= len(nonce) <= LONGEST_NONCE:
                detail = f"nonce: expected 1 to {LONGEST_NONCE} characters, got {len(nonce)}"
                raise Rejected("bad payload", detail=detail)
            nonce = f"{author}/{nonce}"
        stream = self.cluster.stream(self.topic)
        kept = await stream.keep([(SAID, {"from": author, "body": body})], self._kept(), nonce)
        return {"id": kept["offset"]}

    @on("history")
    def history(self, before: int | None = None, limit: int = 50) -> dict[str, Any]:
        return {"messages": self._messages(self._count(limit, "limit", 1), before)}

    def author(self) -> str:
        """Who says a line. Raises Rejected if this client may not."""
        if self.player is None:
            raise Rejected("token needed", detail="join with the token that the join of the game has given you")
        return self.player

    def checked(self, body: str) -> str:
        """The body as it will be said. Raises Rejected."""
        if not body.strip():
            raise Rejected("nothing to say", detail="body is empty")
        if len(body) > self.longest_body:
            raise Rejected("too long", detail=f"body has {len(body)} characters; {self.longest_body} at most")
        return body

    def _kept(self) -> Kept:
        return Kept(self.keep, self.kept_seconds, True, (type(self).topic.rstrip("*"), self.topics_at_most))

    def _welcome(self, offset: int, recovered: bool) -> Fields:
        """Who is told what it missed has the rest."""
        return {"messages": [] if recovered else self._messages(self._wanted, offset + 1)}

    def _messages(self, limit: int, before: int | None) -> list[Fields]:
        lines = self.cluster.stream(self.topic).lines(limit, before, SAID)
        return [{"id": line["offset"], **line["payload"], "at": line["at"]} for line in lines]

    def _count(self, value: Any, what: str, least: int) -> int:
        """More than there is in one answer is no mistake."""
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            detail = f"{what}: expected a number from {least} to {self.history_at_most}, got {got(value)}"
            raise Rejected("bad payload", detail=detail)
        return min(value, self.history_at_most)
