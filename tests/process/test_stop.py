"""SIGSTOP: a process that hangs is no dead one. It may come back any moment, and must not do harm then."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.process.harness import COUNTER, Cluster, all_move, playing, until, up, verdict
from tests.process.players import Player, answered_after

STALL_SECONDS = 0.3
STALLS = 9


async def test_a_leader_that_hangs_loses_the_lead_and_comes_back_as_a_follower(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with playing(cluster.urls(), 12, random.randrange(2**20)) as players:
            leader = cluster.leader()
            pid = cluster.pid(leader)
            there, elsewhere = at(players, cluster, leader)
            joins = joined(elsewhere)
            moment = time.monotonic()
            with hanging(pid):
                await all_move(players)
                waited, waited_there = longest(elsewhere, moment), longest(there, moment)
                assert joined(elsewhere) == joins, "whose moves wait for another leader stays where it is"
                await until(lambda: cluster.leader() not in ("", leader), "another node leads")
            await all_move(players)
            await until(cluster.healthy, "the node that hung is in sync again")
            assert cluster.leader() != leader and cluster.pid(leader) == pid
        assert await verdict(cluster, players) == (0, 0, [])
    print(f"blackout on other nodes: {waited * 1000:.0f} ms, on the one that hung: {waited_there * 1000:.0f} ms")
    assert waited < 5.0 and waited_there < 5.0


async def test_a_follower_that_hangs_costs_the_others_one_pause(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with playing(cluster.urls(), 9, random.randrange(2**20)) as players:
            leader = cluster.leader()
            follower = next(name for name in cluster.nodes() if name != leader)
            there, elsewhere = at(players, cluster, follower)
            moment = time.monotonic()
            with hanging(cluster.pid(follower)):
                await all_move(players)
                waited, waited_there = longest(elsewhere, moment), longest(there, moment)
            await all_move(players)
            await until(cluster.healthy, "the node that hung is in sync again")
            assert cluster.leader() == leader
        assert await verdict(cluster, players) == (0, 0, [])
    print(f"pause on other nodes: {waited * 1000:.0f} ms, on the one that hung: {waited_there * 1000:.0f} ms")
    assert waited < 3.0 and waited_there < 3.0


async def test_nodes_that_stand_still_for_300_ms_now_and_then_keep_their_players(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with playing(cluster.urls(), 9, random.randrange(2**20)) as players:
            joins = joined(players)
            pids = [node["pid"] for node in cluster.nodes().values()]
            for stall in range(STALLS):
                with hanging(pids[stall % len(pids)]):
                    await asyncio.sleep(STALL_SECONDS)
                await all_move(players)
            assert joined(players) == joins, [player.refusals for player in players if player.refusals]
        assert await verdict(cluster, players) == (0, 0, [])


@contextmanager
def hanging(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def at(players: Sequence[Player], cluster: Cluster, node: str) -> tuple[list[Player], list[Player]]:
    """The players at that node, and those at the others."""
    url = cluster.nodes()[node]["url"]
    there = [player for player in players if player.urls[player.at] == url]
    return there, [player for player in players if player not in there]


def joined(players: Sequence[Player]) -> list[int]:
    return [player.joins for player in players]


def longest(players: Sequence[Player], moment: float) -> float:
    """Seconds from the moment until each of them had a move answered that it sent after it."""
    return max(answered_after(player, moment) or 0.0 for player in players)
