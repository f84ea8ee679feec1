"""One Phoenix V2 connection for players: pushes that wait for their replies, and what the server pushes by itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

Payload = dict[str, Any]
ANSWER_SECONDS = 3.0
EVENTS_AT_MOST = 10_000
LOOKS = 6
"""In so many pieces an answer is waited for: if it was this process that stood still, it is read before the next one."""


class Refused(Exception):
    """An error reply."""

    def __init__(self, response: Payload) -> None:
        super().__init__(str(response))
        self.reason = str(response.get("reason"))


class Socket:
    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._waiting: dict[str, asyncio.Future[Payload]] = {}
        self._references = 0
        self.events: asyncio.Queue[tuple[str, str, Payload]] = asyncio.Queue(EVENTS_AT_MOST)

    @staticmethod
    @contextlib.asynccontextmanager
    async def to(url: str) -> AsyncIterator[Socket]:
        """Raises OSError, TimeoutError or WebSocketException if there is no connection to be had."""
        async with connect(
            f"{url}/websocket?vsn=2.0.0",
            compression=None,
            open_timeout=2,
            close_timeout=0.3,
            ping_interval=None,
            max_queue=4096,
            proxy=None,
        ) as connection:
            socket = Socket(connection)
            reading = asyncio.create_task(socket._read())
            try:
                yield socket
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def push(self, topic: str, event: str, payload: Any, seconds: float = ANSWER_SECONDS) -> Payload:
        """The ok response. Raises Refused, TimeoutError, or ConnectionError when the socket is lost first."""
        self._references += 1
        reference = str(self._references)
        answer: asyncio.Future[Payload] = asyncio.get_running_loop().create_future()
        self._waiting[reference] = answer
        try:
            await self.send(json.dumps([topic, reference, topic, event, payload]))
            async with asyncio.timeout(seconds):
                reply = await answer
        finally:
            self._waiting.pop(reference, None)
            if answer.done() and not answer.cancelled():
                answer.exception()  # seen: the send may have failed first
        if reply["status"] != "ok":
            raise Refused(reply["response"])
        response: Payload = reply["response"]
        return response

    async def send(self, frame: str | bytes) -> None:
        try:
            await self._connection.send(frame)
        except WebSocketException as error:
            raise ConnectionError(str(error)) from error

    async def is_there(self, seconds: float) -> bool:
        """Whether the other side answers a heartbeat in so many seconds, or has closed the socket: it did not hang then."""
        beat = asyncio.create_task(self.push("phoenix", "heartbeat", {}))
        try:
            for _ in range(LOOKS):
                if (await asyncio.wait([beat], timeout=seconds / LOOKS))[0]:
                    return True
            return False
        finally:
            beat.cancel()
            await asyncio.gather(beat, return_exceptions=True)

    def abort(self) -> None:
        """Ends it at once, without a goodbye: what waits for an answer gets a ConnectionError."""
        self._connection.transport.abort()

    async def closed(self) -> int | None:
        """Waits until the socket is closed; returns the close code."""
        await self._connection.wait_closed()
        return self._connection.close_code

    async def _read(self) -> None:
        try:
            async for frame in self._connection:
                _, reference, topic, event, payload = json.loads(frame)
                if event == "phx_reply":
                    waiting = self._waiting.get(reference)
                    if waiting and not waiting.done():
                        waiting.set_result(payload)
                else:
                    with contextlib.suppress(asyncio.QueueFull):
                        self.events.put_nowait((topic, event, payload))
        except WebSocketException:
            pass
        finally:
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(ConnectionError("the socket was lost"))
