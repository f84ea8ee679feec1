"""Looks into a node, deeper than its public views: into its log. The only place that knows how a node is built inside."""

from __future__ import annotations

from typing import Any

from gamecluster.core.messages import Entry, Position
from gamecluster.core.replication import Log, Replication


def log_of(node: Any) -> Log:
    for part in vars(node).values():
        if isinstance(part, Replication):
            return part.log
    raise LookupError(f"no Replication in {node!r}")


def entry_at(log: Log, position: Position, seq: int) -> Entry | None:
    """Entry ``seq`` of a log whose committed end is ``position``; None if it came in a snapshot."""
    entries: Any = log._entries
    index = seq - log._before.seq - 1
    return entries[index] if 0 <= index < len(entries) else None


def holds(log: Log, position: Position) -> bool:
    """The log has the entry at ``position``, or a snapshot that it went into."""
    return log.has(position) or position.seq <= log._before.seq
