"""One client's join of a Channel's topic: its calls, one at a time, in the order in which they came."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from ..channel import ChannelRuntime, Reaction, Running

CALL_SECONDS = 10.0
WAITING_AT_MOST = 100

log = logging.getLogger("gamecluster.channels")

Call = Callable[[], Reaction | Running]
Then = Callable[[Reaction], None]


class Seat:
    """``is_in``: its join was accepted; ``is_gone``: the client has left; ``is_tracked``: it is, or was, present on its topic."""

    __slots__ = ("_task", "_waiting", "is_gone", "is_in", "is_tracked", "runtime")

    def __init__(self, runtime: ChannelRuntime) -> None:
        self.runtime = runtime
        self.is_in = self.is_gone = self.is_tracked = False
        self._task: asyncio.Task[None] | None = None
        self._waiting: deque[tuple[Call, Then]] = deque()

    @property
    def is_full(self) -> bool:
        """So much waits for an ``async`` method that what comes now is to be refused."""
        return len(self._waiting) >= WAITING_AT_MOST

    def run(self, call: Call, then: Then) -> None:
        """Calls, and gives ``then`` the reaction: at once, unless a call is under way or this one is to be awaited."""
        self._waiting.append((call, then))
        self._go_on()

    def drop_waiting(self) -> None:
        self._waiting.clear()

    def _go_on(self) -> None:
        while self._waiting and self._task is None:
            call, then = self._waiting.popleft()
            reaction = call()
            if isinstance(reaction, Reaction):
                then(reaction)
            else:
                self._task = asyncio.get_running_loop().create_task(self._await(reaction, then))

    async def _await(self, running: Running, then: Then) -> None:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                reaction = await running
        except TimeoutError:
            log.warning("channel %r took more than %.0f s: given up", self.runtime.channel.topic, CALL_SECONDS)
            reaction = self.runtime.gave_up({"reason": "timed out"})
        self._task = None
        try:
            then(reaction)
        except Exception:
            log.exception("the answer of channel %r could not be given", self.runtime.channel.topic)
        self._go_on()
