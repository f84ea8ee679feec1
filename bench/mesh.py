"""``python -m bench.mesh``: what the mesh costs each pod, by the number of pods. All pods in one process, in virtual time."""

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
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from gamecluster.core.messages import Incarnation

from .pods import Cluster
from .run import processor
from .table import KIB, markdown
from .virtual import Counts, VirtualLoop
from .workloads import WORKLOADS, Options, Workload

PODS = (1, 3, 5, 10, 20)
REST_SECONDS = 1.0
"""Of virtual time, before what is measured and after it."""


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
        cluster = Cluster(size, options.replicas, key, tasks, randomness)
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
