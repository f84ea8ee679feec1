"""Ready to run: ``gamecluster up gamecluster.demo:Arena gamecluster.demo:Room``. Arena is the game on the demo page."""

from __future__ import annotations

import secrets
from typing import Any

from . import Channel, Entity, Game, Player, Rejected, Table, on
from . import room as rooms

WIDTH, HEIGHT, STEP = 800, 600, 5


class Ship(Entity):
    x: float = 0.0
    y: float = 0.0


class Arena(Game):
    """Ships on a board of 800 × 600."""

    ships: Table[Ship]

    def join(self, player: Player) -> None:
        self.ships[player.id] = Ship(x=self.random.uniform(0, WIDTH), y=self.random.uniform(0, HEIGHT))

    def leave(self, player: Player) -> None:
        self.ships.pop(player.id, None)

    @on("move")
    def move(self, player: Player, dx: int, dy: int) -> None:
        if abs(dx) > 1 or abs(dy) > 1:
            raise Rejected("too fast")
        ship = self.ships[player.id]
        ship.x = min(max(ship.x + dx * STEP, 0), WIDTH)
        ship.y = min(max(ship.y + dy * STEP, 0), HEIGHT)


class Total(Entity):
    value: int = 0


class Counter(Game):
    """Everybody's sum, kept for good: a move that was lost or ran twice would show."""

    totals: Table[Total]

    def join(self, player: Player) -> None:
        if player.id not in self.totals:
            self.totals[player.id] = Total()

    @on("add")
    def add(self, player: Player, amount: int) -> dict[str, int]:
        total = self.totals[player.id]
        if abs(total.value + amount) >= 2**63:
            raise Rejected("too much")
        total.value += amount
        return {"value": total.value}


class Match(rooms.Room):
    """The same, any number of them, one for each id ``match-…``: ended a minute after the last player."""

    rooms = "match-*"
    empty_seconds = 60.0
    totals: Table[Total]
    join = Counter.join
    add = Counter.add


class Room(Channel):
    """A chat room: what one shouts, all on the topic hear. Who joins with ``"presence": false`` is not shown to the others."""

    topic = "room:*"

    def join(self, payload: dict[str, Any]) -> None:
        if payload.get("presence") is not False:
            self.track(payload.get("player") or f"guest-{secrets.token_hex(4)}")

    @on("shout")
    def shout(self, payload: dict[str, Any]) -> None:
        self.broadcast("shout", payload)
