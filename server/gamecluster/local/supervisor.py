"""Keeps N server processes as a kubelet keeps containers: a dead one comes back, as a new incarnation.

| state    | what happens               | next     | effect                                               |
| -------- | -------------------------- | -------- | ---------------------------------------------------- |
| stopped  | start, scale up            | running  | spawned                                              |
| running  | it dies, crashes or exits  | waiting  | said; back-off 0, 0.25, 0.5, 1, 2, 2 … s             |
| waiting  | the back-off ends          | running  | spawned with the list of nodes as of now             |
| running  | stop, scale down           | stopped  | SIGTERM; SIGKILL after the grace period              |
| running  | kill                       | waiting  | SIGKILL                                              |
| any      | ``--no-restart``, it dies  | stopped  | said                                                 |
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ..core.messages import Incarnation
from ..errors import ConfigurationError
from ..settings import PREFIX
from .plan import NodePlace, Plan, check_count, check_ports

GRACE_SECONDS = 30.0
BACKOFF_SECONDS = (0.0, 0.25, 0.5, 1.0, 2.0)
STEADY_SECONDS = 10.0
LAST_WORDS_BYTES = 4096


@dataclass
class Supervised:
    """One node, whether its process runs or not. ``ready`` and ``incarnation`` are of the present process only."""

    index: int
    place: NodePlace
    process: asyncio.subprocess.Process | None = None
    wanted: bool = False
    ready: bool = False
    incarnation: Incarnation | None = None
    failures: int = 0
    awake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    @property
    def state(self) -> str:
        if self.process:
            return "ready" if self.ready else "running"
        return "starting" if self.wanted else "stopped"

    def signal(self, number: signal.Signals) -> None:
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


def backoff_seconds(failures: int) -> float:
    """How long to wait before restart number ``failures`` (from 0) of a row of short lives."""
    return BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)]


def ending(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"


class Supervisor:
    """Starts, restarts and ends nodes.

    ``say(what, name, text)`` tells of it; the descriptors ``keep_open`` are inherited by every node.
    """

    def __init__(
        self,
        plan: Plan,
        tasks: asyncio.TaskGroup,
        say: Callable[[str, str, str], None],
        keep_open: tuple[int, ...] = (),
    ) -> None:
        self.nodes: dict[int, Supervised] = {}
        self._plan = plan
        self._tasks = tasks
        self._say = say
        self._keep_open = keep_open
        self._changing = asyncio.Lock()

    async def scale(self, count: int) -> list[str]:
        """Adds or removes the highest nodes; the others go on. With none the game sleeps in its storage. Returns the names that
        there are now."""
        if count == 0 and not self._plan.keeps:
            raise ConfigurationError(
                "0 nodes let the game sleep in its storage, and there is none, so it would be lost: end `gamecluster up`, or start it "
                f"with {PREFIX}STORAGE=volume: (or storage.type Volume in the manifest)"
            )
        check_count(count, least=0)
        async with self._changing:
            added = [index for index in range(count) if index not in self.nodes]
            check_ports(self._plan, added, entrance=False)
            for index in added:
                self.nodes[index] = Supervised(index, self._plan.place(index))
                self._begin(self.nodes[index])
            removed = sorted((index for index in self.nodes if index >= count), reverse=True)
            for index in removed:
                await self._end(self.nodes[index])
                del self.nodes[index]
        return [node.place.name for node in self.nodes.values()]

    async def stop(self, name: str) -> None:
        """SIGTERM, so that the node hands over what it holds; it stays stopped."""
        async with self._changing:
            await self._end(self._find(name))

    async def start(self, name: str) -> None:
        async with self._changing:
            node = self._find(name)
            if node.wanted:
                raise ConfigurationError(f"{name} is not stopped: it is {node.state}")
            check_ports(self._plan, [node.index], entrance=False)
            node.failures = 0
            self._begin(node)

    async def kill(self, name: str) -> None:
        """SIGKILL; supervision brings the node back. Returns when the process is dead."""
        node = self._find(name)
        if not node.process:
            raise ConfigurationError(f"{name} has no process: it is {node.state}")
        process = node.process
        node.signal(signal.SIGKILL)
        async with asyncio.timeout(GRACE_SECONDS):
            await process.wait()

    async def close(self, grace_seconds: float) -> None:
        """Ends all nodes at once."""
        async with self._changing:
            await asyncio.gather(*(self._end(node, grace_seconds) for node in self.nodes.values()))

    def kill_all(self) -> None:
        for node in self.nodes.values():
            node.wanted = False
            node.awake.set()
            node.signal(signal.SIGKILL)

    def running(self) -> list[Supervised]:
        return [node for node in self.nodes.values() if node.process]

    def _find(self, name: str) -> Supervised:
        for node in self.nodes.values():
            if name in (node.place.name, str(node.index)):
                return node
        raise ConfigurationError(
            f"there is no node {name}; there are: {', '.join(n.place.name for n in self.nodes.values())}"
        )

    def _begin(self, node: Supervised) -> None:
        node.wanted = True
        node.awake.clear()
        node.task = self._tasks.create_task(self._keep(node), name=f"keep {node.place.name}")

    async def _end(self, node: Supervised, grace_seconds: float = GRACE_SECONDS) -> None:
        node.wanted = False
        node.awake.set()
        node.signal(signal.SIGTERM)
        if node.task is None:
            return
        done, _ = await asyncio.wait([node.task], timeout=grace_seconds)
        if not done:
            self._say("killed", node.place.name, f"did not end within {grace_seconds:.0f} s of SIGTERM")
            node.signal(signal.SIGKILL)
            await asyncio.wait([node.task])
        node.task = None

    async def _keep(self, node: Supervised) -> None:
        while node.wanted:
            started = time.monotonic()
            code = await self._live(node)
            if not node.wanted:
                self._say("left", node.place.name, f"stopped ({ending(code)})")
                return
            if time.monotonic() - started >= STEADY_SECONDS:
                node.failures = 0
            await self._mourn(node, code)

    async def _live(self, node: Supervised) -> int:
        """One life of a node's process; returns its exit code."""
        others = [index for index, other in self.nodes.items() if other.wanted]
        with self._open_log(node) as log:
            node.process = await asyncio.create_subprocess_exec(
                *self._plan.command,
                env=_environment(self._plan.node_environment(node.index, others)),
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=self._keep_open,
            )
        if not node.wanted:  # stopped while it was being spawned
            node.signal(signal.SIGTERM)
        self._say("started", node.place.name, f"pid {node.process.pid}, {node.place.socket_url}")
        try:
            return await node.process.wait()
        finally:
            node.process, node.ready, node.incarnation = None, False, None

    async def _mourn(self, node: Supervised, code: int) -> None:
        """Says how the node died, and waits until it may come back."""
        words = _last_words(self._log(node)) if code > 0 else ""
        if not self._plan.restart:
            node.wanted = False
            self._say("left", node.place.name, f"{ending(code)}, stays down (--no-restart){words}")
            return
        delay = backoff_seconds(node.failures)
        node.failures += 1
        self._say("left", node.place.name, f"{ending(code)}, comes back in {delay:g} s{words}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await node.awake.wait()

    def _open_log(self, node: Supervised) -> BinaryIO:
        return open(self._log(node), "ab")

    def _log(self, node: Supervised) -> Path:
        return self._plan.data / f"{node.place.name}.log"


def _environment(own: dict[str, str]) -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}, **own}


def _last_words(log: Path) -> str:
    """The last line that a crashed node wrote."""
    with open(log, "rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - LAST_WORDS_BYTES))
        lines = file.read().decode(errors="replace").split("\n")
    words = [line.strip() for line in lines if line.strip()]
    return f"; it said: {words[-1][:300]} (more in {log})" if words else f"; see {log}"
