"""Notifications to players, kept until they are acknowledged. ``$notices``: player → ``{id: {"body", "at"}}``, the oldest first.

Ids are numbers as text, each above all earlier ones, also of other players: ms of the leader's wall clock, or one above the last
(``$notices.last``). A player has at most a hundred, then the oldest go; each is kept for a week at most. An acknowledged one is null until
its row is written anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ..checks import json_value, text
from ..core.messages import Fields, Incarnation
from ..rules import Rejected
from .ledger import Ledger
from .service import Service

TABLE, LAST = "$notices", "$notices.last"
KEPT_AT_MOST = 100
NOTICE_DAYS = 7
MILLISECONDS_A_DAY = 86_400_000
BODY_BYTES = 8_192
LONGEST_PLAYER = 200
PLAYERS_AT_A_TIME = 200


class Notices(Service):
    name = "notices"
    verbs = frozenset({"notify", "ack", "sweep"})

    def __init__(self, ledger: Ledger, now: Callable[[], int]) -> None:
        super().__init__(ledger)
        self._now = now

    # --- calls

    def notify(self, origin: Incarnation, player: str, body: Any) -> Fields:
        """``{"id"}``. To be asked once."""
        return {"id": self.tell(player, body)}

    def ack(self, origin: Incarnation, player: str, id: str) -> None:
        """Harmless for one that is not there (any more)."""
        row = self._ledger.rows(TABLE).get(player, {})
        if row.get(text(id)) is not None:
            self._drop(player, {id})

    def sweep(self, origin: Incarnation, players: list[str]) -> None:
        """Drops what is too old of these players'."""
        for player in players[:PLAYERS_AT_A_TIME]:
            self._drop(player, set(too_old(self._ledger.rows(TABLE).get(player, {}), self._now())))

    # --- changes, of rules too

    def tell(self, player: str, body: Any) -> str:
        """The notification's id."""
        if not 1 <= len(text(player)) <= LONGEST_PLAYER:
            raise Rejected("bad player", detail=f"a player's name has 1 to {LONGEST_PLAYER} characters")
        notice = {"body": checked_body(body), "at": self._now()}
        last = self._ledger.rows(LAST).get("id", {}).get("n", 0)
        number = max(last + 1, self._now())
        self._ledger.put(LAST, "id", {"n": number})
        kept = kept_in(self._ledger.rows(TABLE).get(player, {}))
        if len(kept) >= KEPT_AT_MOST:
            self._drop(player, set(list(kept)[: len(kept) - KEPT_AT_MOST + 1]))
        self._ledger.put(TABLE, player, {str(number): notice})
        return str(number)

    def _drop(self, player: str, ids: set[str]) -> None:
        row = self._ledger.rows(TABLE).get(player, {})
        left = {id: notice for id, notice in kept_in(row).items() if id not in ids}
        if not left:
            self._ledger.delete(TABLE, player)
        elif len(row) < 2 * KEPT_AT_MOST:
            gone: Fields = {id: None for id in ids if row.get(id) is not None}
            if gone:
                self._ledger.put(TABLE, player, gone)
        else:
            self._ledger.delete(TABLE, player)
            self._ledger.put(TABLE, player, left)


def kept_in(row: Mapping[str, Any]) -> dict[str, Fields]:
    """The notifications of a row, without those that were acknowledged."""
    return {id: notice for id, notice in row.items() if notice is not None}


def told(id: str, notice: Fields) -> Fields:
    """As a client is sent it."""
    return {"id": id, "body": notice["body"], "at": notice["at"]}


def too_old(row: Mapping[str, Any], now: int) -> list[str]:
    """Ids."""
    return [id for id, notice in kept_in(row).items() if now - notice["at"] > NOTICE_DAYS * MILLISECONDS_A_DAY]


def checked_body(body: Any) -> Any:
    plain = json_value(body)
    if (size := len(msgspec.json.encode(plain))) > BODY_BYTES:
        raise Rejected("bad body", detail=f"a notification has up to {BODY_BYTES} bytes of JSON, this one {size}")
    return plain
