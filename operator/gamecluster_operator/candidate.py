"""Does what ``election.py`` decides: reads and writes the operator's own Lease."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime

from . import election
from .election import LEASE_NAME, Create, Deposed, Election, Take, Wait
from .kube import Conflict, Kube, KubeError
from .labels import Object

log = logging.getLogger(__name__)

ANSWER_SECONDS = 3.0


def new_identity() -> str:
    """Of this process: a container that was restarted is another one."""
    return f"{os.environ.get('HOSTNAME') or socket.gethostname()}_{secrets.token_hex(4)}"


class Candidate:
    """One process in the election. It leads at most once: whoever was deposed ends."""

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        identity: str,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._kube, self._namespace = kube, namespace
        self._election, self._monotonic, self._wall = Election(identity), monotonic, wall
        self.has_looked = False
        self._warned = ""

    def leads(self) -> bool:
        return self._election.leads(self._monotonic())

    async def win(self) -> None:
        """Returns when this process leads. Waits for as long as it takes."""
        while not self.leads():
            await self._look()
            await self._step()
        log.info("leading as %s", self._election.identity)

    async def keep(self) -> str:
        """Renews the Lease. Returns only when this process leads no more, and why."""
        while (reason := await self._step()) is None:
            pass
        return reason

    async def give_back(self) -> None:
        """For the next one to take over at once. Only after the last write of this process."""
        lease, leads, identity = self._election.lease, self.leads(), self._election.identity
        self._election = Election(identity)
        if not leads:
            return
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                while election.is_held_by(lease, identity) and lease is not None:
                    lease = await self._give_back(lease)
        except (KubeError, TimeoutError) as error:
            log.warning("could not give the Lease back, it ends by itself: %s", error or "no answer")

    async def _give_back(self, lease: Object) -> Object | None:
        """Returns it as it is then: a renewal may have been on its way."""
        try:
            return await self._kube.replace(election.given_back(lease))
        except Conflict:
            return await self._kube.get("Lease", self._namespace, LEASE_NAME)

    async def _step(self) -> str | None:
        """One write, or one wait. Returns why this process was deposed, if it was."""
        match self._election.next(self._monotonic()):
            case Wait(seconds):
                await asyncio.sleep(seconds)
            case Deposed(reason):
                return reason
            case Create():
                await self._write(create=True)
            case Take():
                await self._write(create=False)
        return None

    async def _write(self, *, create: bool) -> None:
        sent_at = self._monotonic()
        before = None if create else self._election.lease
        lease = election.held(before, self._namespace, self._election.identity, self._wall())
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                made = await (self._kube.create(lease) if create else self._kube.replace(lease))
        except KubeError as error:
            self._warn("write", error)
        except TimeoutError:
            self._warn("write", "no answer")
        else:
            self._warned = ""
            self._election.won(made, sent_at, self._monotonic())
            return
        self._election.failed(self._monotonic())
        await self._look()

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                lease = await self._kube.get("Lease", self._namespace, LEASE_NAME)
        except (KubeError, TimeoutError) as error:
            self._warn("read", str(error) or "no answer")
            await asyncio.sleep(election.LOOK_SECONDS)
        else:
            self._election.saw(lease, self._monotonic())
            self.has_looked = True

    def _warn(self, what: str, error: object) -> None:
        """Once, not every second."""
        text = f"could not {what} Lease {self._namespace}/{LEASE_NAME}: {error}"
        level = logging.DEBUG if isinstance(error, Conflict) or text == self._warned else logging.WARNING
        log.log(level, "%s", text)
        self._warned = text
