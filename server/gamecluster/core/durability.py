"""What is kept beyond the pods' memory: which write is due, how far a commit may go, and whether a restore has to come first.

| state    | event                                | next     | effect                                                    |
| -------- | ------------------------------------ | -------- | --------------------------------------------------------- |
| idle     | something is not stored yet, and due | writing  | Store: a snapshot if the last one is old or does not fit  |
| writing  | Stored                               | idle     | (the commit goes on, if it waited)                        |
| writing  | StoreFailed                          | idle     | said once; again after a pause, with a snapshot           |
| named to restore | first look                   | loading  | LoadStored                                                |
| loading  | StoredLoaded                         | restored | (the node installs it as its log's base, and leads)       |
| loading  | StoredUnreadable                     | waiting  | said; LoadStored again after a pause                      |
| idle     | the last pod goes, all is committed  | writing  | Store: a snapshot of all, until one is done: closed       |

One write is under way at a time; what comes meanwhile goes with the next one. The log itself is the queue, so nothing grows here:
who falls behind what the log still holds writes a snapshot. The first write of each life (and, in a storage that the pods share, of
each leader) is a snapshot, since only that needs no knowledge of what is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from .effects import Effect, Level, LoadStored, Say, Store
from .messages import Asleep, Entry, Incarnation, Position, Record, Tables, name_of

START = Position(0, 0)
SNAPSHOT_EVERY = 1000
ROWS_FOR_AN_ENTRY = 20
"""A large state is written anew after an entry for every so many of its rows: writing it is work for every pod, 40 MB for a million."""
BATCH = 1000
"""Entries of one write."""
PACE_SECONDS = 0.1
PACE_ENTRIES = 100
"""Without ``waits`` a write begins this long after the last one, or as soon as so many entries wait."""
MAX_UNSTORED = 2000
"""With ``waits``: entries that are run but not stored; beyond, the leader takes no more."""
RETRY_SECONDS = 1.0


class Kept(StrEnum):
    """Who writes where."""

    nowhere = "nowhere"
    own = "own"  # every pod has a storage of its own (a volume)
    shared = "shared"  # one for all pods: only the leader writes (Redis, PostgreSQL)


class Log(Protocol):
    """``replication.Log``."""

    committed: Position

    @property
    def last(self) -> Position: ...

    def has(self, position: Position) -> bool: ...

    def after(self, position: Position) -> list[Entry]: ...

    def size(self) -> int:
        """Rows in all tables."""
        ...

    def snapshot(self) -> Tables: ...


@dataclass
class Durability:
    """``waits``: a commit waits for the leader's own storage. ``found``: what it holds, as far as this pod knows."""

    kept: Kept
    waits: bool
    found: Position | None = None
    is_known: bool = False
    problem: str = ""
    _stored: Position | None = None  # where the storage ends, in terms of the present log; None: not known, snapshot
    _leads: int = 0
    _writing: Position | None = None
    _since_snapshot: int = 0
    _write_at: float = 0.0
    _loading: bool = False
    _load_at: float = 0.0
    _restored_epoch: int = 0
    _closing: Position | None = None  # the snapshot under way, with which this pod wants to go
    _closed: Position | None = None

    # --- what others ask

    def committable(self, log: Log) -> int:
        """How far the leader may commit, as far as its storage is concerned."""
        if not self.waits or self.kept is Kept.nowhere:
            return log.last.seq
        return self._stored.seq if self._stored is not None and log.has(self._stored) else log.committed.seq

    def is_full(self, log: Log) -> bool:
        """The leader takes nothing more until the storage has caught up."""
        return self.waits and self.kept is not Kept.nowhere and log.last.seq - log.committed.seq >= MAX_UNSTORED

    @property
    def is_stalling(self) -> bool:
        return self.waits and bool(self.problem)

    def must_restore(self, record: Record | None, me: str) -> bool:
        """This pod is named to lead from what is stored, and has not loaded it yet."""
        return (
            record is not None
            and record.restore
            and record.holder == me
            and self.kept is not Kept.nowhere
            and record.epoch != self._restored_epoch
        )

    def closed(self, log: Log) -> Position | None:
        """Where the snapshot ends with which this pod may go: all that there is."""
        return self._closed if self._closed == log.committed == log.last else None

    def can_wake(self, asleep: Asleep | None, me: Incarnation) -> bool:
        """My storage holds just what the last pod has left. Of pods' own storages only that pod's counts, which is never behind."""
        if asleep is None or not self.is_known or self.kept is Kept.nowhere:
            return False
        is_mine = self.kept is Kept.shared or name_of(asleep.by) == name_of(me)
        return is_mine and self.found == asleep.position

    # --- what to do

    def load(self, now: float) -> list[Effect]:
        if self._loading or now < self._load_at:
            return []
        self._loading = True
        return [LoadStored()]

    def write(self, log: Log, leads: int, leaves: bool, closes: bool, now: float) -> list[Effect]:
        """``leads``: the epoch that this pod serves as leader, or 0. ``leaves``: it is about to go, so there is no time to lose.
        ``closes``: nobody holds the GameState after it, and nothing is appended any more."""
        if leads != self._leads:
            self._leads = leads
            if self.kept is Kept.shared:
                self._stored = None
        if self.kept is Kept.nowhere or (self.kept is Kept.shared and not leads) or self._writing is not None:
            return []
        is_awaited = self.waits and leads > 0
        if now < self._write_at and (self.problem or not (is_awaited or leaves or self._lags(log))):
            return []
        if closes and leads and log.committed == log.last:
            effect = self._last_snapshot(log, leads)
        else:
            effect = self._next(log, leads, log.last if is_awaited else log.committed)
        if effect is None or self._goes_back(effect):
            return []
        self._writing = effect.last
        self._write_at = now + PACE_SECONDS
        return [effect]

    def _goes_back(self, effect: Store) -> bool:
        """A volume keeps what an earlier life wrote, and was perhaps the only one to, until there is more: memory alone is no storage."""
        return self.kept is Kept.own and self.found is not None and effect.last < self.found

    def _last_snapshot(self, log: Log, leads: int) -> Store | None:
        """A snapshot is synced to the disk, whatever the durability."""
        if self.closed(log) is not None:
            return None
        self._since_snapshot, self._closing = 0, log.committed
        return Store(leads, log.committed, log.snapshot(), [])

    def _lags(self, log: Log) -> bool:
        return self._stored is not None and log.committed.seq - self._stored.seq >= PACE_ENTRIES

    def _next(self, log: Log, leads: int, target: Position) -> Store | None:
        if self._stored is None or not log.has(self._stored) or self._is_long(log):
            if target == START or (not leads and log.committed == START):
                return None
            self._since_snapshot = 0
            entries = self._entries(log, log.committed, target)
            return Store(leads, log.committed, log.snapshot(), entries)
        entries = self._entries(log, self._stored, target)
        return Store(leads, self._stored, None, entries) if entries else None

    def _is_long(self, log: Log) -> bool:
        """The journal, for the state that it would be replaced by."""
        since = self._since_snapshot
        return since >= SNAPSHOT_EVERY and since >= log.size() // ROWS_FOR_AN_ENTRY

    def _entries(self, log: Log, after: Position, target: Position) -> list[Entry]:
        if after.seq >= target.seq:
            return []
        return [entry for entry in log.after(after)[:BATCH] if entry.seq <= target.seq]

    # --- what happened

    def looked(self, position: Position | None) -> None:
        """What the storage held at a look that was none of this life's writes."""
        if self._stored is None:
            self.found, self.is_known = position, True

    def stored(self, last: Position, entries: int) -> list[Effect]:
        if self._writing != last:
            return []
        self._writing, self._stored, self.found, self.is_known = None, last, last, True
        if self._closing == last:
            self._closing, self._closed = None, last
        self._since_snapshot += entries
        if not self.problem:
            return []
        self.problem = ""
        return [Say(Level.info, "the storage takes writes again")]

    def failed(self, reason: str, now: float) -> list[Effect]:
        """It may have landed, or land later: the next write says everything anew."""
        self._writing = self._stored = self._closing = None
        self._write_at = now + RETRY_SECONDS
        if self.problem:
            self.problem = reason
            return []
        self.problem = reason
        goes_on = "nothing is committed until it does" if self.waits else "play goes on, in memory only"
        return [Say(Level.warning, f"the storage does not take writes: {reason}; {goes_on}")]

    def loaded(self, record: Record | None) -> None:
        """``record``: the one that asked for it; None if it is not wanted any more."""
        self._loading = False
        if record is not None:
            self._restored_epoch = record.epoch
            self._stored = None
            self.problem = ""

    def unreadable(self, reason: str, now: float) -> list[Effect]:
        self._loading = False
        self._load_at = now + RETRY_SECONDS
        self.problem = reason
        return [Say(Level.warning, f"what is stored can't be loaded: {reason}")]
