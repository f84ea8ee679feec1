"""Zones, which there always are, and travellers between them while nodes are killed: each is in one zone, and has made its steps once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

from tests.process.harness import Cluster, until, up
from tests.process.players import Payload
from tests.process.room_players import NO_LIMITS, is_whole, marks, rooms_of, states, told
from tests.process.room_players import ZONES as TARGET
from tests.process.walkers import ZONES, Walker

WALKERS = 20


async def test_declared_zones_are_there_soon_and_stay_the_same_when_the_leader_and_their_pods_die(
    tmp_path: Path,
) -> None:
    with up(tmp_path, TARGET, **NO_LIMITS) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        took = await until(lambda: is_whole(cluster, ZONES), "the zones are there", 10.0)
        print(f"whole {took * 1000:.0f} ms after the cluster is")
        begun = await marks(cluster.urls()[0], ZONES)
        for _ in range(2):
            leader = cluster.leader()
            os.kill(cluster.pid(leader), signal.SIGKILL)
            await until(lambda leader=leader: cluster.leader() not in ("", leader), "another node leads")  # type: ignore[misc]
            await until(lambda: is_whole(cluster, ZONES), "the zones are whole")
            assert set(rooms_of(cluster)) == set(ZONES)
            assert await marks(cluster.urls()[1], ZONES) == begun, "no zone has begun anew"


async def test_travellers_are_in_one_zone_each_though_nodes_die_on_their_way(tmp_path: Path) -> None:
    with up(tmp_path, TARGET, **NO_LIMITS) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        await until(lambda: is_whole(cluster, ZONES), "the zones are there")
        begun = await marks(cluster.urls()[0], ZONES)
        async with walking(cluster.urls(), random.randrange(2**20)) as walkers:
            for node in cluster.nodes():
                held = [zone for zone, place in rooms_of(cluster).items() if place["node"] == node]
                moment = time.monotonic()
                os.kill(cluster.pid(node), signal.SIGKILL)
                await all_walk(walkers)
                told(f"{node} is killed, which held {held or 'nothing'}: silence of walkers", halts(walkers, moment))
                await until(lambda: is_whole(cluster, ZONES), "the zones are whole")
                await all_walk(walkers)
        await settled(cluster, walkers)
        assert await marks(cluster.urls()[0], ZONES) == begun, "no zone has begun anew"
        assert [line for walker in walkers for line in walker.wrong] == []
    print(f"{sum(walker.steps for walker in walkers)} steps of {WALKERS} travellers")


@asynccontextmanager
async def walking(urls: Sequence[str], seed: int) -> AsyncIterator[list[Walker]]:
    print(f"seed {seed}")
    walkers = [Walker(f"w{i}-{seed}", urls, random.Random(seed * 1000 + i)) for i in range(WALKERS)]
    async with asyncio.TaskGroup() as tasks:
        for walker in walkers:
            tasks.create_task(walker.run())
        try:
            await all_walk(walkers)
            yield walkers
        finally:
            for walker in walkers:
                walker.stop()


async def all_walk(walkers: Sequence[Walker], steps: int = 3) -> None:
    """So many steps each, from now on."""
    wanted = {walker.name: walker.steps + steps for walker in walkers}

    def have() -> bool:
        return all(walker.steps >= wanted[walker.name] for walker in walkers)

    try:
        await until(have, "all have walked", 20.0)
    except AssertionError:
        stuck = [walker for walker in walkers if walker.steps < wanted[walker.name]]
        said = [
            f"{walker.name} after {walker.steps} steps: {await where(walker)} {walker.refusals[-2:]}"
            for walker in stuck
        ]
        raise AssertionError(f"{len(stuck)} of {len(walkers)} do not get on: {said}") from None


async def where(walker: Walker) -> list[Payload]:
    """Each node's zones that it is shown to be in, with its steps."""
    shown = [await states(url, ZONES) for url in walker.urls]
    return [
        {
            zone: state["travellers"][walker.name]["steps"]
            for zone, state in zones.items()
            if walker.name in state["travellers"]
        }
        for zones in shown
    ]


def halts(walkers: Sequence[Walker], since: float) -> list[float]:
    """Milliseconds of each one's longest halt between two steps, of which the second was later than ``since``."""
    return [
        max((later - earlier) * 1000 for earlier, later in pairwise(walker.walked_at) if later > since)
        for walker in walkers
    ]


async def settled(cluster: Cluster, walkers: Sequence[Walker]) -> None:
    """Every node shows each traveller in one zone, after the steps that it was acknowledged."""
    steps = {walker.name: [walker.steps] for walker in walkers}
    shown: dict[str, list[int]] = {}
    for url in cluster.urls():
        deadline = time.monotonic() + 10.0
        while shown != steps and time.monotonic() < deadline:
            shown = {}
            for state in (await states(url, ZONES)).values():
                for name, traveller in state["travellers"].items():
                    shown.setdefault(name, []).append(traveller["steps"])
        assert shown == steps
        shown = {}
