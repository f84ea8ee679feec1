"""What a hostile or broken client sends harms nobody but itself."""

from __future__ import annotations

import asyncio
import json
import random
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from tests.process.harness import COUNTER, Cluster, all_move, playing, up, verdict, wait
from tests.process.players import Refused, Socket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("bad-input")
    with up(folder, COUNTER, "gamecluster.demo:Room", nodes=2, GAMECLUSTER_GAMESTATE_REPLICAS="2") as running:
        wait(
            lambda: running.leader() != "" and all(n["state"] == "ready" for n in running.nodes().values()), "it serves"
        )
        yield running


def raw(cluster: Cluster, **options: Any) -> Any:
    return connect(f"{cluster.urls()[0]}/websocket?vsn=2.0.0", compression=None, proxy=None, open_timeout=5, **options)


MALFORMED: list[str | bytes] = [
    "",
    "no json",
    "{",
    "{}",
    "[]",
    "null",
    "17",
    "[1,2,3]",
    '["1","1",5,"phx_join",{}]',
    '["1","1","game",7,{}]',
    '["1","1","game","phx_join","text"]',
    '["1","1","game","phx_join",{"player":7}]',
    '["1","1","game","phx_join",{"player":""}]',
    '["1","1","game","phx_join",{"player":"p","token":"forged"}]',
    '["1","1","game","phx_join",{"player":"p","token":7}]',
    '["1","1","__proto__","phx_join",{}]',
    '["' + "[" * 5000 + '"]',
    "[" * 5000,
    '["1","1","game","add",{"amount":1e400}]',
    "\ud7ff\x00",
    b"",
    b"\x00",
    b"\x00\xff\xff\xff\xff",
    b"\x09\x01\x01\x01\x01abcd",
    b"\x00\x01\x01\x04\x0811gamephx_join\xff\xfe",
    random.Random(7).randbytes(300),
]


@pytest.mark.parametrize("frame", MALFORMED, ids=range(len(MALFORMED)))
async def test_a_malformed_frame_is_refused_and_disturbs_nobody(cluster: Cluster, frame: str | bytes) -> None:
    async with Socket.to(cluster.urls()[0]) as other, raw(cluster) as socket, asyncio.timeout(20):
        await socket.send(frame)
        assert await is_refused_or_ignored(socket)
        assert await other.push("phoenix", "heartbeat", {}) == {}


async def is_refused_or_ignored(socket: ClientConnection) -> bool:
    """The socket is closed (never with 1000, which says: do not come back), or it goes on and answers the next frame."""
    try:
        await socket.send(json.dumps([None, "last", "phoenix", "heartbeat", {}]))
        async for frame in socket:
            reply = json.loads(frame)
            if reply[1] == "last":
                return bool(reply[4]["status"] == "ok")
            if reply[3] == "phx_reply" and reply[4]["status"] == "ok":
                return False
    except ConnectionClosed:
        pass
    return socket.close_code != 1000


async def test_topics_and_events_that_are_not_there_are_refused_by_name(cluster: Cluster) -> None:
    async with Socket.to(cluster.urls()[0]) as socket:
        for topic in ("nothing", "rooms:1", "game:", "", "*"):
            with pytest.raises(Refused, match="unmatched topic"):
                await socket.push(topic, "phx_join", {})
        with pytest.raises(Refused, match="unmatched topic"):
            await socket.push("game", "add", {"amount": 1})
        await socket.push("game", "phx_join", {"player": "curious"})
        with pytest.raises(Refused, match="unknown event"):
            await socket.push("game", "subtract", {"amount": 1})


