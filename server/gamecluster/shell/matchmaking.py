"""On the leader's pod: looks for matches among the tickets that wait, and has the matchmaker's service make them.

It looks at what is committed, and what it finds is refused if it is not so any more: it does no harm if two pods look.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from ..core.messages import Fields, Incarnation
from ..errors import ConfigurationError
from ..matching import Ticket, find_matches
from ..matchmaking import Matchmaker
from ..rules import Rejected
from ..services.matchmaker import MATCHED, REMEMBERED_MILLISECONDS, TICKETS

LOOK_SECONDS = 0.1
IN_A_THREAD_FROM = 500
"""So many tickets take more than a few milliseconds."""
EXPIRED_AT_ONCE = 1000
MADE_AT_ONCE = 500
"""Beside them, moves are to be heard."""
ROOM_TOPICS = "game:"

log = logging.getLogger("gamecluster.matchmaker")


class Backend(Protocol):
    """``driver.Driver``."""

    @property
    def is_leader(self) -> bool: ...

    def ask(self, service: str, verb: str, args: Fields) -> Awaitable[Fields]: ...

    def rows(self, table: str) -> Mapping[str, Fields]: ...

    def staying(self) -> list[Incarnation]:
        """Pods that are heard and are not about to go."""
        ...


class Kinds(Protocol):
    """``rooms.RoomKinds``."""

    def kind_of(self, room: str) -> str | None: ...

    def copies(self, kind: str) -> int: ...


class Matching:
    """``wall_clock``: Unix seconds. ``url_of``: where clients reach a pod; None: nowhere of its own.

    Raises ConfigurationError if matches are to be played in rooms that there is no class for.
    """

    def __init__(
        self,
        backend: Backend,
        rules: type[Matchmaker],
        wall_clock: Callable[[], float],
        kinds: Kinds,
        url_of: Callable[[Incarnation], str | None],
    ) -> None:
        self._backend = backend
        self._rules = rules
        self._wall_clock = wall_clock
        self._kinds, self._url_of = kinds, url_of
        self._tickets: dict[str, Ticket] = {}
        room = _room_of(self._topic_of(_new_id()))
        if room is not None and kinds.kind_of(room) is None:
            raise ConfigurationError(
                f"{rules.__name__}.match_topic is {rules.match_topic!r}, and no Room among the targets is for {room!r}"
            )

    async def run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                while self._backend.is_leader and await self.look():
                    pass
            except Rejected as refusal:
                log.debug("the matchmaker has to look again: %s", refusal)

    async def look(self) -> bool:
        """Whether matches were made: there may be more then."""
        now = round(self._wall_clock() * 1000)
        waiting = self._waiting()
        expired = [t.id for t in waiting if now - t.at > self._rules.expire_seconds * 1000]
        if expired:
            await self._backend.ask("matchmaker", "expire", {"tickets": expired[:EXPIRED_AT_ONCE]})
            return False
        if any(row["at"] < now - 2 * REMEMBERED_MILLISECONDS for row in self._backend.rows(MATCHED).values()):
            await self._backend.ask("matchmaker", "forget", {})
        find = partial(find_matches, waiting, self._rules.ranges, now)
        groups = await asyncio.to_thread(find) if len(waiting) >= IN_A_THREAD_FROM else find()
        made = await asyncio.gather(*map(self._make, groups[:MADE_AT_ONCE]), return_exceptions=True)
        return any(not isinstance(each, BaseException) for each in made)

    def _waiting(self) -> list[Ticket]:
        """Read once each: a row is never changed."""
        rows = self._backend.rows(TICKETS)
        known = self._tickets
        self._tickets = {id: known.get(id) or _ticket(id, row) for id, row in rows.items()}
        return list(self._tickets.values())

    def _make(self, group: Sequence[Ticket]) -> Awaitable[Any]:
        id = _new_id()
        topic = self._topic_of(id)
        match = {"id": id, "topic": topic, "tickets": [t.id for t in group], "room": self._room(topic)}
        return self._backend.ask("matchmaker", "match", match)

    def _room(self, topic: str) -> Fields | None:
        """The one that a match on this topic is played in."""
        room = _room_of(topic)
        kind = self._kinds.kind_of(room) if room is not None else None
        if kind is None:
            return None
        pods = {pod: self._url_of(pod) for pod in self._backend.staying()}
        return {"id": room, "kind": kind, "copies": self._kinds.copies(kind), "pods": pods}

    def _topic_of(self, match: str) -> str:
        return self._rules.match_topic.replace("{match}", match)


def _new_id() -> str:
    return secrets.token_hex(8)


def _room_of(topic: str) -> str | None:
    return topic.removeprefix(ROOM_TOPICS) if topic.startswith(ROOM_TOPICS) else None


def _ticket(id: str, row: Fields) -> Ticket:
    return Ticket(id, tuple(row["players"]), row["size"], row["properties"], row["at"])
