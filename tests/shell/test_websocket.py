"""RFC 6455, a server's side: after the cases of the Autobahn test suite (framing, pings, opcodes, fragments, UTF-8, close)."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame
from websockets.frames import Opcode as TheirOpcode

from gamecluster.shell import websocket
from gamecluster.shell.websocket import MAX_FRAGMENTS, BadHandshake, Opcode, Reader, Violation

TEXT, BINARY, MORE, CLOSE, PING, PONG = Opcode.text, Opcode.binary, Opcode.more, Opcode.close, Opcode.ping, Opcode.pong
LIMIT = 100_000
LONG = "κόσμε" * 12_000


def sent(opcode: int, data: bytes = b"", final: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """A client's frame. ``reserved``: the three bits, 0 to 7."""
    head = bytes([(0x80 if final else 0) | reserved << 4 | opcode])
    bit = 0x80 if masked else 0
    if len(data) < 126:
        head += bytes([bit | len(data)])
    elif len(data) < 65_536:
        head += bytes([bit | 126]) + len(data).to_bytes(2, "big")
    else:
        head += bytes([bit | 127]) + len(data).to_bytes(8, "big")
    if not masked:
        return head + data
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ key for byte, key in zip(data, itertools.cycle(mask), strict=False))


def read(*pieces: bytes, limit: int = LIMIT) -> list[tuple[Opcode, bytes]]:
    return list(reading(Reader(limit), *pieces))


def reading(reader: Reader, *pieces: bytes) -> Iterator[tuple[Opcode, bytes]]:
    for piece in pieces:
        reader.feed(piece)
        while (message := reader.next()) is not None:
            yield message


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65_535, 65_536, LIMIT])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_of_any_size_is_read(opcode: Opcode, size: int) -> None:
    assert read(sent(opcode, b"*" * size)) == [(opcode, b"*" * size)]


@pytest.mark.parametrize("chop", [1, 2, 3, 997])
def test_it_does_not_matter_how_the_bytes_come(chop: int) -> None:
    data = sent(TEXT, b"one") + sent(PING, b"two") + sent(BINARY, b"3" * 300) + sent(TEXT, LONG.encode()[:70_000])
    pieces = [data[at : at + chop] for at in range(0, len(data), chop)]
    assert [opcode for opcode, _ in read(*pieces)] == [TEXT, PING, BINARY, TEXT]
    assert read(*pieces) == read(data)


def test_a_reader_that_waits_for_nothing_keeps_nothing() -> None:
    reader = Reader(LIMIT)
    assert len(list(reading(reader, sent(TEXT, b"x" * 50_000)))) == 1
    assert reader._data == b"" and reader._parts is None


@pytest.mark.parametrize("size", [0, 1, 125])
@pytest.mark.parametrize("opcode", [PING, PONG])
def test_control_frames_have_up_to_125_bytes(opcode: Opcode, size: int) -> None:
    assert read(sent(opcode, b"\xfe" * size)) == [(opcode, b"\xfe" * size)]


def test_fragments_become_one_message_and_control_frames_may_come_between() -> None:
    pieces = [sent(TEXT, b"frag", final=False), sent(PING, b"p"), sent(MORE, b"", final=False), sent(MORE, b"ment")]
    assert read(*pieces) == [(PING, b"p"), (TEXT, b"fragment")]
    assert read(sent(BINARY, b"a", final=False), sent(MORE, b"b"), sent(TEXT, b"c")) == [(BINARY, b"ab"), (TEXT, b"c")]


