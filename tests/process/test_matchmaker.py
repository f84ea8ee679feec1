"""Players who look for a match at every node while the leader is killed: each is in one match, each match is full."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import httpx2
from tests.process.harness import COUNTER, ROOT, until, up
from tests.process.players import Socket

DUELS = f"{ROOT / 'tests/process/duels.py'}:Duels"
PLAYERS, SIZE = 48, 4
SECONDS = 30.0


def http(url: str) -> str:
    return url.replace("ws://", "http://").removesuffix("/socket")


async def token_of(url: str, player: str) -> str:
    async with Socket.to(url) as socket:
        answer = await socket.push("game", "phx_join", {"player": player})
        token: str = answer["token"]
        return token


class Seeker:
    """Asks any node, and another one if that does not answer."""

    def __init__(self, name: str, urls: list[str], token: str, dice: random.Random) -> None:
        self.name, self.urls, self.dice = name, urls, dice
        self.ticket = ""
        self.posted_at = self.matched_at = 0.0
        self._http = httpx2.AsyncClient(
            trust_env=False, timeout=12, headers={"Authorization": f"Bearer {token}"}, follow_redirects=False
        )

    async def post(self, skill: int) -> None:
        asked = {"size": SIZE, "properties": {"skill": skill, "mode": "duel"}, "nonce": "1"}
        self.posted_at = time.monotonic()
        self.ticket = (await self._ask("POST", "", 201, json=asked))["ticket"]

    async def matched(self) -> tuple[str, tuple[str, ...]]:
        while True:
            found = await self._ask("GET", f"/{self.ticket}", 200)
            if found["status"] == "matched":
                self.matched_at = time.monotonic()
                return found["match"], tuple(found["players"])
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        await self._http.aclose()

    async def _ask(self, method: str, path: str, wanted: int, **more: object) -> dict[str, object]:
        deadline = time.monotonic() + SECONDS
        told = ""
        while time.monotonic() < deadline:
            url = f"{http(self.dice.choice(self.urls))}/matchmaker/tickets{path}"
            try:
                answer = await self._http.request(method, url, **more)  # type: ignore[arg-type]
            except httpx2.HTTPError as error:
                told = repr(error)
            else:
                if answer.status_code == wanted:
                    found: dict[str, object] = answer.json()
                    return found
                told = answer.text
                # a node that has just come up knows of no ticket yet
                assert answer.status_code in (503, 404), f"{method} {path}: {answer.status_code} {told}"
            await asyncio.sleep(0.05)
        raise AssertionError(f"{self.name}: {method} {path}: {told}")


async def test_everyone_is_in_one_full_match_though_the_leader_is_killed(tmp_path: Path) -> None:
    seed = random.randrange(2**20)
    print(f"seed {seed}")
    dice = random.Random(seed)
    with up(tmp_path, COUNTER, DUELS) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        urls = cluster.urls()
        names = [f"p{n}" for n in range(PLAYERS)]
        tokens = await asyncio.gather(*(token_of(dice.choice(urls), name) for name in names))
        seekers = [
            Seeker(n, urls, t, random.Random(seed + i)) for i, (n, t) in enumerate(zip(names, tokens, strict=True))
        ]
        half = PLAYERS // 2
        await asyncio.gather(*(seeker.post(dice.randrange(3000)) for seeker in seekers[:half]))
        os.kill(cluster.pid(cluster.leader()), signal.SIGKILL)
        await asyncio.gather(*(seeker.post(dice.randrange(3000)) for seeker in seekers[half:]))
        async with asyncio.timeout(SECONDS):
            found = await asyncio.gather(*(seeker.matched() for seeker in seekers))
        matches = dict(found)
        assert len(matches) == PLAYERS // SIZE and {len(players) for players in matches.values()} == {SIZE}
        assert Counter(p for players in matches.values() for p in players) == Counter(names), "each in one match"
        assert all(s.name in players for s, (_, players) in zip(seekers, found, strict=True))
        waited = sorted(s.matched_at - s.posted_at for s in seekers)
        print(f"from the ticket to the match: half within {waited[half] * 1000:.0f} ms, all within {waited[-1]:.1f} s")
        await asyncio.gather(*(seeker.close() for seeker in seekers))


async def test_a_full_group_that_is_queued_is_matched_and_told_at_once(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER, DUELS) as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        urls = cluster.urls()
        waits = []
        for turn in range(10):
            async with contextlib.AsyncExitStack() as stack:
                players = {f"t{turn}p{n}": await stack.enter_async_context(Socket.to(urls[n % 3])) for n in range(SIZE)}
                waits.append(await _match(players))
        waits.sort()
        print(f"from the last ticket until all four were told: median {waits[5]:.0f}, longest {waits[-1]:.0f} ms")


async def _match(players: dict[str, Socket]) -> float:
    """From the last ticket until all are told, in ms."""
    for name, socket in players.items():
        token = (await socket.push("game", "phx_join", {"player": name}))["token"]
        for topic in f"player:{name}", "matchmaker":
            await socket.push(topic, "phx_join", {"token": token})
    *others, last = players.values()
    for socket in others:
        await socket.push("matchmaker", "enqueue", {"size": SIZE})
    began = time.monotonic()
    await last.push("matchmaker", "enqueue", {"size": SIZE})
    told = [await _found(socket, name) for name, socket in players.items()]
    assert len(set(told)) == 1 and sorted(told[0]) == sorted(players)
    return (time.monotonic() - began) * 1000


async def _found(socket: Socket, name: str) -> tuple[str, ...]:
    async with asyncio.timeout(10):
        while True:
            topic, event, payload = await socket.events.get()
            if (topic, event) == (f"player:{name}", "match.found"):
                return tuple(payload["players"])
