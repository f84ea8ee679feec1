"""The phases of the bench, in their order, and what each prints."""

from __future__ import annotations

import asyncio
import platform
import random
import signal
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tests.operator.apiserver.account import SYSTEM, as_the_charts_account
from tests.operator.apiserver.audit import READS, Audit
from tests.operator.apiserver.operators import LEASE, USER, Process, running
from tests.operator.apiserver.server import Kubectl, api_server

from .api import Api
from .games import NAMESPACES, Games, has_set, is_counted, is_settled
from .measure import machine, spread, usage
from .pods import Pods

FLAGS = ("--leader-election", "--lease-namespace", SYSTEM)
QUIET_SECONDS = 5.0
SHORTEST_DEADLINE_SECONDS, DEADLINE_SECONDS_A_GAME = 900.0, 0.8
BURSTS = 5
STAGES = Path(__file__).with_name("stages.yaml")
CONTROLLERS = "--controllers=*,-endpoints-controller,-endpointslice-controller,-endpointslice-mirroring-controller"
"""Those refuse loopback addresses, and would try again all the time."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """``nodes`` 0: no kwok; ``changes``: to so many games; ``rounds``: so many restarts."""

    clusters: int
    pods: int
    nodes: int
    steady_seconds: float
    changes: int
    lease_seconds: int
    rounds: int
    seed: int


async def run(options: Options, folder: Path) -> int:
    """0: all was reconciled, and nothing written while nothing happened."""
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)  # what was started ends too
    _conditions(options)
    environment = {"CONTROLLER_MANAGER_ARGS": CONTROLLERS, "KWOK_ARGS": f"--config {STAGES}"}
    with api_server(folder / "apiserver", options.nodes, **environment) as kubectl:
        account = await asyncio.to_thread(as_the_charts_account, kubectl, folder)
        async with _world(options, kubectl) as (games, pods):
            return await Bench(options, folder, account, games, pods).run()


@dataclass
class Bench:
    options: Options
    folder: Path
    account: Path
    games: Games
    pods: Pods

    async def run(self) -> int:
        choose = random.Random(self.options.seed)
        began = time.monotonic()
        async with self._operator("first") as operator:
            await self._install(operator, began)
            written = await self._steady(operator)
            await self._changes(operator, choose)
        restarts = [await self._restart(n + 1, choose) for n in range(self.options.rounds)]
        _row(
            "restart, median", " / ".join(f"{statistics.median(times):.1f} s" for times in zip(*restarts, strict=True))
        )
        _row("API server", f"{usage(self._server).rss:.0f} MiB in the end")
        return 1 if written else 0

    async def _install(self, operator: Process, began: float) -> None:
        """The GameClusters are there, and nothing else is."""
        made = await self.games.until(has_set, self._longest) - began
        settled = await self.games.until(is_settled, self._longest) - began
        requests = self._audit(0).requests(USER)
        reads = sum(request.verb in READS for request in requests)
        _row("first install", f"all StatefulSets made after {made:.1f} s, all games Ready after {settled:.1f} s")
        self._cost(operator, f"{len(requests) - reads} writes and {reads} reads")

    async def _steady(self, operator: Process) -> int:
        """Returns how many writes there were."""
        await self._quiet()
        start, since, before = self._size, time.monotonic(), usage(operator.process.pid).cpu
        counts = await self._counts(operator)
        await asyncio.sleep(self.options.steady_seconds)
        seconds, cpu = time.monotonic() - since, usage(operator.process.pid).cpu - before
        looks, asked, renewed = ((b - a) / seconds for a, b in zip(counts, await self._counts(operator), strict=True))
        requests = [request for request in self._audit(start).requests(USER) if request.what != LEASE]
        writes = [request.what for request in requests if request.verb not in READS]
        reads = len(requests) - len(writes)
        _row(
            "steady state",
            f"{len(writes)} writes and {reads} reads in {seconds:.0f} s, but for its own Lease {writes[:5] or ''}",
        )
        _row(
            "",
            f"{cpu / seconds:.2f} of a core for {looks:.1f} looks, {asked:.1f} answers of pods, {renewed:.1f} renewed Leases a second",
        )
        self._cost(operator)
        return len(writes)

    async def _changes(self, operator: Process, choose: random.Random) -> None:
        """Half of them add a pod, half replace all."""
        count = min(self.options.changes, self.options.clusters)
        marks = [f"{n}" if n % 2 else None for n in range(count)]
        changes = list(zip(self.games.some(count, choose), marks, strict=True))
        alone, size = changes[: -(-count // 2)], max(1, count // 2 // BURSTS)
        seconds = [await self.games.change(*change) for change in alone]
        _row("spec change", f"in the StatefulSet after {spread(seconds)}, one by one")
        seconds = []
        for n in range(len(alone), count, size):
            seconds += await asyncio.gather(*(self.games.change(*change) for change in changes[n : n + size]))
        if seconds:
            _row("", f"in the StatefulSet after {spread(seconds)}, {size} at once, while the others' pods are replaced")
        began = time.monotonic()
        settled = await self.games.until(is_settled, self._longest)
        _row("", f"all Ready with new pods {settled - began:.1f} s after the last")
        self._cost(operator)

    async def _restart(self, n: int, choose: random.Random) -> tuple[float, float, float]:
        """Everything is there, and ten games were changed while no operator was. Returns the seconds of what is printed."""
        keys = self.games.some(min(10, self.options.clusters), choose)
        is_changed = await self.games.change_unseen(keys)
        start, began = self._size, time.monotonic()
        async with self._operator(f"restart-{n}") as operator:
            changed = asyncio.create_task(self.games.until(is_changed, self._longest, keys))
            looked = await self._has_looked(operator) - began
            applied = await changed - began
            settled = await self.games.until(is_settled, self._longest) - began
            requests = self._audit(start).requests(USER)
            what = f"as many looks as games after {looked:.1f} s, what was changed meanwhile was applied after {applied:.1f} s"
            _row(f"restart {n}", f"{what}, all Ready after {settled:.1f} s")
            self._cost(operator, f"{sum(request.verb == 'patch' for request in requests)} patches")
        return looked, applied, settled

    @asynccontextmanager
    async def _operator(self, name: str) -> AsyncIterator[Process]:
        """A process, which ends in order after that. What goes on meanwhile ends if it ends sooner."""
        with running(self.account, self.folder, name, *FLAGS) as operator:
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(_lives(operator))
                yield operator
                watching.cancel()
            operator.signal(signal.SIGTERM)
            await asyncio.to_thread(operator.process.wait, 30)

    async def _has_looked(self, operator: Process) -> float:
        """When there had been as many looks as there are games: the first ones are at each of them."""
        async with asyncio.timeout(self._longest):
            while True:
                looks = await asyncio.to_thread(operator.figure, "gamecluster_operator_reconciled_total")
                if looks is not None and looks >= self.options.clusters:
                    return time.monotonic()
                await asyncio.sleep(0.1)

    async def _quiet(self) -> None:
        """Until the operator has told everything, and written nothing for a while."""
        await self.games.until(is_counted, self._longest)
        async with asyncio.timeout(self._longest):
            while True:
                start = self._size
                await asyncio.sleep(QUIET_SECONDS)
                if all(write.what == LEASE for write in self._audit(start).writes(USER)):
                    return

    async def _counts(self, operator: Process) -> tuple[float, float, float]:
        looks = await asyncio.to_thread(operator.figure, "gamecluster_operator_reconciled_total")
        return looks or 0.0, self.pods.asked, self.pods.renewed

    def _cost(self, operator: Process, *more: str) -> None:
        cost = usage(operator.process.pid)
        memory = f"operator: RSS {cost.rss:.0f} MiB, at most {cost.peak:.0f} MiB; {cost.cpu:.1f} CPU seconds so far"
        _row("", "; ".join((memory, *more)))

    @property
    def _longest(self) -> float:
        """Seconds that a phase may take."""
        return max(SHORTEST_DEADLINE_SECONDS, DEADLINE_SECONDS_A_GAME * self.options.clusters)

    @property
    def _log(self) -> Path:
        return self.folder / "apiserver" / "audit.log"

    @property
    def _size(self) -> int:
        return self._log.stat().st_size

    def _audit(self, start: int) -> Audit:
        return Audit(self._log, start)

    @property
    def _server(self) -> int:
        return int((self.folder / "apiserver" / "kube-apiserver.pid").read_text())


@asynccontextmanager
async def _world(options: Options, kubectl: Kubectl) -> AsyncIterator[tuple[Games, Pods]]:
    """The GameClusters are made, and pods live as soon as there are any. What fails there ends the bench."""
    async with Api(kubectl.kubeconfig) as api, asyncio.TaskGroup() as tasks:
        games = Games(api, options.pods, options.lease_seconds)
        pods = Pods(api, plays_kubelet=options.nodes == 0, lease_seconds=options.lease_seconds)
        await games.create(options.clusters)
        playing = [tasks.create_task(games.follow()), tasks.create_task(pods.run())]
        yield games, pods
        for task in playing:
            task.cancel()


async def _lives(operator: Process) -> None:
    await asyncio.to_thread(operator.process.wait)
    raise RuntimeError(f"the operator has ended, see {operator.log}")


def _conditions(options: Options) -> None:
    kubelet = (
        f"on {options.nodes} nodes of kwok v0.7.0" if options.nodes else "on no nodes: the bench plays the kubelet"
    )
    namespaces, renewed = min(NAMESPACES, options.clusters), options.lease_seconds / 3
    system = f"{platform.system()} {platform.release()}"
    _row("machine", machine())
    _row("versions", f"Kubernetes v1.34.4, Python {platform.python_version()}, kopf {version('kopf')}, {system}")
    _row("games", f"{options.clusters} in {namespaces} namespaces, {options.pods} pods each, {kubelet}")
    _row(
        "",
        f"nothing runs in the pods: the bench answers for them at loopback, and renews each Lease every {renewed:.0f} s",
    )
    _row(
        "API server",
        "with etcd, controllers, scheduler, fake nodes and the bench on this same machine; etcd --unsafe-no-fsync",
    )
    _row("", f"controller manager {CONTROLLERS} (they refuse loopback addresses)")
    _row("operator", f"one process, {' '.join(FLAGS)}")


def _row(name: str, text: str) -> None:
    print(f"{name:<14} {text}", flush=True)
