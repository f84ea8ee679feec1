"""Clients of the topic ``desk:1`` (see desk.py)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.process.harness import ROOT
from tests.process.players import Socket

from gamecluster.chaos.client import Refused

DESK = f"{ROOT / 'tests/process/desk.py'}"
TARGETS = (f"{DESK}:Bell", f"{DESK}:Desk", f"{DESK}:Sum")


class Client:
    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    async def ring(self, name: str) -> dict[str, Any]:
        """From a rule of the game. Once."""
        await self._socket.push("game", "phx_join", {"player": "ringer"})
        answer: dict[str, Any] = await self._socket.push("game", "ring", {"name": name})
        return answer

    async def __call__(self, event: str, **payload: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await self._socket.push("desk:1", event, payload, seconds=12)
        return answer


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Client]:
    async with Socket.to(url) as socket:
        await socket.push("desk:1", "phx_join", {})
        yield Client(socket)


async def reason_of(call: Callable[[], Any]) -> str:
    try:
        await call()
    except Refused as refusal:
        return refusal.reason
    return "ok"


async def until_it_is(wanted: str, call: Callable[[], Any], seconds: float = 10.0) -> float:
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        while await reason_of(call) != wanted:  # noqa: ASYNC110 (asks a node)
            await asyncio.sleep(0.05)
    return time.monotonic() - began


async def who_answers(at: Client, name: str = "npc:7") -> str:
    """Who registered what answers for the name, or why nobody does."""
    try:
        return str((await at("call", name=name, by="x"))["who"])
    except Refused as refusal:
        return refusal.reason
