"""What waits to be written to one client: bounded, and written in one go per turn of the event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

MAX_FRAMES = 4096
MAX_BYTES = 1_048_576
"""More than this waiting, and the client does not read: it is dropped, at no cost to the others."""


class ClientSocket(Protocol):
    """One client's accepted WebSocket, as this node needs it. Nothing here waits."""

    heard_at: float
    """When any bytes of the client came last, on the loop's clock."""

    @property
    def write(self) -> Callable[[bytes], None]:
        """Takes ready WebSocket frames (``text_frame``), end to end. Only while ``is_writable``."""
        ...

    def is_writable(self) -> bool:
        """False while the kernel's and the transport's buffers are full, and after the end."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Says goodbye. Never with 1000: a Phoenix client would not come back."""

    def abort(self) -> None:
        """Ends it at once; what is unsent is lost."""


def text_frame(data: bytes) -> bytes:
    """An unmasked, final text frame (RFC 6455, 5.2): the same bytes for every client."""
    size = len(data)
    if size < 126:
        return bytes((0x81, size)) + data
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + data
    return b"\x81\x7f" + size.to_bytes(8, "big") + data


class Flusher:
    """One callback per turn of the event loop for all outboxes that have got something. ``call_soon``: the loop's."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self._outboxes: list[Outbox] = []

    def add(self, outbox: Outbox) -> None:
        if not self._outboxes:
            self._call_soon(self._flush)
        self._outboxes.append(outbox)

    def _flush(self) -> None:
        outboxes, self._outboxes = self._outboxes, []
        for outbox in outboxes:
            outbox.flush()


class Outbox:
    """In ``_flusher`` from the first frame that waits until the end of the turn; after that ``flush`` is the socket's to
    call, when the client has caught up."""

    __slots__ = ("_bytes", "_flusher", "_frames", "_socket")

    def __init__(self, socket: ClientSocket, flusher: Flusher) -> None:
        self._socket = socket
        self._flusher = flusher
        self._frames: list[bytes] = []
        self._bytes = 0

    def send(self, frame: bytes) -> bool:
        """Queues a ready WebSocket frame. False: the client does not read, and is to be dropped."""
        if self._frames and (len(self._frames) >= MAX_FRAMES or self._bytes + len(frame) > MAX_BYTES):
            self.flush()
            if self._frames:
                return False
        if not self._frames:
            self._flusher.add(self)
        self._frames.append(frame)
        self._bytes += len(frame)
        return True

    def flush(self) -> None:
        """Writes what waits, unless the client is behind."""
        if self._frames and self._socket.is_writable():
            frames, self._frames, self._bytes = self._frames, [], 0
            self._socket.write(frames[0] if len(frames) == 1 else b"".join(frames))
