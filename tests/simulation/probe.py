"""Looks into a node, deeper than its public views: into its log. The only place that knows how a node is built inside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gamecluster.core import replication
from gamecluster.core.leadership import Leadership
from gamecluster.core.messages import Entry, Position
from gamecluster.core.replication import Log, Replication
from gamecluster.core.seal import Sealing
from gamecluster_operator import backstop


def log_of(node: Any) -> Log:
    for part in vars(node).values():
        if isinstance(part, Replication):
            return part.log
    raise LookupError(f"no Replication in {node!r}")


def is_sealed(node: Any) -> bool:
    """The node has bound itself not to write the record."""
    return any(isinstance(part, Sealing) and part.binds for part in vars(node).values())


def is_off_record(node: Any) -> bool:
    """It leads by promises alone."""
    return any(isinstance(part, Leadership) and part.is_off_record for part in vars(node).values())


def is_alone_by_choice(node: Any) -> bool:
    """Nobody but it has ever been in the set, or all others have left it in an orderly way."""
    return any(isinstance(part, Leadership) and part._is_alone_by_choice for part in vars(node).values())


def watch_commits(log: Any, committed: list[Entry]) -> None:
    """From now on every entry that ``log`` commits is added to ``committed`` too (the log itself forgets old ones)."""
    commit = log.commit

    def watched(seq: int) -> list[Entry]:
        done: list[Entry] = commit(seq)
        committed.extend(done)
        return done

    log.commit = watched


@contextmanager
def history_of(entries: int) -> Iterator[None]:
    """Logs keep that many committed entries, not thousands: else no run would be long enough for a snapshot."""
    before = replication.HISTORY
    replication.HISTORY = entries
    try:
        yield
    finally:
        replication.HISTORY = before


@contextmanager
def patience_of(seconds: float | None) -> Iterator[None]:
    """The operator leaves it to the pods for that long; None: as long as it does anyway."""
    before = backstop.GRACE_SECONDS
    backstop.GRACE_SECONDS = before if seconds is None else seconds
    try:
        yield
    finally:
        backstop.GRACE_SECONDS = before


def holds(log: Log, position: Position) -> bool:
    """The log has the entry at ``position``, or a snapshot that it went into."""
    return log.has(position) or position.seq <= log._before.seq
