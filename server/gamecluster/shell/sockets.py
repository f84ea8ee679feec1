"""Clients' sockets past ASGI: nothing of an idle one stays behind but its transport and a small protocol object.

``Upgrade`` is uvicorn's WebSocket protocol (its ``ws`` setting) for as long as the handshake takes: the ASGI application
accepts or refuses as it would anywhere. Once it has accepted it calls ``scope["extensions"][DETACH](make_client)`` and returns; from
then on the transport belongs to a ``Wire``: no task, no queue, no ASGI event.

Of uvicorn it uses the contract of ``ws`` classes only (0.54: the arguments, the request's bytes as the first data, and the
``connections`` and ``tasks`` that its shutdown waits for).
"""

from __future__ import annotations

import asyncio
import logging
from asyncio.transports import BaseTransport, Transport
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Protocol, cast
from urllib.parse import unquote

from starlette.types import Message
from uvicorn.config import Config
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from . import websocket
from .websocket import BadHandshake, Opcode, Reader, Violation

DETACH = "gamecluster.detach"
CLOSE_SECONDS = 2.0
"""How long a client has to answer a close before the socket is cut."""
HANDSHAKE_SECONDS = 10.0
EARLY_BYTES = 65_536
"""What a client may send before its handshake is answered."""
FRAMES_IN_A_ROW = 16
"""Of one client, until the others get their turn."""

log = logging.getLogger("gamecluster.sockets")


class Client(Protocol):
    """Who reads from a ``Wire``. Nothing is called after ``lost``."""

    def text(self, data: bytes) -> None:
        """A text message, which is UTF-8."""

    def binary(self, data: bytes) -> None: ...

    def full(self) -> None:
        """The client does not read: what is written from now on waits here, or it is dropped."""

    def writable(self) -> None:
        """It reads again."""

    def lost(self) -> None:
        """The socket is gone, or about to be: there is nobody to write to."""


class _Nobody:
    def text(self, data: bytes) -> None: ...

    def binary(self, data: bytes) -> None: ...

    def full(self) -> None: ...

    def writable(self) -> None: ...

    def lost(self) -> None: ...


_NOBODY = _Nobody()


class Wire(asyncio.Protocol):
    """One client's accepted WebSocket; see ``outbox.ClientSocket``."""

    __slots__ = (
        "_client",
        "_closing",
        "_is_closed",
        "_is_full",
        "_loop",
        "_reader",
        "_state",
        "_transport",
        "_waits",
        "heard_at",
        "write",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: Transport, state: ServerState, limit: int) -> None:
        self.heard_at = loop.time()
        self.write: Callable[[bytes], None] = transport.write
        self._client: Client = _NOBODY
        self._loop = loop
        self._transport = transport
        self._state = state
        self._reader = Reader(limit)
        self._closing: asyncio.TimerHandle | None = None
        self._is_closed = False  # a close was sent: nothing may follow it
        self._is_full = False
        self._waits = False  # for its next turn to read

    def begin(self, make_client: Callable[[Wire], Client], early: bytes) -> None:
        """The handshake's answer is written. ``early``: what has come already."""
        self._transport.set_protocol(self)
        self._state.connections.add(cast(Any, self))
        self._client = make_client(self)
        if self._transport.is_closing():
            self.connection_lost(None)
        elif early:
            self.data_received(early)

    # --- for the hub -------------------------------------------------------------------------------------------------

    def close(self, code: int, reason: str) -> None:
        self._client = _NOBODY
        self._end(websocket.close_frame(code, reason))

    def abort(self) -> None:
        self._client = _NOBODY
        self._is_closed = True
        self._transport.abort()

    # --- from the transport and from uvicorn -------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._loop.time()
        self._reader.feed(data)
        if not self._waits:
            self._read()

    def pause_writing(self) -> None:
        self._is_full = True
        self._client.full()

    def resume_writing(self) -> None:
        self._is_full = False
        self._client.writable()

    def connection_lost(self, _: Exception | None) -> None:
        self._state.connections.discard(cast(Any, self))
        if self._closing is not None:
            self._closing.cancel()
        self._is_closed = True
        self._lose()

    def shutdown(self) -> None:
        """The server ends."""
        self._end(websocket.close_frame(websocket.RESTARTING, "this node ends: connect to another"))

    # --- private -----------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            for _ in range(FRAMES_IN_A_ROW):
                message = self._reader.next()
                if message is None:
                    return
                self._take(*message)
        except Violation as error:
            self._lose()
            self._end(websocket.close_frame(error.code, error.reason))
            self._transport.close()
            return
        if not self._transport.is_closing():
            self._waits = True
            self._transport.pause_reading()
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._waits = False
        if not self._transport.is_closing():
            self._transport.resume_reading()
            self._read()

    def _take(self, opcode: Opcode, data: bytes) -> None:
        if opcode is Opcode.text:
            self._client.text(data)
        elif opcode is Opcode.binary:
            self._client.binary(data)
        elif opcode is Opcode.ping and not (self._is_full or self._is_closed):
            self.write(websocket.frame(Opcode.pong, data))
        elif opcode is Opcode.close:
            code = websocket.read_close(data)
            self._lose()
            self._end(websocket.close_frame(code, ""))
            self._transport.close()

    def _lose(self) -> None:
        client, self._client = self._client, _NOBODY
        client.lost()

    def _end(self, goodbye: bytes) -> None:
        """Once. The client has a while to read it and to answer."""
        if self._is_closed:
            return
        self._is_closed = True
        self._transport.write(goodbye)
        self._closing = self._loop.call_later(CLOSE_SECONDS, self._transport.abort)


