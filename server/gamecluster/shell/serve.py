"""One node, from its settings to its end: puts the parts together, listens, and goes without loss when it is told to.

The end, on SIGTERM, SIGINT or POST /drain: new clients are turned away once there is another node, this one hands over what it holds, or
stores it if it is the last (at most 20 s), clients are sent elsewhere with 1012, listeners and links close. A second SIGINT skips the
waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI

from ..core.events import DrainRequested
from ..core.messages import Incarnation, Record
from ..core.node import Node, NodeConfig
from ..core.view import StorageState
from ..errors import ConfigurationError, GameClusterError
from ..facades.tickets import Tickets
from ..game import Runtime
from ..matchmaking import Matchmaker
from ..services import Services
from ..settings import Settings
from ..targets import Targets, load
from . import logs
from .admin import make_admin
from .app import make_app, make_door
from .clients import Hub
from .driver import Driver
from .incarnation import release, this_incarnation
from .joins import Tokens
from .keys import player_key
from .lease import Lease, MemoryLease, open_lease
from .matchmaking import Matching
from .mesh import Mesh
from .metrics import Metrics
from .opening import ShortWay
from .placing import Placing
from .pubsub import PubSub, open_pubsub
from .room_figures import RoomFigures
from .rooms import RoomKinds
from .sockets import Upgrade
from .standings import follow
from .storage import Storage, StorageError, kept_by, open_storage
from .sweeper import sweep

DRAIN_SECONDS = 20.0
GOODBYE_SECONDS = 3
SWEEP_SECONDS = 1.0
LOOK_SECONDS = 0.1
BEGIN_AGAIN_SECONDS = 5.0
EPOCH_LEAP = 1000
COLLECT_AFTER = 2_000, 20, 100
"""Containers made and not freed until the youngest are looked at; how often these, and those, before the next older (gc.set_threshold)."""
SEND_BUFFER_BYTES = 262_144
"""The kernel's, of each connection: what a client that does not read makes stale."""

log = logging.getLogger("gamecluster.serve")

Background = Callable[[], Coroutine[Any, Any, None]]


class Stop:
    """How a node is told to go. Being told again changes nothing, but for a second SIGINT: somebody is waiting for it."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()
        self.reason = ""
        self._interrupts = 0

    def ask(self, reason: str) -> None:
        self.reason = self.reason or reason
        self.asked.set()

    def signalled(self, number: signal.Signals) -> None:
        self._interrupts += number == signal.SIGINT
        if self._interrupts > 1:
            self.hurried.set()
        self.ask(number.name)


def run(settings: Settings, targets: Sequence[str]) -> None:
    """Runs a node on uvloop until it is told to go. Raises ConfigurationError."""
    import uvloop

    uvloop.run(serve(settings, targets))


async def serve(settings: Settings, targets: Sequence[str]) -> None:
    """Runs a node until SIGTERM or SIGINT. Sets up the process' logging and garbage collector. Raises ConfigurationError."""
    logs.configure(settings)
    stop = Stop()
    with _signals(stop):
        loaded = load(targets)
        collect_seldom()
        await run_node(settings, loaded, stop)


