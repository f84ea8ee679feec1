"""Somebody deletes the Lease, or lowers its epoch, with or without the leader dying at that moment: play goes on, and nothing is lost."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.process.harness import COUNTER, Cluster, all_move, playing, post, until, up, verdict

PLAYERS = 9
RECLAIMED_SECONDS = 10.0
NAMED_SECONDS = 25.0
"""The nodes are left ten seconds to agree before one is named."""


def delete(cluster: Cluster) -> None:
    (cluster.data / "lease.json").unlink()


def lower(cluster: Cluster) -> None:
    """As ``kubectl edit`` would: the next version, with an epoch that was."""
    path = cluster.data / "lease.json"
    with open(f"{path}.lock", "r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        document = json.loads(path.read_text())
        version = int(lock.read()) + 1
        document["metadata"]["resourceVersion"] = str(version)
        document["spec"]["leaseTransitions"] -= 1
        lock.seek(0)
        lock.write(str(version).encode())
        new = path.with_suffix(".edited")
        new.write_text(json.dumps(document))
        new.replace(path)


def epoch(cluster: Cluster) -> int:
    return int(cluster.view(cluster.leader()).get("epoch", 0))


async def lose(
    cluster: Cluster, how: Callable[[Cluster], None], players: list[Any], seconds: float, *dying: str
) -> None:
    """Returns when everybody plays on and the cluster is whole, by a record of a higher epoch."""
    before, moment = epoch(cluster), time.monotonic()
    pids = [cluster.pid(node) for node in dying]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    how(cluster)
    await all_move(players, seconds, hurry=False)
    again = time.monotonic() - moment
    await until(lambda: cluster.healthy() and epoch(cluster) > before, "it is whole again, by a newer record")
    print(
        f"{how.__name__}, {len(dying)} killed: moves after {again:.2f} s, whole after {time.monotonic() - moment:.2f} s"
    )


async def hand_over(cluster: Cluster) -> None:
    """So that there is an epoch to go back to."""
    leader = cluster.leader()
    assert post(f"{cluster.nodes()[leader]['admin']}/handoff", {"to": None}) in (200, 202)
    await until(lambda: cluster.healthy() and cluster.leader() not in ("", leader), "the GameState is handed over")


@pytest.mark.parametrize("how", [delete, lower])
async def test_the_leader_reclaims_a_lease_that_was_lost(how: Callable[[Cluster], None], tmp_path: Path) -> None:
    with up(tmp_path, COUNTER) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        await hand_over(cluster)
        leader = cluster.leader()
        async with playing(cluster.urls(), PLAYERS, random.randrange(2**20)) as players:
            await lose(cluster, how, players, RECLAIMED_SECONDS)
            assert cluster.leader() == leader
        assert await verdict(cluster, players) == (0, 0, [])


@pytest.mark.parametrize("how", [delete, lower])
async def test_a_lease_that_is_lost_while_the_leader_dies_goes_to_one_that_has_everything(
    how: Callable[[Cluster], None], tmp_path: Path
) -> None:
    with up(tmp_path, COUNTER) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        await hand_over(cluster)
        leader = cluster.leader()
        async with playing(cluster.urls(), PLAYERS, random.randrange(2**20)) as players:
            await lose(cluster, how, players, NAMED_SECONDS, leader)
            assert "the Lease was lost" in cluster.output()
        assert await verdict(cluster, players) == (0, 0, [])
