"""Leaderboards and notifications while nodes are killed: every acknowledged win counts once, everywhere; nobody misses a word."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.process.harness import ROOT, Cluster, all_move, get, playing, until, up, verdict
from tests.process.players import Payload, Player, Refused, Socket
from websockets.exceptions import InvalidHandshake, WebSocketException

GAME = (f"{ROOT / 'tests/process/wins.py'}:Wins", f"{ROOT / 'tests/process/wins.py'}:Desk")
LOST = (OSError, TimeoutError, InvalidHandshake, WebSocketException, Refused)


def http(url: str) -> str:
    return url.replace("ws://", "http://").removesuffix("/socket")


def board(url: str, name: str) -> dict[str, Any]:
    """Scores, as this node shows them."""
    found = get(f"{http(url)}/leaderboards/{name}/top?limit=1000").get("entries", [])
    assert [entry["rank"] for entry in found] == list(range(1, len(found) + 1))
    assert sorted((entry["score"] for entry in found), reverse=True) == [entry["score"] for entry in found]
    return {entry["player"]: entry["score"] for entry in found}


def agrees(cluster: Cluster, name: str, told: dict[str, int], unsure: dict[str, int] | None = None) -> bool:
    """Every node shows the same, what was acknowledged and at most what nobody knows of besides."""
    shown = [board(url, name) for url in cluster.urls()]
    unsure = unsure or {}
    return all(one == shown[0] for one in shown) and all(
        told.get(player, 0) <= shown[0].get(player, 0) <= told.get(player, 0) + unsure.get(player, 0)
        for player in {*told, *unsure, *shown[0]}
    )


@dataclass
class Clerk:
    """Adds to a leaderboard through a channel, at whichever node there is."""

    name: str
    urls: list[str]
    dice: random.Random
    told: int = 0
    unsure: int = 0
    score: int = 0
    stopping: bool = False
    wrong: list[str] = field(default_factory=list)

    async def run(self) -> None:
        while not self.stopping:
            with contextlib.suppress(*LOST):
                async with Socket.to(self.dice.choice(self.urls)) as socket:
                    await socket.push("desk", "phx_join", {})
                    while not self.stopping:
                        await self.add(socket)
            await asyncio.sleep(0.02)

    async def add(self, socket: Socket) -> None:
        amount = self.dice.randrange(1, 1000)
        self.unsure += amount
        try:
            answer = await socket.push("desk", "add", {"player": self.name, "amount": amount}, seconds=12)
        except Refused as refused:
            if refused.reason == "no leader":  # it was not asked
                self.unsure -= amount
            raise
        self.unsure -= amount
        self.told += amount
        if not self.told <= answer["score"] <= self.told + self.unsure:
            self.wrong.append(f"{self.name} has {answer['score']}, {self.told} was acknowledged")


@asynccontextmanager
async def clerks(urls: list[str], seed: int) -> AsyncIterator[list[Clerk]]:
    working = [Clerk(f"c{number}", urls, random.Random(seed + number)) for number in range(4)]
    async with asyncio.TaskGroup() as tasks:
        for clerk in working:
            tasks.create_task(clerk.run())
        try:
            yield working
        finally:
            for clerk in working:
                clerk.stopping = True


def acknowledged(players: list[Player]) -> dict[str, int]:
    return {player.name: sum(move.amount for move in player.history) for player in players}


async def test_every_acknowledged_win_counts_once_on_every_node_when_leaders_are_killed(tmp_path: Path) -> None:
    seed = random.randrange(2**20)
    with up(tmp_path, *GAME) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with playing(cluster.urls(), 8, seed, 0.02) as players, clerks(cluster.urls(), seed) as desk:
            for _ in range(2):
                before = [clerk.told for clerk in desk]
                os.kill(cluster.pid(cluster.leader()), signal.SIGKILL)
                await all_move(players)
                await until(
                    lambda before=before: all(c.told > b for c, b in zip(desk, before, strict=True)), "they go on"
                )  # type: ignore[misc]
                await until(cluster.healthy, "the killed node is back in sync")
        assert await verdict(cluster, players) == (0, 0, [])
        assert [line for clerk in desk for line in clerk.wrong] == []
        wins = acknowledged(players)
        await until(lambda: agrees(cluster, "wins", wins), f"every node shows {wins}", 5)
        told, unsure = {c.name: c.told for c in desk}, {c.name: c.unsure for c in desk}
        await until(lambda: agrees(cluster, "desk", told, unsure), f"every node shows {told}, {unsure} at most more", 5)
        print(f"{sum(len(p.history) for p in players)} wins, {told} by channel, of {unsure} nobody knows")


async def test_a_leaderboard_is_stored_and_there_after_all_nodes_were_killed(tmp_path: Path) -> None:
    with up(tmp_path, *GAME, GAMECLUSTER_STORAGE="volume:", GAMECLUSTER_DURABILITY="storage") as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with playing(cluster.urls(), 6, random.randrange(2**20), 0.02) as players:
            epoch = cluster.view(cluster.leader())["epoch"]
            for pid in [cluster.pid(node) for node in cluster.nodes()]:
                os.kill(pid, signal.SIGKILL)
            await until(lambda: cluster.healthy() and cluster.view("game-0")["epoch"] >= epoch + 1000, "it is restored")
            await all_move(players)
        wins = acknowledged(players)
        assert await verdict(cluster, players) == (0, 0, [])
        await until(lambda: agrees(cluster, "wins", wins), f"every node shows {wins}", 5)


async def join(socket: Socket, player: str, token: str | None = None) -> tuple[str, list[Payload]]:
    """The token, and the notifications that follow the join of the player's own topic at once."""
    answer = await socket.push("game", "phx_join", {"player": player, "token": token} if token else {"player": player})
    await socket.push(f"player:{player}", "phx_join", {"token": answer["token"]})
    await socket.push("phoenix", "heartbeat", {})
    return answer["token"], notifications(socket)


