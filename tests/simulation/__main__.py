"""``python -m tests.simulation --seeds 1000 --start 1``, or ``--seed N --transcript`` to see one run."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from .run import Failed, run
from .schedule import Family, Plan, plan
from .transcript import Transcript


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Runs seeded clusters.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds")
    parser.add_argument("--start", type=int, default=1, help="the first seed")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--family", type=Family, choices=list(Family), help="only this kind of trouble")
    parser.add_argument("--transcript", action="store_true", help="prints everything that happened")
    parser.add_argument("--shrink", action="store_true", help="leaves out every fault that the failure does not need")
    parser.add_argument("--keep-going", action="store_true", help="goes on after a failure")
    arguments = parser.parse_args()
    seeds = (
        [arguments.seed] if arguments.seed is not None else range(arguments.start, arguments.start + arguments.seeds)
    )
    failures: Counter[str] = Counter()
    moves = entries = 0
    began = time.monotonic()
    for count, seed in enumerate(seeds, 1):
        transcript = Transcript(None) if arguments.transcript else None
        try:
            result = run(plan(seed, arguments.family), transcript)
            moves, entries = moves + result.moves, entries + result.entries
            if transcript is not None:
                print("\n".join(transcript.lines()))
                print(result)
        except Failed as failure:
            failures[failure.invariant] += 1
            _report(failure, transcript, arguments.shrink, arguments.keep_going)
            if not arguments.keep_going:
                return 1
        if count % 100 == 0:
            print(
                f"{count} seeds, {moves} moves, {time.monotonic() - began:.0f} s, failures: {dict(failures)}",
                flush=True,
            )
    print(
        f"{len(seeds)} seeds, {moves} moves, {entries} entries, {time.monotonic() - began:.1f} s: {dict(failures) or 'ok'}"
    )
    return 1 if failures else 0


def _report(failure: Failed, transcript: Transcript | None, shrink: bool, brief: bool) -> None:
    if shrink:
        failure = shrunk(failure)
    if transcript is not None:
        print("\n".join(transcript.lines()))
    text = f"seed {failure.plan.seed} {failure.plan.family}: {failure.text}" if brief and not shrink else str(failure)
    print(text, flush=True)


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
