"""Frames of the Phoenix Channels protocol as text: JSON objects (V1) and JSON arrays (V2).

Shapes: phoenixframework/phoenix, ``lib/phoenix/socket/serializers/v1_json_serializer.ex`` and ``v2_…``.
Frames going out are UTF-8 bytes, ready for a text frame.
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
Status = Literal["ok", "error"]


class ProtocolError(GameClusterError):
    """The client's fault: what it sent is not Phoenix Channels. The text says what was expected."""


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
    payload: Payload


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


def _encode(vsn: Vsn, join_ref: Ref, ref: Ref, topic: str, event: str, payload: object) -> bytes:
    if vsn is Vsn.V1:
        return _encoder.encode({"topic": topic, "event": event, "payload": payload, "ref": ref})
    return _encoder.encode((join_ref, ref, topic, event, payload))
