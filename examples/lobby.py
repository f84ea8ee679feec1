"""A lobby that shows who is there, on all nodes, and who guards a gate: presence and groups, beside or without a game.

gamecluster up examples/lobby.py:Lobby
"""

from __future__ import annotations

from typing import Any

from gamecluster import Channel, Rejected, on


class Lobby(Channel):
    topic = "lobby:*"

    def join(self, payload: dict[str, Any]) -> dict[str, Any]:
        self.name = payload.get("name")
        if not self.name:
            raise Rejected("say who you are", example={"name": "ann"})
        self.track(self.name, {"status": "here"})
        return {"here": sorted(self.presences())}

    @on("status")
    def status(self, status: str) -> None:
        self.track(self.name, {"status": status})

    @on("guard")
    def guard(self, gate: str) -> dict[str, Any]:
        """Until it stops, or its socket or pod is gone."""
        guards = self.cluster.groups
        guards.join(gate, self.name)
        return {"guards": [{"node": node, "name": name} for node, name in guards.members(gate)]}

    @on("stop")
    def stop(self, gate: str) -> None:
        self.cluster.groups.leave(gate, self.name)
