"""The shared port of a local cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from gamecluster.local.entrance import Address, Entrance

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[Address]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()


@asynccontextmanager
async def entrance(*ready: Address, most: int = 100) -> AsyncIterator[tuple[Entrance, Address]]:
    forwarder = Entrance(lambda: ready, max_connections=most)
    await forwarder.start("127.0.0.1", 0)
    assert forwarder._server
    try:
        yield forwarder, forwarder._server.sockets[0].getsockname()[:2]
    finally:
        await forwarder.stop()


def saying(name: bytes) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(name)
        writer.close()

    return handle


async def echo_after_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read(-1))
    writer.close()


async def until(met: Callable[[], bool]) -> None:
    while not met():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


async def visit(address: Address, request: bytes = b"") -> bytes:
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(request)
        answer = await reader.read(-1)
        writer.close()
    return answer


async def test_new_connections_go_round_the_ready_nodes() -> None:
    async with (
        listening(saying(b"a")) as a,
        listening(saying(b"b")) as b,
        listening(saying(b"c")) as c,
        entrance(a, b, c) as (_, door),
    ):
        answers = [await visit(door) for _ in range(6)]
    assert sorted(answers[:3]) == [b"a", b"b", b"c"] == sorted(answers[3:])


async def test_a_node_that_cannot_be_reached_is_passed_over() -> None:
    async with listening(saying(b"gone")) as gone:
        pass
    async with listening(saying(b"here")) as here, entrance(gone, here) as (_, door):
        assert [await visit(door) for _ in range(4)] == [b"here"] * 4


async def test_without_a_ready_node_the_answer_is_503() -> None:
    async with entrance() as (_, door):
        answer = await visit(door, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ") and b"Content-Length: %d\r\n" % len(body) in head


async def test_who_has_ended_sending_still_gets_the_whole_answer() -> None:
    sent = b"x" * 3_000_000
    async with listening(echo_after_the_end) as node, entrance(node) as (_, door), asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(*door)
        writer.write(sent)
        writer.write_eof()
        assert await reader.read(-1) == sent
        writer.close()


async def test_a_reset_by_the_node_ends_the_clients_connection() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.abort()

    async with listening(reset) as node, entrance(node) as (forwarder, door), asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*door)
        writer.write(b"x")
        assert await reader.read(-1) == b""
        writer.close()
        await until(lambda: forwarder.connections == 0)


async def test_connections_beyond_the_bound_are_closed_at_once() -> None:
    async with listening(echo_after_the_end) as node, entrance(node, most=1) as (forwarder, door), asyncio.timeout(10):
        _, first = await asyncio.open_connection(*door)
        await until(lambda: forwarder.connections == 1)
        assert await visit(door) == b""
        first.close()
