"""Three nodes with rooms, and players in them, for ``bench.live_rooms``."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import httpx2

from gamecluster.chaos.history import Acknowledged
from gamecluster.chaos.players import Player
from gamecluster.local import control

from .servers import NO_LIMITS, Running, Server, _ours

NODES = 3
WHOLE_SECONDS = 60.0
TICKS = os.sysconf("SC_CLK_TCK")

Places = dict[str, dict[str, Any]]

SERVER = Server(
    "gamecluster, 3 nodes",
    "match",
    lambda port, data: [
        *(sys.executable, "-m", "gamecluster", "up", "bench.rooms:Match", "bench.rooms:Mover"),
        *(f"--nodes={NODES}", f"--port={port}", f"--data={data}"),
    ],
    _ours,
    NO_LIMITS,
    clients=(1, 2, 3),
    ready=(201, 202, 203),
)


@dataclass
class Usage:
    """Of the nodes' processes: CPU seconds so far, and bytes that are resident."""

    at: float
    cpu: float
    rss: float


@dataclass
class Nodes:
    running: Running
    wrong: list[str] = field(default_factory=list)

    def all(self) -> dict[str, dict[str, Any]]:
        return {node["name"]: node for node in control.ask(self.running.data, {"do": "nodes"})["nodes"]}

    def urls(self) -> list[str]:
        return [node["url"] for node in self.all().values()]

    def usage(self) -> Usage:
        cpu = rss = 0.0
        for node in self.all().values():
            with open(f"/proc/{node['pid']}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            cpu += (int(fields[11]) + int(fields[12])) / TICKS
            rss += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
        return Usage(time.monotonic(), cpu, rss)

    def rooms(self) -> Places:
        """As one of the nodes that answer knows them."""
        for node in self.all().values():
            try:
                answer = httpx2.get(f"{node['admin']}/rooms", timeout=5, trust_env=False)
                places: Places = answer.json()["rooms"]
                return places
            except (httpx2.HTTPError, ValueError, KeyError):
                continue
        return {}

    def are_empty(self) -> bool:
        return not any(place["players"] for place in self.rooms().values())

    def are_whole(self, count: int) -> bool:
        """All nodes are ready, and all rooms have a backup."""
        places = self.rooms()
        is_ready = all(node["state"] == "ready" for node in self.all().values())
        return is_ready and len(places) >= count and all(place["backups"] for place in places.values())


async def until(met: Callable[[], bool], what: str) -> float:
    began = time.monotonic()
    while not await asyncio.to_thread(met):
        if time.monotonic() - began > WHOLE_SECONDS:
            raise TimeoutError(f"not within {WHOLE_SECONDS:.0f} s: {what}")
        await asyncio.sleep(0.05)
    return time.monotonic() - began


async def cpu_of(nodes: Nodes, seconds: float) -> float:
    """Of a core."""
    before = nodes.usage()
    await asyncio.sleep(seconds)
    after = nodes.usage()
    return (after.cpu - before.cpu) / (after.at - before.at)


# --- who plays


@asynccontextmanager
async def players_in(nodes: Nodes, rooms: Sequence[str], pace: float) -> AsyncIterator[list[Player]]:
    urls = nodes.urls()
    players = [
        Player(
            f"watcher-{number}",
            urls,
            random.Random(room).randrange(NODES),
            random.Random(number),
            pace,
            other_move=("move", {"mark": ""}),
            topic=f"game:{room}",
        )
        for number, room in enumerate(rooms)
    ]
    async with asyncio.TaskGroup() as tasks:
        for player in players:
            tasks.create_task(player.run())
        try:
            async with asyncio.timeout(20):
                await asyncio.gather(*(player.acknowledged.wait() for player in players))
            yield players
        finally:
            for player in players:
                player.stop()


def room_of(player: Player) -> str:
    return player.topic.removeprefix("game:")


# --- what they were told


def took(move_: Acknowledged) -> float:
    """Milliseconds."""
    return (move_.answered_at - (move_.sent_at if move_.first_sent_at is None else move_.first_sent_at)) * 1000


def pauses(players: Iterable[Player], since: float) -> tuple[list[float], list[float]]:
    """About each change of holder: milliseconds of the longer one of two answers, and between them."""
    about = [
        (earlier, later)
        for player in players
        for earlier, later in pairwise(player.history)
        if earlier.epoch != later.epoch and later.answered_at > since
    ]
    return [max(took(a), took(b)) for a, b in about], [(b.answered_at - a.answered_at) * 1000 for a, b in about]
