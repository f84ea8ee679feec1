"""``python -m tests.process.kills --count 100 [--stops] [--handovers 50]``: takes the leader away again and again under load.

Each fault is a kill -9 of the leader; with ``--stops`` every second one is a SIGSTOP of it instead, until another leads; with
``--handovers N`` there are N planned hand-overs besides. Prints, for each sort apart, the milliseconds to the next acknowledged move
of the players at the other nodes and of those at the node that was taken away, and what the history checker says. Exit code 1
if it says anything, if a cluster did not recover, or if a client of a staying node had to reconnect at a hand-over.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.process.harness import COUNTER, Cluster, all_move, playing, post, spread, until, up, verdict
from tests.process.players import Player, answered_after

from gamecluster.chaos.figures import figures

SECONDS_PER_FAULT = 30.0
PACE_SECONDS = 0.02
ROUND = 100
"""Faults after which a new cluster is begun, so that histories stay short."""
KILL, STOP, HANDOVER = "kill -9", "SIGSTOP", "hand-over"


@dataclass
class Waits:
    """Milliseconds from each fault of one sort to each player's next acknowledged move."""

    faults: int = 0
    elsewhere: list[float] = field(default_factory=list)
    at_leader: list[float] = field(default_factory=list)


@dataclass
class Outcome:
    """What all faults cost, and the history checker's verdict."""

    waits: dict[str, Waits] = field(default_factory=lambda: {sort: Waits() for sort in (KILL, STOP, HANDOVER)})
    moves: int = 0
    lost: int = 0
    doubled: int = 0
    reconnects: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        return not (self.lost or self.doubled or self.wrong or self.reconnects)

    def report(self) -> str:
        lines = []
        for sort, waits in self.waits.items():
            if waits.faults:
                lines += [
                    f"{waits.faults} × {sort}: next acknowledged move",
                    f"  on other nodes:     {figures(waits.elsewhere)}",
                    f"  on the leader's:    {figures(waits.at_leader)}",
                ]
        lines.append(f"{self.moves} acknowledged moves, lost: {self.lost}, doubled: {self.doubled}")
        lines.append(f"reconnected at hand-overs: {self.reconnects}, load average {os.getloadavg()[0]:.1f}")
        return "\n".join(lines + [f"  {line}" for line in self.wrong])


def plan(count: int, stops: bool, handovers: int, seed: int) -> list[str]:
    """The faults in their order."""
    faults = [STOP if stops and number % 2 else KILL for number in range(count)] + [HANDOVER] * handovers
    random.Random(seed).shuffle(faults)
    return faults


async def run(faults: Sequence[str], players: int, seed: int, data: Path, verbose: bool = False) -> Outcome:
    """Raises AssertionError when the cluster does not recover in time."""
    outcome = Outcome()
    for first in range(0, len(faults), ROUND):
        await _round(faults[first : first + ROUND], players, seed + first, data / f"{first}", outcome, verbose)
    return outcome


async def _round(faults: Sequence[str], players: int, seed: int, data: Path, outcome: Outcome, verbose: bool) -> None:
    with up(data, COUNTER) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with playing(cluster.urls(), players, seed, PACE_SECONDS) as moving:
            for sort in faults:
                await spread(moving)
                elsewhere, at_leader, reconnects = await _take_away(cluster, moving, sort)
                waits = outcome.waits[sort]
                waits.faults += 1
                waits.elsewhere += elsewhere
                waits.at_leader += at_leader
                outcome.reconnects += reconnects
                if verbose:
                    print(f"{sort}: others {figures(elsewhere)}; leader's {figures(at_leader)}", flush=True)
        lost, doubled, wrong = await verdict(cluster, moving)
        outcome.lost, outcome.doubled, outcome.wrong = (
            outcome.lost + lost,
            outcome.doubled + doubled,
            outcome.wrong + wrong,
        )
        outcome.moves += sum(len(player.history) for player in moving)


async def _take_away(cluster: Cluster, players: Sequence[Player], sort: str) -> tuple[list[float], list[float], int]:
    """Milliseconds elsewhere and at the leader, and how many had to reconnect at a hand-over."""
    leader = await asyncio.to_thread(cluster.leader)
    node = (await asyncio.to_thread(cluster.nodes))[leader]
    there = {player.name for player in players if player.urls[player.at] == node["url"]}
    joins = sum(player.joins for player in players)
    moment = time.monotonic()
    with _gone(sort, node["pid"]):
        if sort == HANDOVER:
            await _hand_over(node["admin"])
        await all_move(players, SECONDS_PER_FAULT, hurry=False)
        if sort != KILL:
            await until(lambda: cluster.leader() not in ("", leader), "another node leads", SECONDS_PER_FAULT)
    await all_move(players, SECONDS_PER_FAULT, hurry=False)
    waited = {player.name: (answered_after(player, moment) or 0.0) * 1000 for player in players}
    await until(cluster.healthy, f"all nodes are in sync after a {sort}", SECONDS_PER_FAULT)
    await all_move(players, SECONDS_PER_FAULT, hurry=False)
    at_leader = [milliseconds for name, milliseconds in waited.items() if name in there]
    elsewhere = [milliseconds for name, milliseconds in waited.items() if name not in there]
    reconnects = sum(player.joins for player in players) - joins if sort == HANDOVER else 0
    return elsewhere, at_leader, reconnects


@contextlib.contextmanager
def _gone(sort: str, pid: int) -> Iterator[None]:
    if sort == KILL:
        os.kill(pid, signal.SIGKILL)
    if sort == STOP:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        if sort == STOP:
            os.kill(pid, signal.SIGCONT)


async def _hand_over(admin: str) -> None:
    assert await asyncio.to_thread(post, f"{admin}/handoff", {"to": None}) == 202


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="kills, or kills and stops")
    parser.add_argument("--stops", action="store_true", help="every second one a SIGSTOP")
    parser.add_argument("--handovers", type=int, default=0, metavar="N", help="planned ones, besides")
    parser.add_argument("--players", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(2**20))
    options = parser.parse_args()
    faults = plan(options.count, options.stops, options.handovers, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        try:
            outcome = asyncio.run(run(faults, options.players, options.seed, Path(folder), verbose=True))
        except (AssertionError, ExceptionGroup) as error:
            traceback.print_exception(error)
            print(f"seed {options.seed}: the cluster did not recover")
            return 1
    print(outcome.report())
    return 0 if outcome.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
