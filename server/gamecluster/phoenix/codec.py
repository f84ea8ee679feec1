"""Frames of the Phoenix Channels protocol: JSON objects (V1), JSON arrays (V2), and V2's binary frames.

Shapes: phoenixframework/phoenix, ``lib/phoenix/socket/serializers/v1_json_serializer.ex`` and ``v2_…``.
Frames going out are UTF-8 bytes, ready for a text frame, or the bytes of a binary frame.

| binary frame       | bytes (a size is one byte; texts are UTF-8; ``data`` is the rest)             |
| ------------------ | ----------------------------------------------------------------------------- |
| push, from clients | 00, sizes of join_ref, ref, topic, event; join_ref, ref, topic, event, data    |
| push, to clients   | 00, sizes of join_ref, topic, event; join_ref, topic, event, data              |
| reply              | 01, sizes of join_ref, ref, topic, status; join_ref, ref, topic, status, data  |
| broadcast          | 02, sizes of topic, event; topic, event, data                                  |
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Any, Literal

from msgspec import DecodeError, Raw, Struct, ValidationError
from msgspec.json import Decoder, Encoder

from ..errors import GameClusterError

Ref = str | int | float | None
"""What a client numbers its messages by. Echoed with the JSON type it came with: clients compare with ``===``."""

Payload = dict[str, Any]
Data = Payload | bytes
"""What a message carries: JSON, or as bytes what a binary frame has."""
Status = Literal["ok", "error"]

MOST_BYTES_OF_A_NAME = 255
"""Of a ref, topic or event in a binary frame."""


class ProtocolError(GameClusterError):
    """The client's fault: what it sent is not Phoenix Channels. The text says what was expected."""


class NotBinary(GameClusterError):
    """This client can't be sent these bytes. The text says why."""


class Vsn(IntEnum):
    """The serializer that a client chose when it connected."""

    V1 = 1
    V2 = 2


class Message(Struct, frozen=True):
    """A frame that came in, whatever its serializer."""

    join_ref: Ref
    ref: Ref
    topic: str
    event: str
    payload: Data


def parse_vsn(text: str | None) -> Vsn:
    """The query parameter ``vsn``: none is 1.0.0, ``1.0.x`` and ``2.0.x`` are served, all else is a ProtocolError."""
    if text is None:
        return Vsn.V1
    match = re.fullmatch(r"([12])\.0\.[0-9]{1,9}", text)
    if match is None:
        raise ProtocolError(f"vsn {text[:32]!r} is not served: 1.0.0 and 2.0.0 are")
    return Vsn(int(match[1]))


def decode(data: str | bytes, vsn: Vsn) -> Message:
    """Reads one text frame. Raises ProtocolError, and nothing else, whatever ``data`` is."""
    try:
        frame = _DECODERS[vsn].decode(data)
    except ValidationError as error:
        raise ProtocolError(f"frame is not {_SHAPES[vsn]}: {error}") from None
    except DecodeError as error:
        raise ProtocolError(f"frame is not JSON: {error}") from None
    except RecursionError:
        raise ProtocolError("frame is nested too deep") from None
    except ValueError as error:
        raise ProtocolError(f"frame is not UTF-8 JSON: {error}") from None
    return Message(frame.join_ref, frame.ref, frame.topic, frame.event, frame.payload)


def decode_binary(data: bytes, vsn: Vsn) -> Message:
    """Reads one binary frame. Raises ProtocolError, and nothing else. An empty ref is none."""
    if vsn is Vsn.V1:
        raise ProtocolError("binary frames are not served to vsn 1.0.0: connect with vsn=2.0.0, or send text frames")
    if len(data) < _META or data[0] != _PUSH:
        raise ProtocolError(
            "binary frame is not a push: 00, sizes of join_ref, ref, topic and event, these, and the data"
        )
    texts, at = [], _META
    for size in data[1:_META]:
        texts.append(data[at : at + size])
        at += size
    if at > len(data):
        raise ProtocolError(f"binary frame is cut off: {len(data)} bytes, and its sizes say {at} or more")
    try:
        join_ref, ref, topic, event = (text.decode() for text in texts)
    except UnicodeDecodeError as error:
        raise ProtocolError(f"binary frame has a text that is not UTF-8: {error}") from None
    return Message(join_ref or None, ref or None, topic, event, data[at:])


