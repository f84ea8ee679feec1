"""Patches as bytes: the layout, byte by byte. That the browser's reader gives the ops back is in tests/web/test_compact.py."""

from __future__ import annotations

import random
import struct
from typing import Any

import msgspec
import pytest

from gamecluster.core.messages import Op, Position
from gamecluster.shell.compact import Schema

SCHEMA = Schema({"ships": ["x", "y", "name"], "wide": [f"f{n}" for n in range(15)], "empty": []})
AT = Position(1, 300)


def encoded(*ops: Op) -> bytes:
    data = SCHEMA.encode(AT, ops)
    assert data is not None and data.startswith(b"\x01\xac\x02"), "epoch 1, seq 300"
    return data[3:]


def test_the_schema_is_told_in_the_order_that_numbers_mean() -> None:
    assert SCHEMA.told == [["ships", ["x", "y", "name"]], ["wide", [f"f{n}" for n in range(15)]], ["empty", []]]


@pytest.mark.parametrize(
    ("ops", "data"),
    [
        ([], ""),
        ([("ships", "ann", {"x": 7})], "00 01  03 616e6e 06  07"),
        ([("ships", "ann", {"name": "Ann", "y": 7})], "00 01  03 616e6e 1a  07 a3 416e6e"),
        ([("ships", "ann", None)], "00 01  03 616e6e 01"),
        ([("ships", "ann", None), ("ships", "ann", {"x": 7})], "00 01  03 616e6e 07  07"),
        ([("ships", "ann", {"x": 7}), ("ships", "ann", None)], "00 01  03 616e6e 01"),
        ([("ships", "ann", {"x": 7}), ("ships", "ann", {"y": 8, "x": 9})], "00 01  03 616e6e 0e  09 08"),
        ([("ships", "ann", {})], "00 01  03 616e6e 02"),
        ([("ships", "p12", None), ("ships", "p1", None)], "00 02  02 7031 01  21 32 01"),
        ([("wide", "", {"f5": None, "f14": True})], "01 01  00 82 00 01  c0 c3"),
        ([("empty", "k", {}), ("ships", "k", None)], "02 01 01 6b 02  00 01 01 6b 01"),
        (
            [("ships", "a" * 15, None), ("ships", "a" * 15 + "b" * 20, None)],
            f"00 02  0f 00 {'61' * 15} 01  ff 00 05 {'62' * 20} 01",
        ),
    ],
    ids=str,
)
def test_ops_have_these_bytes(ops: list[Op], data: str) -> None:
    assert encoded(*ops).hex() == bytes.fromhex(data).hex()


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (5.0, "05"),
        (-1.0, "ff"),
        (2.0**53 - 1, "cf 001fffffffffffff"),
        (2.0**53, "ca 5a000000"),
        (-0.0, "ca 80000000"),
        (0.5, "ca 3f000000"),
        (0.1, "cb 3fb999999999999a"),
        (1e300, "cb 7e37e43c8800759c"),
        (3.5e38, "cb 47f074f8c4d3cd7b"),
        (True, "c3"),
        ([1, {"a": 2.0}], ""),
    ],
    ids=str,
)
def test_a_number_is_as_short_as_javascript_lets_it_be(value: Any, data: str) -> None:
    rest = encoded(("ships", "k", {"x": value}))[5:]
    if data:
        assert rest.hex() == bytes.fromhex(data).hex()
    assert msgspec.msgpack.decode(rest) == value
    if data.startswith("ca"):
        assert struct.unpack(">f", rest[1:])[0] == value


@pytest.mark.parametrize("op", [("planets", "k", None), ("ships", "k", {"z": 1})], ids=["table", "field"])
def test_what_the_schema_does_not_have_is_not_encoded(op: Op) -> None:
    assert SCHEMA.encode(AT, [("ships", "k", {"x": 1}), op]) is None


def test_a_patch_of_many_ships_is_less_than_half_of_its_json() -> None:
    dice = random.Random(1)
    ops: list[Op] = [
        ("ships", f"player-{dice.getrandbits(32):08x}", {"x": dice.uniform(0, 800), "y": dice.uniform(0, 600)})
        for _ in range(300)
    ]
    data = SCHEMA.encode(AT, ops)
    assert data is not None
    assert 2 * len(data) < len(msgspec.json.encode(ops))
