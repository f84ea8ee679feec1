"""``python -m tests.process.cuts [SITUATION…] [--rounds N]``: nodes are cut from each other at the network, under moving players.

Every node is in a network namespace of its own (see network.py). In each situation the cut lasts until every player was answered
again, and a while; meanwhile the larger side has to serve and nobody else may; then it heals, and all nodes have to be in sync again.
Prints what each cost, and what the history checker says. Exit code 1 if it says anything or the cluster does not do as it must.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.process.harness import COUNTER, all_move, playing, spread, totals, until, wait
from tests.process.network import HUB, Network, inside
from tests.process.players import Player, answered_after, judge

from gamecluster.chaos.figures import figures
from gamecluster.chaos.target import Place, health
from gamecluster.shell.lease_file import create_vacant

NODES = 3
PORT, MESH_PORT, ADMIN_PORT = 4000, 4100, 4200
LASTS_SECONDS = (0.0, 7.0)
"""How much longer than the blackout; links that are silent for 5 s are given up."""
HEAL_SECONDS = 40.0


class Cluster:
    """Three nodes, each at its place of the network: ``places`` is what ``health`` looks at."""

    def __init__(self, network: Network, data: Path, targets: str = COUNTER) -> None:
        self.network = network
        self._targets = targets
        self._data = data
        self._token = os.environ["GAMECLUSTER_ADMIN_TOKEN"] = secrets.token_hex(16)
        self._processes: list[subprocess.Popen[bytes]] = []
        for name in ("mesh.key", "player.key"):
            (data / name).write_text(secrets.token_hex(32))
        create_vacant(data / "lease.json")

    def start(self) -> None:
        for number in range(NODES):
            with open(self._data / f"cut-{number}.log", "wb") as log:
                line = self.network.within(number, sys.executable, "-m", "gamecluster.local.node")
                self._processes.append(
                    subprocess.Popen(
                        line, env=self._environment(number), stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT
                    )
                )

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait(5)

    def places(self) -> list[Place]:
        hosts = [self.network.address(number) for number in range(NODES)]
        return [
            Place(f"cut-{i}", f"ws://{host}:{PORT}/socket", f"http://{host}:{ADMIN_PORT}", self._processes[i].pid)
            for i, host in enumerate(hosts)
        ]

    def view(self, number: int) -> dict[str, object]:
        return self.places()[number].ask("GET", "/cluster")

    def is_whole(self) -> bool:
        return not health(self, NODES).problem

    def leader(self) -> int:
        """By the Lease's own account, as all whole nodes see it."""
        return int(health(self).leader.rpartition("-")[2])

    def _environment(self, number: int) -> dict[str, str]:
        host = self.network.address
        own = {
            "NAME": "cut",
            "NODE": f"cut-{number}",
            "TARGETS": self._targets,
            "HOST": host(number),
            "PORT": str(PORT),
            "URL": f"ws://{host(number)}:{PORT}/socket",
            "PEERS": ",".join(f"{host(other)}:{MESH_PORT}" for other in range(NODES) if other != number),
            "LEASE": f"file:{self._data / 'lease.json'}",
            "MESH_KEY_FILE": str(self._data / "mesh.key"),
            "PLAYER_KEY_FILE": str(self._data / "player.key"),
            "DATA_DIR": str(self._data / f"cut-{number}"),
            "ADMIN_TOKEN": self._token,
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GAMECLUSTER_")}
        return {**kept, "PYTHONUNBUFFERED": "1", **{f"GAMECLUSTER_{name}": value for name, value in own.items()}}


Situation = Callable[[Network, int, list[int]], None]
"""Makes it: the network, the leader, its followers."""

SITUATIONS: dict[str, Situation] = {
    "leader": lambda net, leader, others: net.cut([leader], others),
    "replica": lambda net, leader, others: net.cut([others[0]], [leader, others[1]]),
    "leader-unheard": lambda net, leader, others: net.cut([leader], others, both_ways=False),
    "leader-deaf": lambda net, leader, others: net.cut(others, [leader], both_ways=False),
    "one-unheard": lambda net, leader, others: net.cut([others[0]], [leader], both_ways=False),
    "one-deaf": lambda net, leader, others: net.cut([leader], [others[0]], both_ways=False),
    "replicas": lambda net, leader, others: net.cut([others[0]], [others[1]]),
    "clients": lambda net, leader, others: net.cut([leader], [HUB]),
    "reset": lambda net, leader, others: _reset(net, leader),
}
LEADER_STAYS = ("replica", "one-unheard", "replicas", "clients")
ALL_WAIT = ("leader", "replica", "leader-unheard", "leader-deaf", "one-unheard", "one-deaf")
"""No move is acknowledged before somebody is out of the in-sync set, after 500 ms at the least."""
STALLED_MILLISECONDS = 150
LEADER_GOES = ("leader", "leader-unheard", "leader-deaf")


def _reset(network: Network, leader: int) -> None:
    if not network.reset(leader, MESH_PORT):
        raise AssertionError("no link was there to be reset")


async def run(situations: Sequence[str], players: int, seed: int, data: Path, strict: bool = False) -> list[str]:
    """Returns what is wrong with the history; raises AssertionError when the cluster does not do as it must."""
    dice = random.Random(seed)
    with cut_cluster(data) as cluster:
        await until(cluster.is_whole, "the cluster is whole")
        urls = [place.url for place in cluster.places()]
        async with playing(urls, players, seed, 0.05) as moving:
            for name in situations:
                print(
                    f"{name}: {await _situation(name, cluster, moving, dice.uniform(*LASTS_SECONDS), strict)}",
                    flush=True,
                )
        results = [judge(moving, await totals(url), moving[0].ledger) for url in urls]
        print(f"{results[0].acknowledged} acknowledged moves, lost {results[0].lost}, doubled {results[0].doubled}")
    return sorted({line for result in results for line in result.wrong})


async def _situation(name: str, cluster: Cluster, players: Sequence[Player], lasts_seconds: float, strict: bool) -> str:
    await spread(players)
    leader = await asyncio.to_thread(cluster.leader)
    others = [number for number in range(NODES) if number != leader]
    there = {player.name for player in players if player.at == leader}
    await asyncio.to_thread(SITUATIONS[name], cluster.network, leader, others)
    moment = time.monotonic()
    await all_move(players, HEAL_SECONDS, hurry=False)
    waited = {player.name: (answered_after(player, moment) or 0.0) * 1000 for player in players}
    if name in ALL_WAIT:
        assert min(waited.values()) > STALLED_MILLISECONDS, f"{name}: not even a pause: is anything cut?"
    await asyncio.sleep(lasts_seconds)
    await all_move(players, HEAL_SECONDS, hurry=False)
    healing = time.monotonic()
    await asyncio.to_thread(cluster.network.heal)
    await until(cluster.is_whole, f"all nodes are in sync after {name}", HEAL_SECONDS)
    now = await asyncio.to_thread(cluster.leader)
    assert not (name in LEADER_STAYS and now != leader), f"{name}: cut-{leader} led, now cut-{now} does"
    if name in LEADER_GOES and now == leader:
        assert not strict, f"{name}: cut-{leader} leads still, though it was alone on its side"
        print(f"{name}: the larger side did not take over")
    await all_move(players, HEAL_SECONDS, hurry=False)
    return (
        f"cut-{leader} led, cut-{now} leads, cut for {healing - moment:.1f} s, whole {time.monotonic() - healing:.1f} s later\n"
        f"  next acknowledged move at the followers: {figures([w for n, w in waited.items() if n not in there])}\n"
        f"  at the leader: {figures([w for n, w in waited.items() if n in there])}"
    )


@contextmanager
def cut_cluster(data: Path, targets: str = COUNTER) -> Iterator[Cluster]:
    network = Network(NODES)
    cluster = Cluster(network, data, targets)
    try:
        cluster.start()
        wait(lambda: all(cluster.view(number) for number in range(NODES)), "all nodes answer")
        yield cluster
    except BaseException:
        for log in sorted(data.glob("*.log")):
            print(f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-60:]))
        raise
    finally:
        cluster.stop()
        network.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("situations", nargs="*", metavar="SITUATION", help=f"of {', '.join(SITUATIONS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--players", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(2**20))
    parser.add_argument("--strict", action="store_true", help="fail also when a leader that was alone kept the lead")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.inside:
        line = inside("tests.process.cuts", ["--inside", *sys.argv[1:]])
        os.execvp(line[0], line)
    situations = (options.situations or list(SITUATIONS)) * options.rounds
    random.Random(options.seed).shuffle(situations)
    with tempfile.TemporaryDirectory() as folder:
        try:
            wrong = asyncio.run(run(situations, options.players, options.seed, Path(folder), options.strict))
        except (AssertionError, ExceptionGroup) as error:
            traceback.print_exception(error)
            print(f"seed {options.seed}: not as it must be")
            return 1
    print("\n".join(wrong or ["nothing is wrong"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
