"""``self.cluster.rooms``: the rooms that there are, and new ones, in a Channel. The guide is docs/rooms.md."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Protocol

from ..core.messages import Fields, Incarnation, name_of
from ..rules import Rejected
from ..services.placements import TABLE


class RoomsBackend(Protocol):
    """A pod, as far as it has rooms made."""

    def ask(self, service: str, verb: str, args: Fields) -> Awaitable[Fields]: ...

    def rows(self, table: str) -> Mapping[str, Fields]: ...

    def how_to_open(self, room: str) -> Fields | None:
        """``{"kind", "pods", "copies"}``; None: no class of rooms is for this id."""
        ...


class OpenRooms:
    def __init__(self, backend: RoomsBackend) -> None:
        self._backend = backend

    async def open(self, room: str, players: Sequence[str] = ()) -> Fields:
        """``{"topic": "game:<id>"}``, once the room is there; it may have been before. ``players``: who alone may join, by their tokens,
        if it was not. Rooms that the first join makes need no opening.

        Raises Rejected: ``no such room`` (no class is for the id), ``too many rooms``, or ``no leader``.
        """
        how = self._backend.how_to_open(room)
        if how is None:
            raise Rejected("no such room", detail=f"no class of rooms is for the id {room!r}")
        await self._backend.ask("rooms", "open", {"id": room, **how, "players": list(players)})
        return {"topic": f"game:{room}"}

    def all(self) -> dict[str, str]:
        """The nodes that hold them, by their ids, as far as this pod knows."""
        return {room: name_of(Incarnation(row["holder"])) for room, row in self._backend.rows(TABLE).items()}
