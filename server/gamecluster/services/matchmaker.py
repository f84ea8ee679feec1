"""The matchmaker's tickets. Who plays with whom is found by the leader's pod (``gamecluster.matching``), and takes effect here.

| table      | key    | fields                                                                                             |
| ---------- | ------ | -------------------------------------------------------------------------------------------------- |
| ``$tickets`` | ticket | players, size, properties, at (Unix milliseconds)                                                  |
| ``$queued``  | player | ticket: a player has one at most                                                                   |
| ``$matched`` | ticket | match, topic, url, players (all of the match), at; kept for a minute, for those who ask about it     |
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

from ..checks import text
from ..core.messages import Fields, Incarnation
from ..matching import Property
from ..rules import Rejected
from .ledger import Ledger
from .rooms import Rooms
from .service import Service

TICKETS, QUEUED, MATCHED = "$tickets", "$queued", "$matched"
TICKETS_AT_MOST = 10_000
LARGEST_MATCH = 100
PROPERTIES_AT_MOST = 16
LONGEST_TEXT = 64
REMEMBERED_MILLISECONDS = 60_000
FORGOTTEN_AT_ONCE = 1000


class Matchmaker(Service):
    name = "matchmaker"
    verbs = frozenset({"enqueue", "cancel", "match", "expire", "forget"})

    def __init__(self, ledger: Ledger, now: Callable[[], int], rooms: Rooms) -> None:
        """``now``: Unix milliseconds. ``rooms``: where matches are played."""
        super().__init__(ledger)
        self._now = now
        self._rooms = rooms

    def enqueue(
        self, origin: Incarnation, id: str, players: list[str], size: int, properties: dict[str, Property]
    ) -> Fields:
        """``id`` is chosen by who asks, so that a repeat is the same ticket. Refused if a player waits already."""
        if id in self._ledger.rows(TICKETS) or id in self._ledger.rows(MATCHED):
            return {"ticket": id}
        checked_ticket(players, size, properties)
        queued = self._ledger.rows(QUEUED)
        for player in players:
            if player in queued:
                raise Rejected("already queued", player=player, ticket=queued[player]["ticket"])
        if len(self._ledger.rows(TICKETS)) >= TICKETS_AT_MOST:
            raise Rejected("overloaded", detail=f"{TICKETS_AT_MOST} tickets are waiting; come back later")
        row = {"players": players, "size": size, "properties": properties, "at": self._now()}
        self._ledger.put(TICKETS, id, row)
        for player in players:
            self._ledger.put(QUEUED, player, {"ticket": id})
        return {"ticket": id}

    def cancel(self, origin: Incarnation, id: str, player: str) -> Fields:
        """By one of its players. ``cancelled`` False: it was matched, or is not there (any more)."""
        row = self._ledger.rows(TICKETS).get(id)
        if row is None:
            return {"cancelled": False}
        if player not in row["players"]:
            raise Rejected("not yours", detail="a ticket is cancelled by one of its players")
        self._end(id, "match.cancelled", {"by": player})
        return {"cancelled": True}

    def match(self, origin: Incarnation, id: str, topic: str, tickets: list[str], room: Fields | None = None) -> Fields:
        """Refused with ``gone`` if one of ``tickets`` waits no longer; the others go on waiting then.

        ``room``: to be made for these players alone: ``{"id", "kind", "copies", "pods": {pod: its URL for clients, or None}}``. Refused
        with what it can't be made for; all go on waiting then.
        """
        waiting = self._ledger.rows(TICKETS)
        if gone := [ticket for ticket in tickets if ticket not in waiting]:
            if all(self._ledger.rows(MATCHED).get(ticket, {}).get("match") == id for ticket in tickets):
                return {"match": id}
            raise Rejected("gone", tickets=gone)
        players = [player for ticket in tickets for player in waiting[ticket]["players"]]
        url = self._opened(origin, players, **room) if room else None
        told = {"match": id, "topic": topic, "url": url, "players": players}
        for ticket in tickets:
            self._end(ticket, "match.found", told)
            self._ledger.put(MATCHED, ticket, {**told, "at": self._now()})
        return {"match": id}

    def expire(self, origin: Incarnation, tickets: list[str]) -> None:
        """Nobody was found for them."""
        for ticket in tickets:
            if ticket in self._ledger.rows(TICKETS):
                self._end(ticket, "match.expired", {})

    def forget(self, origin: Incarnation) -> None:
        """Matches that were made more than a minute ago."""
        before = self._now() - REMEMBERED_MILLISECONDS
        rows = self._ledger.rows(MATCHED).items()
        for ticket in [ticket for ticket, row in rows if row["at"] < before][:FORGOTTEN_AT_ONCE]:
            self._ledger.delete(MATCHED, ticket)

    def _opened(
        self,
        origin: Incarnation,
        players: list[str],
        id: str,
        kind: str,
        copies: int,
        pods: dict[Incarnation, str | None],
    ) -> str | None:
        """The URL of the pod that holds the new room."""
        self._rooms.open(origin, id, kind, list(pods), copies, players)
        row = self._rooms.row(id)
        return pods.get(row["holder"]) if row is not None else None

    def _end(self, ticket: str, event: str, told: Fields) -> None:
        """It waits no longer, and its players are told."""
        for player in self._ledger.rows(TICKETS)[ticket]["players"]:
            self._ledger.delete(QUEUED, player)
            self._ledger.broadcast(f"player:{player}", event, {"ticket": ticket, **told})
        self._ledger.delete(TICKETS, ticket)


def checked_ticket(players: list[str], size: int, properties: dict[str, Property]) -> None:
    """Raises Rejected, which says what would be right."""
    if type(size) is not int or not 2 <= size <= LARGEST_MATCH:
        raise Rejected("bad ticket", detail=f"size: expected how many play together, from 2 to {LARGEST_MATCH}")
    if not isinstance(players, list) or not all(isinstance(p, str) and p for p in players):
        raise Rejected("bad ticket", detail='players: expected a list of their names, such as ["ann"]')
    if not 1 <= len(players) <= size or len(set(players)) < len(players):
        raise Rejected("bad ticket", detail=f"players: expected 1 to {size} different ones, got {len(players)}")
    if not isinstance(properties, dict) or len(properties) > PROPERTIES_AT_MOST:
        raise Rejected("bad ticket", detail=f"properties: expected an object with at most {PROPERTIES_AT_MOST} of them")
    for name, value in properties.items():
        _check_property(name, value)


def _check_property(name: str, value: object) -> None:
    is_short = len(text(name)) <= LONGEST_TEXT and not (isinstance(value, str) and len(value) > LONGEST_TEXT)
    is_number = isinstance(value, (int, float)) and abs(value) < 2**53 and isfinite(value)
    if not is_short or not (is_number or isinstance(value, (bool, str))):
        expected = f"a text of at most {LONGEST_TEXT} characters, a number, or true or false"
        raise Rejected("bad ticket", detail=f"properties: {name[:LONGEST_TEXT]}: expected {expected}")
