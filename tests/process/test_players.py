"""The players themselves: when they say of a node that it hangs."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from websockets.sync.server import ServerConnection, serve

from gamecluster.chaos.client import Socket

SECONDS = 0.3


async def test_a_node_that_answers_no_heartbeat_hangs() -> None:
    with node(answers=False) as url:
        async with Socket.to(url) as socket:
            assert not await socket.is_there(SECONDS)


async def test_a_node_that_answers_a_heartbeat_is_there() -> None:
    with node(answers=True) as url:
        async with Socket.to(url) as socket:
            assert await socket.is_there(SECONDS)


async def test_a_player_who_stood_still_itself_accuses_nobody() -> None:
    with node(answers=True, after=SECONDS / 10) as url:
        async with Socket.to(url) as socket:
            asyncio.get_running_loop().call_later(0.01, time.sleep, SECONDS * 2)  # once the heartbeat is on its way
            assert await socket.is_there(SECONDS)


@contextmanager
def node(answers: bool, after: float = 0.0) -> Iterator[str]:
    """A node in a thread of its own, so that it goes on while the test's loop stands still."""

    def talk(connection: ServerConnection) -> None:
        for frame in connection:
            join_reference, reference, topic, _, _ = json.loads(frame)
            reply = {"status": "ok", "response": {}}
            if answers:
                time.sleep(after)
                connection.send(json.dumps([join_reference, reference, topic, "phx_reply", reply]))

    with serve(talk, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()
