"""What was committed in each room, as it was first committed by anybody, and whose each epoch was."""

from __future__ import annotations

from dataclasses import dataclass, field

from gamecluster.core.messages import Entry, Incarnation, Placement, Position, Promise, Tables
from gamecluster.core.replication import apply

from ..invariants import Violated

PEOPLE, OUT = "people", "$out"


@dataclass
class Chain:
    """One room from its making to its end, or its loss. ``over``: why, once it is. ``calls``: how often it has scored."""

    room: str
    born: int
    entries: list[Entry] = field(default_factory=list)
    tables: Tables = field(default_factory=dict)
    over: str | None = None
    is_lost: bool = False
    calls: int = 0

    def __str__(self) -> str:
        return f"{self.room} of epoch {self.born}"

    @property
    def last(self) -> Position:
        return self.entries[-1].position if self.entries else Position(0, 0)

    def has(self, position: Position) -> bool:
        return 0 < position.seq <= len(self.entries) and self.entries[position.seq - 1].position == position


class Truth:
    def __init__(self) -> None:
        self.chains: dict[str, list[Chain]] = {}
        self.holders: dict[tuple[str, int], Incarnation] = {}
        self.promises: dict[tuple[Incarnation, str], Promise] = {}
        self.where: dict[str, Chain] = {}
        self.known: set[str] = set()  # who has ever been somewhere
        self.may_be_lost: set[str] = set()  # who was in a room that is over, or in a letter of it

    def current(self, room: str) -> Chain | None:
        chains = self.chains.get(room)
        return chains[-1] if chains and chains[-1].over is None else None

    def of(self, room: str, epoch: int) -> Chain:
        for chain in reversed(self.chains.get(room, ())):
            if chain.born <= epoch:
                return chain
        raise Violated("epoch", f"there was no {room} of epoch {epoch}")

    def begin(self, room: str, placement: Placement) -> None:
        latest = max((epoch for name, epoch in self.holders if name == room), default=0)
        if placement.epoch <= latest:
            raise Violated("epoch", f"{room} begins anew in {placement}, and had epoch {latest}")
        self.chains.setdefault(room, []).append(Chain(room, placement.epoch))

    def end(self, room: str, why: str, is_lost: bool) -> Chain:
        chain = self.chains[room][-1]
        chain.over, chain.is_lost = why, is_lost
        inside = set(chain.tables.get(PEOPLE, {}))
        inside |= {row["args"]["payload"]["person"] for row in chain.tables.get(OUT, {}).values() if row["to"]}
        self.may_be_lost |= inside
        for person in inside:
            if self.where.get(person) is chain:
                del self.where[person]
        return chain

    def committed(self, chain: Chain, entry: Entry) -> None:
        chain.entries.append(entry)
        apply(chain.tables, [(table, key, dict(fields) if fields else fields) for table, key, fields in entry.ops])
        for table, key, fields in entry.ops:
            if table == PEOPLE:
                self._walked(chain, entry, key, fields is None)
            elif table == OUT and fields is not None and not fields["to"]:
                chain.calls += 1

    def _walked(self, chain: Chain, entry: Entry, person: str, is_gone: bool) -> None:
        here = self.where.get(person)
        self.known.add(person)
        if is_gone:
            if here is chain:
                del self.where[person]
        elif "end" in chain.tables.get("$room", {}) and any(op[0] == "$in" for op in entry.ops):
            raise Violated("people", f"{person} arrives in {chain}, which is over: {entry}")
        elif here is not None and here is not chain:
            raise Violated("people", f"{person} is in {chain} by {entry}, and in {here}")
        else:
            self.where[person] = chain
