"""A MUD: three zones that are always there, each a room of its own, wherever it is. Who walks takes along all that is theirs.

gamecluster up examples/mud.py:Zone examples/mud.py:Npc --nodes=3     (the page is examples/mud.html)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gamecluster import Entity, Player, Rejected, Room, Singleton, Table, on, received

HOME = "zone-town"


@dataclass(frozen=True)
class Place:
    text: str
    exits: dict[str, str]
    npc: str | None = None


PLACES = {
    HOME: Place("The town. A smith hammers; a road goes north.", {"north": "zone-forest"}, npc="npc:smith"),
    "zone-forest": Place("A forest. South is the town; a hole goes down.", {"south": HOME, "down": "zone-cave"}),
    "zone-cave": Place("A cave. Something glitters: you could dig.", {"up": "zone-forest"}),
}
ANSWERS = ("Dig in the cave, if you need gold.", "I was young once.", "Have you seen the forest?")


class Body(Entity):
    """``steps``: how often it has gone from zone to zone."""

    gold: int = 0
    steps: int = 0
    asleep: bool = False


class Whereabouts(Entity):
    zone: str = HOME
    steps: int = 0


class Npc(Singleton):
    """There is one of each name in the cluster; whoever talks to it, and from where, it remembers."""

    name = "npc:*"
    heard: int = 0

    @on("ask")
    def ask(self, room: str, by: str, text: str) -> None:
        answer = ANSWERS[self.heard % len(ANSWERS)]
        self.heard += 1
        self.broadcast(f"game:{room}", "said", {"by": self.key, "to": by, "text": answer})


class Zone(Room):
    rooms = "zone-*"
    declared = tuple(PLACES)
    on_demand = False
    people: Table[Body]
    known: Table[Whereabouts]  # of the town only: everyone who ever began, and where they are

    def join(self, player: Player) -> None:
        """One body each: it begins in town, once. Elsewhere it may still be on its way."""
        if player.id in self.people:
            self.people[player.id].asleep = False
        elif self.room == HOME and player.id not in self.known:
            self.known[player.id] = Whereabouts()
            self.people[player.id] = Body()
        elif self.room == HOME and self.known[player.id].zone != HOME:
            self.migrate(player.id, self.known[player.id].zone)

    def leave(self, player: Player) -> None:
        if player.id in self.people:
            self.people[player.id].asleep = True

    @on("look")
    def look(self, player: Player) -> dict[str, Any]:
        place = PLACES[self.room]
        awake = sorted(name for name, body in self.people.items() if not body.asleep)
        return {"zone": self.room, "text": place.text, "exits": sorted(place.exits), "people": awake, "npc": place.npc}

    @on("say")
    def say(self, player: Player, text: str) -> None:
        self._body(player)
        self.broadcast("said", {"by": player.id, "text": text[:200]})

    @on("ask")
    def ask(self, player: Player, text: str) -> None:
        """The answer is said to the whole zone."""
        self.say(player, text)
        npc = PLACES[self.room].npc
        if npc is None:
            raise Rejected("nobody is here to ask")
        asked = {"room": self.room, "by": player.id, "text": text[:200]}
        self.cluster.singleton(npc).call("ask", asked)

    @on("dig")
    def dig(self, player: Player) -> dict[str, int]:
        if self.room != "zone-cave":
            raise Rejected("nothing to dig here")
        body = self._body(player)
        body.gold += self.random.randint(1, 3)
        self.cluster.leaderboard("gold").set(player.id, body.gold)
        return {"gold": body.gold}

    @on("walk")
    def walk(self, player: Player, way: str) -> dict[str, str]:
        """The body leaves with a letter, which arrives once; the player's page follows ``match.migrate``."""
        exits, body = PLACES[self.room].exits, self._body(player)
        if way not in exits:
            raise Rejected("no way", exits=sorted(exits))
        del self.people[player.id]
        self.broadcast("left", {"player": player.id, "way": way})
        self.send(exits[way], "arrive", {"player": player.id, "gold": body.gold, "steps": body.steps + 1})
        self.migrate(player.id, exits[way])
        return {"to": exits[way]}

    @received("arrive")
    def arrive(self, sender: str, player: str, gold: int, steps: int) -> None:
        self.people[player] = Body(gold=gold, steps=steps)
        self.broadcast("came", {"player": player, "from": sender})
        if self.room == HOME:
            self.moved(self.room, player, HOME, steps)
        else:
            self.send(HOME, "moved", {"player": player, "zone": self.room, "steps": steps})

    @received("moved")
    def moved(self, sender: str, player: str, zone: str, steps: int) -> None:
        """Letters of two zones may come in any order: the newest step counts."""
        if player not in self.known or steps > self.known[player].steps:
            self.known[player] = Whereabouts(zone=zone, steps=steps)

    def returned(self, room: str, event: str, payload: dict[str, Any]) -> None:
        """It was not let in, so it is still here."""
        if event == "arrive":
            self.people[payload["player"]] = Body(gold=payload["gold"], steps=payload["steps"])
            self.migrate(payload["player"], self.room)

    def _body(self, player: Player) -> Body:
        if player.id not in self.people:
            raise Rejected("not here", detail="your body is elsewhere, or on its way: join the town to be told where")
        return self.people[player.id]
