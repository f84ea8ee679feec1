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

from ..core.messages import Fields
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

log = logging.getLogger("gamecluster.matchmaker")


class Backend(Protocol):
    """``driver.Driver``."""

    @property
    def is_leader(self) -> bool: ...

    def ask(self, service: str, verb: str, args: Fields) -> Awaitable[Fields]: ...

    def rows(self, table: str) -> Mapping[str, Fields]: ...


class Matching:
    """``wall_clock``: Unix seconds."""

    def __init__(self, backend: Backend, rules: type[Matchmaker], wall_clock: Callable[[], float]) -> None:
        self._backend = backend
        self._rules = rules
        self._wall_clock = wall_clock
        self._tickets: dict[str, Ticket] = {}

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
        id = secrets.token_hex(8)
        topic = self._rules.match_topic.replace("{match}", id)
        return self._backend.ask("matchmaker", "match", {"id": id, "topic": topic, "tickets": [t.id for t in group]})


def _ticket(id: str, row: Fields) -> Ticket:
    return Ticket(id, tuple(row["players"]), row["size"], row["properties"], row["at"])
