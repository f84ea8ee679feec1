"""The command line of a simulator: many seeds on all CPUs, or one run to look at."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from .transcript import Transcript


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


@dataclass(frozen=True)
class Command:
    """``plan(seed, family)``; ``run(plan, transcript)`` raises ``failed``, which has its ``plan`` and the ``invariant``. It is sent to
    other processes: all of it is found by name."""

    module: str
    description: str
    families: type[StrEnum]
    plan: Callable[..., Any]
    run: Callable[..., Any]
    failed: type[Any]

    def main(self) -> int:
        arguments = self._parser().parse_args()
        first, last = arguments.start, arguments.start + arguments.seeds
        seeds = [arguments.seed] if arguments.seed is not None else range(first, last)
        if arguments.transcript:
            return self._show(self.plan(seeds[0], arguments.family), arguments.shrink)
        total, began = Total(), time.monotonic()
        work = [(seed, arguments.family, arguments.shrink) for seed in seeds]
        for done in self._each(work, arguments.jobs):
            total.add(done)
            if total.seeds % 100 == 0:
                print(f"{total}, {time.monotonic() - began:.0f} s", flush=True)
            if total.failures and not arguments.keep_going:
                break
        print(f"{total}, {time.monotonic() - began:.1f} s: {'failed' if total.failures else 'ok'}")
        return 1 if total.failures else 0

    def one(self, work: tuple[int, Any, bool]) -> Done:
        seed, family, shrink = work
        try:
            result = self.run(self.plan(seed, family))
        except self.failed as failure:
            return Done(failure=(failure.invariant, str(self.shrunk(failure) if shrink else failure)))
        return Done(result.moves, result.entries)

    def shrunk(self, failure: Any) -> Any:
        """Leaves out one fault after another as long as the same invariant fails."""
        index = 0
        while index < len(failure.plan.faults):
            smaller = self._try(failure.plan.without(index))
            if smaller is not None and smaller.invariant == failure.invariant:
                failure = smaller
            else:
                index += 1
        return failure

    def _parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(prog=f"python -m {self.module}", description=self.description)
        kind = self.families
        parser.add_argument("--seeds", type=int, default=1000, help="how many seeds")
        parser.add_argument("--start", type=int, default=1, help="the first seed")
        parser.add_argument("--seed", type=int, help="only this one")
        parser.add_argument("--family", type=kind, choices=list(kind), help="only this kind of trouble")
        parser.add_argument("--transcript", action="store_true", help="prints everything that happened")
        parser.add_argument(
            "--shrink", action="store_true", help="leaves out every fault that the failure does not need"
        )
        parser.add_argument("--keep-going", action="store_true", help="goes on after a failure")
        parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many processes (all CPUs)")
        return parser

    def _each(self, work: list[tuple[int, Any, bool]], jobs: int) -> Iterator[Done]:
        if jobs == 1:
            yield from map(self.one, work)
            return
        with multiprocessing.Pool(jobs) as pool:
            yield from pool.imap_unordered(self.one, work, chunksize=4)

    def _show(self, plan: Any, shrink: bool) -> int:
        transcript = Transcript(None)
        try:
            result = self.run(plan, transcript)
        except self.failed as failure:
            print("\n".join(transcript.lines()))
            print(self.shrunk(failure) if shrink else failure)
            return 1
        print("\n".join(transcript.lines()))
        print(result)
        return 0

    def _try(self, smaller: Any) -> Any:
        try:
            self.run(smaller)
        except self.failed as failure:
            return failure
        return None
