"""Real clusters on loopback for tests: ``gamecluster up`` as a user starts it, and players at its nodes."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from tests.process.players import Ledger, Player, Socket, judge

from gamecluster.errors import ConfigurationError
from gamecluster.local import control

ROOT = Path(__file__).parents[2]
START_SECONDS = 40.0
STOP_SECONDS = 20.0
COUNTER = "gamecluster.demo:Counter"
MAX_NODES = 6


@dataclass
class Cluster:
    """A running ``gamecluster up``. ``name``: what nodes are called before their number."""

    process: subprocess.Popen[bytes]
    data: Path
    port: int
    name: str = "game"

    def output(self) -> str:
        return (self.data / "up.out").read_text()

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        return control.ask(self.data, {"do": do, **more})

    def nodes(self) -> dict[str, dict[str, Any]]:
        """What the supervisor knows of every node."""
        return {node["name"]: node for node in self.ask("nodes")["nodes"]}

    def view(self, node: str) -> dict[str, Any]:
        """``GET /cluster`` of one node, {} if it does not answer."""
        return get(f"{self.nodes()[node]['admin']}/cluster")

    def urls(self) -> list[str]:
        return [node["url"] for node in self.nodes().values()]

    def leader(self) -> str:
        """Who leads, as the most of the nodes that answer see it."""
        seen = [self.view(name).get("leader") for name, node in self.nodes().items() if node["pid"]]
        known = [name for name in seen if name]
        return max(set(known), key=known.count) if known else ""

    def pid(self, node: str) -> int:
        return int(self.nodes()[node]["pid"] or 0)

    def healthy(self, count: int = 3) -> bool:
        """Every node runs, is ready, and sees the same leader and a full in-sync set."""
        nodes = self.nodes()
        if len(nodes) < count or any(node["state"] == "starting" for node in nodes.values()):
            return False
        views = [self.view(name) for name, node in nodes.items() if node["state"] != "stopped"]
        leaders = {view.get("leader") for view in views}
        return (
            len(views) == count
            and len(leaders) == 1
            and None not in leaders
            and all(len(view.get("inSync", ())) == min(3, count) for view in views)
            and all(sum(1 for node in view["nodes"] if node["ready"]) == count for view in views)
        )


def get(url: str) -> dict[str, Any]:
    try:
        answer = _client().get(url)
        found: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
    except (httpx2.HTTPError, ValueError):
        return {}
    return found


def post(url: str, body: dict[str, Any]) -> int:
    """The status code."""
    return int(_client().post(url, json=body).status_code)


@functools.cache
def _client() -> httpx2.Client:
    """One for all: making one costs tens of milliseconds. It keeps no connection: nodes come and go."""
    return httpx2.Client(timeout=1.0, trust_env=False, limits=httpx2.Limits(max_keepalive_connections=0))


def environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GAMECLUSTER_")}
    return {**kept, "PYTHONPATH": f"{ROOT / 'server'}", "PYTHONUNBUFFERED": "1", **variables}


def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """One ``gamecluster`` command, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "gamecluster", *arguments],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def up(data: Path, *arguments: str, nodes: int = 3, name: str = "game", **variables: str) -> Iterator[Cluster]:
    """``gamecluster up`` on free ports. At the end it is told to stop, and nothing of it may be left."""
    data.mkdir(parents=True, exist_ok=True)
    port = free_port()
    line = [
        sys.executable,
        "-m",
        "gamecluster",
        "up",
        *arguments,
        f"--nodes={nodes}",
        f"--port={port}",
        f"--data={data}",
    ]
    with open(data / "up.out", "wb") as out:
        process = subprocess.Popen(line, env=environment(**variables), stdout=out, stderr=out, start_new_session=True)
    cluster = Cluster(process, data, port, name)
    try:
        yield cluster
    except BaseException:
        print(_logs(data))
        raise
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> int:
    """SIGTERM and, if that is not enough, SIGKILL; returns the exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(STOP_SECONDS)
        process.kill()
    return process.wait(5)


def wait(met: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> float:
    """Polls until the condition holds; returns how long it took."""
    started = time.monotonic()
    while True:
        with contextlib.suppress(ConfigurationError, KeyError):
            if met():
                return time.monotonic() - started
        if time.monotonic() - started > seconds:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


async def until(met: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> float:
    return await asyncio.to_thread(wait, met, what, seconds)


@asynccontextmanager
async def playing(urls: Sequence[str], count: int, seed: int, pace_seconds: float = 0.1) -> AsyncIterator[list[Player]]:
    """Players spread over the nodes, moving. At the end each one's last move is waited for."""
    print(f"seed {seed}")
    ledger = Ledger()
    players = [
        Player(f"p{i}-{seed}", urls, i % len(urls), random.Random(seed * 1000 + i), pace_seconds, ledger)
        for i in range(count)
    ]
    async with asyncio.TaskGroup() as tasks:
        for player in players:
            tasks.create_task(player.run())
        try:
            await all_move(players)
            yield players
        finally:
            for player in players:
                player.stop()


async def all_move(players: Sequence[Player], seconds: float = 20.0, hurry: bool = True) -> None:
    """Waits until every player was answered a move that it sent from now on. ``hurry``: without its pace."""
    moment = time.monotonic()
    for player in players if hurry else ():
        player.hurry.set()
    try:
        async with asyncio.timeout(seconds):
            for player in players:
                while not player.history or player.history[-1].sent_at < moment:
                    player.acknowledged.clear()
                    await player.acknowledged.wait()
    except TimeoutError:
        stuck = [
            f"{p.name} at {p.urls[p.at]}: {p.refusals[-3:]}"
            for p in players
            if not p.history or p.history[-1].sent_at < moment
        ]
        raise AssertionError(f"no move was answered for {seconds} s: {stuck}") from None
    finally:
        for player in players:
            player.hurry.clear()


async def spread(players: Sequence[Player]) -> None:
    """As many players at every node again: failures drive them together."""
    for number, player in enumerate(players):
        player.go_to(number % len(player.urls))
    await all_move(players)


async def totals(url: str) -> dict[str, dict[str, Any]]:
    """The counters, as a newcomer at this node is shown them."""
    async with asyncio.timeout(10), Socket.to(url) as newcomer:
        answer = await newcomer.push("game", "phx_join", {"player": f"observer{time.monotonic_ns()}"})
    found: dict[str, dict[str, Any]] = answer["state"]["totals"]
    return found


async def verdict(cluster: Cluster, players: Sequence[Player]) -> tuple[int, int, list[str]]:
    """Lost, doubled and all that is wrong, as every node of the cluster shows it."""
    results = [judge(players, await totals(url), players[0].ledger) for url in cluster.urls()]
    wrong = sorted({line for result in results for line in result.wrong})
    return max(result.lost for result in results), max(result.doubled for result in results), wrong


def free_port() -> int:
    """A port for ``gamecluster up``: those that its nodes take from it are free, too."""
    while True:
        port = random.randrange(20_000, 32_000)
        if all(_is_free(port + base + i) for base in (0, 100, 200) for i in range(MAX_NODES + 1)):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _logs(data: Path) -> str:
    parts = []
    for path in sorted([*data.glob("*.out"), *data.glob("*.log")]):
        lines = path.read_text(errors="replace").splitlines()[-60:]
        parts.append(f"--- {path.name}\n" + "\n".join(lines))
    return "\n".join(parts)
