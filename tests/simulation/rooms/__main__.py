"""``python -m tests.simulation.rooms --seeds 1000 --start 1 --jobs 4``, or ``--seed N --transcript`` to see one run."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..transcript import Transcript
from .run import Failed, run
from .schedule import Family, Plan, plan


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation.rooms", description="Runs seeded clusters with rooms."
    )
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds")
    parser.add_argument("--start", type=int, default=1, help="the first seed")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--family", type=Family, choices=list(Family), help="only this kind of trouble")
    parser.add_argument("--transcript", action="store_true", help="prints everything that happened")
    parser.add_argument("--shrink", action="store_true", help="leaves out every fault that the failure does not need")
    parser.add_argument("--keep-going", action="store_true", help="goes on after a failure")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many processes (all CPUs)")
    arguments = parser.parse_args()
    seeds = (
        [arguments.seed] if arguments.seed is not None else range(arguments.start, arguments.start + arguments.seeds)
    )
    if arguments.transcript:
        return _show(plan(seeds[0], arguments.family), arguments.shrink)
    total, began = Total(), time.monotonic()
    work = [(seed, arguments.family, arguments.shrink) for seed in seeds]
    for done in _each(work, arguments.jobs):
        total.add(done)
        if total.seeds % 100 == 0:
            print(f"{total}, {time.monotonic() - began:.0f} s", flush=True)
        if total.failures and not arguments.keep_going:
            break
    print(f"{total}, {time.monotonic() - began:.1f} s: {'failed' if total.failures else 'ok'}")
    return 1 if total.failures else 0


@dataclass(frozen=True)
class Done:
    """``failure``: the invariant, and all that is needed to see it again."""

    moves: int = 0
    entries: int = 0
    failure: tuple[str, str] | None = None


@dataclass
class Total:
    seeds: int = 0
    moves: int = 0
    entries: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    def add(self, done: Done) -> None:
        self.seeds, self.moves, self.entries = self.seeds + 1, self.moves + done.moves, self.entries + done.entries
        if done.failure is not None:
            invariant, text = done.failure
            self.failures[invariant] += 1
            print(text, flush=True)

    def __str__(self) -> str:
        failures = f", failures: {dict(self.failures)}" if self.failures else ""
        return f"{self.seeds} seeds, {self.moves} moves, {self.entries} entries{failures}"


def _each(work: list[tuple[int, Family | None, bool]], jobs: int) -> Iterator[Done]:
    if jobs == 1:
        yield from map(_one, work)
        return
    with multiprocessing.Pool(jobs) as pool:
        yield from pool.imap_unordered(_one, work, chunksize=4)


def _one(work: tuple[int, Family | None, bool]) -> Done:
    seed, family, shrink = work
    try:
        result = run(plan(seed, family))
    except Failed as failure:
        return Done(failure=(failure.invariant, str(shrunk(failure) if shrink else failure)))
    return Done(result.moves, result.entries)


def _show(plan: Plan, shrink: bool) -> int:
    transcript = Transcript(None)
    try:
        result = run(plan, transcript)
    except Failed as failure:
        print("\n".join(transcript.lines()))
        print(shrunk(failure) if shrink else failure)
        return 1
    print("\n".join(transcript.lines()))
    print(result)
    return 0


def shrunk(failure: Failed) -> Failed:
    """Leaves out one fault after another as long as the same invariant fails."""
    index = 0
    while index < len(failure.plan.faults):
        smaller = _try(failure.plan.without(index))
        if smaller is not None and smaller.invariant == failure.invariant:
            failure = smaller
        else:
            index += 1
    return failure


def _try(smaller: Plan) -> Failed | None:
    try:
        run(smaller)
    except Failed as failure:
        return failure
    return None


if __name__ == "__main__":
    sys.exit(main())
