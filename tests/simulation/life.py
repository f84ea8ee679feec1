"""One life of one server process in the simulator."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any

from gamecluster.core.messages import Entry, Incarnation, Position, Tables
from gamecluster.core.replication import Log

from . import probe
from .clients import Answered, Client


class Life:
    """``clock``: this machine's own monotonic seconds, of another start and a little faster or slower than the world's."""

    def __init__(self, incarnation: Incarnation, name: str, revision: str, offset: float, rate: float) -> None:
        self.incarnation = incarnation
        self.name = name
        self.revision = revision
        self.node: Any = None
        self.alive = True
        self.is_certified_dead = False  # a later life of the same pod has started
        self.pauses = 0
        self.queue: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self.draining = False
        self.comes_back = True
        self.asked: dict[int, tuple[Client, Answered]] = {}
        self.clients: dict[int, Client] = {}
        self.requests = 0
        self.connections = 0
        self.position = Position(0, 0)
        self.delivered = (0, 0)
        self.shown: Tables = {}
        self.committed: list[Entry] = []  # in the present step
        self.ended_at: float | None = None  # if its kernel was left to say so
        self.abandoned = False  # its pod was deleted by force, and it runs on
        self.paused_at = -inf
        self.loaded: list[Entry] | None = None  # from its storage
        self.undone: list[Entry] | None = None  # by the game that it begins in the present step
        self._offset = offset
        self._rate = rate

    def __str__(self) -> str:
        return self.incarnation

    def clock(self, now: float) -> float:
        return self._offset + now * self._rate

    def jump(self, seconds: float) -> None:
        self._offset += seconds

    @property
    def runs(self) -> bool:
        return self.alive and not self.pauses

    def run(self, node: Any) -> None:
        self.node = node
        self.log: Log = probe.log_of(node)
        probe.watch_commits(self.log, self.committed)