@pytest.mark.parametrize(
    "payload", [{}, {"amount": "1"}, {"amount": 1.5}, {"amount": None}, {"amount": True}, {"amount": 1, "more": 2}]
)
async def test_a_payload_of_the_wrong_shape_is_refused_and_changes_nothing(
    cluster: Cluster, payload: dict[str, Any]
) -> None:
    player = f"wrong{random.randrange(2**40)}"
    async with Socket.to(cluster.urls()[0]) as socket:
        await socket.push("game", "phx_join", {"player": player})
        with pytest.raises(Refused, match="bad payload"):
            await socket.push("game", "add", payload)
        assert (await socket.push("game", "add", {"amount": 5}))["value"] == 5


async def test_a_count_of_moves_that_is_no_number_is_refused(cluster: Cluster) -> None:
    async with Socket.to(cluster.urls()[0]) as socket:
        await socket.push("game", "phx_join", {"player": f"count{random.randrange(2**40)}"})
        for n in ("1", 1.5, -1, 0, True, [1]):
            with pytest.raises(Refused):
                await socket.push("game", "add", {"amount": 1, "n": n})
        assert (await socket.push("game", "add", {"amount": 5, "n": 1}))["value"] == 5


async def test_a_present_player_is_not_taken_without_its_token(cluster: Cluster) -> None:
    async with Socket.to(cluster.urls()[0]) as owner, Socket.to(cluster.urls()[1]) as thief:
        await owner.push("game", "phx_join", {"player": "owner"})
        for stolen in ({}, {"token": "forged"}, {"token": "a.b.c"}):
            with pytest.raises(Refused):
                await thief.push("game", "phx_join", {"player": "owner", **stolen})
        assert (await owner.push("game", "add", {"amount": 1}))["value"] == 1


async def test_a_frame_over_64_kib_closes_the_socket_that_sent_it(cluster: Cluster) -> None:
    async with Socket.to(cluster.urls()[0]) as other, raw(cluster) as socket, asyncio.timeout(20):
        await socket.send(json.dumps([None, "1", "phoenix", "heartbeat", {"x": "x" * 70_000}]))
        await socket.wait_closed()
        assert socket.close_code == 1009
        assert await other.push("phoenix", "heartbeat", {}) == {}


async def test_who_sends_too_fast_is_told_so_or_closed_and_the_others_play_on(cluster: Cluster) -> None:
    async with playing(cluster.urls(), 4, random.randrange(2**20)) as players:
        async with raw(cluster) as socket, asyncio.timeout(20):
            try:
                for number in range(2000):
                    await socket.send(json.dumps([None, str(number), "phoenix", "heartbeat", {}]))
                answers = 0
                async with asyncio.timeout(3):
                    async for frame in socket:
                        answers += json.loads(frame)[4]["status"] == "ok"
            except (TimeoutError, ConnectionClosed):
                pass
            assert answers < 1000, "2000 frames at once were all taken"
        await all_move(players)
    assert await verdict(cluster, players) == (0, 0, [])


async def test_a_socket_that_never_reads_holds_up_nobody(cluster: Cluster) -> None:
    host, port = cluster.urls()[0].removeprefix("ws://").removesuffix("/socket").split(":")
    async with asyncio.timeout(60):
        _, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(handshake(host, port))
        writer.write(masked(json.dumps(["1", "1", "room:1", "phx_join", {}])))
        try:
            async with (
                Socket.to(cluster.urls()[0]) as shouter,
                playing(cluster.urls(), 4, random.randrange(2**20)) as players,
            ):
                await shouter.push("room:1", "phx_join", {})
                for _ in range(200):
                    async with asyncio.TaskGroup() as together:
                        together.create_task(shouter.push("room:1", "shout", {"x": "x" * 50_000}))
                        together.create_task(asyncio.sleep(1 / 50))
                await all_move(players)
        finally:
            writer.transport.abort()
    assert await verdict(cluster, players) == (0, 0, [])


def handshake(host: str, port: str) -> bytes:
    return (
        f"GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()


def masked(text: str) -> bytes:
    """A text frame as a client sends it, with a mask of zeros."""
    data = text.encode()
    assert len(data) < 126
    return struct.pack("!BBI", 0x81, 0x80 | len(data), 0) + data
