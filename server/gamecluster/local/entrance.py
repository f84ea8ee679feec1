"""The shared port: what a client Service does on Kubernetes.

Each new connection goes to the next ready node; one that can't be reached is passed over. No node ready: HTTP 503.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

Address = tuple[str, int]

MAX_CONNECTIONS = 10_000
CONNECT_SECONDS = 1.0
CHUNK_BYTES = 65_536
UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Type: text/plain\r\nContent-Length: 17\r\n"
    b"Connection: close\r\n\r\nno node is ready\n"
)


class Entrance:
    """Forwards connections to what ``ready()`` lists at that moment."""

    def __init__(self, ready: Callable[[], Sequence[Address]], max_connections: int = MAX_CONNECTIONS) -> None:
        self._ready = ready
        self._max_connections = max_connections
        self._turn = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> None:
        self._server = await asyncio.start_server(self._accepted, host, port, backlog=1024)

    async def stop(self) -> None:
        if self._server:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    @property
    def connections(self) -> int:
        return len(self._open)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._open) >= self._max_connections:
            writer.close()
            return
        self._open.add(task)
        try:
            await self._forward(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # either side went away, or the entrance closes: the other side sees its socket close
        finally:
            self._open.discard(task)
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = await self._connect()
        if upstream is None:
            await _refuse(reader, writer)
            return
        node_reader, node_writer = upstream
        try:
            async with asyncio.TaskGroup() as both_ways:
                both_ways.create_task(_pump(reader, node_writer))
                both_ways.create_task(_pump(node_reader, writer))
        except* OSError:
            pass
        finally:
            node_writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        nodes = list(self._ready())
        self._turn += 1
        for offset in range(len(nodes)):
            host, port = nodes[(self._turn + offset) % len(nodes)]
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(CONNECT_SECONDS):
                    return await asyncio.open_connection(host, port)
        return None


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Copies until the source ends, then ends the sink's half; the other direction goes on."""
    while data := await source.read(CHUNK_BYTES):
        sink.write(data)
        await sink.drain()
    with contextlib.suppress(OSError):
        sink.write_eof()


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says 503 after the request was read: closing before would reset the connection and lose the answer."""
    with contextlib.suppress(TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        async with asyncio.timeout(CONNECT_SECONDS):
            await reader.readuntil(b"\r\n\r\n")
    writer.write(UNAVAILABLE)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CONNECT_SECONDS):
            await writer.drain()