class Upgrade(asyncio.Protocol):
    """From the request's bytes to its answer; then the socket is a ``Wire``'s, or closed."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._config = config
        self._state = server_state
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._transport: Transport
        self._scope: dict[str, Any] | None = None
        self._early = b""
        self._accept = b""
        self._denial = b""
        self._wire: Wire | None = None
        self._is_answered = False
        self._is_connected = False
        self._deadline: asyncio.TimerHandle | None = None
        self._disconnected = asyncio.Event()

    # --- from the transport and from uvicorn -------------------------------------------------------------------------

    def connection_made(self, transport: BaseTransport) -> None:
        self._transport = cast(Transport, transport)
        self._state.connections.add(cast(Any, self))

    def data_received(self, data: bytes) -> None:
        if self._scope is None:
            self._begin(data)
            return
        self._early += data
        if len(self._early) > EARLY_BYTES:
            self._transport.abort()

    def connection_lost(self, _: Exception | None) -> None:
        self._forget()
        self._disconnected.set()

    def shutdown(self) -> None:
        """The server ends."""
        if not self._is_answered:
            self._refuse(503, [], b"this node is about to end: try another\n")

    # --- the ASGI application ----------------------------------------------------------------------------------------

    def _begin(self, request: bytes) -> None:
        method, target, headers = _parse(request)
        self._scope = self._make_scope(target, headers)
        try:
            if method != b"GET":
                raise BadHandshake(405, "a WebSocket is asked for with GET\n")
            self._accept = websocket.accept_key(headers)
        except BadHandshake as error:
            extra = [(b"sec-websocket-version", b"13")] if error.status == 426 else []
            self._refuse(error.status, extra, error.text.encode())
            return
        self._deadline = self._loop.call_later(HANDSHAKE_SECONDS, self._transport.abort)
        task = self._loop.create_task(self._run())
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    async def _run(self) -> None:
        try:
            await self._config.loaded_app(self._scope, self._receive, self._send)
        except Exception:
            log.exception("the application failed in a handshake")
        if not self._is_answered:
            self._refuse(500, [], b"Internal Server Error\n")
        elif self._wire is None:
            self._transport.close()

    async def _receive(self) -> Message:
        if not self._is_connected:
            self._is_connected = True
            return {"type": "websocket.connect"}
        await self._disconnected.wait()
        return {"type": "websocket.disconnect", "code": 1006}

    async def _send(self, message: Message) -> None:
        match message["type"]:
            case "websocket.accept" if not self._is_answered:
                self._is_answered = True
                told = message.get("subprotocol"), message.get("headers", ())
                self._transport.write(websocket.agreement(self._accept, *told))
            case "websocket.close" if not self._is_answered:
                self._refuse(403, [], b"")
            case "websocket.http.response.start" if not self._is_answered:
                self._is_answered = True
                self._denial = _head(message["status"], [*message.get("headers", ()), (b"connection", b"close")])
            case "websocket.http.response.body":
                self._denial += message.get("body", b"")
                if not message.get("more_body", False):
                    self._transport.write(self._denial)
                    self._transport.close()
            case other:
                raise RuntimeError(f"{other} is not to be sent here: accept, detach, and write to the wire")

    def _detach(self, make_client: Callable[[Wire], Client]) -> None:
        if not self._is_answered or self._denial or self._wire is not None:
            raise RuntimeError("to be called once, after websocket.accept")
        self._wire = wire = Wire(self._loop, self._transport, self._state, self._config.ws_max_size)
        self._forget()
        wire.begin(make_client, self._early)

    def _make_scope(self, target: bytes, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
        path, _, query = target.partition(b"?")
        root = self._config.root_path
        offered = [value for name, value in headers if name == b"sec-websocket-protocol"]
        return {
            "type": "websocket",
            "asgi": {"version": self._config.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if is_ssl(self._transport) else "ws",
            "server": get_local_addr(self._transport),
            "client": get_remote_addr(self._transport),
            "root_path": root,
            "path": root + unquote(path.decode("latin-1")),
            "raw_path": root.encode() + path,
            "query_string": query,
            "headers": headers,
            "subprotocols": [text.strip() for value in offered for text in value.decode("latin-1").split(",")],
            "state": self._app_state.copy(),
            "extensions": {"websocket.http.response": {}, DETACH: self._detach},
        }

    def _refuse(self, status: int, headers: list[tuple[bytes, bytes]], text: bytes) -> None:
        self._is_answered = True
        told = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(text))]
        self._transport.write(_head(status, [*told, *headers, (b"connection", b"close")]) + text)
        self._transport.close()

    def _forget(self) -> None:
        self._state.connections.discard(cast(Any, self))
        if self._deadline is not None:
            self._deadline.cancel()


def _parse(request: bytes) -> tuple[bytes, bytes, list[tuple[bytes, bytes]]]:
    """Method, target and headers (names in lower case) of a request that uvicorn has read, checked, and written anew."""
    first, *lines = request.removesuffix(b"\r\n\r\n").split(b"\r\n")
    method, target, _ = first.split(b" ")
    headers = [line.split(b": ", 1) for line in lines]
    return method, target, [(name.lower(), value) for name, value in headers]


def _head(status: int, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    lines = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode())]
    return b"\r\n".join([*lines, *(name + b": " + value for name, value in headers), b"\r\n"])
