"""A chat over a broker: real nodes, a real Redis or PostgreSQL that is killed and comes back, and nodes that are killed."""

from __future__ import annotations

import asyncio
import os
import signal
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import pytest
from redis.asyncio import Redis
from tests.process.harness import COUNTER, Cluster, until, up
from tests.process.players import Socket
from tests.shell.stores import Server, postgresql_server, redis_server, server_folder

ROOM, TOPIC = "gamecluster.demo:Room", "room:1"
SERVERS = {"redis": redis_server, "postgresql": postgresql_server}


@asynccontextmanager
async def one_at_each_node(cluster: Cluster) -> AsyncIterator[list[Socket]]:
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(Socket.to(url)) for url in cluster.urls()]
        for socket in sockets:
            await socket.push(TOPIC, "phx_join", {"presence": False})
        yield sockets


async def shout(speaker: Socket, listeners: Sequence[Socket], text: str) -> None:
    """Until all ``listeners`` have heard it."""
    await speaker.push(TOPIC, "shout", {"text": text})
    async with asyncio.timeout(10):
        for socket in listeners:
            while await socket.events.get() != (TOPIC, "shout", {"text": text}):
                pass


async def play(client: Socket) -> None:
    """The GameState does not travel over the broker."""
    await client.push("game", "phx_join", {"player": "p1"})
    await client.push("game", "add", {"amount": 1, "n": 1})


def all_say(cluster: Cluster, value: int) -> bool:
    """The metrics of all nodes, of whether the broker is up."""
    said = []
    for node in cluster.nodes().values():
        with urllib.request.urlopen(f"{node['admin']}/metrics", timeout=5) as answer:
            said.append(f"gamecluster_pubsub_up {value}.0" in answer.read().decode())
    return all(said)


async def connected(server: Server) -> set[str]:
    """The nodes that the broker knows of, and the channels that they listen to, as far as it tells."""
    if server.url.startswith("redis"):
        async with Redis.from_url(server.url, decode_responses=True) as client:
            names = {entry["name"] for entry in await client.client_list()}
            channels = {str(name) for name in await client.pubsub_channels()}
            return {name for name in names if name.startswith("gamecluster-")} | channels
    connection = await asyncpg.connect(server.url)
    try:
        query = "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'gamecluster pubsub%'"
        return {row[0] for row in await connection.fetch(query)}
    finally:
        await connection.close()


async def until_forgotten(server: Server, node: str) -> None:
    async with asyncio.timeout(20):
        while any(node in name for name in await connected(server)):  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_chat_outlives_its_broker_and_its_nodes(tmp_path: Path, kind: str) -> None:
    with server_folder() as folder, SERVERS[kind](folder) as broker:
        with up(tmp_path, COUNTER, ROOM, "--no-restart", nodes=3, GAMECLUSTER_PUBSUB=broker.url) as cluster:
            await until(cluster.healthy, "the cluster is healthy")
            await until(lambda: all_say(cluster, 1), "all nodes say that the broker is up")
            async with one_at_each_node(cluster) as (one, two, three):
                await shout(one, [one, two, three], "hello")
                await shout(three, [one, two, three], "x" * 20_000)
                broker.stop()
                try:
                    await until(lambda: all_say(cluster, 0), "all nodes say that it is down")
                    await shout(one, [one], "to my own")
                    await play(two)
                finally:
                    broker.start()
                await until(lambda: all_say(cluster, 1), "all nodes say that it is back")
                await shout(two, [one, two, three], "again")

                pids = {name: cluster.pid(name) for name in sorted(cluster.nodes())}
                assert all([any(name in found for found in await connected(broker)) for name in pids])
                os.kill(pids["game-2"], signal.SIGKILL)
                await until_forgotten(broker, "game-2")
                await shout(one, [one, two], "one is gone")
                for name in ("game-0", "game-1"):
                    os.kill(pids[name], signal.SIGKILL)
        await until_forgotten(broker, "")
