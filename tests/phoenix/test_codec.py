"""Golden frames of the two serializers, and what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamecluster.phoenix import codec
from gamecluster.phoenix.codec import Message, NotBinary, ProtocolError, Vsn

V1, V2 = Vsn.V1, Vsn.V2


@pytest.mark.parametrize(("text", "vsn"), [(None, V1), ("1.0.0", V1), ("1.0.7", V1), ("2.0.0", V2), ("2.0.12", V2)])
def test_a_missing_vsn_is_v1_and_patch_versions_are_served(text: str | None, vsn: Vsn) -> None:
    assert codec.parse_vsn(text) is vsn


@pytest.mark.parametrize("text", ["", "1", "2.0", "1.1.0", "2.1.0", "3.0.0", "2.0.0 ", "v2.0.0", "2.0.0\n", "٢.0.0"])
def test_any_other_vsn_is_refused_and_the_refusal_names_those_served(text: str) -> None:
    with pytest.raises(ProtocolError, match=r"1\.0\.0 and 2\.0\.0"):
        codec.parse_vsn(text)


@pytest.mark.parametrize(
    ("vsn", "frame", "message"),
    [
        (V2, '["1","5","room:1","move",{"dx":1}]', Message("1", "5", "room:1", "move", {"dx": 1})),
        (V2, '["1","5","room:1","move",{},"more","elements"]', Message("1", "5", "room:1", "move", {})),
        (V2, '[null,"2","phoenix","heartbeat",{}]', Message(None, "2", "phoenix", "heartbeat", {})),
        (V2, '[1,2,"t","e",{}]', Message(1, 2, "t", "e", {})),
        (V1, '{"topic":"t","event":"e","payload":{"a":[]},"ref":"1"}', Message(None, "1", "t", "e", {"a": []})),
        (V1, '{"topic":"t","event":"e","payload":{},"ref":0}', Message(None, 0, "t", "e", {})),
        (V1, '{"topic":"t","event":"e","payload":{},"ref":null,"x":1}', Message(None, None, "t", "e", {})),
        (V1, '{"topic":"t","event":"e","payload":{},"ref":"6","join_ref":"5"}', Message("5", "6", "t", "e", {})),
    ],
)
def test_a_frame_is_read_with_the_json_types_of_its_refs(vsn: Vsn, frame: str, message: Message) -> None:
    for data in (frame, frame.encode()):
        read = codec.decode(data, vsn)
        assert read == message
        assert type(read.ref) is type(message.ref)
        assert type(read.join_ref) is type(message.join_ref)


@pytest.mark.parametrize(
    ("vsn", "frame", "text"),
    [
        (V2, "", "not JSON"),
        (V2, "hello", "not JSON"),
        (V2, b"\xff\xfe", "not JSON"),
        (V2, b'[null,null,"\xff","e",{}]', "UTF-8"),
        (V2, '{"topic":"t","event":"e","payload":{},"ref":"1"}', r"an array \[join_ref"),
        (V2, '["1","5","room:1","move"]', "length 5, got 4"),
        (V2, '["1","5",1,"move",{}]', r"Expected `str`, got `int` - at `\$\[2\]`"),
        (V2, '["1","5","room:1",null,{}]', r"Expected `str`, got `null` - at `\$\[3\]`"),
        (V2, '["1","5","room:1","move",[]]', r"Expected `object`, got `array` - at `\$\[4\]`"),
        (V2, '["1",["5"],"room:1","move",{}]', r"got `array` - at `\$\[1\]`"),
        (V2, '["1","5","t","e",{"a":' + "[" * 100_000, "nested too deep"),
        (V1, '["1","5","room:1","move",{}]', "an object {"),
        (V1, '{"topic":"t","event":"e","payload":{}}', "missing required field `ref`"),
        (V1, '{"topic":"t","event":"e","payload":"x","ref":"1"}', r"got `str` - at `\$.payload`"),
    ],
)
def test_a_malformed_frame_is_a_protocol_error_that_says_what_is_wrong(vsn: Vsn, frame: str | bytes, text: str) -> None:
    with pytest.raises(ProtocolError, match=text):
        codec.decode(frame, vsn)


def test_golden_replies() -> None:
    assert codec.encode_reply(V2, "1", "5", "room:1", "ok", {"a": 1}) == (
        b'["1","5","room:1","phx_reply",{"status":"ok","response":{"a":1}}]'
    )
    assert codec.encode_reply(V2, None, 7, "t", "error", {"reason": "no"}) == (
        b'[null,7,"t","phx_reply",{"status":"error","response":{"reason":"no"}}]'
    )
    assert codec.encode_reply(V1, "1", 0, "t", "ok", {}) == (
        b'{"topic":"t","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":0}'
    )


def test_golden_pushes_and_broadcasts() -> None:
    assert codec.encode_push(V2, "1", "room:1", "said", {"a": "é"}) == '["1",null,"room:1","said",{"a":"é"}]'.encode()
    assert codec.encode_push(V1, "1", "t", "e", {}) == b'{"topic":"t","event":"e","payload":{},"ref":null}'
    assert codec.encode_broadcast(V2, "t", "e", b'{"a": 1}') == b'[null,null,"t","e",{"a": 1}]'
    assert (
        codec.encode_broadcast(V1, "t", "e", b'{"a": 1}') == b'{"topic":"t","event":"e","payload":{"a": 1},"ref":null}'
    )


def test_golden_close_and_error() -> None:
    assert codec.encode_close(V2, "3", "t") == b'["3","3","t","phx_close",{}]'
    assert codec.encode_close(V1, None, "t") == b'{"topic":"t","event":"phx_close","payload":{},"ref":null}'
    assert codec.encode_error(V2, 3, "t") == b'[3,3,"t","phx_error",{"reason":"channel_crash"}]'
    assert codec.encode_error(V1, None, "t") == (
        b'{"topic":"t","event":"phx_error","payload":{"reason":"channel_crash"},"ref":null}'
    )


@given(st.one_of(st.binary(), st.text()), st.sampled_from(Vsn))
def test_whatever_arrives_nothing_but_a_protocol_error_is_raised(data: bytes | str, vsn: Vsn) -> None:
    try:
        codec.decode(data, vsn)
    except ProtocolError as error:
        assert str(error)


refs = st.none() | st.text() | st.integers(-(2**63), 2**63)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(json_values, st.sampled_from(Vsn))
def test_any_json_is_a_message_or_a_protocol_error(value: object, vsn: Vsn) -> None:
    try:
        codec.decode(json.dumps(value), vsn)
    except ProtocolError as error:
        assert str(error)


@given(refs, refs, st.text(), st.text(), st.dictionaries(st.text(), json_values, max_size=4), st.sampled_from(Vsn))
def test_what_a_client_writes_is_what_is_read(join_ref, ref, topic, event, payload, vsn) -> None:  # type: ignore[no-untyped-def]
    if vsn is V2:
        frame = json.dumps([join_ref, ref, topic, event, payload], ensure_ascii=False)
    else:
        frame = json.dumps(
            {"topic": topic, "event": event, "payload": payload, "ref": ref, "join_ref": join_ref}, ensure_ascii=False
        )
    assert codec.decode(frame, vsn) == Message(join_ref, ref, topic, event, payload)


# --- binary frames: bytes of Phoenix' own tests (v2_json_serializer_test.exs, serializer_test.js) and of phoenix.js 1.8.16


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (b"\x00\x02\x03\x05\x0512123topiceventefg", Message("12", "123", "topic", "event", b"efg")),
        (b"\x00\x01\x01\x01\x0101te\x01", Message("0", "1", "t", "e", b"\x01")),
        (b"\x00\x02\x01\x03\x02101topev\x01", Message("10", "1", "top", "ev", b"\x01")),
        (
            bytes.fromhex("0004010a02f09f9a8031726f6f6d3a636166c3a9cf8000ff"),
            Message("\N{ROCKET}", "1", "room:caf\u00e9", "\N{GREEK SMALL LETTER PI}", b"\x00\xff"),
        ),
        (bytes.fromhex("0000010101377465"), Message(None, "7", "t", "e", b"")),
        (b"\x00\x01\x01\xff\x01" + b"12" + b"t" * 255 + b"e\x00", Message("1", "2", "t" * 255, "e", b"\x00")),
    ],
)
def test_a_binary_push_is_read(frame: bytes, message: Message) -> None:
    assert codec.decode_binary(frame, V2) == message


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (b"", "is not a push"),
        (b"\x00\x01\x01\x01", "is not a push"),
        (b"\x01\x01\x01\x01\x0101te", "is not a push"),
        (b"\x02\x03\x05topevent", "is not a push"),
        (b"[null,null]", "is not a push"),
        (b"\x00\x01\x01\x01\x0201te", "cut off: 9 bytes, and its sizes say 10"),
        (b"\x00\x01\x01\x01\x0101\xffe", "not UTF-8"),
    ],
)
def test_a_malformed_binary_frame_is_a_protocol_error_that_says_what_is_wrong(frame: bytes, text: str) -> None:
    with pytest.raises(ProtocolError, match=text):
        codec.decode_binary(frame, V2)


def test_v1_has_no_binary_frames() -> None:
    with pytest.raises(ProtocolError, match=r"vsn=2\.0\.0"):
        codec.decode_binary(b"\x00\x01\x01\x01\x0101te", V1)
    with pytest.raises(NotBinary, match=r"vsn=2\.0\.0"):
        codec.encode_binary_broadcast(V1, "t", "e", b"")


def test_golden_binary_replies_pushes_and_broadcasts() -> None:
    assert codec.encode_binary_reply(V2, "12", "123", "topic", "ok", b"efg") == b"\x01\x02\x03\x05\x0212123topicokefg"
    assert (
        codec.encode_binary_reply(V2, "100", "12", "top", "ok", b"\x01\x01")
        == b"\x01\x03\x02\x03\x0210012topok\x01\x01"
    )
    assert codec.encode_binary_push(V2, "12", "topic", "event", b"efg") == b"\x00\x02\x05\x0512topiceventefg"
    assert codec.encode_binary_broadcast(V2, "topic", "event", b"efg") == b"\x02\x05\x05topiceventefg"
    assert codec.encode_binary_reply(V2, None, 7, "t", "error", b"") == b"\x01\x00\x01\x01\x057terror"


@pytest.mark.parametrize("long", ["t" * 256, "\u00e9" * 128])
def test_what_a_byte_can_not_count_is_not_encoded(long: str) -> None:
    with pytest.raises(NotBinary, match="255"):
        codec.encode_binary_reply(V2, "1", long, "t", "ok", b"")
    with pytest.raises(NotBinary, match="255"):
        codec.encode_binary_push(V2, "1", long, "e", b"")
    with pytest.raises(NotBinary, match="255"):
        codec.encode_binary_broadcast(V2, "t", long, b"")


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda data: b"\x00\x02\x01\x03\x01" + data))
def test_whatever_bytes_arrive_nothing_but_a_protocol_error_is_raised(data: bytes) -> None:
    try:
        message = codec.decode_binary(data, V2)
    except ProtocolError as error:
        assert str(error)
    else:
        assert isinstance(message.payload, bytes) and data.endswith(message.payload)