def collect_seldom() -> None:
    """For the rest of the process' life. What is there now, all modules, is never looked at again; the rest in larger heaps.

    A full collection stops everything for 50 ms otherwise, every few seconds while moves come in. What is dropped without being part of a
    cycle, as all that a move makes, is freed at once in any case.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


async def run_node(settings: Settings, targets: Targets, stop: Stop) -> None:
    """The same without the process' signals and logging: several fit into one process (with a data folder each)."""
    me = this_incarnation(settings)
    try:
        with (
            contextlib.closing(listen(settings.host, settings.port, "GAMECLUSTER_PORT")) as client_port,
            contextlib.closing(listen(settings.host, settings.admin_port, "GAMECLUSTER_ADMIN_PORT")) as admin_port,
        ):
            services = Services(time.time, random.SystemRandom(), targets.singletons)
            runtime = Runtime(targets.game, random.Random(), services=services) if targets.game else None
            storage = open_storage(settings)
            lease = await begin_alone(me, storage) if not settings.lease else open_lease(settings)
            metrics = Metrics()
            loop = asyncio.get_running_loop()
            node = Node(me, node_config(settings), runtime, random.SystemRandom(), loop.time(), services)
            kinds = RoomKinds(targets.rooms, random.Random())
            tick_rate = max(runtime.tick_rate if runtime else 0, kinds.tick_rate)
            driver = Driver(node, lease, metrics, tick_rate, storage, kinds)
            tokens = Tokens(player_key(settings.player_key_file, settings.mesh_key_file), settings.name)
            patch_rate, fields = (runtime.patch_rate, runtime.fields()) if runtime else (0, {})
            hub = Hub(
                settings,
                driver,
                targets.channels,
                tokens,
                metrics,
                loop,
                patch_rate,
                fields,
                targets.rooms,
                driver.url_of_room,
                runtime.grids if runtime else (),
            )
            mesh = Mesh(settings, me, driver.dispatch)
            pubsub = open_pubsub(settings, me, mesh, driver.decide, hub.deliver, metrics)
            driver.connect(mesh, hub, pubsub)
            admin = make_admin(settings, driver, metrics, lambda: stop.ask("POST /drain"))
            follow(driver, hub, services.boards, loop)
            driver.follow(RoomFigures(me, driver.rows, metrics).changed)
            rules = next((c for c in targets.channels if issubclass(c, Matchmaker)), None)
            tickets = Tickets(driver) if rules else None
            clients = make_app(settings, hub, driver.view, driver, tickets)
            placing = Placing(driver, mesh.questions, kinds, driver.rooms.machine.held, loop.time)
            if runtime is None:
                driver.players_of_rooms = lambda: placing.players
            background: list[Background] = [partial(sweep, driver), placing.run]
            if rules:
                background.append(Matching(driver, rules, time.time, kinds, node.url_of).run)
            short_way = partial(ShortWay, make_door(settings, hub))
            servers = _server(clients, settings, http=short_way), _server(admin, settings)
            parts = _Parts(driver, hub, mesh, pubsub, metrics, background, *servers)
            log.info("%s: clients on %s:%d, admin on %d", me, settings.host, settings.port, settings.admin_port)
            try:
                await parts.run(client_port, admin_port, stop)
            finally:
                await lease.close()
                await storage.close()
    finally:
        release(settings.data_dir)
    log.info("%s has ended", me)


def node_config(settings: Settings) -> NodeConfig:
    return NodeConfig(
        suspect_after=settings.suspect_after_seconds,
        replicas=settings.gamestate_replicas,
        renew_every=settings.lease_duration_seconds / 3,
        lease_duration=settings.lease_duration_seconds,
        takeover=settings.takeover,
        stops_when_alone=settings.alone_without_api == "stop",
        url=settings.url or None,
        revision=settings.revision,
        pid=os.getpid(),
        presence_grace=settings.presence_grace_milliseconds / 1000,
        storage=kept_by(settings),
        durable=settings.durability == "storage",
        awaits_newcomers=settings.lease.startswith("kubernetes:"),  # the operator sends one
    )


async def begin_alone(me: Incarnation, storage: Storage) -> Lease:
    """Without a Lease there is nobody else: this node itself begins with what is stored. Raises ConfigurationError."""
    try:
        stored = await storage.position()
    except StorageError as error:
        raise ConfigurationError(f"GAMECLUSTER_STORAGE: {error}") from error
    if stored is None:
        return MemoryLease()
    log.info("restoring what is stored, at %d/%d", stored.epoch, stored.seq)
    return MemoryLease(Record(1, me, stored.epoch + EPOCH_LEAP, (me,), restore=True))


