"""``python -m bench.mesh``: what the mesh costs each pod, by the number of pods. All pods in one process, in virtual time.

Each pod is a real ``Node``, driven by the real ``Driver``, with a real ``Mesh``: messages are encoded, batched, sealed, opened and
decoded as ever. Only the sockets, the clients and the Lease's store are stand-ins, which cost nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import platform
import random
import statistics
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import ClassVar

from gamecluster.core.effects import Answer, Deliver, DeliverPatch, DeliverState, Replace
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
from .run import processor
from .table import KIB, markdown
from .virtual import Counts, Host, VirtualLoop

PODS = (1, 3, 5, 10, 20)
MESH_PORT = 4100
UP_SECONDS, LOOK_SECONDS = 30.0, 0.01
APART_SECONDS = 0.1
"""Pods do not begin in step, and so their heartbeats and ticks are not."""
REST_SECONDS = 1.0
"""Of virtual time, before what is measured and after it."""


@dataclass(frozen=True)
class Options:
    """``moves``, ``broadcasts``: a second, in the whole cluster. ``size``: of a broadcast's payload, in bytes."""

    seconds: float = 5.0
    moves: float = 1000.0
    broadcasts: float = 1000.0
    players: int = 200
    size: int = 200
    replicas: int = 3
    delay_seconds: float = 0.0001
    turn_seconds: float = 0.0001


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

    def replace(self, effect: Replace) -> None: ...


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
        self, size: int, options: Options, key: Path, tasks: asyncio.TaskGroup, randomness: random.Random
    ) -> None:
        self._in_sync = min(size, options.replicas)
        hosts = [Host(f"10.0.0.{number + 1}") for number in range(size)]
        peers = [f"{host.address}:{MESH_PORT}" for host in hosts] if size > 1 else []
        lease = MemoryLease()
        self.pods = [
            host.run(Pod, host, f"a-{number}", peers, lease, key, options.replicas) for number, host in enumerate(hosts)
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


class Workload:
    """``prepare`` and ``play`` it; ``wrong`` says how much of it did not come to where it should, or came elsewhere.

    ``asked``: how many moves or broadcasts there were.
    """

    name: ClassVar[str]
    asked = 0

    def __init__(self, cluster: Cluster, options: Options, randomness: random.Random) -> None:
        self.cluster = cluster
        self.options = options
        self.random = randomness

    @staticmethod
    def text(options: Options) -> str:
        raise NotImplementedError

    async def prepare(self) -> None:
        """Before anything is counted."""

    def play(self) -> None:
        """All that is to happen in the time that is measured."""

    def wrong(self) -> int:
        return 0

    def moments(self, rate: float) -> list[float]:
        """Random ones, as of a Poisson process."""
        moments, moment = [], asyncio.get_running_loop().time()
        end = moment + self.options.seconds
        while rate > 0 and (moment := moment + self.random.expovariate(rate)) < end:
            moments.append(moment)
        return moments


class Idle(Workload):
    name = "idle"

    @staticmethod
    def text(options: Options) -> str:
        return "heartbeats and renewals only"


class Moves(Workload):
    name = "moves"

    @staticmethod
    def text(options: Options) -> str:
        return f"{options.moves:g} moves/s by {options.players} players, who are spread over all pods"

    async def prepare(self) -> None:
        self._players = [(player, self._pod_of(player), f"p{player}") for player in range(self.options.players)]
        for connection, pod, name in self._players:
            pod.joins(connection, name)
        await self.cluster.until(lambda: self._answered() == len(self._players))

    def play(self) -> None:
        counts: Counter[str] = Counter()
        for moment in self.moments(self.options.moves):
            connection, pod, name = self.random.choice(self._players)
            counts[name] += 1
            pod.moves(moment, connection, name, counts[name])
        self.asked = counts.total()

    def wrong(self) -> int:
        unanswered = len(self._players) + self.asked - self._answered()
        refused = sum(pod.clients.refused for pod in self.cluster.pods)
        return unanswered + refused + (not self.cluster.are_equal())

    def _answered(self) -> int:
        return sum(pod.clients.answered for pod in self.cluster.pods)

    def _pod_of(self, player: int) -> Pod:
        return self.cluster.pods[player % len(self.cluster.pods)]


class Broadcasts(Workload):
    """On topics that each are heard on some pods, by any pod."""

    topics: dict[str, Sequence[Pod]]

    async def prepare(self) -> None:
        self.topics = self.make_topics()
        self._due: Counter[tuple[Incarnation, str]] = Counter()
        for topic, pods in self.topics.items():
            for pod in pods:
                pod.wants(topic)

    def make_topics(self) -> dict[str, Sequence[Pod]]:
        raise NotImplementedError

    def play(self) -> None:
        payload = b'{"d":"%s"}' % (b"x" * (self.options.size - len(b'{"d":""}')))
        for moment in self.moments(self.options.broadcasts):
            publisher = self.random.choice(self.cluster.pods)
            topic = self.random.choice(list(self.topics))
            publisher.publishes(moment, topic, payload)
            self.asked += 1
            self._due.update((pod.me, topic) for pod in self.topics[topic] if pod is not publisher)

    def wrong(self) -> int:
        came = Counter({(pod.me, topic): n for pod in self.cluster.pods for topic, n in pod.broadcasts.items()})
        return (came - self._due).total() + (self._due - came).total()


class Everywhere(Broadcasts):
    name = "broadcasts"

    @staticmethod
    def text(options: Options) -> str:
        return f"{options.broadcasts:g} broadcasts/s of {options.size} bytes by all pods, on a topic that is heard on all pods"

    def make_topics(self) -> dict[str, Sequence[Pod]]:
        return {"everyone": self.cluster.pods}


class Rooms(Broadcasts):
    name = "rooms"

    @staticmethod
    def text(options: Options) -> str:
        return (
            f"{options.broadcasts:g} broadcasts/s of {options.size} bytes by all pods, each on one of as many topics as there are pods, "
            "each of which is heard on one pod only"
        )

    def make_topics(self) -> dict[str, Sequence[Pod]]:
        return {f"room:{number}": [pod] for number, pod in enumerate(self.cluster.pods)}


WORKLOADS: dict[str, type[Workload]] = {one.name: one for one in (Idle, Moves, Everywhere, Rooms)}


@dataclass(frozen=True)
class Told:
    """What one pod did in the time that was measured. ``sent``, ``received``: messages by kind. ``broadcasts``: see ``Pod``, also of the
    rest, in which what was on its way has come."""

    name: Incarnation
    is_leader: bool
    counts: Counts
    sent: Counter[str]
    received: Counter[str]
    broadcasts: Counter[str]


@dataclass(frozen=True)
class Measured:
    pods: list[Told]
    asked: int
    wrong: int


def measured(workload: type[Workload], size: int, options: Options, seed: int = 1) -> Measured:
    """A cluster of ``size`` pods, from its start to its end. Raises TimeoutError, within a group, if it does not come up."""
    gc.collect()
    with (
        tempfile.NamedTemporaryFile() as key,
        asyncio.Runner(loop_factory=lambda: VirtualLoop(options.turn_seconds, options.delay_seconds)) as runner,
    ):
        key.write(random.Random(seed).randbytes(32))
        key.flush()
        return runner.run(_measured(workload, size, options, Path(key.name), random.Random(seed)))


async def _measured(
    kind: type[Workload], size: int, options: Options, key: Path, randomness: random.Random
) -> Measured:
    async with asyncio.TaskGroup() as tasks:
        cluster = Cluster(size, options, key, tasks, randomness)
        await cluster.until(cluster.is_up)
        workload = kind(cluster, options, randomness)
        await workload.prepare()
        await asyncio.sleep(REST_SECONDS)
        for pod in cluster.pods:
            pod.begin_counting()
        workload.play()
        await asyncio.sleep(options.seconds)
        told = _told(cluster)
        await asyncio.sleep(REST_SECONDS)
        cluster.stop()
    return Measured(told, workload.asked, workload.wrong())


def _told(cluster: Cluster) -> list[Told]:
    sent: dict[Incarnation, Counter[str]] = {pod.me: Counter() for pod in cluster.pods}
    received: dict[Incarnation, Counter[str]] = {pod.me: Counter() for pod in cluster.pods}
    for pod in cluster.pods:
        for (sender, kind), number in pod.heard.items():
            sent[sender][kind.__name__] += number
            received[pod.me][kind.__name__] += number
    leader = cluster.leader
    return [
        Told(pod.me, pod is leader, replace(pod.host.counts), sent[pod.me], received[pod.me], pod.broadcasts)
        for pod in cluster.pods
    ]


# --- the table


def rows(size: int, rounds: Sequence[Measured], seconds: float) -> list[list[str]]:
    """The leader's, and one for the mean of the others; medians of the rounds, of CPU time with the lowest and the highest."""
    found = []
    for who, is_leader in (("leader", True), ("others", False)):
        chosen = [[pod for pod in one.pods if pod.is_leader is is_leader] for one in rounds]
        if all(chosen):
            found.append([f"{size}", who, *_cells(chosen, seconds)])
    return found


def _cells(rounds: Sequence[Sequence[Told]], seconds: float) -> list[str]:
    def each(of: Callable[[Told], float]) -> list[float]:
        return [statistics.fmean(of(pod) for pod in pods) / seconds for pods in rounds]

    def median(of: Callable[[Told], float]) -> str:
        return f"{statistics.median(each(of)):,.0f}"

    cpu = [1000 * one for one in each(lambda pod: pod.counts.cpu_seconds)]
    kinds = {kind for pods in rounds for pod in pods for kind in pod.sent}
    of_kind = {kind: statistics.median(each(lambda pod, kind=kind: pod.sent[kind])) for kind in kinds}  # type: ignore[misc]
    return [
        f"{statistics.median(cpu):,.1f} ({min(cpu):,.1f}–{max(cpu):,.1f})",
        median(lambda pod: pod.sent.total()),
        median(lambda pod: pod.received.total()),
        median(lambda pod: pod.counts.bytes_out / KIB),
        median(lambda pod: pod.counts.bytes_in / KIB),
        median(lambda pod: pod.counts.writes),
        median(lambda pod: pod.counts.reads),
        ", ".join(f"{kind} {n:,.0f}" for kind, n in sorted(of_kind.items(), key=lambda item: -item[1]) if n >= 1),
    ]


HEAD = ["pods", "of which", "CPU ms", "sent", "received", "KiB sent", "KiB rec.", "writes", "reads", "sent, by kind"]


def conditions(options: Options, rounds: int) -> str:
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, Python {platform.python_version()}, {os.cpu_count()} cores ({processor()}), "
        f"load average {os.getloadavg()[0]:.1f}. For each pod and second: all pods in one process and thread, virtual time in turns of "
        f"{1000 * options.turn_seconds:g} ms, {1000 * options.delay_seconds:g} ms one way, nothing lost; in-sync set of "
        f"{options.replicas}; {options.seconds:g} s; medians of {rounds} interleaved rounds (lowest–highest). CPU time is of the pod's own "
        "callbacks on asyncio: rules, decisions, encoding, sealing, opening, decoding, timers. Not counted: system calls (a write is one "
        "for each peer and turn of the loop, a read one for each peer and moment), the loop itself, clients, the Lease's store."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    options = Options(
        given.seconds,
        given.moves,
        given.broadcasts,
        given.players,
        given.size,
        given.replicas,
        given.delay / 1000,
        given.turn / 1000,
    )
    print(conditions(options, given.rounds), flush=True)
    wrong = 0
    for workload in [WORKLOADS[name] for name in given.workloads or WORKLOADS]:
        found: dict[int, list[Measured]] = {size: [] for size in given.pods}
        for seed in range(given.rounds):
            for size, runs in found.items():
                runs.append(measured(workload, size, options, seed))
        print(f"\n## {workload.name}: {workload.text(options)}\n")
        print(markdown([HEAD, *(row for size, runs in found.items() for row in rows(size, runs, options.seconds))]))
        if bad := sum(run.wrong for runs in found.values() for run in runs):
            print(f"\n**WRONG: {bad} moves or broadcasts lost, refused, or where they do not belong**")
            wrong += bad
        sys.stdout.flush()
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    usual = Options()
    parser = argparse.ArgumentParser(
        prog="python -m bench.mesh", description="Measures the mesh, by the number of pods."
    )
    parser.add_argument(
        "workloads",
        nargs="*",
        metavar="WORKLOAD",
        choices=[*WORKLOADS, []],
        help=f"default: all of {' '.join(WORKLOADS)}",
    )
    parser.add_argument(
        "--pods", type=int, nargs="+", default=PODS, metavar="N", help=f"default: {' '.join(map(str, PODS))}"
    )
    parser.add_argument(
        "--seconds", type=float, default=usual.seconds, metavar="S", help="of virtual time (default: %(default)g)"
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--moves", type=float, default=usual.moves, metavar="N", help="a second (default: %(default)g)")
    parser.add_argument(
        "--broadcasts", type=float, default=usual.broadcasts, metavar="N", help="a second (default: %(default)g)"
    )
    parser.add_argument("--players", type=int, default=usual.players, metavar="N", help="default: %(default)d")
    parser.add_argument(
        "--size", type=int, default=usual.size, metavar="BYTES", help="of a broadcast (default: %(default)d)"
    )
    parser.add_argument(
        "--replicas", type=int, default=usual.replicas, metavar="N", help="in sync (default: %(default)d)"
    )
    parser.add_argument(
        "--delay", type=float, default=0.1, metavar="MS", help="of the network, one way (default: %(default)g)"
    )
    parser.add_argument(
        "--turn", type=float, default=0.1, metavar="MS", help="step of virtual time (default: %(default)g)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
