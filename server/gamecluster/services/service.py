"""What every service is."""

from __future__ import annotations

from typing import ClassVar

from ..core.messages import Incarnation
from .ledger import Ledger


class Service:
    """A method that is in ``verbs`` is called with ``origin``, the pod that asks, and by name with what it sends; it returns the
    response, a dict or None, or raises Rejected. It takes a repeated call as the first one. State is in the ledger only: a call may be
    undone, and another pod may lead next; what is derived from it is kept with ``ledger.version(table)``."""

    name: ClassVar[str]
    verbs: ClassVar[frozenset[str]]

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def pods(self) -> set[Incarnation]:
        """Pods that hold what ends with them. Asked at every tick."""
        return set()

    def gone(self, pods: set[Incarnation]) -> None:
        """What ``pods`` held ends."""
