"""Players for tests with real processes: Phoenix V2 over real sockets, who note all that they were told.

Each player adds random amounts to its own total (demo game ``counter``), counts its moves with ``n`` (rule 13), repeats what was
not answered, goes to another node when its socket is lost, and so ends with a history that can be checked.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, WebSocketException

Payload = dict[str, Any]
ANSWER_SECONDS = 3.0
RETRY_SECONDS = (0.0, 0.02, 0.05, 0.1, 0.2)
RETRIABLE = ("no leader", "rate limited")


class Refused(Exception):
    """An error reply."""

    def __init__(self, response: Payload) -> None:
        super().__init__(str(response))
        self.reason = str(response.get("reason"))


class Socket:
    """One Phoenix connection: pushes that wait for their replies, and what the server pushes by itself."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._waiting: dict[str, asyncio.Future[Payload]] = {}
        self._references = 0
        self.events: asyncio.Queue[tuple[str, str, Payload]] = asyncio.Queue(10_000)

    @staticmethod
    @contextlib.asynccontextmanager
    async def to(url: str) -> Any:
        async with connect(
            f"{url}/websocket?vsn=2.0.0", compression=None, open_timeout=2, close_timeout=1, max_queue=4096, proxy=None
        ) as connection:
            socket = Socket(connection)
            reading = asyncio.create_task(socket._read())
            try:
                yield socket
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def push(self, topic: str, event: str, payload: Any, seconds: float = ANSWER_SECONDS) -> Payload:
        """The ok response. Raises Refused, TimeoutError, or ConnectionError when the socket is lost first."""
        self._references += 1
        reference = str(self._references)
        answer: asyncio.Future[Payload] = asyncio.get_running_loop().create_future()
        self._waiting[reference] = answer
        try:
            await self.send(json.dumps([topic, reference, topic, event, payload]))
            async with asyncio.timeout(seconds):
                reply = await answer
        finally:
            self._waiting.pop(reference, None)
            if answer.done() and not answer.cancelled():
                answer.exception()  # seen: the send may have failed first
        if reply["status"] != "ok":
            raise Refused(reply["response"])
        response: Payload = reply["response"]
        return response

    async def send(self, frame: str | bytes) -> None:
        try:
            await self._connection.send(frame)
        except WebSocketException as error:
            raise ConnectionError(str(error)) from error

    async def closed(self) -> int | None:
        """Waits until the socket is closed; returns the close code."""
        await self._connection.wait_closed()
        return self._connection.close_code

    async def _read(self) -> None:
        try:
            async for frame in self._connection:
                _, reference, topic, event, payload = json.loads(frame)
                if event == "phx_reply":
                    waiting = self._waiting.get(reference)
                    if waiting and not waiting.done():
                        waiting.set_result(payload)
                else:
                    with contextlib.suppress(asyncio.QueueFull):
                        self.events.put_nowait((topic, event, payload))
        except WebSocketException:
            pass
        finally:
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(ConnectionError("the socket was lost"))


@dataclass
class Acknowledged:
    """One move that was answered ok. Times are of ``time.monotonic``."""

    n: int
    amount: int
    sent_at: float
    answered_at: float
    epoch: int
    seq: int


