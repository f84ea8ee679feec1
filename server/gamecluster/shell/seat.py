"""Calls one at a time, in the order in which they came: those of one client's join of a Channel's topic, those of one name."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from ..channel import ChannelRuntime, Reaction

CALL_SECONDS = 10.0
WAITING_AT_MOST = 100

log = logging.getLogger("gamecluster.channels")

T = TypeVar("T")


class Line(Generic[T]):
    """``who``: for the log; ``gave_up``: what a call comes to that took too long."""

    __slots__ = ("_gave_up", "_task", "_waiting", "_who")

    def __init__(self, who: str, gave_up: Callable[[dict[str, Any]], T]) -> None:
        self._who, self._gave_up = who, gave_up
        self._task: asyncio.Task[None] | None = None
        self._waiting: deque[tuple[Callable[[], T | Coroutine[Any, Any, T]], Callable[[T], None]]] = deque()

    @property
    def is_full(self) -> bool:
        """So much waits for an ``async`` method that what comes now is to be refused."""
        return len(self._waiting) >= WAITING_AT_MOST

    def run(self, call: Callable[[], T | Coroutine[Any, Any, T]], then: Callable[[T], None]) -> None:
        """Calls, and gives ``then`` the reaction: at once, unless a call is under way or this one is to be awaited."""
        self._waiting.append((call, then))
        self._go_on()

    def drop_waiting(self) -> None:
        self._waiting.clear()

    def _go_on(self) -> None:
        while self._waiting and self._task is None:
            call, then = self._waiting.popleft()
            reaction = call()
            if isinstance(reaction, Coroutine):
                self._task = asyncio.get_running_loop().create_task(self._await(reaction, then))
            else:
                then(reaction)

    async def _await(self, running: Coroutine[Any, Any, T], then: Callable[[T], None]) -> None:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                reaction = await running
        except TimeoutError:
            log.warning("%s took more than %.0f s: given up", self._who, CALL_SECONDS)
            reaction = self._gave_up({"reason": "timed out"})
        self._task = None
        try:
            then(reaction)
        except Exception:
            log.exception("the answer of %s could not be given", self._who)
        self._go_on()


class Seat(Line[Reaction]):
    """Of one client on one topic. ``is_in``: its join was accepted; ``is_gone``: the client has left; ``is_tracked``: it is, or was,
    present on its topic."""

    __slots__ = ("is_gone", "is_in", "is_tracked", "runtime")

    def __init__(self, runtime: ChannelRuntime) -> None:
        super().__init__(f"channel {runtime.channel.topic!r}", runtime.gave_up)
        self.runtime = runtime
        self.is_in = self.is_gone = self.is_tracked = False
