"""The processes of ``gamecluster bench``: how the load is shared out, and how they are talked to (see worker.py)."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from ..chaos.figures import percentile
from ..chaos.target import Place, Placed, health
from ..errors import ConfigurationError

WORKER = (sys.executable, "-m", "gamecluster.bench")
BUSY = 0.8
LEAD_SECONDS = 0.2


def count_workers(wanted: int | None, count: int, each: int) -> int:
    return min(wanted or min(-(-count // each), os.cpu_count() or 1), count)


def whole(target: Placed) -> list[Place]:
    """Its nodes. Raises ConfigurationError if one is missing."""
    if problem := health(target).problem:
        raise ConfigurationError(f"the cluster is not whole: {problem}: see `gamecluster status`")
    return target.places()


def run_name() -> str:
    return f"bench-{int(time.time())}-{os.getpid()}"


def shared(count: int, workers: int) -> Iterator[tuple[int, int]]:
    """The first of each worker's, and the first that is not its own any more."""
    return pairwise(count * i // workers for i in range(workers + 1))


@contextlib.contextmanager
def started(job: object) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(WORKER, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        say(process, job)
        yield process
    finally:
        process.kill()
        process.communicate()


def begin(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    """All at the same moment, when all are ready."""
    for worker in workers:
        hear(worker)
    moment = time.monotonic() + LEAD_SECONDS
    for worker in workers:
        say(worker, moment)


def say(worker: subprocess.Popen[bytes], what: object) -> None:
    assert worker.stdin is not None
    pickle.dump(what, worker.stdin)
    worker.stdin.flush()


def hear(worker: subprocess.Popen[bytes]) -> object:
    assert worker.stdout is not None
    try:
        told: object = pickle.load(worker.stdout)
    except EOFError:
        raise ConfigurationError("one of the processes that load the cluster has ended: see above") from None
    return told


def bottleneck(busy: Iterable[float]) -> Iterator[str]:
    if (busiest := max(busy)) > BUSY:
        yield (
            f"THIS PROGRAM WAS THE BOTTLENECK: one of its processes ran, or waited for a core, {busiest:.0%} of the time. "
            "Run it on a machine with more idle cores, with more --processes, or with less of a load"
        )


def spread(milliseconds: Sequence[float]) -> str:
    return f"{percentiles(milliseconds)} ms (of {len(milliseconds):,})" if milliseconds else "(none)"


def percentiles(milliseconds: Sequence[float]) -> str:
    shares = " · ".join(f"p{share * 100:g} {percentile(milliseconds, share):.1f}" for share in (0.5, 0.9, 0.99))
    return f"{shares} · max {max(milliseconds):.1f}"
