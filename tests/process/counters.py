"""Rooms that count, for tests: everybody's sums, and zones between which travellers walk."""

from __future__ import annotations

from gamecluster.demo import Total
from gamecluster.game import Entity, Player, Table, on
from gamecluster.room import Room, received


class Beginning(Entity):
    mark: int = 0
    """Drawn when the room begins: one that began anew has another."""


class Counter(Room):
    """Any id ``count-…``: everybody's sum, as in the demo's Counter."""

    rooms = "count-*"
    empty_seconds = 1.0
    totals: Table[Total]
    beginnings: Table[Beginning]

    def join(self, player: Player) -> None:
        if not self.beginnings:
            self.beginnings["room"] = Beginning(mark=self.random.getrandbits(48))
        if player.id not in self.totals:
            self.totals[player.id] = Total()

    @on("add")
    def add(self, player: Player, amount: int) -> dict[str, int]:
        total = self.totals[player.id]
        total.value += amount
        return {"value": total.value}

    @on("finish")
    def finish(self, player: Player) -> None:
        self.cluster.leaderboard("finished").add(player.id, 1)
        self.end()


class Traveller(Entity):
    steps: int = 0


class Zone(Room):
    """Declared: travellers walk from one to the next."""

    rooms = "zone-*"
    declared = ("zone-a", "zone-b", "zone-c")
    on_demand = False
    travellers: Table[Traveller]
    beginnings: Table[Beginning]

    def join(self, player: Player) -> None:
        if not self.beginnings:
            self.beginnings["room"] = Beginning(mark=self.random.getrandbits(48))

    @on("begin")
    def begin(self, player: Player) -> None:
        self.travellers[player.id] = Traveller()

    @on("walk")
    def walk(self, player: Player, to: str) -> None:
        traveller = self.travellers.pop(player.id)
        self.send(to, "arrive", {"name": player.id, "steps": traveller.steps})
        self.migrate(player.id, to)

    @received("arrive")
    def arrive(self, sender: str, name: str, steps: int) -> None:
        self.travellers[name] = Traveller(steps=steps + 1)

    def returned(self, room: str, event: str, payload: dict[str, object]) -> None:
        self.travellers[str(payload["name"])] = Traveller(steps=int(str(payload["steps"])))