@dataclass
class Player:
    """Moves until told to stop. ``urls``: the nodes' sockets; the player is at ``urls[at]``."""

    name: str
    urls: Sequence[str]
    at: int
    dice: random.Random
    pace_seconds: float = 0.1
    history: list[Acknowledged] = field(default_factory=list)
    pending: int = 0
    violations: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    joins: int = 0
    token: str | None = None
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    acknowledged: asyncio.Event = field(default_factory=asyncio.Event)
    _stopping: bool = False

    @property
    def total(self) -> int:
        return sum(move.amount for move in self.history)

    def stop(self) -> None:
        """After the move under way was answered."""
        self._stopping = True
        self.hurry.set()

    async def run(self) -> None:
        failures = 0
        while not self._stopping or self.pending:
            moves = len(self.history)
            try:
                async with Socket.to(self.urls[self.at]) as socket:
                    await self._play(socket)
                    return
            except (OSError, TimeoutError, InvalidHandshake, Refused) as error:
                self.refusals.append(f"{time.monotonic():.3f} at {self.urls[self.at]}: {error!r}")
            failures = 0 if len(self.history) > moves else failures + 1
            self.at = (self.at + self.dice.randrange(1, max(2, len(self.urls)))) % len(self.urls)
            pause = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
            await asyncio.sleep(pause * self.dice.uniform(0.5, 1.0))

    async def _play(self, socket: Socket) -> None:
        await self._join(socket)
        watching = asyncio.create_task(self._watch(socket))
        try:
            while not self._stopping or self.pending:
                if not self.pending:
                    self.pending = self.dice.randrange(1, 1_000_000)
                await self._move(socket)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.pace_seconds):
                        await self.hurry.wait()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _join(self, socket: Socket) -> None:
        payload: Payload = {"player": self.name, "nonce": f"nonce of {self.name}"}
        if self.token:
            payload["token"] = self.token
        while True:
            try:
                answer = await socket.push("game", "phx_join", payload)
                break
            except Refused as refused:
                if refused.reason not in RETRIABLE:
                    raise
                await asyncio.sleep(0.02)
        self.joins += 1
        self.token = answer["token"]
        self._saw(answer["epoch"], answer["seq"], answer["state"].get("totals", {}).get(self.name))

    async def _move(self, socket: Socket) -> None:
        n = len(self.history) + 1
        sent = time.monotonic()
        while True:
            try:
                answer = await socket.push("game", "add", {"amount": self.pending, "n": n})
                break
            except Refused as refused:
                if refused.reason not in RETRIABLE:
                    self.violations.append(f"{self.name}: move {n} was refused: {refused}")
                    raise
                await asyncio.sleep(0.02)
        now = time.monotonic()
        if answer["value"] != self.total + self.pending:
            self.violations.append(f"{self.name}: move {n} made {answer['value']} of {self.total} + {self.pending}")
        self.history.append(Acknowledged(n, self.pending, sent, now, answer["epoch"], answer["seq"]))
        self.pending = 0
        self.acknowledged.set()

    async def _watch(self, socket: Socket) -> None:
        """What this player is shown of its own total must never be undone (I4)."""
        while True:
            topic, event, payload = await socket.events.get()
            if topic == "game" and event == "patch":
                for table, key, fields in payload["ops"]:
                    if (table, key) == ("totals", self.name):
                        self._saw(payload["epoch"], payload["seq"], fields)
            elif topic == "game" and event == "state":
                self._saw(payload["epoch"], payload["seq"], payload["state"].get("totals", {}).get(self.name))

    def _saw(self, epoch: int, seq: int, fields: Payload | None) -> None:
        value = (fields or {}).get("value", 0)
        settled = self.total
        if value < settled and (not self.history or (epoch, seq) >= (self.history[-1].epoch, self.history[-1].seq)):
            self.violations.append(f"{self.name}: was shown {value} at {epoch}/{seq} after {settled} was acknowledged")
        if value > settled + self.pending:
            self.violations.append(
                f"{self.name}: was shown {value} at {epoch}/{seq}, more than it ever moved: {settled}"
            )


def answered_after(player: Player, moment: float) -> float | None:
    """Seconds from ``moment`` to the first answer of a move that was sent after it."""
    for move in player.history:
        if move.sent_at >= moment:
            return move.answered_at - moment
    return None


def check(players: Sequence[Player], totals: dict[str, Payload]) -> tuple[int, int, list[str]]:
    """(lost, doubled, all that is wrong): players whose total is less, or more, than what was acknowledged to them."""
    wrong = [violation for player in players for violation in player.violations]
    lost = doubled = 0
    for player in players:
        value = int(totals.get(player.name, {}).get("value", 0))
        positions = [(move.epoch, move.seq) for move in player.history]
        if positions != sorted(set(positions)):
            wrong.append(f"{player.name}: answers out of order: {positions}")
        if value in (player.total, player.total + player.pending):
            continue
        lost, doubled = lost + (value < player.total), doubled + (value > player.total)
        wrong.append(f"{player.name}: has {value}, was told {player.total}")
    return lost, doubled, wrong
