"""A client that comes from outside: to the controller's port, by the public name, and trusting one certificate."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin

SECONDS = 5.0


class Outside:
    """``port``: of 127.0.0.1, where all names lead."""

    def __init__(self, certificate: Path, port: int) -> None:
        self._checking, self.port = ssl.create_default_context(cafile=certificate), port
        self._trusting = ssl.create_default_context()
        self._trusting.check_hostname, self._trusting.verify_mode = False, ssl.CERT_NONE

    async def get(self, host: str, path: str, trusting: bool = False) -> tuple[int, str]:
        """Status and body. ``trusting``: any certificate. Raises SSLCertVerificationError."""
        context = self._trusting if trusting else self._checking
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=host)
            writer.write(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
        return int(head.split()[1]), body.decode()

    @asynccontextmanager
    async def socket(self, url: str, origin: str | None = None) -> AsyncIterator[Socket]:
        """``url``: as ``/servers`` names it; ``origin``: of the page that connects. Raises InvalidStatus if it may not."""
        async with connect(
            f"{url}/websocket?vsn=2.0.0",
            host="127.0.0.1",
            port=self.port,
            ssl=self._checking,
            origin=None if origin is None else Origin(origin),
            ping_interval=None,
            open_timeout=SECONDS,
            proxy=None,
        ) as connection:
            yield Socket(connection)


class Socket:
    def __init__(self, connection: ClientConnection) -> None:
        self.connection, self._references = connection, 0

    async def ask(self, topic: str, event: str, payload: dict[str, Any]) -> dict[str, Any]:
        """The response of an ok reply; what else comes meanwhile is dropped."""
        self._references += 1
        reference = str(self._references)
        await self.connection.send(json.dumps(["1", reference, topic, event, payload]))
        async with asyncio.timeout(SECONDS):
            while (frame := json.loads(await self.connection.recv()))[1] != reference:
                pass
        assert frame[4]["status"] == "ok", frame
        response: dict[str, Any] = frame[4]["response"]
        return response

    async def stays(self, seconds: float) -> bool:
        """Nobody closes it for so long, while nothing is sent by either side."""
        try:
            async with asyncio.timeout(seconds):
                await self.connection.wait_closed()
        except TimeoutError:
            return True
        return False
