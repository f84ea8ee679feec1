"""Rooms that begin with whoever joins them, end when their game is over, or when nobody is in them any more."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.process.harness import Cluster, until, up
from tests.process.players import Payload, Refused, Socket
from tests.process.room_players import COUNTERS, NO_LIMITS, ZONES, is_whole, rooms_of, rooms_on
from tests.process.test_boards import board

ENDING = [f"count-{number}" for number in range(18)]


async def joined(socket: Socket, room: str, player: str) -> Payload:
    return await socket.push(f"game:{room}", "phx_join", {"player": player, "nonce": player}, 10.0)


async def test_the_first_to_join_has_a_room_made_at_any_node_and_all_are_in_the_same(tmp_path: Path) -> None:
    with up(tmp_path, COUNTERS, ZONES, **NO_LIMITS) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with AsyncExitStack() as stack:
            sockets = [await stack.enter_async_context(Socket.to(url)) for url in cluster.urls()]
            for at in range(3):
                room = f"count-{at}"
                for number, socket in enumerate(sockets[at:] + sockets[:at]):
                    answer = await joined(socket, room, f"p{number}")
                    assert len(answer["state"]["totals"]) == number + 1
            for number, socket in enumerate(sockets):
                assert (await socket.push(f"game:count-{number}", "add", {"amount": 7}))["value"] == 7
            await asyncio.gather(*(joined(sockets[i % 3], "count-together", f"p{i}") for i in range(3)))
            assert {"count-0", "count-1", "count-2", "count-together"} <= set(rooms_of(cluster))
            with pytest.raises(Refused, match="no such room"):
                await joined(sockets[0], "zone-nowhere", "p")
            with pytest.raises(Refused, match="unmatched topic"):
                await joined(sockets[0], "other", "p")


async def test_a_room_that_nobody_is_in_is_gone_and_begins_anew_with_the_next(tmp_path: Path) -> None:
    with up(tmp_path, COUNTERS, **NO_LIMITS) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with AsyncExitStack() as stack:
            one, other, _ = [await stack.enter_async_context(Socket.to(url)) for url in cluster.urls()]
            begun = (await joined(one, "count-left", "p"))["state"]["beginnings"]["room"]["mark"]
            await joined(other, "count-left", "q")
            await one.push("game:count-left", "phx_leave", {})
            await joined(one, "count-stays", "p")
            assert (await joined(one, "count-left", "r"))["state"]["beginnings"]["room"]["mark"] == begun
            await one.push("game:count-left", "phx_leave", {})
            await other.push("game:count-left", "phx_leave", {})
            took = await until(lambda: "count-left" not in rooms_of(cluster), "the empty room is gone", 10.0)
            print(f"gone {took:.1f} s after the last has left, of which empty_seconds is 1")
            assert took > 0.8, "it waits for empty_seconds"
            assert "count-stays" in rooms_of(cluster), "somebody is in there"
            assert (await joined(other, "count-left", "q"))["state"]["beginnings"]["room"]["mark"] != begun


async def test_a_game_that_is_over_counts_once_though_its_holder_is_killed_at_that_moment(tmp_path: Path) -> None:
    seed = random.randrange(2**20)
    print(f"seed {seed}")
    dice = random.Random(seed)
    with up(tmp_path, COUNTERS, **NO_LIMITS) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        victim = dice.choice([name for name in cluster.nodes() if name != cluster.leader()])
        urls = [node["url"] for name, node in cluster.nodes().items() if name != victim]
        async with AsyncExitStack() as stack:
            players = {}
            for room in ENDING:
                players[room] = await stack.enter_async_context(Socket.to(dice.choice(urls)))
                await joined(players[room], room, f"winner of {room}")
            await until(lambda: is_whole(cluster, ENDING), "all rooms have a backup")
            assert rooms_on(rooms_of(cluster), victim)
            killing = asyncio.create_task(_kill(cluster, victim, dice.uniform(0.0, 0.1)))
            ends = [_finish(players[room], room, dice.uniform(0.0, 0.1)) for room in ENDING]
            async with asyncio.timeout(30):
                await asyncio.gather(*ends)
            await killing
            winners = {f"winner of {room}": 1 for room in ENDING}
            for url in urls:
                await until(
                    lambda url=url: board(url, "finished") == winners,
                    f"each has won once: {board(url, 'finished')}",
                    20,
                )  # type: ignore[misc]
            assert not set(ENDING) & set(rooms_of(cluster, but=victim))


async def _kill(cluster: Cluster, node: str, after_seconds: float) -> None:
    pid = cluster.pid(node)
    await asyncio.sleep(after_seconds)
    os.kill(pid, signal.SIGKILL)


async def _finish(socket: Socket, room: str, after_seconds: float) -> None:
    """Until the room says that it has ended, and closes the topic."""
    await asyncio.sleep(after_seconds)
    await socket.push(f"game:{room}", "finish", {"n": 1}, 15.0)
    heard = []
    while "phx_close" not in heard:
        topic, event, _ = await socket.events.get()
        if topic == f"game:{room}":
            heard.append(event)
    assert "ended" in heard, heard
