"""Travellers who walk between zones as soon as they are in one, and count their steps."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.process.players import RETRIABLE, Payload, Refused, Socket, answer_of
from websockets.exceptions import InvalidHandshake, WebSocketException

ZONES = ("zone-a", "zone-b", "zone-c")


@dataclass
class Walker:
    """In all zones at once, as their client; its traveller is in one at a time. ``steps``: walks that were acknowledged."""

    name: str
    urls: Sequence[str]
    dice: random.Random
    pace_seconds: float = 0.05
    steps: int = 0
    walked_at: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    _there: dict[str, int] = field(default_factory=dict)
    """The zones that the traveller is shown to be in, with its steps then: an earlier walk's may still be shown."""
    _numbers: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ZONES, 0))
    _pending: tuple[str, str, Payload] | None = None
    """Zone, event and payload of what was not answered yet."""
    _token: str | None = None
    _stopping: bool = False

    def stop(self) -> None:
        self._stopping = True

    async def run(self) -> None:
        while not self._stopping or self._pending:
            try:
                async with Socket.to(self.dice.choice(self.urls)) as socket:
                    await self._walk(socket)
            except (OSError, TimeoutError, InvalidHandshake, WebSocketException, Refused) as error:
                self.refusals.append(f"{time.monotonic():.3f}: {error!r}")
                await asyncio.sleep(0.05)

    async def _walk(self, socket: Socket) -> None:
        self._there.clear()
        for zone in ZONES:
            await self._join(socket, zone)
        watching, closed = asyncio.create_task(self._watch(socket)), asyncio.create_task(socket.closed())
        try:
            while not closed.done() and (self._pending or not self._stopping):
                self._pending = self._pending or self._next()
                if self._pending:
                    await self._do(socket, *self._pending)
                    self._pending = None
                await asyncio.sleep(self.pace_seconds)
        finally:
            watching.cancel()
            closed.cancel()
            await asyncio.gather(watching, closed, return_exceptions=True)

    async def _join(self, socket: Socket, zone: str) -> None:
        asked = {"player": self.name, "nonce": f"nonce of {self.name}"} | (
            {"token": self._token} if self._token else {}
        )
        answer = await self._ask(socket, zone, "phx_join", asked)
        self._token = self._token or answer["token"]
        self._saw(zone, answer["state"]["travellers"].get(self.name))

    def _next(self) -> tuple[str, str, Payload] | None:
        if not self.begun.is_set():
            return self._number(self.dice.choice(ZONES), "begin", {})
        here = next((zone for zone, steps in self._there.items() if steps == self.steps), None)
        if here is None:
            return None
        return self._number(here, "walk", {"to": self.dice.choice([zone for zone in ZONES if zone != here])})

    def _number(self, zone: str, event: str, payload: Payload) -> tuple[str, str, Payload]:
        self._numbers[zone] += 1
        return zone, event, {**payload, "n": self._numbers[zone]}

    async def _do(self, socket: Socket, zone: str, event: str, payload: Payload) -> None:
        try:
            await self._ask(socket, zone, event, payload)
        except Refused as refused:
            if refused.reason not in RETRIABLE:
                self.wrong.append(f"{self.name}: {event} in {zone} was refused: {refused}")
                self._pending = None
            raise
        if event == "walk":
            self.steps += 1
            self.walked_at.append(time.monotonic())
            self._there.pop(zone, None)
        self.begun.set()

    async def _ask(self, socket: Socket, zone: str, event: str, payload: Payload) -> Payload:
        return await answer_of(socket, f"game:{zone}", event, payload)

    async def _watch(self, socket: Socket) -> None:
        while True:
            topic, event, payload = await socket.events.get()
            zone = topic.removeprefix("game:")
            if event == "patch":
                for table, key, fields in payload["ops"]:
                    if table == "travellers" and key == self.name:
                        self._saw(zone, fields)
            elif event == "state":
                self._saw(zone, payload["state"]["travellers"].get(self.name))
            elif event in ("ended", "phx_close"):
                self.wrong.append(f"{self.name}: {zone} has said {event}")

    def _saw(self, zone: str, fields: Payload | None) -> None:
        if fields is None:
            self._there.pop(zone, None)
            return
        self._there[zone] = fields["steps"]
        if fields["steps"] > self.steps + bool(self._pending):
            self.wrong.append(f"{self.name}: is in {zone} after {fields['steps']} steps, has made {self.steps}")
