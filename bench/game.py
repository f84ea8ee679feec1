"""The game that is measured: every player has a place on a board, and shows which of its moves was the last."""

from __future__ import annotations

from gamecluster import Entity, Game, Player, Table, on


class Piece(Entity):
    x: int = 0
    y: int = 0
    mark: str = ""


class Board(Game):
    leave_after_seconds = 0.0

    pieces: Table[Piece]

    def join(self, player: Player) -> None:
        self.pieces[player.id] = Piece()

    def leave(self, player: Player) -> None:
        self.pieces.pop(player.id, None)

    @on("move")
    def move(self, player: Player, mark: str) -> None:
        piece = self.pieces[player.id]
        piece.x = (piece.x + 1) % 800
        piece.y = (piece.y + 1) % 600
        piece.mark = mark
