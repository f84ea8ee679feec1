"""``python -m tests.process.room_faults --count 30``: nodes are killed, stopped, or told to go, while rooms are played in.

Into each fault there falls a lesser one at another node, before the rooms have their backups again: a short stop, a drain, or a
hand-over of the GameState. Players count in thirty rooms, travellers walk between zones. Exit code 1 if a history is not as it
must be, if a room has begun anew, or if anything does not go on.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.process.harness import Cluster, all_move, post, spread, until, up
from tests.process.room_players import (
    COUNTERS,
    NO_LIMITS,
    by_room,
    is_whole,
    marks,
    playing_in,
    told,
    verdict_in,
)
from tests.process.room_players import ZONES as ZONE
from tests.process.test_stop import hanging
from tests.process.test_zones import all_walk, settled, walking
from tests.process.walkers import ZONES

ROOMS = [f"count-{number}" for number in range(30)]
PACE_SECONDS = 0.1
GREATER, LESSER = ("kill", "stop", "go"), ("short stop", "go", "hand over", "nothing")
STOP_SECONDS, SHORT_SECONDS = (0.2, 4.0), (0.1, 0.9)
"""A node that is thought to be dead may come back or not. One that stands still shortly is waited for if it alone has a room."""


async def run(count: int, seed: int, data: Path) -> list[str]:
    """Returns what is wrong; raises AssertionError when something does not go on."""
    dice = random.Random(seed)
    with up(data, COUNTERS, ZONE, **NO_LIMITS) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with (
            playing_in(cluster.urls(), ROOMS, seed, PACE_SECONDS) as players,
            walking(cluster.urls(), seed) as walkers,
        ):
            await until(lambda: is_whole(cluster, [*ROOMS, *ZONES]), "all rooms have a backup")
            begun = await marks(cluster.urls()[0], [*ROOMS, *ZONES])
            for number in range(count):
                await spread(players)
                moment = time.monotonic()
                what = await fault(cluster, dice)
                await all_move(players, 30.0, hurry=False)
                await all_walk(walkers)
                told(f"{number}: {what}: silence of rooms", by_room(players, moment, time.monotonic()))
                await until(lambda: is_whole(cluster, [*ROOMS, *ZONES]), f"the rooms are whole after: {what}")
                assert await marks(dice.choice(cluster.urls()), [*ROOMS, *ZONES]) == begun, (
                    f"a room has begun anew: {what}"
                )
        await settled(cluster, walkers)
        lost, doubled, wrong = await verdict_in(cluster, players)
    print(f"{sum(len(player.history) for player in players)} moves, {sum(walker.steps for walker in walkers)} steps")
    wrong += [line for walker in walkers for line in walker.wrong]
    return wrong + [f"lost {lost}, doubled {doubled}"] * bool(lost or doubled)


async def fault(cluster: Cluster, dice: random.Random) -> str:
    one, other, _ = dice.sample(list(cluster.nodes().items()), 3)
    greater, lesser = dice.choice(GREATER), dice.choice(LESSER)
    leader = await asyncio.to_thread(cluster.leader)
    between = dice.uniform(0.0, 1.0)
    seconds, short = dice.uniform(*STOP_SECONDS), dice.uniform(*SHORT_SECONDS)
    await asyncio.gather(_do(cluster, greater, *one, 0.0, seconds), _do(cluster, lesser, *other, between, short))
    return f"{leader} leads, {greater} {one[0]} ({seconds:.1f} s), {between:.2f} s later {lesser} {other[0]} ({short:.1f} s)"


async def _do(cluster: Cluster, what: str, name: str, node: dict[str, object], after: float, seconds: float) -> None:
    await asyncio.sleep(after)
    pid = int(str(node["pid"]))
    match what:
        case "kill":
            os.kill(pid, signal.SIGKILL)
        case "go":
            os.kill(pid, signal.SIGTERM)
        case "stop" | "short stop":
            with hanging(pid):
                await asyncio.sleep(seconds)
        case "hand over":
            await asyncio.to_thread(post, f"{node['admin']}/handoff", {"to": None})


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--seed", type=int, default=random.randrange(2**20))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            wrong = asyncio.run(run(options.count, options.seed, Path(folder)))
        except (AssertionError, ExceptionGroup) as error:
            traceback.print_exception(error)
            print(f"seed {options.seed}: it does not go on")
            return 1
    print("\n".join(wrong or ["nothing is wrong"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
