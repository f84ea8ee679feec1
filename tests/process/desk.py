"""What the tests of names, singletons and caches run: a topic that does for its client what ``self.cluster`` can."""

from __future__ import annotations

from typing import Any

from gamecluster import Channel, Game, Player, Singleton, on


class Npc:
    def __init__(self, desk: Desk, who: str) -> None:
        self._desk, self._who = desk, who
        self.calls = 0

    @on("greet")
    async def greet(self, by: str) -> dict[str, Any]:
        self.calls += 1
        return {"hello": by, "who": self._who, "calls": self.calls}

    def lost(self, name: str) -> None:
        self._desk.lost.append(name)


class Sum(Singleton):
    name = "sum:*"
    value: int = 0

    @on("add")
    def add(self, amount: int) -> dict[str, int]:
        self.value += amount
        return {"value": self.value}


class Bell(Game):
    @on("ring")
    def ring(self, player: Player, name: str) -> dict[str, Any]:
        node = self.cluster.names.whereis(name)
        return {"node": node, "sent": self.cluster.names.send(name, "greet", {"by": player.id})}


class Desk(Channel):
    topic = "desk:*"

    def join(self, payload: dict[str, Any]) -> None:
        self.lost: list[str] = []

    @on("register")
    async def register(self, name: str, who: str = "") -> None:
        await self.cluster.names.register(name, Npc(self, who))

    @on("unregister")
    async def unregister(self, name: str) -> None:
        await self.cluster.names.unregister(name)

    @on("call")
    async def call(self, name: str, by: str) -> dict[str, Any]:
        return await self.cluster.names.call(name, "greet", {"by": by})

    @on("lost")
    def tell_lost(self) -> dict[str, Any]:
        return {"lost": self.lost}

    @on("whereis")
    def whereis(self, name: str) -> dict[str, Any]:
        return {"node": self.cluster.names.whereis(name)}

    @on("add")
    async def add(self, amount: int) -> dict[str, Any]:
        return await self.cluster.singleton("sum:1").call("add", {"amount": amount})

    @on("sum")
    def sum(self) -> dict[str, Any]:
        return self.cluster.singleton("sum:1").read() or {}

    @on("put")
    async def put(self, key: str, value: int) -> dict[str, Any]:
        return await self.cluster.cache("items").put(key, value)

    @on("get")
    def get(self, key: str) -> dict[str, Any]:
        return {"value": self.cluster.cache("items").get(key)}