def listen(host: str, port: int, variable: str) -> socket.socket:
    """A bound socket, whose connections have its send buffer (tcp(7)). Raises ConfigurationError that names the variable."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        bound.bind((host, port))
        bound.listen(2048)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            text = f"{variable}={port} is in use on {host}: give another one, or stop what holds it"
        else:
            text = f"{variable}={port}: can't listen on GAMECLUSTER_HOST={host} ({error.strerror or error})"
        raise ConfigurationError(text) from error
    return bound


class _Parts:
    """What runs side by side, and in which order it ends."""

    def __init__(
        self,
        driver: Driver,
        hub: Hub,
        mesh: Mesh,
        pubsub: PubSub,
        metrics: Metrics,
        background: Sequence[Background],
        clients: uvicorn.Server,
        admin: uvicorn.Server,
    ) -> None:
        self._driver = driver
        self._hub = hub
        self._mesh = mesh
        self._pubsub = pubsub
        self._metrics = metrics
        self._background = background
        self._servers = clients, admin

    async def run(self, client_port: socket.socket, admin_port: socket.socket, stop: Stop) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                background = [
                    tasks.create_task(self._driver.run()),
                    tasks.create_task(self._mesh.run()),
                    tasks.create_task(self._pubsub.run()),
                    tasks.create_task(self._sweep()),
                    *(tasks.create_task(begun_again(run)) for run in self._background),
                ]
                ports = (client_port, admin_port)
                serving = [
                    tasks.create_task(server.serve([port])) for server, port in zip(self._servers, ports, strict=True)
                ]
                await stop.asked.wait()
                await self._drain(stop)
                await self._say_goodbye(serving)
                for task in background:
                    task.cancel()
        except BaseExceptionGroup as group:
            raise _first(group) from group

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self._hub.sweep()
            self._metrics.seen(self._driver.view())

    async def _drain(self, stop: Stop) -> None:
        log.info("going (%s): handing over", stop.reason)
        await self._driver.rooms.keep()
        self._driver.dispatch(DrainRequested())
        turning_away = asyncio.ensure_future(self._turn_away())
        waits = [asyncio.ensure_future(each) for each in (self._gone(), stop.hurried.wait())]
        done, _ = await asyncio.wait(waits, timeout=DRAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for wait in (turning_away, *waits):
            wait.cancel()
        if not done:
            log.warning("%s within %.0f s: going all the same", self._left(), DRAIN_SECONDS)
        elif stop.hurried.is_set():
            log.warning("interrupted again: not waiting for the hand-over")

    def _left(self) -> str:
        """What a pod that goes would have waited for."""
        if self._driver.drained.is_set():
            return "some rooms have not been handed over, and go to their backups, if they have one: not done"
        if self._driver.view().storage in (StorageState.memory, StorageState.ready):
            return "nobody has taken over"
        return "the storage has not taken everything, and may lack the latest"

    async def _gone(self) -> None:
        """Nothing depends on this pod any more: neither the GameState nor a room, unless nobody is there to take it."""
        await self._driver.drained.wait()
        while self._driver.has_rooms and self._driver.staying():  # noqa: ASYNC110 (what is looked at is no event)
            await asyncio.sleep(LOOK_SECONDS)

    async def _turn_away(self) -> None:
        """Nobody new is let in as soon as there is another node to connect to."""
        while not self._driver.view().has_another:  # noqa: ASYNC110 (what is looked at is no event)
            await asyncio.sleep(LOOK_SECONDS)
        self._hub.turn_away("this node is about to end: connect to another")

    async def _say_goodbye(self, serving: Sequence[asyncio.Task[None]]) -> None:
        """The driver and the mesh still run: the leader hears whose sockets are gone."""
        self._hub.close_all()
        for server in self._servers:
            server.should_exit = True
        await asyncio.wait(serving, timeout=2 * GOODBYE_SECONDS)
        await self._pubsub.flush()


class _Server(uvicorn.Server):
    """uvicorn without signal handlers: the node has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(app: FastAPI, settings: Settings, http: Any = "httptools") -> uvicorn.Server:
    return _Server(
        uvicorn.Config(
            app,
            http=http,
            ws=Upgrade,
            ws_max_size=settings.limit_frame_bytes,
            ws_per_message_deflate=False,
            ws_ping_interval=None,  # the protocol has its own heartbeat, and its own 60 s of silence
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=GOODBYE_SECONDS,
        )
    )


async def begun_again(run: Background) -> None:
    """What nobody's game depends on: a failure is told, and it begins anew."""
    while True:
        try:
            await run()
        except Exception:
            log.exception("something beside the game has failed: it begins again")
        await asyncio.sleep(BEGIN_AGAIN_SECONDS)


@contextlib.contextmanager
def _signals(stop: Stop) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, stop.signalled, number)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that says why, instead of the group around it."""
    for error in group.exceptions:
        found = _first(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, GameClusterError):
            return found
    return group
