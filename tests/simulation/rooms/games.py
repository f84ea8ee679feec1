"""The rooms that are played: totals of their players, people who walk to other rooms, and ticks."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from gamecluster.core.messages import Fields, Placement
from gamecluster.game import Entity, Player, Table, on
from gamecluster.room import Room, make_room, received

if TYPE_CHECKING:
    from .schedule import Plan

BOARD = "adds"


class Total(Entity):
    value: int = 0


class Person(Entity):
    steps: int = 0


class Clock(Entity):
    ticks: int = 0


class Hall(Room):
    """``add`` adds 1 to the player's total, and may let somebody walk, count on a leaderboard, or end the room."""

    rooms = "hall-*"
    on_demand = False
    copies = 2

    totals: Table[Total]
    people: Table[Person]
    clock: Table[Clock]

    def join(self, player: Player) -> None:
        if player.id not in self.totals:
            self.totals[player.id] = Total()

    @on("add")
    def add(
        self, player: Player, amount: int, people: int = 0, to: str = "", scores: bool = False, ends: bool = False
    ) -> dict[str, int]:
        total = self.totals[player.id]
        total.value += amount
        for index in range(people):
            self.people[f"person{index}"] = Person()
        if to and len(self.people):
            self._walk(min(self.people), to)
        if scores:
            self.cluster.leaderboard(BOARD).add(self.room, 1)
        if ends and not len(self.people):
            self.end()
        return {"value": total.value}

    def _walk(self, person: str, to: str) -> None:
        steps = self.people.pop(person).steps
        self.send(to, "arrive", {"person": person, "steps": steps + 1})

    @received("arrive")
    def arrive(self, sender: str, person: str, steps: int) -> None:
        self.people[person] = Person(steps=steps)

    def returned(self, room: str, event: str, payload: Fields) -> None:
        self.people[payload["person"]] = Person(steps=payload["steps"])


class TickingHall(Hall):
    tick_rate = 10

    def tick(self, seconds: float) -> None:
        if "now" not in self.clock:
            self.clock["now"] = Clock()
        self.clock["now"].ticks += 1


class Match(Hall):
    rooms = "match-*"
    on_demand = True
    empty_seconds = 1.0


class Kinds:
    """``rooms.Kinds``: declared rooms, and others that the first join makes."""

    def __init__(self, plan: Plan, random: Random) -> None:
        self._plan = plan
        self._random = random
        self.declared = [f"hall-{index}" for index in range(plan.rooms)]
        self.demanded = [f"match-{index}" for index in range(plan.demanded)]
        base = TickingHall if plan.tick_rate else Hall
        self._classes: dict[str, type[Room]] = {
            "hall": type("Declared", (base,), {"rooms": "hall-*", "declared": tuple(self.declared)}),
            "match": Match,
        }

    @property
    def all(self) -> list[str]:
        return [*self.declared, *self.demanded]

    def kind_of(self, room: str) -> str | None:
        kind = room.split("-")[0]
        return kind if kind in self._classes else None

    def make(self, room: str, placement: Placement) -> tuple[Any, Any]:
        return make_room(self._classes[placement.kind], room, placement.players, self._random)

    def copies(self, kind: str) -> int:
        return self._plan.copies

    def on_demand(self, kind: str) -> bool:
        return self._classes[kind].on_demand

    def is_declared(self, room: str) -> bool:
        return room in self.declared
