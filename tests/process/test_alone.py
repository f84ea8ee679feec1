"""The last of two nodes, when the Lease takes no more writes: as it was told, it stops or goes on."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.process.harness import COUNTER, Cluster, all_move, playing, totals, until, up
from tests.process.players import Player, judge

LEASE_SECONDS = 3
Expected = Callable[[Cluster, str, Sequence[Player]], Awaitable[None]]


@contextmanager
def no_writes(data: Path) -> Iterator[None]:
    """Whoever wants to write the Lease of this cluster gets no answer."""
    with open(data / "lease.json.lock", "r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


async def leave_alone(cluster: Cluster) -> str:
    """Kills the follower. Returns the leader, alone in the in-sync set."""
    leader = cluster.leader()
    (other,) = cluster.nodes().keys() - {leader}
    os.kill(cluster.pid(other), signal.SIGKILL)
    await until(lambda: cluster.view(leader).get("inSync") == [leader], "the leader is alone")
    return leader


async def it_stops(cluster: Cluster, leader: str, players: Sequence[Player]) -> None:
    await until(lambda: cluster.view(leader).get("status") == "Stalled", "it stops")
    assert "the API server does not answer" in cluster.view(leader)["reason"]
    with pytest.raises(AssertionError, match="no move was answered"):
        await all_move(players, seconds=1)


async def it_goes_on(cluster: Cluster, leader: str, players: Sequence[Player]) -> None:
    began = time.monotonic()
    await until(lambda: time.monotonic() - began > 1.5 * LEASE_SECONDS, "the Lease has run out")
    await all_move(players)
    assert cluster.view(leader)["status"] == "Serving"


@pytest.mark.parametrize(("alone", "it_does"), [("stop", it_stops), ("continue", it_goes_on)], ids=["stop", "continue"])
async def test_a_node_left_alone_without_the_lease_does_as_it_was_told(
    tmp_path: Path, alone: str, it_does: Expected
) -> None:
    told = {"GAMECLUSTER_ALONE_WITHOUT_API": alone, "GAMECLUSTER_LEASE_DURATION_SECONDS": str(LEASE_SECONDS)}
    with up(tmp_path, COUNTER, "--no-restart", nodes=2, **told) as cluster:
        await until(lambda: cluster.healthy(2), "the cluster is healthy")
        leader = await leave_alone(cluster)
        url = cluster.nodes()[leader]["url"]
        async with playing([url], 3, random.randrange(2**20)) as players:
            with no_writes(tmp_path):
                await it_does(cluster, leader, players)
            await until(lambda: cluster.view(leader).get("status") == "Serving", "it serves")
            await all_move(players)
        result = judge(players, await totals(url), players[0].ledger)
    assert (result.lost, result.doubled, result.wrong) == (0, 0, [])
