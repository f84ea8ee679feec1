"""``self.cluster.notify(player, body)``: in a rule and in a Channel. The guide is docs/cluster.md."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

from ..core.messages import Fields
from ..services.notices import TABLE, kept_in, told


class NoticeBackend(Protocol):
    def ask_once(self, service: str, verb: str, args: Fields) -> Awaitable[Fields]: ...

    def ask(self, service: str, verb: str, args: Fields) -> Awaitable[Fields]: ...

    def rows(self, table: str) -> Mapping[str, Fields]: ...


class Notifications:
    """Of a Channel: as this pod knows of them, and changed by the leader."""

    def __init__(self, backend: NoticeBackend) -> None:
        self._backend = backend

    async def notify(self, player: str, body: Any) -> str:
        """The id."""
        answer = await self._backend.ask_once("notices", "notify", {"player": player, "body": body})
        return answer["id"]  # type: ignore[no-any-return]

    async def acknowledge(self, player: str, id: str) -> None:
        await self._backend.ask("notices", "ack", {"player": player, "id": id})

    def kept(self, player: str) -> list[Fields]:
        """``[{"id", "body", "at"}]``, the oldest first."""
        return [told(id, notice) for id, notice in kept_in(self._backend.rows(TABLE).get(player, {})).items()]
