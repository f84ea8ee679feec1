"""Who of this pod's clients is on which topic, and how a broadcast reaches them: encoded once per serializer, framed once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..core.messages import Position
from ..phoenix.codec import Vsn, encode_broadcast
from .connection import Connection
from .outbox import text_frame


class Topics:
    """``drop`` is called for a client that does not read; it unsubscribes it."""

    def __init__(self, drop: Callable[[Connection], None]) -> None:
        self._drop = drop
        self._members: dict[str, dict[int, Connection]] = {}
        self._since: dict[tuple[str, int], Position] = {}
        """Where a join's answer was ahead of what is broadcast next, until a broadcast has passed it."""

    def has(self, topic: str) -> bool:
        return topic in self._members

    def subscribe(self, topic: str, connection: Connection, since: Position | None = None) -> None:
        """``since``: what the client knows already; broadcasts up to there are kept from it."""
        self._members.setdefault(topic, {})[connection.number] = connection
        if since is not None:
            self._since[topic, connection.number] = since

    def unsubscribe(self, topic: str, connection: Connection) -> None:
        self._since.pop((topic, connection.number), None)
        members = self._members.get(topic)
        if members is not None:
            members.pop(connection.number, None)
            if not members:
                del self._members[topic]

    def fan_out(self, topic: str, event: str, payload: bytes, position: Position | None = None) -> int:
        """Sends to all on ``topic``; ``payload`` is JSON. Says to how many."""
        members = list(self._members.get(topic, {}).values())
        if position is not None and self._since:
            members = self._passed(topic, members, position)
        frames: dict[Vsn, bytes] = {}
        slow = []
        for connection in members:
            vsn = connection.session.vsn
            frame = frames.get(vsn)
            if frame is None:
                frame = frames[vsn] = text_frame(encode_broadcast(vsn, topic, event, payload))
            if not connection.outbox.send(frame):
                slow.append(connection)
        for connection in slow:
            self._drop(connection)
        return len(members)

    def _passed(self, topic: str, members: Iterable[Connection], position: Position) -> list[Connection]:
        """Those of ``members`` who do not know ``position`` yet."""
        passed = []
        for connection in members:
            key = topic, connection.number
            since = self._since.get(key)
            if since is None or position > since:
                self._since.pop(key, None)
                passed.append(connection)
        return passed
