"""Rooms that count, for tests: a matches' worth of players, and zones between which a token walks."""

from __future__ import annotations

from gamecluster.game import Entity, Player, Table, on
from gamecluster.room import Room, received


class Count(Entity):
    value: int = 0


class Counter(Room):
    """Any id ``count-…``: each player's moves, and all together."""

    rooms = "count-*"
    empty_seconds = 1.0
    counts: Table[Count]

    def join(self, player: Player) -> None:
        self.counts[player.id] = Count()

    @on("add")
    def add(self, player: Player) -> dict[str, int]:
        count = self.counts[player.id]
        count.value += 1
        return {"value": count.value}

    @on("finish")
    def finish(self, player: Player) -> None:
        self.cluster.leaderboard("finished").submit(player.id, 1)
        self.end()


class Traveller(Entity):
    steps: int = 0


class Zone(Room):
    """Declared: travellers walk from one to the next."""

    rooms = "zone-*"
    declared = ("zone-a", "zone-b", "zone-c")
    on_demand = False
    travellers: Table[Traveller]

    @on("arrive")
    def begin(self, player: Player) -> None:
        self.travellers[player.id] = Traveller()

    @on("walk")
    def walk(self, player: Player, name: str, to: str) -> None:
        traveller = self.travellers.pop(name)
        self.send(to, "arrive", {"name": name, "steps": traveller.steps})
        self.migrate(player.id, to)

    @received("arrive")
    def arrive(self, sender: str, name: str, steps: int) -> None:
        self.travellers[name] = Traveller(steps=steps + 1)

    def returned(self, room: str, event: str, payload: dict[str, object]) -> None:
        self.travellers[str(payload["name"])] = Traveller(steps=int(str(payload["steps"])))
