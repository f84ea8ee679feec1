"""``self.cluster.matchmaker``: the tickets of players who wait for a match. The guide is docs/cluster.md."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

from ..core.messages import Fields
from ..rules import Rejected
from ..services.matchmaker import MATCHED, TICKETS


class TicketBackend(Protocol):
    """A pod, as far as its matchmaker goes."""

    def ask(self, service: str, verb: str, args: Fields) -> Awaitable[Fields]: ...

    def rows(self, table: str) -> Mapping[str, Fields]: ...


class Tickets:
    """``player``: who asks, known by a token."""

    def __init__(self, backend: TicketBackend) -> None:
        self._backend = backend

    async def enqueue(
        self,
        player: str,
        size: int,
        properties: dict[str, Any] | None = None,
        players: list[str] | None = None,
        nonce: str | None = None,
    ) -> Fields:
        """``{"ticket"}``. ``players``: a party, ``player`` among them; ``nonce``: of the client's, so that a repeat is the same ticket.

        Raises Rejected: ``bad ticket``, ``already queued`` with the ticket, or ``overloaded``.
        """
        players = [player] if players is None else players
        if player not in players:
            raise Rejected("bad ticket", detail="players: the one who asks must be among them")
        id = f"{player}/{nonce}" if nonce else secrets.token_hex(8)
        args = {"id": id, "players": players, "size": size, "properties": properties or {}}
        answer = await self._backend.ask("matchmaker", "enqueue", args)
        return {"ticket": answer["ticket"]}

    async def cancel(self, player: str, ticket: str) -> Fields:
        """``{"cancelled"}``: False if it was matched meanwhile, or is not there. Raises Rejected, ``not yours``."""
        answer = await self._backend.ask("matchmaker", "cancel", {"id": ticket, "player": player})
        return {"cancelled": answer["cancelled"]}

    def ticket(self, player: str, ticket: str) -> Fields:
        """``{"status": "waiting", "players", "size", "properties", "at"}``, or ``{"status": "matched", "match", "topic", "url", …}``;
        ``at`` in Unix milliseconds.

        Raises Rejected, ``unknown ticket``, for one of others too.
        """
        for status, table in (("waiting", TICKETS), ("matched", MATCHED)):
            row = self._backend.rows(table).get(ticket)
            if row is not None and player in row["players"]:
                return {"status": status, **row}
        raise Rejected("unknown ticket", detail="it was cancelled, has expired, or was matched more than a minute ago")
