"""What outlives the processes: a volume for every pod, or one storage that all of them share. Its writes are late, lost, or refused.

It does what ``shell/storage`` does: a write follows what is there, or replaces it; one that is shared refuses older leaders. A write
whose process dies before it is done may be done or not; what is done stays. What is kept here is the chain of entries from the very
first one, so that what comes back can be compared with what was committed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from gamecluster.core.durability import Kept
from gamecluster.core.effects import Store
from gamecluster.core.events import Event, StorageLooked, Stored, StoredLoaded, StoredUnreadable, StoreFailed
from gamecluster.core.messages import Entry, Position, Tables
from gamecluster.core.replication import apply

from .invariants import Violated

if TYPE_CHECKING:
    from .life import Life

LOOK_SECONDS = 2.0
ANSWER_SECONDS = 1.0


class Clock(Protocol):
    now: float

    def at(self, when: float, do: Callable[..., object], *args: Any) -> None: ...


class Fate(StrEnum):
    fine = "fine"
    refused = "refused"
    unanswered = "answer lost"
    late = "lands after the time-out"


@dataclass
class Content:
    """``writer``: the epoch of the leader that wrote last."""

    chain: list[Entry] = field(default_factory=list)
    writer: int = 0
    hangs: bool = False

    @property
    def end(self) -> Position | None:
        return self.chain[-1].position if self.chain else None


class Storage:
    """``chain_of``: all entries up to a position that was committed. ``tell``: hands a process an event."""

    def __init__(
        self,
        clock: Clock,
        random: Random,
        kept: Kept,
        chain_of: Callable[[Position], list[Entry]],
        tell: Callable[[Life, Event], None],
    ) -> None:
        self.failing = 0  # no request is answered well
        self.flaky = 0.0
        self.slow = 0.0
        self.unreadable = 0
        self.well_since = 0.0
        self._clock = clock
        self._random = random
        self._kept = kept
        self._chain_of = chain_of
        self._tell = tell
        self._contents: dict[str, Content] = {}

    def content(self, life: Life) -> Content:
        return self._contents.setdefault(life.name if self._kept is Kept.own else "", Content())

    def look(self, life: Life) -> None:
        """At the start and every two seconds, as the shell does."""
        if not life.alive:
            return
        if not self.failing:
            self._tell(life, StorageLooked(self.content(life).end))
        self._clock.at(self._clock.now + LOOK_SECONDS * self._random.uniform(0.2, 1.0), self.look, life)

    def load(self, life: Life) -> None:
        self._clock.at(self._clock.now + self._way(), self._load, life)

    def _load(self, life: Life) -> None:
        content = self.content(life)
        end = content.end
        if self.failing or self.unreadable:
            self._tell(life, StoredUnreadable("the disk does not answer"))
        elif end is None:
            self._tell(life, StoredUnreadable("nothing is stored"))
        else:
            life.loaded = list(content.chain)
            self._tell(life, StoredLoaded(end, tables_of(content.chain)))

    def write(self, life: Life, store: Store) -> None:
        chain = self._chain_of(store.base) if store.tables is not None else []
        if store.tables is not None and _filled(tables_of(chain)) != _filled(store.tables):
            raise Violated("storage", f"{life} stores a snapshot of {store.base} that is not what was committed")
        now, content, fate = self._clock.now, self.content(life), Fate.fine
        if content.hangs:
            fate = Fate.refused
        elif self.failing or self._random.random() < self.flaky:
            fate = self._random.choice((Fate.refused, Fate.unanswered, Fate.late))
        if fate is Fate.refused:
            self._clock.at(now + self._way(), self._tell, life, StoreFailed("refused"))
            return
        if fate is not Fate.fine:
            self._clock.at(now + ANSWER_SECONDS, self._tell, life, StoreFailed("not answered in time"))
        content.hangs = fate is Fate.late and self._kept is Kept.own
        wait = ANSWER_SECONDS + self._random.random() if fate is Fate.late else self._way()
        self._clock.at(now + wait, self._land, life, store, chain, fate)

    def _land(self, life: Life, store: Store, chain: list[Entry], fate: Fate) -> None:
        content = self.content(life)
        content.hangs = False
        if not life.alive and self._random.random() < 0.5:
            return
        refusal = self._refusal(content, store)
        if refusal is None:
            content.chain = [*chain, *store.entries] if store.tables is not None else [*content.chain, *store.entries]
            content.writer = store.writer
        if fate is Fate.fine:
            done = Stored(store.last, len(store.entries)) if refusal is None else StoreFailed(refusal)
            self._tell(life, done)

    def _refusal(self, content: Content, store: Store) -> str | None:
        if self._kept is Kept.shared and store.writer < content.writer:
            return f"fenced off: epoch {content.writer} has written"
        if store.tables is None:
            return None if store.base == content.end else f"does not follow {content.end}"
        is_older = content.end is not None and store.last < content.end
        if is_older and (self._kept is Kept.own or store.writer == content.writer):
            return "older than what is there"
        return None

    def _way(self) -> float:
        return self._random.uniform(0.001, 0.02) + self.slow * self._random.random()


def tables_of(chain: list[Entry]) -> Tables:
    tables: Tables = {}
    for entry in chain:
        apply(tables, entry.ops)
    return tables


def _filled(tables: Tables) -> Tables:
    return {name: rows for name, rows in tables.items() if rows}
