"""``python -m tests.process.name_cuts [leader]``: a name's holder is cut from the others, and both sides are told what is true.

The holder is a follower, or the leader. Inside of a network of its own (see network.py). Exit code 1 if anything is not as it must be.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from tests.process.cuts import HEAL_SECONDS, NODES, cut_cluster
from tests.process.desks import TARGETS, client, reason_of, until_it_is, who_answers
from tests.process.harness import until
from tests.process.network import inside


async def run(data: Path, of_leader: bool) -> None:
    with cut_cluster(data, ",".join(TARGETS)) as cluster:
        await until(cluster.is_whole, "the cluster is whole")
        leader = await asyncio.to_thread(cluster.leader)
        others = [number for number in range(NODES) if number != leader]
        holder, (one, other) = (leader, others) if of_leader else (others[0], [leader, others[1]])
        async with AsyncExitStack() as stack:
            at = [await stack.enter_async_context(client(place.url)) for place in cluster.places()]
            await at[holder]("register", name="npc:7", who="first")
            assert [await who_answers(each) for each in at] == ["first"] * NODES
            await asyncio.to_thread(cluster.network.cut, [holder], [one, other])
            cut_at = time.monotonic()

            async def first_answers() -> float:
                """When it did so last."""
                last = cut_at
                while time.monotonic() < cut_at + 6.0:
                    asked_at = time.monotonic()
                    if await who_answers(at[holder]) == "first":
                        last = asked_at
                    await asyncio.sleep(0.02)
                return last

            watching = asyncio.create_task(first_answers())
            suspected = await until_it_is("unreachable", lambda: at[other]("call", name="npc:7", by="x"), 8.0)
            began = time.monotonic()
            assert await reason_of(lambda: at[one]("call", name="npc:7", by="x")) in ("unreachable", "unknown name")
            assert time.monotonic() - began < 0.5, "it was told at once"
            await until_it_is("ok", lambda: at[other]("register", name="npc:7", who="second"))
            registered_at = time.monotonic()
            assert [await who_answers(at[n]) for n in (one, other)] == ["second", "second"]
            last = await watching
            print(
                f"unreachable after {suspected:.2f} s; the first answered for {last - cut_at:.2f} s after the cut; ",
                end="",
            )
            print(f"the second was registered after {registered_at - cut_at:.2f} s")
            assert last < registered_at, "two answered for one name"
            assert await who_answers(at[holder]) == "unreachable"
            assert await reason_of(lambda: at[holder]("register", name="npc:8")) == "no leader"
            await asyncio.to_thread(cluster.network.heal)
            await until(cluster.is_whole, "all nodes are in sync", HEAL_SECONDS)
            async with asyncio.timeout(HEAL_SECONDS):
                while await who_answers(at[holder]) != "second":  # noqa: ASYNC110 (asks a node)
                    await asyncio.sleep(0.05)
            assert await at[holder]("lost") == {"lost": ["npc:7"]}
            assert await reason_of(lambda: at[holder]("register", name="npc:8")) == "ok"
    print("nothing is wrong")


def main() -> int:
    if "--inside" not in sys.argv:
        line = inside("tests.process.name_cuts", ["--inside", *sys.argv[1:]])
        os.execvp(line[0], line)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder), "leader" in sys.argv))
    return 0


if __name__ == "__main__":
    sys.exit(main())
