"""Zones to walk between, and duels that a matchmaker finds: what the browser's client plays on a real cluster."""

from __future__ import annotations

from typing import Any

from gamecluster.entity import Entity
from gamecluster.game import Player, Table, on
from gamecluster.matchmaking import Matchmaker
from gamecluster.room import Room, received


class Traveller(Entity):
    steps: int = 0


class Zone(Room):
    """``walk`` takes the player's traveller to another zone, and sends the player's page after it."""

    rooms = "zone-*"
    declared = ("zone-a", "zone-b", "zone-c")
    on_demand = False
    travellers: Table[Traveller]

    @on("begin")
    def begin(self, player: Player) -> None:
        self.travellers[player.id] = Traveller()

    @on("walk")
    def walk(self, player: Player, to: str) -> dict[str, Any]:
        traveller = self.travellers.pop(player.id)
        self.send(to, "arrive", {"name": player.id, "steps": traveller.steps + 1})
        self.migrate(player.id, to)
        return {"steps": traveller.steps + 1}

    @received("arrive")
    def arrive(self, sender: str, name: str, steps: int) -> None:
        self.travellers[name] = Traveller(steps=steps)


class Shot(Entity):
    count: int = 0


class Duel(Room):
    rooms = "duel-*"
    shots: Table[Shot]

    def join(self, player: Player) -> None:
        if player.id not in self.shots:
            self.shots[player.id] = Shot()

    @on("shoot")
    def shoot(self, player: Player) -> dict[str, int]:
        shot = self.shots[player.id]
        shot.count += 1
        return {"count": shot.count}

    @on("give up")
    def give_up(self, player: Player) -> None:
        self.end()


class Duels(Matchmaker):
    match_topic = "game:duel-{match}"
