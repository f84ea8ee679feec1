"""Clients that speak WebSocket byte by byte, to a whole node: the handshake, control frames, the close, and what stays of an idle one."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.frames import Frame, Opcode

from gamecluster.shell.sockets import DETACH, EARLY_BYTES, Upgrade, Wire

from .node import Running, hear, running, until
from .transport import Noting

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HEARTBEAT = '[null,"1","phoenix","heartbeat",{}]'
ANSWER = [None, "1", "phoenix", "phx_reply", {"status": "ok", "response": {}}]


def masked(opcode: Opcode, data: bytes | str, final: bool = True) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    return Frame(opcode, data, final).serialize(mask=True, extensions=[])


@dataclass
class Raw:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, *data: bytes) -> None:
        self.writer.write(b"".join(data))

    async def head(self) -> tuple[int, dict[str, str]]:
        async with asyncio.timeout(5):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        told = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        return int(lines[0].split()[1]), told

    async def frame(self) -> tuple[int, bytes]:
        """Opcode and payload. Raises IncompleteReadError at the end."""
        async with asyncio.timeout(5):
            first, second = await self.reader.readexactly(2)
            size = second
            if size > 125:
                size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
            return first & 0x0F, await self.reader.readexactly(size)

    async def message(self) -> Any:
        opcode, data = await self.frame()
        assert opcode == Opcode.TEXT
        return json.loads(data)

    async def is_over(self) -> bool:
        async with asyncio.timeout(5):
            return await self.reader.read() == b""


def request(path: str = "/socket/websocket?vsn=2.0.0", method: str = "GET", **changes: str) -> bytes:
    headers = {"host": "localhost", "upgrade": "websocket", "connection": "Upgrade"}
    headers |= {"sec-websocket-key": KEY, "sec-websocket-version": "13"}
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode()


@contextlib.asynccontextmanager
async def raw(node: Running, *data: bytes) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", node.settings.port)
    try:
        client = Raw(reader, writer)
        client.send(*data)
        yield client
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def connected(node: Running) -> AsyncIterator[Raw]:
    async with raw(node, request()) as client:
        assert (await client.head())[0] == 101
        yield client


async def test_the_handshake_is_that_of_the_rfc(tmp_path: Path) -> None:
    async with running(tmp_path) as node, raw(node, request(sec_websocket_protocol="a, phoenix")) as client:
        status, told = await client.head()
        assert (status, told["sec-websocket-accept"]) == (101, "s3pplmbitxaq9kygzzhzrbk+xoo=")
        assert (told["upgrade"], told["connection"], told["sec-websocket-protocol"]) == (
            "websocket",
            "upgrade",
            "phoenix",
        )
        assert "sec-websocket-extensions" not in told


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"sec_websocket_version": "8"}, 426),
        ({"sec_websocket_key": "short"}, 400),
        ({"method": "POST"}, 405),
        ({"path": "/elsewhere"}, 404),
        ({"path": "/socket/websocket?vsn=9"}, 403),
    ],
)
async def test_a_handshake_that_is_refused_says_why_and_ends(
    tmp_path: Path, changes: dict[str, str], status: int
) -> None:
    async with running(tmp_path) as node, raw(node, request(**changes)) as client:
        got, told = await client.head()
        assert got == status
        assert told["connection"] == "close" and ("sec-websocket-version" in told) == (status == 426)
        body = await client.reader.read()
        assert len(body) == int(told["content-length"]) > 10


class Thinking(Noting):
    """An application that accepts when it is told to, on a transport that only notes."""

    def __init__(self) -> None:
        super().__init__()
        self.may_accept = asyncio.Event()
        self.heard: list[bytes] = []
        self.connections: set[Any] = set()
        config: Any = SimpleNamespace(root_path="", asgi_version="3.0", ws_max_size=1000, loaded_app=self.application)
        state: Any = SimpleNamespace(connections=self.connections, tasks=set())
        self.protocol = Upgrade(config, state, {})
        self.protocol.connection_made(self)
        self.protocol.data_received(request())

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        await self.may_accept.wait()
        await send({"type": "websocket.accept"})
        scope["extensions"][DETACH](lambda _: self)

    async def is_accepted(self) -> bool:
        return isinstance(self.protocol, Wire)

    # as the client
    def text(self, data: bytes) -> None:
        self.heard.append(data)

    def lost(self) -> None:
        self.heard.append(b"lost")


async def test_what_comes_before_the_handshakes_answer_is_read_after_it() -> None:
    thinking = Thinking()
    early = masked(Opcode.TEXT, "one") + masked(Opcode.TEXT, "two")
    thinking.protocol.data_received(early[:10])
    thinking.may_accept.set()
    await until(thinking.is_accepted)
    thinking.protocol.data_received(early[10:])
    assert thinking.heard == [b"one", b"two"]
    assert thinking.written.startswith(b"HTTP/1.1 101 ")
    assert thinking.connections == {thinking.protocol}


async def test_too_much_before_the_answer_ends_the_connection() -> None:
    thinking = Thinking()
    thinking.protocol.data_received(b"x" * EARLY_BYTES)
    assert not thinking.is_aborted
    thinking.protocol.data_received(b"x")
    assert thinking.is_aborted


async def test_a_client_that_is_gone_before_the_answer_is_lost_at_once() -> None:
    thinking = Thinking()
    thinking.abort()
    thinking.protocol.connection_lost(None)
    thinking.may_accept.set()
    await until(thinking.is_accepted)
    assert thinking.heard == [b"lost"] and not thinking.connections


async def test_pings_are_answered_also_between_fragments(tmp_path: Path) -> None:
    async with running(tmp_path) as node, connected(node) as client:
        half = len(HEARTBEAT) // 2
        client.send(masked(Opcode.TEXT, HEARTBEAT[:half], final=False), masked(Opcode.PING, b"hi"))
        assert await client.frame() == (Opcode.PONG, b"hi")
        client.send(masked(Opcode.PONG, b"unasked"), masked(Opcode.CONT, HEARTBEAT[half:]))
        assert await client.message() == ANSWER


async def test_a_close_is_answered_with_its_code_and_frees_the_name(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        for goodbye, answer in ((b"\x0f\xa0bye", b"\x0f\xa0"), (b"", b""), (b"\x03\xed", b"\x03\xea")):
            async with connected(node) as client:
                client.send(masked(Opcode.CLOSE, goodbye), masked(Opcode.TEXT, HEARTBEAT))
                opcode, data = await client.frame()
                assert (opcode, data[:2]) == (Opcode.CLOSE, answer)
                assert await client.is_over()


async def test_a_violation_closes_with_1002_after_what_came_before(tmp_path: Path) -> None:
    async with running(tmp_path) as node, connected(node) as client:
        client.send(masked(Opcode.TEXT, HEARTBEAT), b"\x81\x05plain")
        frames = [await client.frame()]
        if frames[0][0] == Opcode.TEXT:
            frames.append(await client.frame())
        assert frames[-1][0] == Opcode.CLOSE and frames[-1][1][:2] == b"\x03\xea"
        assert b"masked" in frames[-1][1]
        assert await client.is_over()


async def test_a_client_that_does_not_answer_a_close_is_cut_off(tmp_path: Path) -> None:
    async with running(tmp_path) as node, connected(node) as client:
        client.send(masked(Opcode.TEXT, "not json"))
        opcode, data = await client.frame()
        assert (opcode, data[:2]) == (Opcode.CLOSE, b"\x03\xef")
        assert await client.is_over()


async def test_one_client_that_floods_leaves_turns_to_the_others(tmp_path: Path) -> None:
    """Its frames come in one piece; another's heartbeat is answered long before the last of them."""
    async with (
        running(tmp_path, limit_messages_per_second=1e6) as node,
        connected(node) as flood,
        connected(node) as calm,
    ):
        count = 10_000
        flood.send(masked(Opcode.TEXT, HEARTBEAT) * count)
        await flood.message()
        calm.send(masked(Opcode.TEXT, HEARTBEAT))
        assert await calm.message() == ANSWER
        heard = 1
        while heard < count:
            assert await flood.message() == ANSWER
            heard += 1


