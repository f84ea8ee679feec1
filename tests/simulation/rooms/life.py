"""One life of one server process: the copies of rooms that it has, and what it knows of its peers."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

from gamecluster.core.membership import Membership
from gamecluster.core.messages import Incarnation, Tables

from ..clients import Answered, Client


class Peers:
    """``rooms.Members``, as the node tells them."""

    def __init__(self, me: Incarnation, membership: Membership) -> None:
        self._me: tuple[Incarnation, ...] = (me,)
        self._membership = membership

    def staying(self, now: float) -> list[Incarnation]:
        peers = [peer for peer in self._membership.linked() if not self._membership.suspected(peer, now)]
        draining = self._membership.draining()
        return [peer for peer in (*self._me, *peers) if peer not in draining]

    def gone_for(self, peer: Incarnation, now: float) -> float:
        return self._membership.gone_for(peer, now)

    def drain(self) -> None:
        self._me = ()


class Life:
    """``clock``: this machine's own monotonic seconds, of another start and a little faster or slower than the world's."""

    def __init__(self, incarnation: Incarnation, name: str, offset: float, rate: float, suspect_after: float) -> None:
        self.incarnation = incarnation
        self.name = name
        self._offset = offset
        self._rate = rate
        self.membership = Membership(incarnation, suspect_after, offset)
        self.members = Peers(incarnation, self.membership)
        self.rooms: Any = None
        self.alive = True
        self.pauses = 0
        self.queue: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self.draining = False
        self.comes_back = True
        self.asked: dict[int, tuple[Client, str, Answered]] = {}
        self.clients: dict[int, Client] = {}
        self.requests = 0
        self.connections = 0
        self.ticks = 0
        self.joined: defaultdict[str, set[int]] = defaultdict(set)  # connections that were told so
        self.delivered: dict[str, tuple[int, int]] = {}
        self.shown: dict[str, Tables] = {}

    def __str__(self) -> str:
        return self.incarnation

    def clock(self, now: float) -> float:
        return self._offset + now * self._rate

    @property
    def runs(self) -> bool:
        return self.alive and not self.pauses
