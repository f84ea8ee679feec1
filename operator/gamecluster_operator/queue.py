"""A keyed work queue: a key is worked on by one worker at a time, and at most once more after what came meanwhile.

Those of which there is news come before those that are only to be looked at again: a resync of many keeps no news waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .store import Key

FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.5, 60.0


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row, at least one."""
    return min(FIRST_RETRY_SECONDS * float(2 ** min(failures - 1, 10)), LONGEST_RETRY_SECONDS)


class WorkQueue:
    """Holds each key once, so it is never longer than there are clusters."""

    def __init__(self) -> None:
        self._ready: asyncio.Queue[None] = asyncio.Queue()
        """As many as wait."""
        self._news: dict[Key, None] = {}
        self._others: dict[Key, None] = {}
        self._busy: set[Key] = set()
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}

    def add(self, key: Key) -> None:
        if key in self._busy:
            self._again.add(key)
        elif key in self._others:
            self._news[key] = self._others.pop(key)
        elif key not in self._news:
            self._wait(self._news, key)

    def nudge(self, key: Key) -> None:
        """Adds what there is no news of: what failed waits for its time."""
        if key in self._failures and key in self._timers:
            return
        if key in self._busy:
            self._again.add(key)
        elif key not in self._news and key not in self._others:
            self._wait(self._others, key)

    def add_after(self, key: Key, seconds: float) -> None:
        """One timer a key: the earlier one counts."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= loop.time() + seconds:
            return
        if timer is not None:
            timer.cancel()
        self._timers[key] = loop.call_later(seconds, self._due, key)

    async def get(self) -> Key:
        await self._ready.get()
        waiting = self._news or self._others
        key = next(iter(waiting))
        del waiting[key]
        self._busy.add(key)
        return key

    def done(self, key: Key, next_seconds: float | None = None) -> None:
        self._failures.pop(key, None)
        self._release(key)
        if next_seconds is not None:
            self.add_after(key, next_seconds)

    def failed(self, key: Key, at_least_seconds: float = 0.0) -> float:
        """It will come again, later each time. Returns when."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        seconds = max(backoff(failures), min(at_least_seconds, LONGEST_RETRY_SECONDS))
        self._busy.discard(key)
        self._again.discard(key)
        self.add_after(key, seconds)
        return seconds

    def __len__(self) -> int:
        return len(self._news) + len(self._others)

    def _wait(self, where: dict[Key, None], key: Key) -> None:
        where[key] = None
        self._ready.put_nowait(None)

    def _release(self, key: Key) -> None:
        self._busy.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)


Enqueue = Callable[[Key], None]