async def test_nothing_of_an_idle_client_stays_but_its_wire(tmp_path: Path) -> None:
    async with running(tmp_path) as node, contextlib.AsyncExitStack() as clients:
        tasks = len(asyncio.all_tasks())
        sockets = [await clients.enter_async_context(connected(node)) for _ in range(50)]
        for client in sockets:
            client.send(masked(Opcode.TEXT, '["1","1","room:1","phx_join",{}]'))
            assert (await client.message())[4]["status"] == "ok"

        async def is_calm() -> bool:
            return len(asyncio.all_tasks()) <= tasks + 1

        await until(is_calm)
        gc.collect()
        kept = [type(thing) for thing in gc.get_objects() if isinstance(thing, Upgrade | Wire)]
        assert kept.count(Wire) == 50 and Upgrade not in kept


async def test_a_socket_that_is_gone_leaves_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        async with connected(node) as client:
            client.send(masked(Opcode.TEXT, '["1","1","room:1","phx_join",{}]'))
            await client.message()
            client.writer.transport.abort()

        async def is_gone() -> bool:
            gc.collect()
            return not any(isinstance(thing, Wire) for thing in gc.get_objects())

        await until(is_gone)


async def test_a_node_that_ends_does_not_wait_for_sockets_that_do_not_answer(tmp_path: Path) -> None:
    async with running(tmp_path) as node, connected(node) as client:
        await node.http.post(f"{node.admin}/drain")
        opcode, data = await client.frame()
        assert (opcode, data[:2]) == (Opcode.CLOSE, b"\x03\xf4")
        async with asyncio.timeout(10):
            await asyncio.shield(node.task)


async def test_a_browsers_library_gets_along_with_it(tmp_path: Path) -> None:
    async with running(tmp_path) as node, node.connect() as client:
        await client.send(HEARTBEAT)
        assert await hear(client) == ANSWER
        pong = await client.ping(b"x")
        await asyncio.wait_for(pong, 5)
        await client.close(4000, "bye")
        assert client.close_code == 4000
