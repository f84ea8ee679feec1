"""Patches as bytes, for clients that ask for them: what repeats in JSON is a number of the schema, or left out.

The schema is ``[[table, [field, …]], …]``; tables and fields are numbered as they stand there. A patch is

    epoch, seq, and for each table: its number, how many rows, and for each of these

| part  | bytes                                                                                                    |
| ----- | -------------------------------------------------------------------------------------------------------- |
| key   | one byte: how much of the key before it is the same (high half), how much follows (low half); UTF-8      |
| mask  | as many bytes as the table's fields and 2 bits need, low first: deleted, set, then one bit for each field |
| values | of the fields whose bit is set, in the schema's order: MessagePack                                       |

Rows are in the order of their keys. Numbers are varints (seven bits a byte, low first, the high bit says that there is more); a half byte
of 15 says that a varint follows, to be added. Whole floats go as integers and those that fit as 32 bits: JavaScript has one kind of number.
``web/compact.js`` reads this.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from math import copysign

import msgspec

from ..core.messages import Fields, Op, Position

Row = tuple[bool, Fields | None]
"""Whether it is deleted first, and what is set then."""

EXACT = 2**53
"""Below it, every whole number is a float."""


class Schema:
    """``fields``: the names of each table's fields. Two pods may differ during a rolling update, so it is told at each join."""

    def __init__(self, fields: Mapping[str, Sequence[str]]) -> None:
        self.told = [[table, list(names)] for table, names in fields.items()]
        self._tables = {
            table: (number, {name: 1 << 2 + index for index, name in enumerate(names)}, (len(names) + 9) // 8)
            for number, (table, names) in enumerate(fields.items())
        }

    def encode(self, position: Position, ops: Iterable[Op]) -> bytes | None:
        """None if there is a table or a field that is not in the schema: JSON has to carry that."""
        out = bytearray()
        _varint(out, position.epoch)
        _varint(out, position.seq)
        try:
            for table, rows in _by_table(ops).items():
                self._encode_table(out, table, rows)
        except KeyError:
            return None
        return bytes(out)

    def _encode_table(self, out: bytearray, table: str, rows: dict[bytes, Row]) -> None:
        number, bits, size = self._tables[table]
        _varint(out, number)
        _varint(out, len(rows))
        before = b""
        for key in sorted(rows):
            is_deleted, fields = rows[key]
            _key(out, before, key)
            before, mask, values = key, int(is_deleted), b""
            if fields is not None:
                mask, values = mask | 2, _values(fields, bits)
                mask |= sum([bits[name] for name in fields])
            out += mask.to_bytes(size, "little")
            out += values


def _by_table(ops: Iterable[Op]) -> dict[str, dict[bytes, Row]]:
    tables: dict[str, dict[bytes, Row]] = {}
    for table, key, fields in ops:
        rows, name = tables.setdefault(table, {}), key.encode()
        was_deleted, before = rows.get(name, (False, None))
        rows[name] = (True, None) if fields is None else (was_deleted, {**before, **fields} if before else fields)
    return tables


def _key(out: bytearray, before: bytes, key: bytes) -> None:
    most = min(len(before), len(key))
    difference = int.from_bytes(before[:most], "big") ^ int.from_bytes(key[:most], "big")
    same = most - (difference.bit_length() + 7) // 8
    rest = len(key) - same
    out.append(min(same, 15) << 4 | min(rest, 15))
    for length in (same, rest):
        if length >= 15:
            _varint(out, length - 15)
    out += key[same:]


def _values(fields: Fields, names: Iterable[str]) -> bytes:
    return b"".join([_value(fields[name]) for name in names if name in fields])


def _value(value: object) -> bytes:
    if type(value) is not float:
        return _msgpack.encode(value)
    if value.is_integer() and abs(value) < EXACT and (value or copysign(1, value) > 0):
        return _msgpack.encode(int(value))
    if abs(value) < _MOST_OF_32_BITS and _FLOAT.unpack(short := _FLOAT.pack(value))[0] == value:
        return b"\xca" + short
    return _DOUBLE.pack(0xCB, value)


def _varint(out: bytearray, number: int) -> None:
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)


_msgpack = msgspec.msgpack.Encoder()
_FLOAT, _DOUBLE = struct.Struct(">f"), struct.Struct(">Bd")
_MOST_OF_32_BITS = 3.0e38