def encode_json(payload: Payload) -> bytes:
    return _encoder.encode(payload)


def encode_reply(vsn: Vsn, join_ref: Ref, ref: Ref, topic: str, status: Status, response: Payload) -> bytes:
    return _encode(vsn, join_ref, ref, topic, "phx_reply", {"status": status, "response": response})


def encode_push(vsn: Vsn, join_ref: Ref, topic: str, event: str, payload: Payload | Raw) -> bytes:
    """A server's message to one client."""
    return _encode(vsn, join_ref, None, topic, event, payload)


def encode_broadcast(vsn: Vsn, topic: str, event: str, payload: bytes) -> bytes:
    """One frame for all clients of this serializer; ``payload`` is JSON already and is copied as it is."""
    return _encode(vsn, None, None, topic, event, Raw(payload))


def encode_close(vsn: Vsn, join_ref: Ref, topic: str) -> bytes:
    """The server has closed this join of the channel, for good."""
    return _encode(vsn, join_ref, join_ref, topic, "phx_close", {})


def encode_error(vsn: Vsn, join_ref: Ref, topic: str) -> bytes:
    """The channel has crashed: the client may join again."""
    return _encode(vsn, join_ref, join_ref, topic, "phx_error", {"reason": "channel_crash"})


def encode_binary_reply(vsn: Vsn, join_ref: Ref, ref: Ref, topic: str, status: Status, response: bytes) -> bytes:
    """Raises NotBinary."""
    return _binary(vsn, _REPLY, join_ref, ref, topic, status) + response


def encode_binary_push(vsn: Vsn, join_ref: Ref, topic: str, event: str, payload: bytes) -> bytes:
    """Raises NotBinary."""
    return _binary(vsn, _PUSH, join_ref, topic, event) + payload


def encode_binary_broadcast(vsn: Vsn, topic: str, event: str, payload: bytes) -> bytes:
    """Raises NotBinary."""
    return _binary(vsn, _BROADCAST, topic, event) + payload


class _FrameV1(Struct):
    topic: str
    event: str
    payload: Payload
    ref: Ref
    join_ref: Ref = None


class _FrameV2(Struct, array_like=True):
    join_ref: Ref
    ref: Ref
    topic: str
    event: str
    payload: Payload


_DECODERS: dict[Vsn, Decoder[_FrameV1] | Decoder[_FrameV2]] = {Vsn.V1: Decoder(_FrameV1), Vsn.V2: Decoder(_FrameV2)}
_SHAPES = {
    Vsn.V1: 'an object {"topic", "event", "payload", "ref"}',
    Vsn.V2: "an array [join_ref, ref, topic, event, payload]",
}
_encoder = Encoder()
_PUSH, _REPLY, _BROADCAST = 0, 1, 2
_META = 5
"""Bytes of a client's push before its texts."""


def _encode(vsn: Vsn, join_ref: Ref, ref: Ref, topic: str, event: str, payload: object) -> bytes:
    if vsn is Vsn.V1:
        return _encoder.encode({"topic": topic, "event": event, "payload": payload, "ref": ref})
    return _encoder.encode((join_ref, ref, topic, event, payload))


def _binary(vsn: Vsn, kind: int, *fields: Ref) -> bytes:
    if vsn is Vsn.V1:
        raise NotBinary("vsn 1.0.0 has no binary frames: the client should connect with vsn=2.0.0")
    texts = [b"" if field is None else str(field).encode() for field in fields]
    if any(len(text) > MOST_BYTES_OF_A_NAME for text in texts):
        raise NotBinary(f"a binary frame has refs, topics and events of {MOST_BYTES_OF_A_NAME} bytes at most")
    return bytes((kind, *map(len, texts))) + b"".join(texts)
