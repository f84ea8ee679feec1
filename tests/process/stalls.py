"""``python -m tests.process.stalls --minutes 10``: every node's loop stands still for 200 ms now and then; nobody may be accused.

All three nodes are under load, and each is stopped (SIGSTOP) for 200 ms every second or so, at random, two of them sometimes
at once. The leader must not change, the in-sync set must not shrink, and no move be lost. Exit code 1 otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.process.harness import COUNTER, playing, until, up, verdict
from tests.process.players import Player

from gamecluster.chaos.figures import figures

STALL_SECONDS = 0.2
BETWEEN_SECONDS = (0.3, 1.7)

Account = tuple[str, int, tuple[str, ...]]


@dataclass
class Outcome:
    """``accusations``: every change of the leader, the epoch or the in-sync set that any node told of."""

    stalls: int = 0
    moves: int = 0
    answers: list[float] = field(default_factory=list)
    accusations: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def report(self) -> str:
        return "\n".join(
            [
                f"{self.stalls} stalls of {STALL_SECONDS * 1000:.0f} ms, {self.moves} acknowledged moves, {figures(self.answers)}",
                f"false accusations: {len(self.accusations)}, wrong: {len(self.wrong)}",
                *(f"  {line}" for line in [*self.accusations, *self.wrong][:50]),
            ]
        )


async def run(seconds: float, players: int, seed: int, data: Path) -> Outcome:
    """Plays and stalls for so long; raises AssertionError when the cluster does not come up."""
    outcome = Outcome()
    with up(data, COUNTER) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with playing(cluster.urls(), players, seed) as moving:
            deadline = time.monotonic() + seconds
            async with asyncio.TaskGroup() as tasks:
                for number, node in enumerate(cluster.nodes().values()):
                    tasks.create_task(_stall(node["pid"], random.Random(seed + number), deadline, outcome))
                tasks.create_task(_watch(data, deadline, outcome))
        outcome.answers = _answer_times(moving)
        outcome.moves = len(outcome.answers)
        lost, doubled, wrong = await verdict(cluster, moving)
        outcome.wrong = wrong + [f"lost {lost}, doubled {doubled}"] * bool(lost or doubled)
    return outcome


async def _stall(pid: int, dice: random.Random, deadline: float, outcome: Outcome) -> None:
    while time.monotonic() < deadline:
        await asyncio.sleep(dice.uniform(*BETWEEN_SECONDS))
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(STALL_SECONDS)
        finally:
            os.kill(pid, signal.SIGCONT)
        outcome.stalls += 1


async def _watch(data: Path, deadline: float, outcome: Outcome) -> None:
    before = _account(data)
    while time.monotonic() < deadline:
        await asyncio.sleep(0.01)
        if (seen := _account(data)) != before:
            outcome.accusations.append(f"{before} → {seen}")
            before = seen


def _account(data: Path) -> Account:
    """The leader, epoch and in-sync set by the Lease: no change of them goes without a write of it."""
    lease = json.loads((data / "lease.json").read_text())
    in_sync = lease["metadata"]["annotations"]["gamecluster.dev/in-sync"]
    return lease["spec"]["holderIdentity"], lease["spec"]["leaseTransitions"], tuple(sorted(in_sync.split(",")))


def _answer_times(players: Sequence[Player]) -> list[float]:
    return [(move.answered_at - move.sent_at) * 1000 for player in players for move in player.history]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--players", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(2**20))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = asyncio.run(run(options.minutes * 60, options.players, options.seed, Path(folder)))
    print(outcome.report())
    return 1 if outcome.accusations or outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
