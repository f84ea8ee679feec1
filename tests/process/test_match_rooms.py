"""Who is matched plays in a room that was made with the match, wherever it is, and nobody else does; it outlives its node."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

from tests.process.harness import COUNTER, ROOT, until, up
from tests.process.players import Refused, Socket
from tests.process.room_players import rooms_of

MATCH = ROOT / "examples/match.py"
SECONDS = 10.0


async def enter(stack: contextlib.AsyncExitStack, url: str, name: str) -> tuple[Socket, str]:
    """A player who is told what is to be told, and the token."""
    socket = await stack.enter_async_context(Socket.to(url))
    token: str = (await socket.push("game", "phx_join", {"player": name}))["token"]
    for topic in f"player:{name}", "matchmaker":
        await socket.push(topic, "phx_join", {"token": token})
    return socket, token


async def told(socket: Socket, event: str) -> dict[str, Any]:
    async with asyncio.timeout(SECONDS):
        while True:
            _, heard, payload = await socket.events.get()
            if heard == event:
                return payload


async def test_a_match_is_played_in_its_room_also_after_its_node_is_killed(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER, f"{MATCH}:Duels", f"{MATCH}:Duel") as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with contextlib.AsyncExitStack() as stack:
            urls = cluster.urls()
            players = {name: await enter(stack, urls[n], name) for n, name in enumerate(("ann", "bob", "eve"))}
            for name in "ann", "bob":
                await players[name][0].push("matchmaker", "enqueue", {"size": 2, "properties": {"skill": 1000}})
            found = [await told(players[name][0], "match.found") for name in ("ann", "bob")]
            topic, url = found[0]["topic"], found[0]["url"]
            assert (found[1]["topic"], found[1]["url"]) == (topic, url) and topic == f"game:duel-{found[0]['match']}"
            room = topic.removeprefix("game:")
            await until(lambda: room in rooms_of(cluster), "the room is known")
            place = rooms_of(cluster)[room]
            assert url == cluster.nodes()[place["node"]]["url"] and len(place["backups"]) == 1
            assert await refused(*players["eve"], topic) == "not invited"
            for name in "ann", "bob":
                socket, token = players[name]
                await socket.push(topic, "phx_join", {"player": name, "token": token})
            os.kill(cluster.pid(place["node"]), signal.SIGKILL)
            left = next(name for n, name in enumerate(("ann", "bob")) if urls[n] != url)
            assert set(await players[left][0].push(topic, "shoot", {"n": 1}, SECONDS)) >= {"ann", "bob"}
            assert rooms_of(cluster, but=place["node"])[room]["node"] == place["backups"][0]


async def refused(socket: Socket, token: str, topic: str) -> str:
    try:
        await socket.push(topic, "phx_join", {"player": "eve", "token": token})
    except Refused as refusal:
        return refusal.reason
    return "nothing"
