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

    holders: ClassVar[str | None] = None
    """The table whose rows end with their ``pod``, if there is one."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._pods: set[Incarnation] = set()
        self._pods_at = (-1, -1)

    def pods(self) -> set[Incarnation]:
        """Pods that hold what ends with them. Asked at every tick."""
        if self.holders is not None and (version := self._ledger.version(self.holders)) != self._pods_at:
            self._pods_at = version
            self._pods = {Incarnation(row["pod"]) for row in self._ledger.rows(self.holders).values()}
        return self._pods

    def gone(self, pods: set[Incarnation]) -> None:
        """What ``pods`` held ends."""
