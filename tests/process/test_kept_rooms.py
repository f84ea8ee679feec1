"""A room of which the GameState has a copy outlives the loss of all its pods: put to sleep with the game, or killed with its backup."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

from tests.process.harness import COUNTER, ROOT, Cluster, get, until, up
from tests.process.players import Refused, Socket

VAULTS = f"{ROOT / 'tests/process/vaults.py'}:Vault"
ROOM, TOPIC = "vault-1", "game:vault-1"


async def total(cluster: Cluster, node: int) -> int:
    """What the vault has, as one who comes in is told; it may be on its way to another pod."""
    deadline = asyncio.get_running_loop().time() + 20
    while True:
        try:
            async with Socket.to(cluster.urls()[node]) as socket:
                answer = await socket.push(TOPIC, "phx_join", {"player": f"reader-{node}"})
                return sum(row["value"] for row in answer["state"]["totals"].values())
        except (Refused, OSError, TimeoutError):
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.1)


async def fill(cluster: Cluster, times: int) -> int:
    """Returns the number of its last entry."""
    async with Socket.to(cluster.urls()[0]) as socket:
        await socket.push(TOPIC, "phx_join", {"player": "ann"})
        for n in range(1, times + 1):
            answer = await socket.push(TOPIC, "add", {"amount": 1, "n": n})
        return int(answer["seq"])


def vault(cluster: Cluster) -> dict[str, Any]:
    """As ``GET /rooms`` has it; {}: it is not there."""
    room: dict[str, Any] = get(f"{cluster.nodes()[cluster.leader()]['admin']}/rooms")["rooms"].get(ROOM, {})
    return room


async def test_it_sleeps_with_the_game_and_wakes_as_it_was(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER, VAULTS, GAMECLUSTER_STORAGE="volume:") as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        await fill(cluster, 20)
        epoch = cluster.view(cluster.leader())["epoch"]
        await asyncio.to_thread(cluster.ask, "scale", count=0)
        assert cluster.nodes() == {}
        await asyncio.to_thread(cluster.ask, "scale", count=3)
        await until(lambda: cluster.healthy() and cluster.view("game-0")["epoch"] > epoch, "it is awake")
        assert [await total(cluster, node) for node in range(3)] == [20] * 3


async def test_it_is_killed_with_its_backup_and_goes_on_from_the_copy(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER, VAULTS, nodes=4) as cluster:
        await until(lambda: cluster.healthy(4), "the cluster is healthy")
        seq = await fill(cluster, 20)
        await until(lambda: (vault(cluster)["kept"] or {"seq": 0})["seq"] >= seq, "the GameState has a copy")
        lost = vault(cluster)
        pods = {lost["node"], *lost["backups"]}
        assert len(pods) == 2 and not set(cluster.view(cluster.leader())["inSync"]) <= pods, "the GameState goes on"
        for pod in pods:
            os.kill(cluster.pid(pod), signal.SIGKILL)
        await until(lambda: vault(cluster).get("epoch", 0) > lost["epoch"], "the vault is there again")
        assert [await total(cluster, node) for node in range(4)] == [20] * 4
