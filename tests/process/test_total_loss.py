"""kill -9 of all nodes at the same instant, under moving players: what comes back, by the storage that there is."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from pathlib import Path

from tests.process.harness import COUNTER, Cluster, all_move, playing, totals, until, up, verdict
from tests.process.players import Ledger, Player

LOST_SECONDS = 1.0
"""docs/storage.md: what may be missing with durability Memory."""


def kill_all(cluster: Cluster) -> float:
    """Returns when the first was killed."""
    pids = [cluster.pid(node) for node in cluster.nodes()]
    moment = time.monotonic()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return moment


def restored(cluster: Cluster, epoch: int) -> bool:
    return cluster.healthy() and cluster.view("game-0")["epoch"] >= epoch + 1000


async def test_all_nodes_are_killed_and_a_durable_game_has_everything_acknowledged(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER, GAMECLUSTER_STORAGE="volume:", GAMECLUSTER_DURABILITY="storage") as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with playing(cluster.urls(), 12, random.randrange(2**20), pace_seconds=0.02) as players:
            for _ in range(2):
                epoch = cluster.view(cluster.leader())["epoch"]
                before = len(players[0].history)
                kill_all(cluster)
                await until(lambda epoch=epoch: restored(cluster, epoch), "it is restored")  # type: ignore[misc]
                await all_move(players)
                assert len(players[0].history) > before
        assert await verdict(cluster, players) == (0, 0, [])
        assert cluster.output().count("it goes on with what is stored, at") == 2


async def test_all_nodes_are_killed_and_at_most_a_second_is_missing_without_waiting(tmp_path: Path) -> None:
    seed = random.randrange(2**20)
    print(f"seed {seed}")
    with up(tmp_path, COUNTER, GAMECLUSTER_STORAGE="volume:") as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        ledger = Ledger()
        players = [Player(f"p{i}", cluster.urls(), i % 3, random.Random(seed + i), 0.02, ledger) for i in range(12)]
        playing_now = [asyncio.create_task(player.run()) for player in players]
        started = time.monotonic()
        await until(lambda: time.monotonic() - started > 2 * LOST_SECONDS, "they have played for a while")
        await all_move(players)
        epoch = cluster.view(cluster.leader())["epoch"]
        moment = kill_all(cluster)
        for task in playing_now:
            task.cancel()
        await asyncio.gather(*playing_now, return_exceptions=True)
        await until(lambda: restored(cluster, epoch), "it is restored")
        found = await totals(cluster.urls()[0])
        for player in players:
            told = sum(move.amount for move in player.history)
            old = sum(move.amount for move in player.history if move.answered_at < moment - LOST_SECONDS)
            assert old > 0
            assert old <= found[player.name]["value"] <= told + player.pending, player.name


async def test_a_cluster_that_was_ended_goes_on_where_it_was_when_it_is_started_again(tmp_path: Path) -> None:
    variables = {"GAMECLUSTER_STORAGE": "volume:", "GAMECLUSTER_DURABILITY": "storage"}
    with up(tmp_path, COUNTER, **variables) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        assert "nothing is stored: afresh" in cluster.output()
        async with playing(cluster.urls(), 3, random.randrange(2**20)) as players:
            await all_move(players)
        told = {player.name: sum(move.amount for move in player.history) for player in players}
    (tmp_path / "lease.json").unlink()
    (tmp_path / "lease.json.lock").unlink()
    with up(tmp_path, COUNTER, **variables) as cluster:
        await until(cluster.healthy, "it is up again")
        assert "it goes on with what is stored" in cluster.output()
        found = await totals(cluster.urls()[0])
        assert {name: found[name]["value"] for name in told} == told


async def test_without_a_storage_it_starts_afresh_and_the_console_says_why(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with playing(cluster.urls(), 3, random.randrange(2**20)) as players:
            await all_move(players)
        epoch = cluster.view(cluster.leader())["epoch"]
        kill_all(cluster)
        await until(lambda: restored(cluster, epoch), "a fresh start")
        assert "it was in memory only: afresh" in cluster.output()
        found = await totals(cluster.urls()[0])
        assert not set(found) & {player.name for player in players}
