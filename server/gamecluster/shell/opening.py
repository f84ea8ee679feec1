"""The short way in: a client's opening handshake (RFC 6455, 4.1) that is plain and complete is answered without uvicorn and ASGI.

======================================================== ==============================================
first bytes of a connection                              who goes on
======================================================== ==============================================
a plain, complete handshake, and the door lets it in     a ``Wire``, at once
the same, but the door does not, or it is not the door's uvicorn, and the ASGI application behind it
anything else                                            the same: its parser says what it is
======================================================== ==============================================

So nothing is refused here, and what is let in is what the application would let in: both ask the same function.
"""

from __future__ import annotations

import asyncio
import re
from asyncio.transports import BaseTransport, Transport
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from . import websocket
from .sockets import Client, Wire
from .websocket import BadHandshake

HANDSHAKE_BYTES = 8192
"""What is longer is not plain."""
_HANDSHAKE = re.compile(rb'GET (/[!"$->@-~]*+)(?:\?([!"$-~]*+))? HTTP/1\.1\r\n((?:[-\w]++:[ -~]*+\r\n)++)\r\n')
"""Printable ASCII, a target without a fragment, no folded lines, no space before a colon. Nothing in it is tried twice."""
_BODY = frozenset({b"content-length", b"transfer-encoding", b"expect"})


class Opening(NamedTuple):
    """``path`` and ``query`` as they came; ``headers`` by their names in lower case, none of which came twice."""

    path: bytes
    query: bytes
    headers: dict[bytes, bytes]
    accept: bytes
    """``Sec-WebSocket-Accept``"""
    size: int
    """What comes after so many bytes is frames."""

    def text(self, header: bytes) -> str | None:
        value = self.headers.get(header)
        return None if value is None else value.decode()


class Entry(NamedTuple):
    """How a client is let in: ``subprotocol`` is agreed on, ``make_client`` is called with its wire."""

    subprotocol: str | None
    make_client: Callable[[Wire], Client]


Door = Callable[[Opening], Entry | None]
"""None: not this way."""


def read_opening(data: bytes) -> Opening | None:
    """None if it is not all there, not valid, or just not plain: then it has to be looked at more closely."""
    if (found := _HANDSHAKE.match(data, 0, HANDSHAKE_BYTES)) is None:
        return None
    path, query, lines = found.groups()
    pairs = [line.split(b":", 1) for line in lines.split(b"\r\n")[:-1]]
    headers = {name.lower(): value.lstrip(b" ") for name, value in pairs}
    if len(headers) < len(pairs) or not _BODY.isdisjoint(headers) or not _asks_for_websocket(headers):
        return None
    try:
        accept = websocket.accept_key(headers.items())
    except BadHandshake:
        return None
    return Opening(path, query or b"", headers, accept, found.end())


def _asks_for_websocket(headers: dict[bytes, bytes]) -> bool:
    if headers.get(b"upgrade", b"").lower() != b"websocket":
        return False
    return b"upgrade" in [token.strip(b" ") for token in headers.get(b"connection", b"").lower().split(b",")]


class ShortWay(asyncio.Protocol):
    """uvicorn's HTTP protocol (its ``http`` setting, of which it uses the contract only) until the first bytes have come."""

    __slots__ = ("_app_state", "_config", "_door", "_loop", "_state", "_transport")

    def __init__(
        self,
        door: Door,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._door = door
        self._config = config
        self._state = server_state
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._transport: Transport

    def connection_made(self, transport: BaseTransport) -> None:
        self._transport = cast(Transport, transport)
        self._state.connections.add(cast(Any, self))

    def data_received(self, data: bytes) -> None:
        self._state.connections.discard(cast(Any, self))
        opening = read_opening(data)
        entry = None if opening is None else self._door(opening)
        if opening is None or entry is None:
            self._pass_on(data)
            return
        self._transport.write(websocket.agreement(opening.accept, entry.subprotocol))
        wire = Wire(self._loop, self._transport, self._state, self._config.ws_max_size)
        wire.begin(entry.make_client, data[opening.size :])

    def connection_lost(self, _: Exception | None) -> None:
        self._state.connections.discard(cast(Any, self))

    def shutdown(self) -> None:
        """The server ends."""
        self._transport.close()

    def _pass_on(self, data: bytes) -> None:
        protocol = HttpToolsProtocol(self._config, self._state, self._app_state, self._loop)
        protocol.connection_made(self._transport)
        self._transport.set_protocol(protocol)
        protocol.data_received(data)
