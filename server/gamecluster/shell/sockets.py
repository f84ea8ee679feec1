"""uvicorn's WebSocket protocol, with a way out of its own for frames that are ready to be written.

uvicorn does the handshake, reading, pings and the closing handshake; what a client is sent goes to its transport directly,
so that one frame serves all clients, a client that does not read can be dropped at once, and nobody waits for it.
Written against uvicorn 0.54 ``protocols/websockets/websockets_sansio_impl.py``.
"""

from __future__ import annotations

import contextlib
import socket
from asyncio.transports import BaseTransport
from collections.abc import Callable, Sequence
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.http11 import Request

SCOPE_KEY = "gamecluster.socket"
SEND_BUFFER_BYTES = 262_144
"""The kernel's: what a client that does not read makes stale."""
CLOSE_SECONDS = 2.0
"""How long a client has to answer a close before the socket is cut."""


class GameSocket(WebSocketsSansIOProtocol):
    """Found by the ASGI application under ``scope["extensions"]["gamecluster.socket"]``; see ``outbox.ClientSocket``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heard_at = self.loop.time()
        self.on_writable: Callable[[], None] = _nothing

    # --- for the hub -------------------------------------------------------------------------------------------------

    def write(self, frames: Sequence[bytes]) -> None:
        if not (self.close_sent or self.transport.is_closing()):
            self.transport.write(frames[0] if len(frames) == 1 else b"".join(frames))

    def is_writable(self) -> bool:
        return self.writable.is_set()

    def close(self, code: int, reason: str) -> None:
        if self.close_sent or self.transport.is_closing():
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.close_sent = True
        with contextlib.suppress(InvalidState):
            self.conn.send_close(code, _fit(reason))
            self.transport.write(b"".join(self.conn.data_to_send()))
        if self.read_paused:  # else the client's answer to the close would never be seen
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(CLOSE_SECONDS, self.transport.abort)

    def abort(self) -> None:
        self.transport.abort()

    # --- from the transport and from uvicorn -------------------------------------------------------------------------

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        if (raw := transport.get_extra_info("socket")) is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        self.heard_at = self.loop.time()
        super().data_received(data)

    def resume_writing(self) -> None:
        super().resume_writing()
        self.on_writable()

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):  # else the handshake was refused
            self.scope["extensions"][SCOPE_KEY] = {"socket": self}

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not _is_utf8(b"".join(self.frames)):
            self.frames = []
            self.close(1007, "a text frame that is not UTF-8")
            return
        super().send_receive_event_to_app()


def _nothing() -> None:
    return None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _fit(reason: str) -> str:
    """A close frame has room for 123 bytes."""
    return reason.encode()[:123].decode(errors="ignore")
