"""SIGSTOP: a process that hangs is no dead one. It may come back any moment, and must not do harm then."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from tests.process.harness import COUNTER, all_move, playing, until, up, verdict
from tests.process.players import answered_after


async def test_a_leader_that_hangs_loses_the_lead_and_comes_back_as_a_follower(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with playing(cluster.urls(), 12, random.randrange(2**20)) as players:
            leader = cluster.leader()
            pid = cluster.pid(leader)
            elsewhere = [p for p in players if p.urls[p.at] != cluster.nodes()[leader]["url"]]
            moment = time.monotonic()
            os.kill(pid, signal.SIGSTOP)
            try:
                await all_move(elsewhere)
                waited = max(answered_after(player, moment) or 0.0 for player in elsewhere)
                await until(lambda: cluster.leader() not in ("", leader), "another node leads")
            finally:
                os.kill(pid, signal.SIGCONT)
            await all_move(players)
            await until(cluster.healthy, "the node that hung is in sync again")
            assert cluster.leader() != leader and cluster.pid(leader) == pid
        assert await verdict(cluster, players) == (0, 0, [])
    print(f"blackout on other nodes: {waited * 1000:.0f} ms")
    assert waited < 5.0


async def test_a_follower_that_hangs_costs_the_others_one_pause(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with playing(cluster.urls(), 9, random.randrange(2**20)) as players:
            leader = cluster.leader()
            follower = next(name for name in cluster.nodes() if name != leader)
            pid, url = cluster.pid(follower), cluster.nodes()[follower]["url"]
            elsewhere = [player for player in players if player.urls[player.at] != url]
            moment = time.monotonic()
            os.kill(pid, signal.SIGSTOP)
            try:
                await all_move(elsewhere)
                waited = max(answered_after(player, moment) or 0.0 for player in elsewhere)
            finally:
                os.kill(pid, signal.SIGCONT)
            await all_move(players)
            await until(cluster.healthy, "the node that hung is in sync again")
            assert cluster.leader() == leader
        assert await verdict(cluster, players) == (0, 0, [])
    print(f"pause: {waited * 1000:.0f} ms")
    assert waited < 3.0
