"""``gamecluster up``: puts the parts of a local cluster together and runs them until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

from ..errors import ConfigurationError
from ..settings import PREFIX
from ..shell.lease import LeaseError
from . import console
from .control import Command, ControlServer, Reply, socket_path
from .entrance import Entrance
from .lease import Store
from .plan import HOST, Plan, check_ports, prepare_folder
from .supervisor import Supervisor
from .watch import Watch

SHUTDOWN_SECONDS = 5.0
FORMER_RUN_SECONDS = 3.0


def run(plan: Plan) -> int:
    """Runs the cluster; returns the exit code. Raises ConfigurationError before anything is started."""
    socket_path(plan.data)
    prepare_folder(plan)
    with _sole_run(plan) as lock:
        check_ports(plan, range(plan.count), entrance=True)
        try:
            return asyncio.run(_Up(plan, lock).run())
        except ExceptionGroup as group:
            raise _plainer(group) from None


def _plainer(group: ExceptionGroup[Exception]) -> Exception:
    """A port that was taken after the check, a disk that is full: one clear error instead of a group of tasks' errors."""
    ours, others = group.split((ConfigurationError, OSError))
    if others or ours is None:
        return group
    first: BaseException = ours
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return ConfigurationError(str(first))


class _Up:
    def __init__(self, plan: Plan, lock: int) -> None:
        self._plan = plan
        self._store = Store(plan)
        self._lock = lock
        self._ending = asyncio.Event()
        self._signals = 0
        self._supervisor: Supervisor | None = None

    async def run(self) -> int:
        await self._begin()
        async with asyncio.TaskGroup() as tasks:
            self._supervisor = Supervisor(self._plan, tasks, console.show, keep_open=(self._lock,))
            watch = Watch(
                self._supervisor,
                self._store,
                console.show,
                keeps=self._plan.keeps,
                restores=self._plan.restores,
                is_own=self._plan.storage.startswith("volume:"),
            )
            entrance = Entrance(watch.ready)
            control = ControlServer(self._do)
            self._catch_signals()
            await entrance.start(HOST, self._plan.port)
            await control.start(self._plan.data)
            _greet(self._plan)
            await self._supervisor.scale(self._plan.count)
            watching = tasks.create_task(
                watch.run(self._plan.environment.get(PREFIX + "ADMIN_TOKEN", "")), name="watch"
            )
            await self._ending.wait()
            console.show("ending", "", "stopping all nodes (once more: at once)")
            control.stop()
            watching.cancel()
            await self._supervisor.close(SHUTDOWN_SECONDS)
            await entrance.stop()
        console.show("ended", "", "")
        return 0

    async def _begin(self) -> None:
        """Nothing of a former run is alive: what was in its memory is gone, and the Lease has to say so."""
        try:
            former = await self._store.begin(self._plan.keeps)
        except (LeaseError, OSError) as error:
            raise ConfigurationError(f"{self._plan.lease}: {error}; remove the file to start afresh") from None
        if former:
            console.show("fresh", "", "the former run's GameState is gone with its memory: this one begins anew")

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._told_to_end)

    def _told_to_end(self) -> None:
        self._signals += 1
        self._ending.set()
        if self._signals > 1 and self._supervisor:
            self._supervisor.kill_all()

    async def _do(self, command: Command) -> Reply:
        """The commands of control.py. Raises ConfigurationError, or KeyError and the like for what is no command."""
        supervisor = self._supervisor
        assert supervisor is not None
        match command["do"]:
            case "nodes":
                pass
            case "scale":
                await supervisor.scale(int(command["count"]))
            case "stop":
                await supervisor.stop(str(command["node"]))
            case "start":
                await supervisor.start(str(command["node"]))
            case "kill":
                await supervisor.kill(str(command["node"]))
            case other:
                raise ConfigurationError(f"unknown command {other!r}")
        return {"cluster": self._plan.name, "url": self._plan.url, "nodes": _nodes(supervisor)}


def _nodes(supervisor: Supervisor) -> list[dict[str, Any]]:
    return [
        {
            "name": node.place.name,
            "state": node.state,
            "pid": node.process.pid if node.process else None,
            "url": node.place.socket_url,
            "admin": node.place.admin_url,
        }
        for node in supervisor.nodes.values()
    ]


def _greet(plan: Plan) -> None:
    print(f"\n  {plan.name}: {plan.url}\n", flush=True)
    for index in range(plan.count):
        place = plan.place(index)
        print(f"    {place.name:<14} http://{HOST}:{place.port}/   dashboard {place.admin_url}/dashboard", flush=True)
    print(
        f"\n  logs and keys in {plan.data}/ · `gamecluster status` in another terminal · Ctrl-C ends all\n", flush=True
    )


@contextlib.contextmanager
def _sole_run(plan: Plan) -> Iterator[int]:
    """Holds the folder. Nodes inherit the lock: getting it proves that no process of a former run is alive."""
    lock = os.open(plan.data / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _take(lock, plan)
        yield lock
    finally:
        os.close(lock)


def _take(lock: int, plan: Plan) -> None:
    deadline = time.monotonic() + FORMER_RUN_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"a cluster is up in {plan.data} already: end it first, or choose another folder with --data"
                ) from None
            time.sleep(0.05)
