"""Rooms while nodes are killed or stand still: nothing that was acknowledged is lost, each goes on, and one holder answers at a time."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from pathlib import Path

import pytest
from tests.process.harness import Cluster, all_move, spread, until, up
from tests.process.players import Player
from tests.process.room_players import (
    COUNTERS,
    NO_LIMITS,
    by_room,
    is_whole,
    marks,
    playing_in,
    room_of,
    rooms_of,
    rooms_on,
    silences,
    told,
    verdict_in,
)
from tests.process.test_stop import at, hanging

ROOMS = [f"count-{number}" for number in range(30)]
PACE_SECONDS = 0.15
FROZEN_SECONDS = 3.0


async def test_each_node_is_killed_in_turn_and_every_room_goes_on_with_all_that_it_has_acknowledged(
    tmp_path: Path,
) -> None:
    with up(tmp_path, COUNTERS, **NO_LIMITS) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with playing_in(cluster.urls(), ROOMS, random.randrange(2**20), PACE_SECONDS) as players:
            await until(lambda: is_whole(cluster, ROOMS), "all rooms have a backup")
            begun = await marks(cluster.urls()[0], ROOMS)
            for node in cluster.nodes():
                await spread(players)
                await kill(cluster, node, players)
            assert await marks(cluster.urls()[0], ROOMS) == begun, "no room has begun anew"
        assert await verdict_in(cluster, players) == (0, 0, [])
    print(f"{sum(len(player.history) for player in players)} acknowledged moves in {len(ROOMS)} rooms")


async def kill(cluster: Cluster, node: str, players: list[Player]) -> None:
    """And wait until it is back."""
    there, elsewhere = at(players, cluster, node)
    held = set(rooms_on(rooms_of(cluster), node))
    assert held, f"{node} holds no room"
    moment = time.monotonic()
    os.kill(cluster.pid(node), signal.SIGKILL)
    await all_move(players, hurry=False)
    end = time.monotonic()
    moved = [player for player in elsewhere if room_of(player) in held]
    told(f"{node} is killed, {len(held)} rooms of it: silence of their players elsewhere", silences(moved, moment, end))
    told("  of players at the node", silences(there, moment, end))
    told("  of the others", silences([p for p in elsewhere if p not in moved], moment, end))
    told("  of each room that it held", by_room([p for p in players if room_of(p) in held], moment, end))
    whole = await until(lambda: is_whole(cluster, ROOMS), f"the rooms are whole after {node} was killed")
    print(f"  all have a backup again {whole + end - moment:.1f} s after it", flush=True)


async def test_the_leader_is_killed_and_rooms_that_are_elsewhere_play_on(tmp_path: Path) -> None:
    with up(tmp_path, COUNTERS, **NO_LIMITS) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with playing_in(cluster.urls(), ROOMS, random.randrange(2**20), 0.05, per_room=1) as players:
            await until(lambda: is_whole(cluster, ROOMS), "all rooms have a backup")
            leader, before = cluster.leader(), rooms_of(cluster)
            apart = {room for room, it in before.items() if leader not in (it["node"], *it["backups"])}
            backed = {room for room, it in before.items() if leader in it["backups"]}
            assert apart and backed, "rooms are spread over all nodes"
            elsewhere = at(players, cluster, leader)[1]
            moment = time.monotonic()
            os.kill(cluster.pid(leader), signal.SIGKILL)
            await all_move(players, hurry=False)
            await until(lambda: cluster.leader() not in ("", leader), "another node leads")
            end = time.monotonic()
            apart_silent = silences([p for p in elsewhere if room_of(p) in apart], moment, end)
            told("the leader is killed: silence in rooms of which it had no copy", apart_silent)
            assert max(apart_silent) < 1000, "they do not wait for another leader"
            told("  in those that it backed up", silences([p for p in elsewhere if room_of(p) in backed], moment, end))
            rest = [p for p in elsewhere if room_of(p) not in apart | backed]
            told("  in those that it held", silences(rest, moment, end))
            await until(lambda: is_whole(cluster, ROOMS), "the rooms are whole again")
            after = rooms_of(cluster)
            assert all(after[room]["epoch"] >= before[room]["epoch"] for room in ROOMS)
        assert await verdict_in(cluster, players) == (0, 0, [])


@pytest.mark.parametrize("is_leader", [False, True], ids=["follower", "leader"])
async def test_a_node_that_stands_still_and_comes_back_answers_nothing_that_is_not_so(
    tmp_path: Path, is_leader: bool
) -> None:
    with up(tmp_path, COUNTERS, **NO_LIMITS) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with playing_in(cluster.urls(), ROOMS[:12], random.randrange(2**20), 0.05) as players:
            rooms = ROOMS[:12]
            await until(lambda: is_whole(cluster, rooms), "all rooms have a backup")
            begun = await marks(cluster.urls()[0], rooms)
            leader = cluster.leader()
            node = next(name for name in cluster.nodes() if (name == leader) is is_leader)
            held = set(rooms_on(rooms_of(cluster), node))
            assert held, f"{node} holds no room"
            moment = time.monotonic()
            with hanging(cluster.pid(node)):
                await asyncio.sleep(FROZEN_SECONDS)
                assert not set(rooms_on(rooms_of(cluster, but=node), node)), "others hold its rooms"
            await all_move(players)
            end = time.monotonic()
            told(
                f"{node} stands still: silence of its rooms",
                by_room([p for p in players if room_of(p) in held], moment, end),
            )
            await until(lambda: is_whole(cluster, rooms), "the rooms are whole again")
            assert await marks(cluster.urls()[0], rooms) == begun, "no room has begun anew"
        assert await verdict_in(cluster, players) == (0, 0, [])
