"""Which connections of this pod play: who has asked to join, and who has joined.

| state  | event                                        | next   | what follows                                              |
| ------ | -------------------------------------------- | ------ | --------------------------------------------------------- |
| (none) | asked to join                                | live   |                                                           |
| live   | the join is answered with ok                 | joined | a connection by which the player had joined is replaced   |
| live   | the join is refused                          | (none) |                                                           |
| joined | the row names another connection             | (none) | this one is replaced                                      |
| joined | the row says that the player is disconnected | joined | the join is asked again: the socket lives                 |
| any    | left                                         | (none) |                                                           |
"""

from __future__ import annotations

from collections.abc import Iterable

from .messages import Fields, Incarnation, JoinGame


class Seats:
    def __init__(self, me: Incarnation) -> None:
        self._me = me
        self._live: dict[int, str] = {}
        self._joined: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, player: str) -> bool:
        """Has joined here."""
        return player in self._joined

    def players(self) -> Iterable[str]:
        """Who has joined here."""
        return list(self._joined)

    def asked(self, connection: int, player: str) -> None:
        self._live[connection] = player

    def left(self, connection: int, player: str) -> None:
        self._live.pop(connection, None)
        if self._joined.get(player) == connection:
            del self._joined[player]

    def answered(self, body: JoinGame, ok: bool) -> int | None:
        """Returns the connection that is replaced, if one is."""
        if not ok:
            if self._joined.get(body.player) != body.connection:
                self._live.pop(body.connection, None)
        elif body.connection in self._live:
            former = self._joined.get(body.player, body.connection)
            self._joined[body.player] = body.connection
            return former if former != body.connection else None
        return None

    def noticed(self, player: str, row: Fields | None) -> int | JoinGame | None:
        """The row of a player who has joined here has changed. Returns the connection that is replaced, or the join to ask again."""
        connection = self._joined[player]
        if row is None or (row["node"], row["connection"]) != (self._me, connection):
            self.left(connection, player)
            return connection
        return None if row["connected"] else JoinGame(player, row["stay"], row["nonce"], connection)
