"""Guards with names: each lives on the node of the player who posted it, and anybody can talk to it from anywhere.

gamecluster up examples/npcs.py:Guardhouse examples/npcs.py:Treasury --nodes=3
"""

from __future__ import annotations

from typing import Any

from gamecluster import Channel, Rejected, Singleton, on


class Guard:
    """Answers for a name. Its methods run one at a time, on the node where it was registered."""

    def __init__(self, motto: str) -> None:
        self.motto = motto
        self.heard = 0

    @on("ask")
    def ask(self, question: str) -> dict[str, Any]:
        self.heard += 1
        return {"answer": f"{self.motto}!", "heard": self.heard}


class Treasury(Singleton):
    """There is one of each name in the cluster, wherever the leader is."""

    name = "treasury:*"
    gold: int = 100

    @on("pay")
    def pay(self, amount: int) -> dict[str, int]:
        if not 0 < amount <= self.gold:
            raise Rejected("not that much", gold=self.gold)
        self.gold -= amount
        return {"gold": self.gold}


class Guardhouse(Channel):
    topic = "guardhouse:*"

    @on("post")
    async def post(self, guard: str, motto: str) -> None:
        """Its guard stays until this client leaves, and has its wages from the one treasury."""
        await self.cluster.names.register(f"guard:{guard}", Guard(motto))
        paid = await self.cluster.singleton(f"treasury:{self.topic}").call("pay", {"amount": 10})
        await self.cluster.cache("wages").put(guard, {"paid": 10, "left": paid["gold"]})
        self.broadcast("posted", {"guard": guard})

    @on("talk")
    async def talk(self, guard: str, question: str) -> dict[str, Any]:
        """Raises what the call raises: `unknown name`, `unreachable`, …"""
        return await self.cluster.names.call(f"guard:{guard}", "ask", {"question": question})

    @on("look")
    def look(self) -> dict[str, Any]:
        return {"guards": self.cluster.names.all(), "wages": dict(self.cluster.cache("wages").items())}
