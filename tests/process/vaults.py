"""Rooms of which a copy is kept, for tests."""

from __future__ import annotations

from gamecluster.demo import Counter, Total
from gamecluster.game import Table
from gamecluster.room import Room


class Vault(Room):
    """Declared, and never empty again."""

    rooms = "vault-*"
    declared = ("vault-1",)
    keep_seconds = 1
    totals: Table[Total]
    join = Counter.join
    add = Counter.add
