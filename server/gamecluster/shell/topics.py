"""Who of this pod's clients is on which topic, and how a broadcast reaches them: encoded and framed once per serializer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable

from ..core.messages import Position
from ..phoenix.codec import NotBinary, Vsn, encode_binary_broadcast, encode_broadcast
from .connection import Connection
from .outbox import Flusher, Group, binary_frame, text_frame

log = logging.getLogger("gamecluster.clients")

Form = tuple[Vsn, bool]
"""How frames look to a client: its serializer, and whether it gets the compact form of what has one."""


class Topics:
    """``drop`` is called with the number of a client that does not read; it unsubscribes it."""

    def __init__(self, flusher: Flusher, drop: Callable[[int], None]) -> None:
        self._flusher = flusher
        self._drop = drop
        self._has_warned = False
        self._groups: dict[str, dict[Form, Group]] = {}
        self._since: dict[str, dict[int, Position]] = {}
        """Where a join's answer was ahead of what is broadcast next, until a broadcast has passed it."""

    def has(self, topic: str) -> bool:
        return topic in self._groups

    def names(self, beginning: str) -> list[str]:
        """Topics with a client whose names begin so."""
        return [topic for topic in self._groups if topic.startswith(beginning)]

    def has_compact(self, topic: str) -> bool:
        return any(compact for _, compact in self._groups.get(topic, ()))

    def subscribe(
        self, topic: str, connection: Connection, since: Position | None = None, compact: bool = False
    ) -> None:
        """``since``: what the client knows already; broadcasts up to there are kept from it. ``compact``: not of V1."""
        form, groups = (connection.session.vsn, compact), self._groups.setdefault(topic, {})
        if (group := groups.get(form)) is None:
            group = groups[form] = Group(self._flusher, self._drop)
        group.join(connection.outbox)
        if since is not None:
            self.knows(topic, connection, since)

    def knows(self, topic: str, connection: Connection, position: Position) -> None:
        """A subscriber has been told all up to ``position``: broadcasts up to there are kept from it."""
        self._since.setdefault(topic, {})[connection.number] = position

    def known(self, topic: str, number: int) -> Position | None:
        """What a subscriber knows, where that is more than was broadcast."""
        return self._since.get(topic, {}).get(number)

    def members(self, topic: str, numbers: Iterable[int]) -> list[int]:
        """Those of ``numbers`` who are on ``topic``."""
        groups = self._groups.get(topic, {}).values()
        return [number for number in numbers if any(number in group.members for group in groups)]

    def unsubscribe(self, topic: str, connection: Connection) -> None:
        self._forget_since(topic, [connection.number])
        groups = self._groups.get(topic, {})
        for form, group in list(groups.items()):
            group.leave(connection.outbox)
            if not group.members:
                del groups[form]
        if not groups:
            self._groups.pop(topic, None)

    def fan_out(
        self,
        topic: str,
        event: str,
        payload: bytes,
        position: Position | None = None,
        binary: bool = False,
        without: Collection[int] = (),
        compact: bytes | None = None,
    ) -> int:
        """Sends to all on ``topic`` who can be sent it, but for ``without``; ``payload`` is JSON, unless it is ``binary``.

        ``compact``: the same for those who would have it so, always binary. Says to how many.
        """
        ahead = set(without)
        if position is not None and self._since:
            ahead.update(self._ahead_of(topic, position))
        count = 0
        for (vsn, is_compact), group in list(self._groups.get(topic, {}).items()):
            try:
                if is_compact and compact is not None:
                    group.send(_framed(vsn, topic, event, compact, binary=True))
                else:
                    group.send(_framed(vsn, topic, event, payload, binary))
            except NotBinary as error:
                self.cannot_send(topic, str(error))
                continue
            passed = [number for number in ahead if number in group.members]
            count += len(group.members) - len(passed)
            for number in [n for n in passed if not group.pass_over(n)]:
                self._drop(number)
        return count

    def tell(self, topic: str, event: str, payload: bytes, connections: Iterable[Connection]) -> int:
        """Sends JSON to these alone, who are on ``topic``; framed once per serializer. Says to how many."""
        frames: dict[Vsn, bytes] = {}
        count = 0
        for connection in connections:
            vsn = connection.session.vsn
            if (frame := frames.get(vsn)) is None:
                frame = frames[vsn] = _framed(vsn, topic, event, payload, binary=False)
            count += 1
            if not connection.outbox.send(frame):
                self._drop(connection.number)
        return count

    def cannot_send(self, topic: str, why: str) -> None:
        """Says so once in the log; more of it would only repeat that."""
        level = logging.DEBUG if self._has_warned else logging.WARNING
        log.log(level, "a client on %r is not sent binary data: %s", topic, why)
        self._has_warned = True

    def _ahead_of(self, topic: str, position: Position) -> list[int]:
        """Who knows ``position`` already."""
        since = self._since.get(topic, {})
        self._forget_since(topic, [number for number, known in since.items() if position > known])
        return list(since)

    def _forget_since(self, topic: str, numbers: Iterable[int]) -> None:
        since = self._since.get(topic, {})
        for number in numbers:
            since.pop(number, None)
        if not since:
            self._since.pop(topic, None)


def _framed(vsn: Vsn, topic: str, event: str, payload: bytes, binary: bool) -> bytes:
    if binary:
        return binary_frame(encode_binary_broadcast(vsn, topic, event, payload))
    return text_frame(encode_broadcast(vsn, topic, event, payload))
