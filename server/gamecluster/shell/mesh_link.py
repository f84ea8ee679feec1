"""One TCP connection of the mesh: framing, handshake, sealed batches. What it means is decided by its owner.

On the wire every frame is a u32 length (big endian) and a body: the handshake's in clear, then sealed ones whose first byte
tells the kind. A batch is a MessagePack array of messages, all that was sent in one turn of the loop: one seal, one write. Asides too.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol, cast

import msgspec

from ..core.messages import Message
from .handshake import FRAME_BYTES_AT_MOST, Greeting, Handshake, HandshakeFailed, SealBroken, State
from .interests import Interest
from .mesh_install import EncodedRows, Part
from .questions import Answered, Question

MEBIBYTE = 1024 * 1024
FRAME_LIMIT_BYTES = 64 * MEBIBYTE
UNSENT_LIMIT_BYTES = 64 * MEBIBYTE
BATCH_BYTES = MEBIBYTE
"""A batch is closed when it is this long."""
MESSAGE_LIMIT_BYTES = FRAME_LIMIT_BYTES - 64

ACCEPTED, MESSAGES, ADDRESSES, ASIDES = 0, 1, 2, 3

Address = tuple[str, int]
"""IP address and port."""

Aside = Interest | Question | Answered | Part
"""What pods say to each other that is no decision's business."""
ASIDES_OF_A_FRAME = 64

_messages = msgspec.msgpack.Decoder(list[Message])
_addresses = msgspec.msgpack.Decoder(list[Address])
_asides = msgspec.msgpack.Decoder(list[Aside])


class Owner(Protocol):
    """Who is asked and told. A returned text refuses the link, for that reason."""

    def link_made(self, link: Link) -> str | None: ...
    def link_greeted(self, link: Link, peer: Greeting) -> str | None: ...
    def link_up(self, link: Link, peer: Greeting) -> None: ...
    def link_said(self, link: Link, messages: list[Message]) -> None: ...
    def link_gossiped(self, link: Link, addresses: list[Address]) -> None: ...
    def link_said_aside(self, link: Link, asides: list[Aside]) -> None: ...
    def link_waits(self, link: Link) -> None:
        """Something is to be sent: call ``flush`` at the end of the loop's turn."""

    def link_lost(self, link: Link, reason: str) -> None: ...