def notifications(socket: Socket) -> list[Payload]:
    events = [socket.events.get_nowait() for _ in range(socket.events.qsize())]
    return [payload for topic, event, payload in events if event == "notification" and topic.startswith("player:")]


async def next_notification(socket: Socket) -> Payload:
    async with asyncio.timeout(10):
        while True:
            _, event, payload = await socket.events.get()
            if event == "notification":
                return payload


async def test_a_notification_waits_for_its_player_through_the_leaders_death_and_never_comes_back(
    tmp_path: Path,
) -> None:
    with up(tmp_path, *GAME) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        first, second, third = cluster.urls()
        async with Socket.to(first) as ann, Socket.to(second) as desk:
            token, kept = await join(ann, "ann")
            assert kept == []
            await desk.push("desk", "phx_join", {})
            ids = [(await desk.push("desk", "tell", {"to": "ann", "body": body}))["id"] for body in range(3)]
            live = [await next_notification(ann) for _ in range(3)]
            assert [(n["id"], n["body"]) for n in live] == list(zip(ids, range(3), strict=True))
            assert abs(live[0]["at"] / 1000 - time.time()) < 60
            await ann.push("player:ann", "ack", {"id": ids[0]})
            await ann.push("game", "tell", {"to": "ann", "body": 3})
            assert (await next_notification(ann))["body"] == 3
        async with Socket.to(second) as desk:
            await desk.push("desk", "phx_join", {})
            await desk.push("desk", "tell", {"to": "ann", "body": 4})
        os.kill(cluster.pid(cluster.leader()), signal.SIGKILL)
        await until(cluster.healthy, "the killed node is back in sync")
        for url, expected in ((second, [1, 2, 3, 4]), (third, [2, 3, 4]), (first, [3, 4])):
            async with Socket.to(url) as ann:
                token, kept = await join(ann, "ann", token)
                assert [notice["body"] for notice in kept] == expected
                assert [int(n["id"]) for n in kept] == sorted(int(n["id"]) for n in kept)
                await ann.push("player:ann", "ack", {"id": kept[0]["id"]})
        async with Socket.to(third) as bob:
            await bob.push("game", "phx_join", {"player": "bob"})
            for topic, payload, reason in (
                ("player:ann", {}, "token needed"),
                ("player:bob", {"token": token}, "not yours"),
            ):
                with pytest.raises(Refused, match=reason):
                    await bob.push(topic, "phx_join", payload)
