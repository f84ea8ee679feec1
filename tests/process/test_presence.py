"""Who is in a room, while nodes are killed: real processes, and what clients elsewhere are told, with the times at which they are."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.process.harness import COUNTER, ROOT, Cluster, command, get, until, up
from tests.process.players import Payload, Socket

ROOM, TOPIC = "gamecluster.demo:Room", "room:1"
LOBBY = f"{ROOT / 'examples' / 'lobby.py'}:Lobby"
PLAYERS = 20


@dataclass
class Watcher:
    """A client that keeps what Phoenix' Presence would keep. ``diffs``: when, and who came and left."""

    socket: Socket
    present: dict[str, set[str]] = field(default_factory=dict)
    diffs: list[tuple[float, set[str], set[str]]] = field(default_factory=list)
    absent: set[str] = field(default_factory=set)  # who was not there after some diff

    async def follow(self) -> None:
        while True:
            _, event, payload = await self.socket.events.get()
            if event == "presence_state":
                self.present = {key: _refs(found) for key, found in payload.items()}
            elif event == "presence_diff":
                self._sync(payload["joins"], payload["leaves"])

    def _sync(self, joins: Payload, leaves: Payload) -> None:
        before = set(self.present)
        for key, found in joins.items():
            self.present[key] = self.present.get(key, set()) | _refs(found)
        for key, found in leaves.items():
            self.present[key] = self.present[key] - _refs(found)
            if not self.present[key]:
                del self.present[key]
        self.diffs.append((time.monotonic(), set(joins), set(leaves)))
        self.absent |= before - set(self.present)


def _refs(found: Payload) -> set[str]:
    return {meta["phx_ref"] for meta in found["metas"]}


@asynccontextmanager
async def watching(url: str) -> AsyncIterator[Watcher]:
    async with Socket.to(url) as socket:
        watcher = Watcher(socket)
        await socket.push(TOPIC, "phx_join", {"player": "watcher"})
        following = asyncio.create_task(watcher.follow())
        try:
            yield watcher
        finally:
            following.cancel()


@asynccontextmanager
async def joined(url: str, *players: str) -> AsyncIterator[list[Socket]]:
    async with AsyncExitStack() as stack:
        sockets = []
        for player in players:
            sockets.append(await stack.enter_async_context(Socket.to(url)))
            await sockets[-1].push(TOPIC, "phx_join", {"player": player})
        yield sockets


def others(cluster: Cluster) -> tuple[str, str, str]:
    """A node to kill, which does not lead, and the addresses of the two others."""
    victim, *rest = sorted(cluster.nodes(), key=lambda name: name == cluster.leader())
    first, second = (cluster.nodes()[name]["url"] for name in rest)
    return victim, first, second


def is_lost(cluster: Cluster, victim: str, url: str) -> bool:
    """As the node at ``url`` sees it."""
    [admin] = [node["admin"] for node in cluster.nodes().values() if node["url"] == url]
    seen = [node["state"] for node in get(f"{admin}/cluster")["nodes"] if node["name"] == victim]
    return seen != ["alive"]


async def test_a_killed_nodes_players_leave_in_one_diff_and_who_is_back_in_time_never_left(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER, ROOM) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        victim, here, there = others(cluster)
        players = [f"p{number}" for number in range(PLAYERS)]
        async with (
            watching(here) as watcher,
            joined(cluster.nodes()[victim]["url"], *players, "back"),
            joined(there, "stays"),
        ):
            everybody = {*players, "back", "stays", "watcher"}
            await until(lambda: set(watcher.present) == everybody, "everybody is there")
            watcher.diffs.clear()
            os.kill(cluster.pid(victim), signal.SIGKILL)
            killed = time.monotonic()
            await until(lambda: is_lost(cluster, victim, there), "the link to it is lost")
            async with joined(there, "back"):
                came_back = time.monotonic() - killed
                await until(lambda: set(watcher.present) == {"back", "stays", "watcher"}, "the others have left")
                await until(cluster.healthy, "the killed node is back")
                leaving = [(at - killed, leaves) for at, _, leaves in watcher.diffs if leaves & set(players)]
                print(
                    f"back after {came_back * 1000:.0f} ms; left after {leaving[0][0] * 1000:.0f} ms in {len(leaving)} diff"
                )
                assert [leaves for _, leaves in leaving] == [set(players)]
                assert leaving[0][0] < 1.0
                assert watcher.absent == set(players), "and nobody else was ever absent"
                assert [(joins, leaves) for _, joins, leaves in watcher.diffs if "back" in joins | leaves] == [
                    ({"back"}, {"back"})
                ]


