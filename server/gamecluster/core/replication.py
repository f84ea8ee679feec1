"""The log and its copies.

Leader, per peer:

| state     | event                  | next      | effects                                                        |
| --------- | ---------------------- | --------- | -------------------------------------------------------------- |
| asked     | Promised               | streaming | nothing, the missing entries, or a snapshot and what follows    |
| streaming | the turn ends          | streaming | one Append: all that is new, and how far it is committed       |
| streaming | Ack                    | streaming | match rises                                                    |
| streaming | Ack missing, or no Ack | streaming | again from what the peer has                                   |

Replica and learner: an Append whose ``previous`` is in the log extends it (and cuts off a tail that differs, which was never
committed); any other is answered "missing". Committed entries are never cut: that is asserted, not hoped for.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import inf

from .messages import Ack, Append, Entry, Incarnation, Install, Message, Op, Position, Promised, Tables

HISTORY = 4096
"""Committed entries that are kept for peers that fall behind; who is further behind gets a snapshot."""

SECONDS_A_ROW = 20e-6
"""So long a row of a snapshot may take until its peer says that it has it."""

START = Position(0, 0)
Outgoing = list[tuple[Incarnation, Message]]


class Log:
    """Committed tables, the entries that made the newest of them, and a tail that is not committed yet."""

    def __init__(self, history: int | None = None) -> None:
        """``history``: committed entries that are kept; None: as many as ``HISTORY`` says."""
        self._history = HISTORY if history is None else history
        self._entries: deque[Entry] = deque()
        self._before = START  # the position before the first kept entry
        self.committed = START
        self.tables: Tables = {}

    @property
    def last(self) -> Position:
        return self._entries[-1].position if self._entries else self._before

    def has(self, position: Position) -> bool:
        if position == self._before:
            return True
        index = position.seq - self._before.seq - 1
        return 0 <= index < len(self._entries) and self._entries[index].epoch == position.epoch

    def after(self, position: Position) -> list[Entry]:
        """Entries after ``position``, which must be in the log."""
        start, end = position.seq - self._before.seq, len(self._entries)
        if end - start > end // 2:
            return list(self._entries)[start:]
        return [self._entries[index] for index in range(start, end)]  # near its end a deque is quick

    def tail(self) -> list[Entry]:
        return self.after(self.committed)

    def append(self, entry: Entry) -> None:
        assert entry.seq == self.last.seq + 1, f"entry {entry.position} after {self.last}"
        self._entries.append(entry)

    def extend(self, entries: list[Entry]) -> None:
        """Adds what is not there yet; a differing tail is cut off first."""
        for entry in entries:
            if self.has(entry.position):
                continue
            while self.last.seq >= entry.seq:
                assert self.last.seq > self.committed.seq, f"would undo committed entry {self.last}"
                self._entries.pop()
            self.append(entry)

    def commit(self, seq: int) -> list[Entry]:
        """Commits up to ``seq``; returns the newly committed entries, in order."""
        done = []
        while self.committed.seq < seq:
            entry = self._entries[self.committed.seq - self._before.seq]
            apply(self.tables, entry.ops)
            self.committed = entry.position
            done.append(entry)
        return done

    def trim(self) -> None:
        """Forgets the oldest of what is committed, as far as it is more than is kept."""
        while len(self._entries) > self._history and self._entries[0].seq <= self.committed.seq:
            self._before = self._entries.popleft().position

    def install(self, position: Position, tables: Tables) -> None:
        self._entries.clear()
        self._before = self.committed = position
        self.tables = {name: dict(rows) for name, rows in tables.items()}

    def size(self) -> int:
        """Rows in all tables."""
        return sum(map(len, self.tables.values()))

    def snapshot(self) -> Tables:
        """A copy that later commits do not touch (rows are replaced, never changed in place)."""
        return {name: dict(rows) for name, rows in self.tables.items()}

    def head_tables(self) -> Tables:
        """The state with the tail applied: where a new leader goes on."""
        tables = self.snapshot()
        for entry in self.tail():
            apply(tables, entry.ops)
        return tables


def apply(tables: Tables, ops: list[Op]) -> None:
    for table, key, fields in ops:
        rows = tables.setdefault(table, {})
        if fields is None:
            rows.pop(key, None)
            if not rows and table.startswith("$"):
                del tables[table]  # services have tables by topic, which come and go
        else:
            rows[key] = {**rows[key], **fields} if key in rows else fields


@dataclass
class Copy:
    """What the leader knows of one peer's log in this epoch. ``match``: equal to ours up to there; ``sent``: on its way.

    ``told``: up to which number it knows the log to be committed. ``overdue``: seconds without an acknowledgement that it owes.
    """

    match: Position | None = None
    sent: Position = START
    told: int = -1
    overdue: float = 0.0
    progress_at: float = 0.0
    quiet_until: float = -inf
    is_sealed: bool = False


class Replication:
    """The log, as leader or as copy. ``epoch`` is the one this pod leads; 0 while it does not."""

    def __init__(self, resend_after: float, history: int | None = None) -> None:
        self.log = Log(history)
        self.epoch = 0
        self.synced_epoch = 0
        self._inherited = 0
        self._resend_after = resend_after
        self._copies: dict[Incarnation, Copy] = {}

    # --- leader

    def lead(self, epoch: int) -> None:
        self.epoch = self.synced_epoch = epoch
        self._inherited = self.log.last.seq  # an earlier leader may have committed all of it
        self._copies.clear()

    def stop_leading(self) -> None:
        self.epoch = 0
        self._copies.clear()

    def forget(self, peer: Incarnation) -> None:
        """A link is gone or new: what was on its way may be lost, so the peer is asked again."""
        self._copies.pop(peer, None)

    @property
    def has_copies(self) -> bool:
        return bool(self._copies)

    def has_promised(self, peer: Incarnation) -> bool:
        return peer in self._copies

    def knows_sealed(self, peer: Incarnation) -> bool:
        """It has said that the seal under which it promised is complete."""
        return peer in self._copies and self._copies[peer].is_sealed

    def is_caught_up(self, peer: Incarnation) -> bool:
        """It holds all that was acknowledged; who waits for it from this moment on may count it in (rule 4)."""
        copy = self._copies.get(peer)
        needed = max(self.log.committed.seq, self._inherited)
        return copy is not None and copy.match is not None and copy.match.seq >= needed

    def promised(self, peer: Incarnation, said: Promised, now: float) -> Outgoing:
        """The peer follows and says where its log ends (rule 6)."""
        if said.epoch != self.epoch:
            return []
        copy = self._copies.setdefault(peer, Copy(progress_at=now))
        copy.is_sealed = copy.is_sealed or said.sealed
        for position in (said.last, said.committed):
            if self.log.has(position):
                self._raise_match(copy, position, now)
                return self._send_from(peer, position)
        return self._send_snapshot(peer, now)

    def flush(self, now: float) -> Outgoing:
        """What copies lack, and how far it is committed: one message for each, however many entries a turn has made.

        Nothing is trimmed between two of these, so what was sent last is still in the log.
        """
        out: Outgoing = []
        last, committed = self.log.last, self.log.committed.seq
        shared: dict[Position, Append] = {}
        for peer, copy in self._copies.items():
            if copy.sent == last and copy.told == committed:
                continue
            if copy.match == copy.sent:  # all was acknowledged: its time counts from now
                copy.progress_at = now
            if (message := shared.get(copy.sent)) is None:
                message = shared[copy.sent] = Append(self.epoch, copy.sent, self.log.after(copy.sent), committed)
            copy.sent, copy.told = last, committed
            out.append((peer, message))
        self.log.trim()
        return out

    def acknowledged(self, peer: Incarnation, ack: Ack, now: float) -> Outgoing:
        copy = self._copies.get(peer)
        if copy is None or ack.epoch != self.epoch:
            return []
        if not ack.missing:
            self._raise_match(copy, ack.last, now)
            return []
        if now < copy.quiet_until:  # several frames were out of place: one answer is enough
            return []
        copy.quiet_until = now + self._resend_after / 4
        if self.log.has(ack.last):
            return self._send_from(peer, ack.last)
        return self._send_snapshot(peer, now)

    def advance(self, waited_for: set[Incarnation]) -> int:
        """The number up to which every one of ``waited_for`` holds the log (rule 2: not a majority, all)."""
        seq = self.log.last.seq
        for peer in waited_for:
            copy = self._copies.get(peer)
            if copy is None or copy.match is None:
                return self.log.committed.seq
            seq = min(seq, copy.match.seq)
        return max(seq, self.log.committed.seq)

    def ticked(self, seconds: float) -> None:
        """``seconds`` of this pod's own time have passed, in which it would have read what came."""
        for copy in self._copies.values():
            owes = copy.match is not None and copy.match != copy.sent
            copy.overdue = copy.overdue + seconds if owes else 0.0

    def overdue(self, peer: Incarnation) -> float:
        """Seconds for which it has owed an acknowledgement and sent none."""
        copy = self._copies.get(peer)
        return copy.overdue if copy is not None else 0.0

    def announce(self) -> Outgoing:
        """Tells every copy how far things are committed; it is the leader's heartbeat as well."""
        committed = self.log.committed.seq
        out: Outgoing = []
        for peer, copy in self._copies.items():
            copy.told = committed
            out.append((peer, Append(self.epoch, copy.sent, [], committed)))
        return out

    def resend(self, now: float) -> Outgoing:
        """Once more to those whose acknowledgement is overdue (a link that was replaced may have lost something)."""
        out: Outgoing = []
        for peer, copy in self._copies.items():
            if copy.match != self.log.last and now - copy.progress_at > self._resend_after:
                copy.progress_at = now
                if copy.match is not None and self.log.has(copy.match):
                    out += self._send_from(peer, copy.match)
                else:
                    out += self._send_snapshot(peer, now)
        return out

    def _raise_match(self, copy: Copy, position: Position, now: float) -> None:
        if self.log.has(position) and (copy.match is None or position.seq > copy.match.seq):
            copy.match = position
            copy.progress_at = now
            copy.overdue = 0.0

    def _send_from(self, peer: Incarnation, position: Position) -> Outgoing:
        copy, entries, committed = self._copies[peer], self.log.after(position), self.log.committed.seq
        copy.sent, copy.told = self.log.last, committed
        return [(peer, Append(self.epoch, position, entries, committed))]

    def _send_snapshot(self, peer: Incarnation, now: float) -> Outgoing:
        """A large one is on its way for a while, and takes some time to read: it is not overdue sooner."""
        at = self.log.committed
        copy = self._copies[peer]
        copy.progress_at = now + self.log.size() * SECONDS_A_ROW
        copy.quiet_until = max(copy.quiet_until, copy.progress_at)
        return [(peer, Install(self.epoch, at, self.log.snapshot())), *self._send_from(peer, at)]

    # --- replica, learner (the caller has checked the promise)

    def follow_append(self, message: Append) -> tuple[Ack, list[Entry]]:
        """Returns the answer, and what is newly committed."""
        if not self.log.has(message.previous):
            return Ack(message.epoch, self.log.committed, True), []
        self.log.extend(message.entries)
        end = message.entries[-1].position if message.entries else message.previous
        self.synced_epoch = message.epoch
        committed = self.log.commit(min(message.committed, end.seq))
        self.log.trim()
        return Ack(message.epoch, end, False), committed

    def follow_install(self, message: Install) -> tuple[Ack, bool]:
        """Returns the answer, and whether the state was replaced."""
        if message.position <= self.log.committed:
            return Ack(message.epoch, self.log.committed, True), False
        self.log.install(message.position, message.tables)
        self.synced_epoch = message.epoch
        return Ack(message.epoch, message.position, False), True
