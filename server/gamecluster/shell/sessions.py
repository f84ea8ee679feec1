"""This pod's calls that must not run twice: each in a slot of the pod's session (see ``services.once``)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ..core.messages import Fields, Op
from ..rules import Rejected
from ..services.once import SESSIONS, SLOTS

WAITING_AT_MOST = 1000
SLOT_SECONDS = 2.0

Ask = Callable[[str, str, Fields], Awaitable[Fields]]


class Sessions:
    """``me``: unique for this process. ``is_open``: whether this pod's copy has a session."""

    def __init__(self, me: str, ask: Ask, is_open: Callable[[str], bool]) -> None:
        self._me, self._ask, self._is_open = me, ask, is_open
        self._count = 0
        self._session: asyncio.Task[_Session] | None = None

    async def ask_once(self, service: str, verb: str, args: Fields) -> Fields:
        """Raises Rejected: ``overloaded`` (it did not run), ``no leader`` (nor here), ``unknown``, or what the service says."""
        session = await self._opened()
        slot = await session.take()
        session.numbers[slot] += 1
        call = {"session": session.name, "slot": slot, "n": session.numbers[slot]}
        try:
            return await self._ask("once", "call", {**call, "service": service, "verb": verb, "args": args})
        except Rejected as refusal:
            if refusal.reason == "no session":  # it is asked again after a failover: it may have run
                raise Rejected("unknown") from None
            raise
        finally:
            session.give_back(slot)

    def followed(self, ops: list[Op] | None) -> None:
        """Rows have changed: a session that the leader has ended is not used any more."""
        task = self._session
        if task is None or not task.done() or (ops is not None and all(op[0] != SESSIONS for op in ops)):
            return
        if task.cancelled() or task.exception() is not None or not self._is_open(task.result().name):
            self._session = None

    async def _opened(self) -> _Session:
        """One is opened for all who wait for it."""
        if self._session is None or (self._session.done() and _has_failed(self._session)):
            self._count += 1
            self._session = asyncio.get_running_loop().create_task(self._open(f"{self._me}/{self._count}"))
        return await asyncio.shield(self._session)

    async def _open(self, name: str) -> _Session:
        await self._ask("once", "open", {"session": name})
        return _Session(name)


class _Session:
    def __init__(self, name: str) -> None:
        self.name = name
        self.numbers = [0] * SLOTS
        self._free = list(reversed(range(SLOTS)))
        self._turns = asyncio.Semaphore(SLOTS)
        self._waiting = 0

    async def take(self) -> int:
        """The lowest slots are used again and again: each one that was ever used is a row."""
        if self._waiting >= WAITING_AT_MOST:
            raise Rejected("overloaded")
        self._waiting += 1
        try:
            async with asyncio.timeout(SLOT_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            raise Rejected("overloaded") from None
        finally:
            self._waiting -= 1
        return self._free.pop()

    def give_back(self, slot: int) -> None:
        self._free.append(slot)
        self._turns.release()


def _has_failed(task: asyncio.Task[_Session]) -> bool:
    return task.cancelled() or task.exception() is not None
