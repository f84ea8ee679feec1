"""A cluster in one process, in virtual time. Each pod is a real ``Node``, driven by the real ``Driver``, with a real ``Mesh``: messages
are encoded, batched, sealed, opened and decoded as ever. Only sockets, clients and the Lease's store are stand-ins, which cost nothing."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

from gamecluster.core.effects import Answer, Deliver, DeliverPatch, DeliverState, EndRoom, PresenceChanged, Replace
from gamecluster.core.events import Event, PeerSaid, PlayerJoined, PlayerMoved, Published
from gamecluster.core.messages import Incarnation, Publish, incarnation
from gamecluster.core.node import Node
from gamecluster.runtime import Runtime
from gamecluster.settings import Settings
from gamecluster.shell.driver import Driver
from gamecluster.shell.lease import Lease, MemoryLease
from gamecluster.shell.mesh import Mesh, MeshEvent
from gamecluster.shell.metrics import Metrics
from gamecluster.shell.serve import node_config

from .game import Board
from .virtual import Counts, Host

MESH_PORT = 4100
UP_SECONDS, LOOK_SECONDS = 30.0, 0.01
APART_SECONDS = 0.1
"""Pods do not begin in step, and so their heartbeats and ticks are not."""


class Clients:
    """Of one pod: nothing is sent to them."""

    def __init__(self) -> None:
        self.answered = self.refused = 0

    def answer(self, effect: Answer) -> None:
        self.answered += 1
        self.refused += not effect.ok

    def deliver(self, effect: Deliver) -> None: ...

    def deliver_patch(self, effect: DeliverPatch) -> None: ...

    def deliver_state(self, effect: DeliverState) -> None: ...

    def presence_changed(self, effect: PresenceChanged) -> None: ...

    def replace(self, effect: Replace) -> None: ...

    def end_room(self, effect: EndRoom) -> None: ...


class Pod:
    """Made on its ``host``, within the loop. ``heard``: messages, by sender and kind. ``broadcasts``: that came from others, by topic."""

    def __init__(self, host: Host, name: str, peers: Sequence[str], lease: Lease, key: Path, replicas: int) -> None:
        self.host = host
        self.me = incarnation(name, str(uuid.uuid5(uuid.NAMESPACE_DNS, name)), 1)
        self.clients = Clients()
        self.heard: Counter[tuple[Incarnation, type]] = Counter()
        self.broadcasts: Counter[str] = Counter()
        self._requests = count()
        settings = Settings(
            node=name,
            host=host.address,
            mesh_port=MESH_PORT,
            admin_token="none",
            peers=tuple(peers),
            lease="file:none",
            mesh_key_file=key,
            gamestate_replicas=replicas,
        )
        now = asyncio.get_running_loop().time()
        runtime = Runtime(Board, random.Random(name))
        self.node = Node(self.me, node_config(settings), runtime, random.Random(name), now)
        self.driver = Driver(self.node, lease, Metrics(), runtime.tick_rate)
        self.mesh = Mesh(settings, self.me, self._happened)
        self.driver.connect(self.mesh, self.clients)

    async def run(self, wait: float) -> None:
        await asyncio.sleep(wait)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.driver.run())
            tasks.create_task(self.mesh.run())

    def begin_counting(self) -> None:
        self.heard.clear()
        self.host.counts = Counts()

    def joins(self, connection: int, player: str) -> None:
        self._now(PlayerJoined(next(self._requests), connection, player, None, None))

    def moves(self, when: float, connection: int, player: str, n: int) -> None:
        self._at(when, PlayerMoved(next(self._requests), connection, player, "move", {"mark": str(n)}, n))

    def publishes(self, when: float, topic: str, payload: bytes) -> None:
        self._at(when, Published(topic, "said", payload))

    def wants(self, topic: str) -> None:
        self.host.run(self.driver.want, topic, lambda: None)

    def _now(self, event: Event) -> None:
        self.host.run(self.driver.dispatch, event)

    def _at(self, when: float, event: Event) -> None:
        asyncio.get_running_loop().call_at(when, self.driver.dispatch, event, context=self.host.context)

    def _happened(self, event: MeshEvent) -> None:
        if isinstance(event, PeerSaid):
            self.heard[event.peer, type(event.message)] += 1
            if isinstance(event.message, Publish):
                self.broadcasts[event.message.topic] += 1
        self.driver.dispatch(event)


class Cluster:
    def __init__(
        self, size: int, replicas: int, key: Path, tasks: asyncio.TaskGroup, randomness: random.Random
    ) -> None:
        self._in_sync = min(size, replicas)
        hosts = [Host(f"10.0.0.{number + 1}") for number in range(size)]
        peers = [f"{host.address}:{MESH_PORT}" for host in hosts] if size > 1 else []
        lease = MemoryLease()
        self.pods = [
            host.run(Pod, host, f"a-{number}", peers, lease, key, replicas) for number, host in enumerate(hosts)
        ]
        self._tasks = [
            tasks.create_task(pod.run(randomness.random() * APART_SECONDS), context=pod.host.context)
            for pod in self.pods
        ]

    @property
    def leader(self) -> Pod:
        return next(pod for pod in self.pods if pod.node.is_leader)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(UP_SECONDS):
            while not holds():  # noqa: ASYNC110  # of virtual time, nobody waits
                await asyncio.sleep(LOOK_SECONDS)

    def is_up(self) -> bool:
        return all(len(pod.mesh.peers()) == len(self.pods) - 1 for pod in self.pods) and all(
            (view := pod.driver.view()).ready and len(view.in_sync) == self._in_sync for pod in self.pods
        )

    def are_equal(self) -> bool:
        first = self.pods[0].node
        return all(
            pod.node.position() == first.position() and pod.node.visible_tables() == first.visible_tables()
            for pod in self.pods
        )

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
