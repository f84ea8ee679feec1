"""``gamecluster scale 0``: the game sleeps in its storage and wakes with everything, as on Kubernetes."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from pathlib import Path

import pytest
from tests.process.harness import COUNTER, Cluster, all_move, playing, totals, until, up, verdict

from gamecluster.errors import ConfigurationError


def is_awake(cluster: Cluster, epoch: int) -> bool:
    return cluster.healthy() and cluster.view("game-0")["epoch"] > epoch


async def test_a_game_sleeps_under_its_players_and_wakes_with_everything(tmp_path: Path) -> None:
    """With durability Memory: what was answered is stored only when the nodes are told to go."""
    with up(tmp_path, COUNTER, GAMECLUSTER_STORAGE="volume:") as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with playing(cluster.urls(), 9, random.randrange(2**20), pace_seconds=0.02) as players:
            await all_move(players)
            for _ in range(2):
                epoch = cluster.view(cluster.leader())["epoch"]
                await asyncio.to_thread(cluster.ask, "scale", count=0)
                assert cluster.nodes() == {}
                await asyncio.to_thread(cluster.ask, "scale", count=3)
                waking = time.monotonic()
                await until(lambda epoch=epoch: is_awake(cluster, epoch), "it is awake")  # type: ignore[misc]
                print(f"awake after {time.monotonic() - waking:.1f} s")
                assert cluster.view("game-0")["epoch"] < epoch + 1000, "by itself, without the backstop"
                await all_move(players)
        assert await verdict(cluster, players) == (0, 0, [])
        assert cluster.output().count("went last, and has stored everything, at") == 2
        assert "all that had the GameState are dead" not in cluster.output()


async def test_a_cluster_that_is_ended_and_started_again_goes_on_at_once(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER, GAMECLUSTER_STORAGE="volume:") as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with playing(cluster.urls(), 3, random.randrange(2**20)) as players:
            await all_move(players)
        told = {player.name: sum(move.amount for move in player.history) for player in players}
        epoch = cluster.view(cluster.leader())["epoch"]
    assert '"gamecluster.dev/asleep"' in (tmp_path / "lease.json").read_text()
    with up(tmp_path, COUNTER, GAMECLUSTER_STORAGE="volume:") as cluster:
        await until(cluster.healthy, "it is up again")
        assert epoch < cluster.view("game-0")["epoch"] < epoch + 1000
        found = await totals(cluster.urls()[0])
        assert {name: found[name]["value"] for name in told} == told


async def test_a_single_node_that_is_stopped_goes_on_at_once_and_one_that_is_killed_is_restored(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER, nodes=1, GAMECLUSTER_STORAGE="volume:") as cluster:
        await until(lambda: cluster.healthy(1), "the cluster is healthy")
        async with playing(cluster.urls(), 3, random.randrange(2**20)) as players:
            await all_move(players)
        epoch = cluster.view("game-0")["epoch"]
        await asyncio.to_thread(cluster.ask, "stop", node="game-0")
        await until(lambda: "asleep" in cluster.output(), "the console says so")
        await asyncio.to_thread(cluster.ask, "start", node="game-0")
        await until(lambda: cluster.healthy(1), "it is awake")
        assert cluster.view("game-0")["epoch"] < epoch + 1000
        os.kill(cluster.pid("game-0"), signal.SIGKILL)
        await until(lambda: cluster.healthy(1) and cluster.view("game-0")["epoch"] >= epoch + 1000, "it is restored")
        assert "all that had the GameState are dead; it goes on with what is stored" in cluster.output()


async def test_without_a_storage_no_game_is_sent_to_sleep(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER, nodes=1) as cluster:
        await until(lambda: cluster.healthy(1), "the cluster is healthy")
        with pytest.raises(ConfigurationError, match="there is none, so it would be lost"):
            cluster.ask("scale", count=0)
        assert cluster.healthy(1)
