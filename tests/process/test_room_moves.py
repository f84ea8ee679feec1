"""Rooms that go to another node while they are played in: by a drain, a rolling restart, a node more. Nobody notices."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from tests.process.harness import Cluster, all_move, command, spread, until, up
from tests.process.players import Player
from tests.process.room_players import (
    COUNTERS,
    NO_LIMITS,
    answers,
    is_whole,
    joins,
    marks,
    pauses,
    playing_in,
    room_of,
    rooms_of,
    rooms_on,
    silences,
    told,
    verdict_in,
)

ROOMS = [f"count-{number}" for number in range(24)]
PACE_SECONDS = 0.04
PAUSE_MILLISECONDS = 1000.0
"""On a machine of its own p99 is below 50: see docs/performance.md. Here others may keep the processors."""


async def test_a_node_that_drains_hands_its_rooms_over_and_their_players_elsewhere_notice_nothing(
    tmp_path: Path,
) -> None:
    with up(tmp_path, COUNTERS, **NO_LIMITS) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        going = random.choice(list(cluster.nodes()))
        urls = [node["url"] for name, node in cluster.nodes().items() if name != going]
        async with playing_in(urls, ROOMS, random.randrange(2**20), PACE_SECONDS, per_room=1) as players:
            await until(lambda: is_whole(cluster, ROOMS), "all rooms have a backup")
            moving = set(rooms_on(rooms_of(cluster), going))
            assert moving, f"{going} holds no room"
            before, begun, pid = joins(players), await marks(urls[0], ROOMS), cluster.pid(going)
            moment = time.monotonic()
            said = await asyncio.to_thread(command, "drain", going, f"--data={tmp_path}")
            assert said.returncode == 0, said.stderr
            gone = await until(lambda: cluster.pid(going) != pid, f"{going} is gone")
            await all_move(players)
            report(f"{going} drained {len(moving)} rooms in {gone:.1f} s", players, moving, moment)
            await until(lambda: is_whole(cluster, ROOMS), "the rooms are whole again")
            assert joins(players) == before, trouble(players)
            assert await marks(urls[0], ROOMS) == begun, "no room has begun anew"
        assert await verdict_in(cluster, players) == (0, 0, [])


async def test_all_nodes_are_restarted_one_after_the_other_and_no_room_ends(tmp_path: Path) -> None:
    with up(tmp_path, COUNTERS, **NO_LIMITS) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with playing_in(cluster.urls(), ROOMS, random.randrange(2**20), 0.1, per_room=1) as players:
            await until(lambda: is_whole(cluster, ROOMS), "all rooms have a backup")
            begun = await marks(cluster.urls()[0], ROOMS)
            began = time.monotonic()
            for node in cluster.nodes():
                await spread(players)
                await restart(cluster, node, players)
            print(f"all restarted in {time.monotonic() - began:.1f} s")
            assert await marks(cluster.urls()[0], ROOMS) == begun, "no room has begun anew"
        assert await verdict_in(cluster, players) == (0, 0, [])


async def restart(cluster: Cluster, node: str, players: Sequence[Player]) -> None:
    """As a rolling update does it: SIGTERM, and the next one when it is back."""
    pid, url = cluster.pid(node), cluster.nodes()[node]["url"]
    elsewhere = [player for player in players if player.urls[player.at] != url]
    there = [player for player in players if player not in elsewhere]
    moving, before = set(rooms_on(rooms_of(cluster), node)), joins(elsewhere)
    moment = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    gone = await until(lambda: cluster.pid(node) != pid, f"{node} is gone")
    await all_move(players)
    assert joins(elsewhere) == before, trouble(elsewhere)
    report(f"{node} went in {gone:.1f} s, {len(moving)} rooms of it", elsewhere, moving, moment)
    told("  silence of players at the node", silences(there, moment, time.monotonic()))
    await until(lambda: is_whole(cluster, ROOMS), f"the rooms are whole after {node} was restarted")


async def test_a_node_more_gets_some_rooms_and_nobody_notices(tmp_path: Path) -> None:
    with up(tmp_path, COUNTERS, **NO_LIMITS) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with playing_in(cluster.urls(), ROOMS, random.randrange(2**20), PACE_SECONDS, per_room=1) as players:
            await until(lambda: is_whole(cluster, ROOMS), "all rooms have a backup")
            held, before, begun = rooms_of(cluster), joins(players), await marks(cluster.urls()[0], ROOMS)
            moment = time.monotonic()
            scaled = await asyncio.to_thread(command, "scale", "4", f"--data={tmp_path}")
            assert scaled.returncode == 0, scaled.stderr
            await until(lambda: is_whole(cluster, ROOMS, nodes=4), "four nodes are there, and all rooms whole")
            await until(
                lambda: len(rooms_on(rooms_of(cluster), "game-3")) >= len(ROOMS) // 4 - 2, "game-3 has its share"
            )
            await all_move(players)
            moved = {room for room, place in rooms_of(cluster).items() if place["node"] != held[room]["node"]}
            to = rooms_on(rooms_of(cluster), "game-3")
            report(f"{len(moved)} of {len(ROOMS)} rooms have moved, {len(to)} to the new node", players, moved, moment)
            assert len(moved) <= len(ROOMS) // 3, moved
            assert joins(players) == before, trouble(players)
            assert await marks(cluster.urls()[0], ROOMS) == begun, "no room has begun anew"
        assert await verdict_in(cluster, players) == (0, 0, [])


def report(what: str, players: Sequence[Player], moved: set[str], since: float) -> None:
    """And what a move may take that a hand-over has held up."""
    told(f"{what}: moves meanwhile were answered in", answers(players, since))
    held_up = pauses(players, since)
    told("  those about a change of holder", held_up)
    assert {room_of(p) for p in players if any(True for _ in pauses([p], since))} >= {
        room_of(p) for p in players if room_of(p) in moved
    }, "each room that moved was seen to, by those who play in it"
    assert max(held_up, default=0.0) < PAUSE_MILLISECONDS, held_up


def trouble(players: Sequence[Player]) -> list[str]:
    return [line for player in players for line in player.refusals[-3:]]
