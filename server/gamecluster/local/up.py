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

from ..core.messages import Record
from ..errors import ConfigurationError
from . import backstop, console
from .control import Command, ControlServer, Reply, socket_path
from .entrance import Entrance
from .lease import FileStore
from .plan import HOST, Plan, check_ports, prepare_folder
from .supervisor import Supervisor
from .watch import Store, Watch

SHUTDOWN_SECONDS = 5.0
FORMER_RUN_SECONDS = 3.0


def run(plan: Plan) -> int:
    """Runs the cluster; returns the exit code. Raises ConfigurationError before anything is started."""
    socket_path(plan.data)
    prepare_folder(plan)
    with _sole_run(plan) as lock:
        check_ports(plan, range(plan.count), entrance=True)
        store = FileStore(plan.lease)
        prepare_lease(store)
        return asyncio.run(_Up(plan, store, lock).run())


def prepare_lease(store: Store) -> None:
    """Nothing of a former run is alive: what was in its memory is gone, and the Lease has to say so."""
    former = store.read()
    if former is None:
        store.create(Record(0, None, 0, (), never_held=True))
    elif not former.never_held:
        fresh = backstop.reset(former)
        store.write(fresh)
        console.show(
            "fresh", "", f"the former run's GameState is gone with its memory; this one begins in epoch {fresh.epoch}"
        )


class _Up:
    def __init__(self, plan: Plan, store: Store, lock: int) -> None:
        self._plan = plan
        self._store = store
        self._lock = lock
        self._ending = asyncio.Event()
        self._signals = 0
        self._supervisor: Supervisor | None = None

    async def run(self) -> int:
        async with asyncio.TaskGroup() as tasks:
            self._supervisor = Supervisor(self._plan, tasks, console.show, keep_open=(self._lock,))
            watch = Watch(self._supervisor, self._store, console.show)
            entrance = Entrance(watch.ready)
            control = ControlServer(self._do)
            self._catch_signals()
            await entrance.start(HOST, self._plan.port)
            await control.start(self._plan.data)
            _greet(self._plan)
            await self._supervisor.scale(self._plan.count)
            watching = tasks.create_task(watch.run(), name="watch")
            await self._ending.wait()
            console.show("ending", "", "stopping all nodes (once more: at once)")
            control.stop()
            watching.cancel()
            await self._supervisor.close(SHUTDOWN_SECONDS)
            await entrance.stop()
        console.show("ended", "", "")
        return 0

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