def test_a_character_may_be_cut_by_fragments() -> None:
    data = "κ".encode()
    assert read(sent(TEXT, data[:1], final=False), sent(MORE, data[1:])) == [(TEXT, data)]


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        *[([sent(TEXT, b"x", reserved=bits)], 1002) for bits in range(1, 8)],
        *[([sent(opcode, b"x")], 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)],
        *[([sent(opcode, b"x" * 126)], 1002) for opcode in (PING, PONG, CLOSE)],
        *[([sent(opcode, b"x", final=False)], 1002) for opcode in (PING, PONG, CLOSE)],
        ([sent(TEXT, b"x", masked=False)], 1002),
        ([sent(MORE, b"x")], 1002),
        ([sent(MORE, b"x", final=False)], 1002),
        ([sent(TEXT, b"x", final=False), sent(TEXT, b"y")], 1002),
        ([sent(TEXT, b"x", final=False), sent(BINARY, b"y")], 1002),
        ([sent(TEXT, b"x", final=False), sent(TEXT, b"y", final=False)], 1002),
        ([sent(TEXT, b"x", final=False), sent(MORE, b"y"), sent(MORE, b"z")], 1002),
        ([b"\x81\xfe\x00\x05" + b"\0" * 9], 1002),
        ([b"\x81\xff" + (65_535).to_bytes(8, "big")], 1002),
        ([b"\x81\xff" + b"\xff" * 8], 1009),
        ([sent(TEXT, b"x" * (LIMIT + 1))], 1009),
        ([sent(TEXT, b"x" * LIMIT, final=False), sent(MORE, b"y")], 1009),
        ([sent(TEXT, b"", final=False), *[sent(MORE, b"", final=False)] * MAX_FRAGMENTS], 1009),
        ([sent(TEXT, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80")], 1007),
        ([sent(TEXT, b"\xf4\x90\x80\x80")], 1007),
        ([sent(TEXT, b"\xc0\xaf")], 1007),
        ([sent(TEXT, "κ".encode()[:1])], 1007),
        ([sent(TEXT, b"ok", final=False), sent(MORE, b"\xff")], 1007),
    ],
)
def test_what_is_forbidden_ends_the_connection_with_a_code(frames: list[bytes], code: int) -> None:
    with pytest.raises(Violation) as raised:
        read(*frames)
    assert raised.value.code == code
    assert websocket.close_frame(code, raised.value.reason)[0] == 0x88


def test_what_came_before_a_violation_is_read() -> None:
    reader = Reader(LIMIT)
    reader.feed(sent(TEXT, b"fine") + sent(3))
    assert reader.next() == (TEXT, b"fine")
    with pytest.raises(Violation):
        reader.next()


def test_the_limit_is_found_in_the_head_of_a_frame() -> None:
    with pytest.raises(Violation) as raised:
        read(b"\x81\xff" + (1 << 40).to_bytes(8, "big"))
    assert raised.value.reason == f"a message may have {LIMIT} bytes"


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999])
def test_a_close_may_have_these_codes(code: int) -> None:
    assert websocket.read_close(code.to_bytes(2, "big") + "κ".encode()) == code


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535])
def test_a_close_may_not_have_these(code: int) -> None:
    with pytest.raises(Violation, match="code"):
        websocket.read_close(code.to_bytes(2, "big"))


def test_a_close_without_a_code_with_half_of_one_and_with_a_bad_reason() -> None:
    assert websocket.read_close(b"") == 1005
    assert websocket.close_frame(1005, "") == b"\x88\x00"
    with pytest.raises(Violation):
        websocket.read_close(b"\x03")
    with pytest.raises(Violation) as raised:
        websocket.read_close(b"\x03\xe8\xff")
    assert raised.value.code == 1007


def test_a_reason_is_cut_between_characters() -> None:
    [*told] = websocket.close_frame(1001, "κ" * 100)
    assert len(told) == 2 + 2 + 122
    bytes(told[4:]).decode()


def test_the_key_of_the_rfcs_own_example() -> None:
    headers = [(b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="), (b"sec-websocket-version", b"13")]
    assert websocket.accept_key(headers) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    ("key", "version", "status"),
    [
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"8", 426),
        (b"dGhlIHNhbXBsZSBub25jZQ==", None, 426),
        (None, b"13", 400),
        (b"c2hvcnQ=", b"13", 400),
        (b"no base64!", b"13", 400),
        (b"\xff", b"13", 400),
    ],
)
def test_a_bad_handshake_is_told_what_would_be_right(key: bytes | None, version: bytes | None, status: int) -> None:
    headers = [(b"sec-websocket-key", key), (b"sec-websocket-version", version)]
    with pytest.raises(BadHandshake) as raised:
        websocket.accept_key([(name, value) for name, value in headers if value is not None])
    assert raised.value.status == status


@hypothesis.settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([TEXT, BINARY, PING, PONG]), st.text(max_size=200)), max_size=12),
    st.lists(st.integers(1, 300), min_size=1, max_size=30),
)
def test_it_reads_what_another_implementation_writes(messages: list[tuple[Opcode, str]], cuts: list[int]) -> None:
    short = [(opcode, text.encode()[: 125 if opcode > 2 else 800]) for opcode, text in messages]
    short = [(o, d.decode(errors="ignore").encode()) for o, d in short]
    data = b"".join(Frame(TheirOpcode(int(o)), d).serialize(mask=True, extensions=[]) for o, d in short)
    pieces, at = [], 0
    for size in itertools.cycle(cuts):
        if at >= len(data):
            break
        pieces.append(data[at : at + size])
        at += size
    assert read(*pieces) == short


@hypothesis.settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.integers(1, 50))
def test_no_bytes_at_all_raise_anything_but_a_violation(data: bytes, chop: int) -> None:
    try:
        read(*[data[at : at + chop] for at in range(0, len(data), chop)])
    except Violation as error:
        assert error.code in (1002, 1007, 1009)
