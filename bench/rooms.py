"""What is measured with rooms: the game of ``bench.game``, in many rooms, and a channel that has one handed over."""

from __future__ import annotations

from gamecluster import Channel, Table, on
from gamecluster.room import Room
from gamecluster.services.placements import TABLE

from .game import Board, Piece


class Match(Room):
    rooms = "match-*"
    leave_after_seconds = 5.0
    empty_seconds = 3600.0

    pieces: Table[Piece]

    join = Board.join
    leave = Board.leave
    move = Board.move


class Mover(Channel):
    topic = "mover"

    @on("move")
    async def move(self, room: str) -> dict[str, int]:
        """Asks for it as who places rooms does: one of the backups is to hold it."""
        pod = self.cluster._backend
        row = pod.rows(TABLE)[room]
        change = {"id": room, "version": row["version"], "to": row["backups"][0]}
        await pod.ask("rooms", "place", {"changes": [change]})
        return {"from": row["epoch"]}
