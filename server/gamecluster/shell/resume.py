"""What a join's answer brings of the game, or of a room: what its client has missed, else the whole state.

| the client's position                                  | the answer has                              |
| ------------------------------------------------------ | ------------------------------------------- |
| committed, still in the log, and the stay goes on      | ``ops``: one patch from there to the answer |
| the same, but more has changed since than the state is | ``state``                                   |
| none, or any other                                     | ``state``                                   |

The log decides, not the client's word: a position that it does not hold is of a lost history, of the future, or too old. That the
stay goes on says that the client was in *this* history: after a fresh start the same numbers may stand for other things.
Ops set fields and delete keys, so it does no harm to see one twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
from msgspec import Raw

from ..core.messages import Entry, Fields, Op, Position, Tables
from ..phoenix.codec import encode_json
from .patches import Merged

FEWEST_OPS = 64
"""So many are looked through, however small the state is."""


class History(Protocol):
    """``core.replication.Log``: it keeps the last few thousand entries."""

    committed: Position
    tables: Tables

    def has(self, position: Position) -> bool: ...

    def after(self, position: Position) -> Sequence[Entry]: ...


class Game(Protocol):
    """The state of the game, or of a room, as this pod knows it."""

    def position(self) -> Position: ...

    def visible_tables(self) -> Tables: ...

    def missed(self, since: Position) -> list[Op] | None:
        """One patch from there to ``position()``; None if ``since`` is not known (any more), or it would be a long one."""
        ...


class Welcome:
    """Encodes once for all who join at the same position from the same position: after a failover many do."""

    def __init__(self, game: Game) -> None:
        self._game = game
        self._at: Position | None = None
        self._state: Raw | None = None
        self._missed: dict[Position, Raw | None] = {}

    def since(self, position: Position | None) -> Fields:
        """Part of a join's answer: epoch, seq, and either ``ops`` or ``state``. ``position``: the client's; None: no copy."""
        at = self._refresh()
        where: Fields = {"epoch": at.epoch, "seq": at.seq}
        ops = self._ops(position) if position is not None else None
        return where | ({"state": self.state()} if ops is None else {"ops": ops})

    def state(self) -> Raw:
        self._refresh()
        if self._state is None:
            self._state = Raw(encode_json(self._game.visible_tables()))
        return self._state

    def _ops(self, since: Position) -> Raw | None:
        if since not in self._missed:
            ops = self._game.missed(since)
            self._missed[since] = None if ops is None else Raw(msgspec.json.encode(ops))
        return self._missed[since]

    def _refresh(self) -> Position:
        at = self._game.position()
        if at != self._at:
            self._at, self._state = at, None
            self._missed.clear()
        return at


def missed(history: History, since: Position, tables: Tables) -> list[Op] | None:
    """One patch from ``since`` to what is committed; None if that can't be told, or is no less than ``tables``."""
    if since > history.committed or not history.has(since):
        return None
    most = max(FEWEST_OPS, sum(len(rows) for rows in tables.values()))
    ops: list[Op] = []
    for entry in history.after(since):
        if entry.seq > history.committed.seq:
            break
        ops += [op for op in entry.ops if not op[0].startswith("$")]
        if len(ops) > most:
            return None
    return Merged(ops).ops()
