"""Keeps one kind of objects known, from a list on, as client-go's reflector does.

    state      what happens                              next
    behind     the list is whole                         watching, from its version
    behind     it fails                                  behind, and listed again later
    watching   changes, or a bookmark                    watching; the version moves on
    watching   it ends, breaks, or is silent for 70 s    watching, from the last version
    watching   410, or an error in the watch             behind

Each time later, as long as no watch has brought anything: at once, then after 0.5 s, 1 s, 2 s, at most 5 s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from .kube import Change, Expired, Kube, KubeError, Unavailable
from .watches import Watches

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS, PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 0.5, 5.0


def pause(attempts: int) -> float:
    """Seconds, before another one after so many in a row that brought nothing."""
    if attempts == 0:
        return FIRST_PAUSE_SECONDS
    return min(PAUSE_SECONDS * float(2 ** min(attempts - 1, 10)), LONGEST_PAUSE_SECONDS)


class Feed:
    """``see``: told of each change; ``list_again``: tells of all that is there, and returns the version of that."""

    def __init__(
        self,
        kube: Kube,
        kind: str,
        namespace: str | None,
        selector: str | None,
        watches: Watches,
        see: Callable[[Change], None],
        list_again: Callable[[], Awaitable[int]],
    ) -> None:
        self._kube, self._kind, self._namespace, self._selector = kube, kind, namespace, selector
        self._watches, self._see, self._list_again = watches, see, list_again
        self._name = f"{namespace or ''}/{kind}"
        self._version: int | None = None
        self._attempts = 0

    async def run(self, since: int) -> None:
        """Until it is cancelled."""
        self._version = since
        self._watches.opened(self._name)
        while True:
            seconds = 0.0
            try:
                await self._watch()
            except Expired as error:
                self._version = None
                log.debug("%s is listed again: %s", self._name, error)
            except KubeError as error:
                seconds = error.retry_after_seconds if isinstance(error, Unavailable) else 0.0
                log.debug("%s is watched again: %s", self._name, error)
            await asyncio.sleep(max(pause(self._attempts), min(seconds, LONGEST_PAUSE_SECONDS)))
            self._attempts += 1

    async def _watch(self) -> None:
        if self._version is None:
            self._version = await self._list_again()
        async with self._kube.watch(self._kind, self._namespace, self._selector, self._version) as changes:
            self._watches.opened(self._name)
            async for some in changes:
                self._watches.brought(self._name)
                self._attempts = 0
                for change in some:
                    self._saw(change)

    def _saw(self, change: Change) -> None:
        if change.seen is not None:
            self._see(change)
        self._version = change.version
