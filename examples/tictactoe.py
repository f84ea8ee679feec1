"""Noughts and crosses for the first two who join: turns, refusals, and a list in an entity.

gamecluster up examples/tictactoe.py:TicTacToe
"""

from __future__ import annotations

from dataclasses import field

from gamecluster import Entity, Game, Player, Rejected, Table, on

LINES = [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6)]


class Board(Entity):
    cells: list[str] = field(default_factory=lambda: [""] * 9)
    seats: list[str] = field(default_factory=list)
    moves: int = 0
    winner: str | None = None


class TicTacToe(Game):
    boards: Table[Board]
    leave_after_seconds = 300  # who loses the connection has five minutes to come back

    def join(self, player: Player) -> None:
        board = self.boards.setdefault("board", Board())
        if len(board.seats) == 2:
            raise Rejected("full")
        board.seats.append(player.id)

    def leave(self, player: Player) -> None:
        self.boards.clear()

    @on("put")
    def put(self, player: Player, cell: int) -> None:
        board = self.boards.get("board")
        if board is None or len(board.seats) < 2:
            raise Rejected("nobody to play against")
        if board.winner or board.moves == 9:
            raise Rejected("over")
        if board.seats[board.moves % 2] != player.id:
            raise Rejected("not your turn")
        if not 0 <= cell < 9 or board.cells[cell]:
            raise Rejected("not a free cell")
        board.cells[cell] = player.id
        board.moves += 1
        if any(all(board.cells[c] == player.id for c in line) for line in LINES):
            board.winner = player.id