async def test_a_player_who_moves_to_another_node_is_never_absent_and_one_who_leaves_is_gone_at_once(
    tmp_path: Path,
) -> None:
    with up(tmp_path, COUNTER, ROOM, nodes=2, GAMECLUSTER_GAMESTATE_REPLICAS="2") as cluster:
        await until(lambda: cluster.healthy(2), "the cluster is healthy")
        here, there = cluster.urls()
        async with watching(here) as watcher, watching(there) as other, joined(there, "ann") as [socket]:
            await until(lambda: set(watcher.present) == {"watcher", "ann"} == set(other.present), "both see ann")
            socket.abort()
            async with joined(here, "ann") as [again]:
                await until(lambda: any("ann" in leaves for _, _, leaves in watcher.diffs), "the old one has left")
                moment = time.monotonic()
                await again.push(TOPIC, "phx_leave", {})
                await until(lambda: "ann" not in watcher.present and "ann" not in other.present, "ann has left")
                took = max(seen.diffs[-1][0] for seen in (watcher, other)) - moment
                print(f"who left was gone after {took * 1000:.1f} ms")
                assert took < 0.4, "within the grace"
            assert len([1 for _, _, leaves in watcher.diffs if "ann" in leaves]) == 2


async def test_players_of_a_node_that_is_drained_move_to_another_and_are_never_absent(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER, ROOM) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        victim, here, there = others(cluster)
        players = [f"p{number}" for number in range(5)]
        async with AsyncExitStack() as stack:
            watcher = await stack.enter_async_context(watching(here))
            sockets = await stack.enter_async_context(joined(cluster.nodes()[victim]["url"], *players))
            await until(lambda: set(watcher.present) == {*players, "watcher"}, "everybody is there")
            before = dict(watcher.present)

            async def move(socket: Socket, player: str) -> None:
                assert await socket.closed() == 1012
                await stack.enter_async_context(joined(there, player))

            moving = asyncio.gather(*(move(socket, player) for socket, player in zip(sockets, players, strict=True)))
            drained = await asyncio.to_thread(command, "drain", victim, f"--data={cluster.data}")
            assert drained.returncode == 0, drained.stderr
            await moving
            await until(lambda: all(watcher.present[p].isdisjoint(before[p]) for p in players), "only the new ones are")
            assert set(watcher.present) == {*players, "watcher"} and not watcher.absent


async def test_the_grace_is_as_long_as_it_is_set(tmp_path: Path) -> None:
    with up(
        tmp_path,
        COUNTER,
        ROOM,
        nodes=1,
        GAMECLUSTER_GAMESTATE_REPLICAS="1",
        GAMECLUSTER_PRESENCE_GRACE_MILLISECONDS="1500",
    ) as cluster:
        await until(lambda: cluster.healthy(1), "the cluster is healthy")
        [url] = cluster.urls()
        async with watching(url) as watcher, joined(url, "ann") as [socket]:
            await until(lambda: "ann" in watcher.present, "ann is there")
            socket.abort()
            moment = time.monotonic()
            await until(lambda: "ann" not in watcher.present, "ann has left")
            assert 1.4 < watcher.diffs[-1][0] - moment < 2.5
        assert get(f"{cluster.nodes()['game-0']['admin']}/groups") == {"groups": {}}


async def test_a_killed_nodes_members_are_in_no_group_any_more_and_a_cut_off_clients_neither(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER, LOBBY) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        victim, here, there = others(cluster)
        name_of = {node["url"]: name for name, node in cluster.nodes().items()}
        watched = f"{cluster.nodes()[name_of[here]]['admin']}/groups"
        async with AsyncExitStack() as stack:
            sockets = {}
            for name, url in (("ann", cluster.nodes()[victim]["url"]), ("bob", there), ("eve", there)):
                sockets[name] = socket = await stack.enter_async_context(Socket.to(url))
                await socket.push("lobby:1", "phx_join", {"name": name})
                await socket.push("lobby:1", "guard", {"gate": "north"})
            bob = {"node": name_of[there], "member": "bob"}
            ann, eve = {"node": victim, "member": "ann"}, {**bob, "member": "eve"}
            everybody = sorted([ann, bob, eve], key=lambda m: (m["node"], m["member"]))
            await until(lambda: get(watched) == {"groups": {"north": everybody}}, "all three guard the gate")
            assert command("groups", f"--url={watched.removesuffix('/groups')}").stdout.count("north") == 3

            sockets["eve"].abort()
            await until(lambda: eve not in get(watched)["groups"]["north"], "eve's socket is lost")
            os.kill(cluster.pid(victim), signal.SIGKILL)
            took = await until(lambda: get(watched) == {"groups": {"north": [bob]}}, "the dead node's members are gone")
            print(f"the members of a killed node were gone after {took * 1000:.0f} ms")
            assert took < 0.4, "no grace"
