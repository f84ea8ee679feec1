"""kill -9 of the leader while players move: the GameState goes on elsewhere, and nothing is lost or doubled."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from tests.process.harness import COUNTER, all_move, playing, until, up, verdict
from tests.process.players import answered_after

PLAYERS = 20


async def test_the_leader_is_killed_and_no_acknowledged_move_is_lost_or_doubled(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with playing(cluster.urls(), PLAYERS, random.randrange(2**20)) as players:
            leader = cluster.leader()
            there = {player.name for player in players if player.urls[player.at] == cluster.nodes()[leader]["url"]}
            moment = time.monotonic()
            os.kill(cluster.pid(leader), signal.SIGKILL)
            await all_move(players)
            blackout = {player.name: answered_after(player, moment) or 0.0 for player in players}
            await until(cluster.healthy, "the killed node is back in sync")
            assert cluster.leader() != leader
        lost, doubled, wrong = await verdict(cluster, players)
        assert (lost, doubled, wrong) == (0, 0, [])
        assert sum(len(player.history) for player in players) > PLAYERS
    elsewhere = max(seconds for name, seconds in blackout.items() if name not in there)
    at_dead = max((blackout[name] for name in there), default=0.0)
    print(f"blackout: {elsewhere * 1000:.0f} ms on other nodes, {at_dead * 1000:.0f} ms on the dead one")
    assert there, "no player was at the leader's node"
    assert elsewhere < 3.0 and at_dead < 5.0


async def test_a_follower_is_killed_and_its_players_go_on_elsewhere(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with playing(cluster.urls(), 6, random.randrange(2**20)) as players:
            leader = cluster.leader()
            follower = next(name for name in cluster.nodes() if name != leader)
            os.kill(cluster.pid(follower), signal.SIGKILL)
            await all_move(players)
            await until(cluster.healthy, "the killed node is back in sync")
            assert cluster.leader() == leader
        assert await verdict(cluster, players) == (0, 0, [])


async def test_when_all_nodes_are_killed_at_once_the_cluster_starts_afresh_and_says_so(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        before = cluster.view(cluster.leader())["epoch"]
        for node in cluster.nodes():
            os.kill(cluster.pid(node), signal.SIGKILL)
        await until(lambda: cluster.healthy() and cluster.view("game-0")["epoch"] > before + 1000, "a fresh start")
        assert "all that had the GameState are dead" in cluster.output()
