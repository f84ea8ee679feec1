"""Players for tests with real processes, and the checker of their histories: those of ``gamecluster chaos``."""

from __future__ import annotations

from gamecluster.chaos.client import ANSWER_SECONDS, Payload, Refused, Socket
from gamecluster.chaos.history import Acknowledged, Ledger, Snapshot, judge
from gamecluster.chaos.players import RETRIABLE, Player, answer_of, answered_after

__all__ = [
    "ANSWER_SECONDS",
    "RETRIABLE",
    "Acknowledged",
    "Ledger",
    "Payload",
    "Player",
    "Refused",
    "Snapshot",
    "Socket",
    "answer_of",
    "answered_after",
    "judge",
]
