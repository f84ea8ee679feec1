"""Names, singletons and caches on real nodes: called across nodes, freed when a node is killed, exact when the leader is."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from tests.process.desks import TARGETS, Client, client, reason_of, until_it_is, who_answers
from tests.process.harness import Cluster, command, get, until, up

ADDERS, ADDED_EACH = 12, 40


@asynccontextmanager
async def at_every_node(cluster: Cluster) -> AsyncIterator[dict[str, Client]]:
    async with AsyncExitStack() as stack:
        yield {n: await stack.enter_async_context(client(node["url"])) for n, node in cluster.nodes().items()}


def follower(cluster: Cluster, *but: str) -> str:
    return next(name for name in cluster.nodes() if name not in (cluster.leader(), *but))


async def test_a_name_is_called_from_every_node_and_freed_when_its_node_is_killed(tmp_path: Path) -> None:
    with up(tmp_path, *TARGETS) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with at_every_node(cluster) as at:
            holder = follower(cluster)
            other = follower(cluster, holder)
            await at[holder]("register", name="npc:7")
            assert await reason_of(lambda: at[other]("register", name="npc:7")) == "name taken"
            for number, node in enumerate(at):
                assert await at[node]("call", name="npc:7", by=node) == {
                    "hello": node,
                    "who": "",
                    "calls": number + 1,
                }
                shown = get(f"{cluster.nodes()[node]['admin']}/names")
                assert shown == {"names": {"npc:7": {"node": holder}}}
            assert f"npc:7  {holder}" in command("names", f"--data={tmp_path}").stdout
            rung = await at[other].ring("npc:7")
            assert (rung["node"], rung["sent"]) == (holder, True)
            assert (await at[holder]("call", name="npc:7", by="after it"))["calls"] == 5, "three calls, the ring, this"
            killed = time.monotonic()
            os.kill(cluster.pid(holder), signal.SIGKILL)
            at_once = time.monotonic()
            assert await until_it_is("unreachable", lambda: at[other]("call", name="npc:7", by="x"), 1.0) < 1.0
            await until_it_is("ok", lambda: at[other]("register", name="npc:7"))
            freed = time.monotonic() - killed
            print(
                f"freed and registered elsewhere {freed:.2f} s after the kill (asked {at_once - killed:.2f} s after it)"
            )
            assert freed < 5.0
            assert (await at[cluster.leader()]("call", name="npc:7", by="y"))["calls"] == 1


async def test_a_holder_that_stood_still_does_not_answer_for_a_name_that_it_has_lost(tmp_path: Path) -> None:
    with up(tmp_path, *TARGETS) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with at_every_node(cluster) as at:
            holder = follower(cluster)
            other = follower(cluster, holder)
            await at[holder]("register", name="npc:7", who="first")
            assert await who_answers(at[other]) == "first"
            os.kill(cluster.pid(holder), signal.SIGSTOP)
            try:
                await until_it_is("ok", lambda: at[other]("register", name="npc:7", who="second"))
            finally:
                os.kill(cluster.pid(holder), signal.SIGCONT)
            answered = {await who_answers(at[holder]) for _ in range(20)}
            assert "first" not in answered
            await until(cluster.healthy, "all are in sync again")
            async with asyncio.timeout(10):
                while await who_answers(at[holder]) != "second":  # noqa: ASYNC110 (asks a node)
                    await asyncio.sleep(0.05)
            assert await at[holder]("whereis", name="npc:7") == {"node": other}
            assert await at[holder]("lost") == {"lost": ["npc:7"]}


@pytest.mark.parametrize("seed", [random.randrange(2**20)])
async def test_a_singletons_sum_is_exact_though_the_leader_is_killed(tmp_path: Path, seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    with up(tmp_path, *TARGETS) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        leader = cluster.leader()
        urls = [node["url"] for name, node in cluster.nodes().items() if name != leader]
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            clients = [await stack.enter_async_context(client(urls[i % len(urls)])) for i in range(ADDERS)]
            adding = [tasks.create_task(_add(one, random.Random(chance.random()))) for one in clients]
            await asyncio.sleep(0)
            async with asyncio.timeout(20):
                while (await clients[0]("sum")).get("value", 0) < ADDERS * ADDED_EACH / 4:  # noqa: ASYNC110 (asks a node)
                    await asyncio.sleep(0.01)
            os.kill(cluster.pid(leader), signal.SIGKILL)
            results = [await task for task in adding]
            asked, unknown = sum(r[0] for r in results), sum(r[1] for r in results)
            await until(cluster.healthy, "the cluster is healthy again")
            sums = [(await one("sum"))["value"] for one in clients]
            print(f"{asked} acknowledged, {unknown} unknown, {set(sums)} is the sum")
            assert len(set(sums)) == 1 and asked <= sums[0] <= asked + unknown


async def _add(at: Client, chance: random.Random) -> tuple[int, int]:
    """What was acknowledged, and of how much nobody knows."""
    done = unknown = 0
    for _ in range(ADDED_EACH):
        amount = chance.randrange(1, 9)
        reason = await reason_of(lambda amount=amount: at("add", amount=amount))
        if reason == "ok":
            done += amount
        elif reason == "unknown":
            unknown += amount
    return done, unknown


async def test_what_a_cache_was_given_is_on_every_node_when_it_returns(tmp_path: Path) -> None:
    with up(tmp_path, *TARGETS) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with at_every_node(cluster) as at:
            for number in range(30):
                [writer, *_] = random.sample(list(at), 1)
                assert await at[writer]("put", key=f"k{number % 5}", value=number) == {"pods": 3}
                for node in at:
                    assert await at[node]("get", key=f"k{number % 5}") == {"value": number}, (writer, node)
            stopped = follower(cluster)
            os.kill(cluster.pid(stopped), signal.SIGSTOP)
            try:
                answer = await at[cluster.leader()]("put", key="k0", value=-1)
            finally:
                os.kill(cluster.pid(stopped), signal.SIGCONT)
            assert answer in ({"pods": 2}, {"pods": 2, "missing": [stopped]})
            await until(cluster.healthy, "all are in sync again")
            os.kill(cluster.pid(stopped), signal.SIGKILL)
            await until(cluster.healthy, "it is back")
        async with client(cluster.nodes()[stopped]["url"]) as newcomer:
            assert await newcomer("get", key="k0") == {"value": -1}