class Link(asyncio.Protocol):
    """A connection in its life: handshake, up, closed. ``link_lost`` is the last that the owner hears of it, once."""

    def __init__(
        self, owner: Owner, handshake: Handshake, loop: asyncio.AbstractEventLoop, target: Address | None
    ) -> None:
        self.target = target
        """The address that was dialled; None on an accepted link."""
        self.began = self.heard = loop.time()
        self.is_up = False
        self.is_closed = False
        self.remote_host = ""
        self.settled: asyncio.Future[str | None] = loop.create_future()
        """None when the link is up, or the reason why it never was."""
        self._owner = owner
        self._handshake = handshake
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._outgoing: list[bytes] = []
        self._outgoing_bytes = 0
        self._asides: list[Aside | EncodedRows] = []

    @property
    def peer(self) -> Greeting | None:
        return self._handshake.peer

    @property
    def dialled(self) -> bool:
        return self.target is not None

    @property
    def unsent_bytes(self) -> int:
        return self._outgoing_bytes + (self._transport.get_write_buffer_size() if self._transport else 0)

    def send(self, message: bytes) -> None:
        """Queues one encoded message; all of a turn of the loop leave together."""
        if self.is_closed:
            return
        self._wait()
        self._outgoing.append(message)
        self._outgoing_bytes += len(message)
        if self._outgoing_bytes > UNSENT_LIMIT_BYTES:
            self._cut_unsent()

    def tell(self, aside: Aside | EncodedRows) -> None:
        """Leaves with the messages of this turn."""
        if self.is_closed:
            return
        self._wait()
        self._asides.append(aside)

    def gossip(self, addresses: list[Address]) -> None:
        self._write(self._sealed(ADDRESSES, msgspec.msgpack.encode(addresses)))

    def close(self, reason: str, farewell: bytes | None = None, abort: bool = False) -> None:
        """Ends the link; ``farewell`` is a handshake frame that is still sent. A second call does nothing."""
        if self.is_closed:
            return
        if self._transport and abort:
            self._transport.abort()
        elif self._transport:
            if farewell:
                self._write(farewell)
            self._transport.close()
        self._end(reason)

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.remote_host = (transport.get_extra_info("peername") or ("",))[0]
        if self.is_closed:
            self._transport.abort()
            return
        refusal = self._owner.link_made(self)
        if refusal:
            self.close(refusal, abort=True)
        elif self.dialled:
            self._write(self._handshake.open())

    def data_received(self, data: bytes) -> None:
        if self.is_closed:
            return
        self.heard = self._loop.time()
        self._received += data
        try:
            self._take_frames()
        except HandshakeFailed as failure:
            self.close(failure.reason, failure.refusal)
        except (SealBroken, msgspec.DecodeError) as error:
            self.close(f"undecodable: {error}", abort=True)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.is_closed:
            self._end(f"lost: {error}" if error else "closed by the peer")

    # --- frames

    def _take_frames(self) -> None:
        received, start = self._received, 0
        while not self.is_closed and len(received) - start >= 4:
            length = int.from_bytes(received[start : start + 4], "big")
            if length > (FRAME_LIMIT_BYTES if self._handshake.state is State.done else FRAME_BYTES_AT_MOST):
                raise SealBroken(f"a frame of {length} bytes")
            if len(received) - start - 4 < length:
                break
            frame = bytes(memoryview(received)[start + 4 : start + 4 + length])
            start += 4 + length
            if self._handshake.state is State.done:
                self._take_sealed(frame)
            else:
                self._take_handshake(frame)
        del received[:start]

    def _take_handshake(self, frame: bytes) -> None:
        reply = self._handshake.receive(frame)
        if reply is not None:
            self._write(reply)
            return
        assert self.peer is not None
        refusal = self._owner.link_greeted(self, self.peer)
        if refusal is not None:
            raise HandshakeFailed(refusal, self._handshake.refuse(refusal))
        if self.dialled:
            self._write(self._handshake.confirm())
        else:
            self._write(self._sealed(ACCEPTED, b""))
            self._come_up()

    def _take_sealed(self, frame: bytes) -> None:
        assert self._handshake.seal is not None
        try:
            plain = self._handshake.seal.open(frame)
        except SealBroken:
            if not self.is_up:
                self._handshake.receive(frame)  # a refusal comes in clear
            raise
        kind, body = plain[0] if plain else None, memoryview(plain)[1:]
        if kind == MESSAGES and self.is_up:
            self._owner.link_said(self, _messages.decode(body))
        elif kind == ADDRESSES and self.is_up:
            self._owner.link_gossiped(self, _addresses.decode(body))
        elif kind == ASIDES and self.is_up:
            self._owner.link_said_aside(self, _asides.decode(body))
        elif kind == ACCEPTED and not self.is_up:
            self._come_up()
        else:
            raise SealBroken(f"a frame of kind {kind} out of turn")

    def _come_up(self) -> None:
        assert self.peer is not None
        self.is_up = True
        self._owner.link_up(self, self.peer)
        if not self.settled.done():
            self.settled.set_result(None)

    # --- sending

    def _wait(self) -> None:
        """Before something is queued: the first of a turn has all of it leave at the turn's end."""
        if not (self._outgoing or self._asides):
            self._owner.link_waits(self)

    def flush(self) -> None:
        """Writes all that is queued, in one piece."""
        messages, self._outgoing, self._outgoing_bytes = self._outgoing, [], 0
        asides, self._asides = self._asides, []
        if self.is_closed or not (messages or asides):
            return
        frames: list[bytes] = []
        for start in range(0, len(asides), ASIDES_OF_A_FRAME):
            some = asides[start : start + ASIDES_OF_A_FRAME]
            frames.append(self._sealed(ASIDES, msgspec.msgpack.encode(some)))
        batch: list[bytes] = []
        length = 0
        for message in messages:
            if batch and length + len(message) > BATCH_BYTES:
                frames.append(self._sealed(MESSAGES, _array(batch)))
                batch, length = [], 0
            batch.append(message)
            length += len(message)
        if batch:
            frames.append(self._sealed(MESSAGES, _array(batch)))
        self._write(*frames)
        if self.unsent_bytes > UNSENT_LIMIT_BYTES:
            self._cut_unsent()

    def _sealed(self, kind: int, body: bytes) -> bytes:
        assert self._handshake.seal is not None
        return self._handshake.seal.seal(bytes((kind,)) + body)

    def _write(self, *frames: bytes) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.write(b"".join(part for frame in frames for part in (len(frame).to_bytes(4, "big"), frame)))

    def _cut_unsent(self) -> None:
        self.close(f"more than {UNSENT_LIMIT_BYTES // MEBIBYTE} MiB unsent: the peer does not read", abort=True)

    def _end(self, reason: str) -> None:
        self.is_closed = True
        self._received.clear()
        self._outgoing.clear()
        self._asides.clear()
        if not self.settled.done():
            self.settled.set_result(reason)
        self._owner.link_lost(self, reason)


def _array(messages: list[bytes]) -> bytes:
    """A MessagePack array of messages that are encoded already (array 32, in the MessagePack specification)."""
    return b"\xdd" + len(messages).to_bytes(4, "big") + b"".join(messages)
