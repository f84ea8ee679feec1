"""Replicated caches: ``$cache:<name>``: key → ``{"value"}``. Every pod has all of it."""

from __future__ import annotations

from typing import Any

import msgspec

from ..checks import json_value, text
from ..core.messages import Fields, Incarnation
from ..rules import Rejected
from .service import Service

PREFIX = "$cache:"
LONGEST_NAME, LONGEST_KEY, LARGEST_VALUE_BYTES = 64, 200, 65_536
MOST_CACHES, MOST_ENTRIES = 1000, 100_000
CLEARED_AT_ONCE = 1000
"""Rows of one entry of the log."""


def table_of(cache: str) -> str:
    return PREFIX + cache


class Caches(Service):
    """Called through ``once``: a put that is repeated late would undo another's."""

    name = "caches"
    verbs = frozenset({"put", "delete", "clear"})

    def put(self, origin: Incarnation, cache: str, key: str, value: Any) -> None:
        """Refused with ``too long``, ``too large``, ``cache full`` or ``too many caches``, and a detail that says what would be right."""
        _short(cache, "cache", LONGEST_NAME)
        _short(key, "key", LONGEST_KEY)
        value = json_value(value)
        if (size := len(msgspec.json.encode(value))) > LARGEST_VALUE_BYTES:
            raise Rejected("too large", detail=f"a value has at most {LARGEST_VALUE_BYTES} bytes as JSON, not {size}")
        table = table_of(cache)
        rows = self._ledger.rows(table)
        if key not in rows:
            self._check_room(table, len(rows))
        self._ledger.put(table, key, {"value": value})

    def delete(self, origin: Incarnation, cache: str, key: str) -> Fields:
        """``{"deleted": whether it was there}``."""
        found = key in self._ledger.rows(table_of(cache))
        self._ledger.delete(table_of(cache), key)
        return {"deleted": found}

    def clear(self, origin: Incarnation, cache: str, most: int = CLEARED_AT_ONCE) -> Fields:
        """``{"left": rows}``: call it again until there are none."""
        table = table_of(cache)
        for key in list(self._ledger.rows(table))[:most]:
            self._ledger.delete(table, key)
        return {"left": len(self._ledger.rows(table))}

    def _check_room(self, table: str, rows: int) -> None:
        if rows >= MOST_ENTRIES:
            raise Rejected("cache full", detail=f"a cache has at most {MOST_ENTRIES} entries")
        if not rows and sum(name.startswith(PREFIX) for name in self._ledger.tables()) >= MOST_CACHES:
            raise Rejected("too many caches", detail=f"a cluster has at most {MOST_CACHES}")


def _short(value: str, what: str, longest: int) -> None:
    if not 1 <= len(text(value)) <= longest:
        raise Rejected("too long", detail=f"a {what} has 1 to {longest} characters; this one has {len(value)}")
