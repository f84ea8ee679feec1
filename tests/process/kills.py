"""``python -m tests.process.kills --count 100``: kills the leader again and again under moving players, and tells what it cost.

Prints the milliseconds to the next acknowledged move, for players on the other nodes and for those on the dead one, and how
many players' totals were less (lost) or more (doubled) than what was acknowledged to them. Exit code 1 if any was.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.process.harness import COUNTER, Cluster, all_move, playing, until, up, verdict
from tests.process.players import Player, answered_after

SECONDS_PER_KILL = 30.0


@dataclass
class Outcome:
    """Milliseconds from each kill to each player's next acknowledged move, and the history checker's verdict."""

    elsewhere: list[float] = field(default_factory=list)
    at_dead: list[float] = field(default_factory=list)
    moves: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: list[str] = field(default_factory=list)

    def report(self, count: int) -> str:
        return (
            f"{count} kills of the leader, {self.moves} acknowledged moves\n"
            f"next acknowledged move on other nodes: {_figures(self.elsewhere)}\n"
            f"next acknowledged move from the dead node: {_figures(self.at_dead)}\n"
            f"lost: {self.lost}  doubled: {self.doubled}" + "".join(f"\n  {line}" for line in self.wrong)
        )


async def run(count: int, players: int, seed: int, data: Path, verbose: bool = False) -> Outcome:
    """Raises AssertionError when the cluster does not recover in time."""
    outcome = Outcome()
    with up(data, COUNTER) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with playing(cluster.urls(), players, seed) as moving:
            for number in range(1, count + 1):
                elsewhere, at_dead = await _kill(cluster, moving)
                outcome.elsewhere += elsewhere
                outcome.at_dead += at_dead
                if verbose:
                    print(f"kill {number}: others {_figures(elsewhere)}; dead node {_figures(at_dead)}", flush=True)
        outcome.lost, outcome.doubled, outcome.wrong = await verdict(cluster, moving)
        outcome.moves = sum(len(player.history) for player in moving)
    return outcome


async def _kill(cluster: Cluster, players: Sequence[Player]) -> tuple[list[float], list[float]]:
    leader = await asyncio.to_thread(cluster.leader)
    node = (await asyncio.to_thread(cluster.nodes))[leader]
    there = {player.name for player in players if player.urls[player.at] == node["url"]}
    moment = time.monotonic()
    os.kill(node["pid"], signal.SIGKILL)
    await all_move(players, SECONDS_PER_KILL)
    waited = {player.name: (answered_after(player, moment) or 0.0) * 1000 for player in players}
    await until(cluster.healthy, "the killed node is back in sync", SECONDS_PER_KILL)
    await all_move(players, SECONDS_PER_KILL)
    at_dead = [milliseconds for name, milliseconds in waited.items() if name in there]
    return [milliseconds for name, milliseconds in waited.items() if name not in there], at_dead


def _figures(milliseconds: Sequence[float]) -> str:
    if not milliseconds:
        return "no players there"
    ordered = sorted(milliseconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"median {statistics.median(ordered):.0f} ms, p99 {p99:.0f} ms, worst {ordered[-1]:.0f} ms"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--players", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(2**20))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            outcome = asyncio.run(run(options.count, options.players, options.seed, Path(folder), verbose=True))
        except (AssertionError, ExceptionGroup) as error:
            traceback.print_exception(error)
            print(f"seed {options.seed}: the cluster did not recover")
            return 1
    print(outcome.report(options.count))
    return 1 if outcome.lost or outcome.doubled or outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
