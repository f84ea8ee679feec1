"""A server's side of RFC 6455 without I/O: what a handshake is answered, what frames mean, what a close says.

For servers that offer no extension. Whole text frames, which are nearly all that games send, take the short way; control
frames, fragments and everything forbidden take the long one. ``websockets`` unmasks, in C.
"""

from __future__ import annotations

import binascii
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable
from enum import IntEnum
from hashlib import sha1

from websockets.speedups import apply_mask

GOING_AWAY, PROTOCOL_ERROR, UNSUPPORTED_DATA, BAD_DATA, TOO_BIG, RESTARTING = 1001, 1002, 1003, 1007, 1009, 1012
NO_CODE = 1005
"""Of a close that gave none."""
_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: "
_MOST_OF_A_CONTROL_FRAME = 125
MAX_FRAGMENTS = 1024
"""Of one message. Empty ones cost room too."""


class Opcode(IntEnum):
    more = 0
    text = 1
    binary = 2
    close = 8
    ping = 9
    pong = 10


class Violation(Exception):
    """The client broke the protocol, or a limit: the socket is to be closed with ``code``."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class BadHandshake(Exception):
    """To be answered with the HTTP status ``status``."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


def accept_key(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """``Sec-WebSocket-Accept`` for a request with these headers (names in lower case). Raises BadHandshake."""
    found = dict(headers)
    if found.get(b"sec-websocket-version") != b"13":
        raise BadHandshake(426, "this server speaks version 13 of WebSocket: send Sec-WebSocket-Version: 13\n")
    key = found.get(b"sec-websocket-key", b"")
    try:
        is_key = len(a2b_base64(key, strict_mode=True)) == 16
    except binascii.Error:
        is_key = False
    if not is_key:
        raise BadHandshake(400, "Sec-WebSocket-Key has to be 16 bytes in base64\n")
    return b2a_base64(sha1(key + _GUID, usedforsecurity=False).digest(), newline=False)


def agreement(accept: bytes, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """The answer to a handshake that is accepted. ``accept``: its key; ``headers``: more of them."""
    told = [_SWITCHING + accept]
    if subprotocol is not None:
        told.append(b"sec-websocket-protocol: " + subprotocol.encode("latin-1"))
    told += [name + b": " + value for name, value in headers]
    return b"\r\n".join([*told, b"\r\n"])


def frame(opcode: Opcode, data: bytes) -> bytes:
    """A final, unmasked frame (RFC 6455, 5.2): the same bytes for every client."""
    size = len(data)
    if size < 126:
        return bytes((0x80 | opcode, size)) + data
    if size < 65_536:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + data
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + data


def close_frame(code: int, reason: str) -> bytes:
    """``reason`` is cut to the 123 bytes there is room for."""
    if code == NO_CODE:
        return frame(Opcode.close, b"")
    return frame(Opcode.close, code.to_bytes(2, "big") + reason.encode()[:123].decode(errors="ignore").encode())


def read_close(data: bytes) -> int:
    """The code that a close frame gave. Raises Violation."""
    if not data:
        return NO_CODE
    code = int.from_bytes(data[:2], "big")
    if len(data) < 2 or not (code in _CODES or 3000 <= code < 5000):
        raise Violation(PROTOCOL_ERROR, "a close frame with a code that is not to be sent")
    if not _is_utf8(data[2:]):
        raise Violation(BAD_DATA, "a close frame whose reason is not UTF-8")
    return code


class Reader:
    """Takes a client's bytes as they come, gives its messages one by one. ``max_size``: of a message, in bytes."""

    __slots__ = ("_at", "_data", "_max_size", "_opcode", "_parts", "_size")

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._data = b""
        self._at = 0
        self._opcode: Opcode | None = None  # of the message whose fragments are coming
        self._parts: list[bytes] | None = None
        self._size = 0

    def feed(self, data: bytes) -> None:
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    def next(self) -> tuple[Opcode, bytes] | None:
        """A whole message or a control frame; None: more bytes are needed. Raises Violation, after which it is of no use."""
        while (head := self._head()) is not None:
            first, start, end = head
            payload = apply_mask(self._data[start:end], self._data[start - 4 : start])
            if end == len(self._data):
                self._data, self._at = b"", 0
            else:
                self._at = end
            if first == 0x81 and self._parts is None:
                if not (payload.isascii() or _is_utf8(payload)):
                    raise Violation(BAD_DATA, "a text frame that is not UTF-8")
                return Opcode.text, payload
            if (message := self._assemble(first, payload)) is not None:
                return message
        return None

    def _head(self) -> tuple[int, int, int] | None:
        """The next frame's first byte, and where its payload begins and ends; None if it is not all there."""
        data, at = self._data, self._at
        have = len(data) - at
        if have < 2:
            return None
        first, second = data[at], data[at + 1]
        if first != 0x81 or second < 0x80:
            self._check(first, second)
        size, start = second & 0x7F, at + 6
        if size > 125:
            width = 2 if size == 126 else 8
            if have < 2 + width:
                return None
            size, start = int.from_bytes(data[at + 2 : at + 2 + width], "big"), at + 6 + width
            if size < (126 if width == 2 else 65_536):
                raise Violation(PROTOCOL_ERROR, "a length that is longer than it needs to be")
        if size + self._size > self._max_size:
            raise Violation(TOO_BIG, f"a message may have {self._max_size} bytes")
        if len(data) < start + size:
            return None
        return first, start, start + size

    def _check(self, first: int, second: int) -> None:
        opcode = first & 0x0F
        if first & 0x70:
            raise Violation(PROTOCOL_ERROR, "a reserved bit is set: no extension was agreed on")
        if opcode not in (0, 1, 2, 8, 9, 10):
            raise Violation(PROTOCOL_ERROR, f"a frame with the reserved opcode {opcode}")
        if second < 0x80:
            raise Violation(PROTOCOL_ERROR, "a client's frames have to be masked")
        if opcode >= Opcode.close and (not first & 0x80 or second & 0x7F > _MOST_OF_A_CONTROL_FRAME):
            raise Violation(PROTOCOL_ERROR, "a control frame is whole and has at most 125 bytes")

    def _assemble(self, first: int, payload: bytes) -> tuple[Opcode, bytes] | None:
        opcode, is_final = Opcode(first & 0x0F), bool(first & 0x80)
        if opcode >= Opcode.close:
            return opcode, payload
        if (opcode is Opcode.more) != (self._opcode is not None):
            what = "a fragment of no message" if opcode is Opcode.more else "a message amid another one's fragments"
            raise Violation(PROTOCOL_ERROR, what)
        if is_final and opcode is Opcode.binary:
            return opcode, payload
        if opcode is not Opcode.more:
            self._opcode, self._parts, self._size = opcode, [], 0
        assert self._opcode is not None and self._parts is not None
        if len(self._parts) >= MAX_FRAGMENTS:
            raise Violation(TOO_BIG, f"a message may have {MAX_FRAGMENTS} fragments")
        self._parts.append(payload)
        self._size += len(payload)
        if not is_final:
            return None
        opcode, message = self._opcode, b"".join(self._parts)
        self._opcode, self._parts, self._size = None, None, 0
        if opcode is Opcode.text and not _is_utf8(message):
            raise Violation(BAD_DATA, "a text message that is not UTF-8")
        return opcode, message


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
