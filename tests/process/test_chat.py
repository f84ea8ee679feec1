"""Chat on real nodes that die and are restarted: what was answered is in everybody's history, once, and everybody has heard it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.process.chatters import Chatter, history, judge
from tests.process.harness import COUNTER, ROOT, Cluster, until, up

CHAT = f"{ROOT / 'tests/process/long_chat.py'}:LongChat"
PEOPLE = 6
PACE_SECONDS = 0.25


async def test_nodes_are_killed_and_every_acknowledged_line_is_in_every_history_once(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER, CHAT) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with chatting(cluster) as people:
            for whom in ("leader", "another", "leader"):
                leader = cluster.leader()
                node = leader if whom == "leader" else next(n for n in cluster.nodes() if n != leader)
                os.kill(cluster.pid(node), signal.SIGKILL)
                await all_say(people)
                await until(cluster.healthy, f"{node} is back")
                await all_say(people)
        assert sum(person.joins for person in people) > PEOPLE, "nobody had to come back"


async def test_a_rolling_restart_of_all_nodes_loses_no_line(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER, CHAT) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with chatting(cluster) as people:
            for node in sorted(cluster.nodes()):
                pid = cluster.pid(node)
                cluster.ask("stop", node=node)
                await until(lambda node=node: cluster.nodes()[node]["state"] == "stopped", f"{node} has gone")
                await all_say(people)
                cluster.ask("start", node=node)
                await until(cluster.healthy, f"{node} is in sync again")
                assert cluster.pid(node) != pid
        assert sum(person.joins for person in people) >= 2 * PEOPLE


async def test_all_nodes_are_killed_and_a_durable_chat_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER, CHAT, GAMECLUSTER_STORAGE="volume:", GAMECLUSTER_DURABILITY="storage") as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with chatting(cluster) as people:
            await killed_at_once(cluster)
            await all_say(people)


async def test_all_nodes_are_killed_and_clients_are_told_that_what_they_heard_last_may_be_gone(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER, CHAT, GAMECLUSTER_STORAGE="volume:") as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        person = Chatter("ann", cluster.urls(), 0, 0.05)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(person.run())
            await until(lambda: len(person.heard) > 10, "it has heard some lines")
            before = person.epoch
            await killed_at_once(cluster)
            await all_say([person])
            person.stop()
        assert [told["was told"]["epoch"] for told in person.gone] == [person.epoch] and person.epoch != before
        assert person.gone[0]["was told"]["offset"] > 0, "the older ones are there"


async def killed_at_once(cluster: Cluster) -> None:
    """All nodes; and what was stored is restored."""
    epoch = cluster.view(cluster.leader())["epoch"]
    for pid in [cluster.pid(node) for node in cluster.nodes()]:
        os.kill(pid, signal.SIGKILL)
    await until(lambda: cluster.healthy() and cluster.view("game-0")["epoch"] >= epoch + 1000, "it is restored")


@asynccontextmanager
async def chatting(cluster: Cluster) -> AsyncIterator[list[Chatter]]:
    """People at all nodes, talking. At the end all have heard everything, and the histories of all nodes say so."""
    urls = cluster.urls()
    people = [Chatter(f"p{i}", urls, i % len(urls), PACE_SECONDS) for i in range(PEOPLE)]
    async with asyncio.TaskGroup() as tasks:
        for person in people:
            tasks.create_task(person.run())
        try:
            await all_say(people)
            yield people
            for person in people:
                person.stop_saying()
            await until(
                lambda: len({person.offset for person in people}) == 1 and settled(people), "all have heard all"
            )
        finally:
            for person in people:
                person.stop()
    histories = [await history(url) for url in urls]
    lines = sum(len(person.acknowledged) for person in people)
    print(f"{lines} lines, {[person.joins for person in people]} joins, {[person.refusals for person in people]}")
    assert judge(people, histories) == []
    assert lines > 3 * PEOPLE and lines <= len(histories[0])


def settled(people: list[Chatter]) -> bool:
    """Nothing more can come: every answered line was heard by all."""
    last = max(person.acknowledged[-1][0] for person in people)
    return all(person.offset >= last for person in people)


async def all_say(people: list[Chatter], seconds: float = 30.0) -> None:
    """Until everybody was answered a line that it said from now on."""
    before = {person.name: len(person.acknowledged) + 1 for person in people}
    began = time.monotonic()
    while any(len(person.acknowledged) <= before[person.name] for person in people):
        silent = [(p.name, p.refusals[-3:]) for p in people if len(p.acknowledged) <= before[p.name]]
        assert time.monotonic() - began < seconds, f"nobody answers {silent}"
        await asyncio.sleep(0.02)  # polls, with a deadline
