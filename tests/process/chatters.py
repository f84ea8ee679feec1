"""People in a chat on a real cluster: they say lines that they repeat until they are answered, and note what they hear."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

from tests.process.players import Refused, Socket
from websockets.exceptions import WebSocketException

TOPIC = "chat:lobby"
LOST = (OSError, TimeoutError, WebSocketException, ConnectionError)
PAGE = 100


class Chatter:
    """At ``urls[at]`` until that is lost, then at the next one. ``heard``: offset and line, as they came."""

    def __init__(self, name: str, urls: list[str], at: int, pace_seconds: float) -> None:
        self.name, self.urls, self.at, self._pace = name, urls, at, pace_seconds
        self.acknowledged: list[tuple[int, str]] = []
        self.heard: list[tuple[int, str]] = []
        self.began = 0
        self.epoch = ""
        self.joins = 0
        self.gone: list[dict[str, Any]] = []
        self.refusals: list[str] = []
        self._token: str | None = None
        self._random = random.Random(name)
        self._says = True
        self._stopped = asyncio.Event()
        self._said = 0

    @property
    def offset(self) -> int:
        return self.heard[-1][0] if self.heard else self.began

    def stop_saying(self) -> None:
        self._says = False

    def stop(self) -> None:
        self._stopped.set()

    async def run(self) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(*LOST):
                async with Socket.to(self.urls[self.at]) as socket:
                    await self._visit(socket)
            self.at = (self.at + 1) % len(self.urls)
            await asyncio.sleep(self._random.uniform(0.05, 0.2))  # the way to another node

    async def _visit(self, socket: Socket) -> None:
        try:
            game = await socket.push("game", "phx_join", self._named({"player": self.name, "nonce": self.name}))
            self._token = game["token"]
            await self._join(socket)
        except Refused as refusal:
            self.refusals.append(refusal.reason)
            return
        hearing = asyncio.create_task(self._hear(socket))
        try:
            await self._talk(socket)
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)

    async def _join(self, socket: Socket) -> None:
        recover = {"recover": {"epoch": self.epoch, "offset": self.offset}} if self.joins else {}
        recovery = (await socket.push(TOPIC, "phx_join", self._named({"history": 0, **recover})))["recovery"]
        if recover and not recovery["recovered"]:
            self.gone.append({"asked": recover, "was told": recovery})
            self.heard, self.began = [], recovery["offset"]
        for line in recovery["missed"]:
            self._take(line["payload"])
        if not self.joins:
            self.began = recovery["offset"]
        self.epoch = recovery["epoch"]
        self.joins += 1

    async def _talk(self, socket: Socket) -> None:
        while not self._stopped.is_set():
            if not self._says:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await self._stopped.wait()
                await socket.push("phoenix", "heartbeat", {})
                continue
            body = f"{self.name} says {self._said}"
            try:
                answer = await socket.push(TOPIC, "say", {"body": body, "nonce": str(self._said)})
            except Refused as refusal:
                self.refusals.append(refusal.reason)
                await asyncio.sleep(0.1)  # and the same again
                continue
            self.acknowledged.append((answer["id"], body))
            self._said += 1
            await asyncio.sleep(self._pace * self._random.uniform(0.5, 1.5))

    async def _hear(self, socket: Socket) -> None:
        while True:
            topic, event, payload = await socket.events.get()
            if (topic, event) == (TOPIC, "said"):
                self._take(payload)
            elif topic == TOPIC and event in ("phx_error", "phx_close"):
                socket.abort()

    def _take(self, line: dict[str, Any]) -> None:
        self.epoch = line["epoch"]
        self.heard.append((line["offset"], line["body"]))

    def _named(self, payload: dict[str, Any]) -> dict[str, Any]:
        return payload | ({"token": self._token} if self._token else {})


async def history(url: str) -> list[tuple[int, str]]:
    """All that one node has, the oldest first."""
    async with asyncio.timeout(20), Socket.to(url) as socket:
        messages: list[dict[str, Any]] = (await socket.push(TOPIC, "phx_join", {"history": PAGE}))["messages"]
        page = messages
        while len(page) == PAGE:
            page = (await socket.push(TOPIC, "history", {"before": page[0]["id"], "limit": PAGE}))["messages"]
            messages = page + messages
    return [(message["id"], message["body"]) for message in messages]


def judge(chatters: list[Chatter], histories: list[list[tuple[int, str]]]) -> list[str]:
    """What is wrong: lines lost, doubled, out of order, or not the same everywhere."""
    first, wrong = histories[0], []
    if any(other != first for other in histories):
        wrong.append(f"the nodes' histories differ: {[len(other) for other in histories]} lines")
    if [offset for offset, _ in first] != list(range(1, len(first) + 1)):
        wrong.append(f"numbers with holes: {[offset for offset, _ in first]}")
    bodies = [body for _, body in first]
    if doubled := sorted({body for body in bodies if bodies.count(body) > 1}):
        wrong.append(f"said twice: {doubled}")
    known = dict(first)
    for chatter in chatters:
        if lost := [line for line in chatter.acknowledged if known.get(line[0]) != line[1]]:
            wrong.append(f"{chatter.name} was answered for {lost}, which the history does not have so")
        if chatter.heard != first[chatter.began :]:
            wrong.append(f"{chatter.name} began after {chatter.began} and heard {chatter.heard}")
        if chatter.gone:
            wrong.append(f"{chatter.name} was told that lines are gone: {chatter.gone}")
    return wrong
