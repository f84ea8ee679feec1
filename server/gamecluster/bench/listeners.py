"""Sockets that connect, join one topic and listen: one process' share of them. Each broadcast says who sent it and when it was due.

Who is on the topic hears every broadcast once, and each sender's in order, or it is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from websockets.exceptions import WebSocketException

from ..chaos.client import Payload, Refused, Socket

AT_ONCE = 32
"""Handshakes of one process that are under way at the same time."""
JOIN_SECONDS = 30.0
SETTLE_SECONDS = 5.0
"""After the last broadcast, for the slowest to hear it."""
PROBLEMS_AT_MOST = 5
GAME = "game"

Counts = Mapping[str, int]
"""How many broadcasts each sender has published, as it was told."""


@dataclass(frozen=True, kw_only=True)
class Listening:
    """``first``: the number of the first of these sockets. ``senders``: so many of them publish ``event``, one broadcast every
    ``pace_seconds`` each, ``size`` bytes long beside what they are told apart by."""

    name: str
    first: int
    sockets: int
    urls: Sequence[str]
    topic: str
    seconds: float
    senders: int = 0
    event: str = "shout"
    pace_seconds: float = 1.0
    size: int = 0


@dataclass
class Heard:
    """Of the sockets that stayed. Milliseconds: ``joined``, from dialling to the answer of the join; ``latencies``, from when a
    broadcast was due; ``intervals``, between two patches of the game at one socket. ``joining``: seconds until all had joined."""

    joined: list[float] = field(default_factory=list)
    joining: float = 0.0
    stayed: int = 0
    latencies: list[float] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0
    disordered: int = 0
    intervals: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    """Broadcasts that the node refused, by its reason."""
    busy: float = 0.0

    def note(self, problem: str) -> None:
        if len(self.problems) < PROBLEMS_AT_MOST:
            self.problems.append(problem)


class Ear:
    """What one socket hears."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._patched_at: float | None = None
        self.last: Counter[str] = Counter()
        """Of each sender's broadcasts, the number of the last."""
        self.heard_of: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.intervals: list[float] = []
        self.doubled = self.disordered = 0

    def hear(self, event: str, payload: Payload, now: float) -> None:
        """``now``: ``time.monotonic``, as in the broadcast: all processes of a machine share it."""
        if event == "patch":
            if self._patched_at is not None:
                self.intervals.append((now - self._patched_at) * 1000)
            self._patched_at = now
        elif payload.get("bench") == self._name:
            sender, number = payload["from"], payload["number"]
            self.disordered += number > self.last[sender] + 1
            self.doubled += number <= self.last[sender]
            if number > self.last[sender]:
                self.last[sender] = number
                self.heard_of[sender] += 1
                self.latencies.append((now - payload["due"]) * 1000)

    def has_all(self, published: Counts) -> bool:
        return all(self.last[sender] >= count for sender, count in published.items())


class Listeners:
    """``join``, then ``listen``, then ``end``."""

    def __init__(self, job: Listening) -> None:
        self.heard = Heard()
        self._job = job
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._sockets: dict[int, Socket] = {}
        self._ears = {job.first + index: Ear(job.name) for index in range(job.sockets)}
        self._gone = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._published: Counter[str] = Counter()

    async def join(self) -> None:
        """All of them, or as many as may in JOIN_SECONDS."""
        began = time.monotonic()
        joining = [asyncio.get_running_loop().create_future() for _ in self._ears]
        for number, joined in zip(self._ears, joining, strict=True):
            self._tasks.append(asyncio.create_task(self._one(number, joined)))
        await asyncio.wait(joining, timeout=JOIN_SECONDS)
        self.heard.joining = time.monotonic() - began

    async def listen(self, begin: float) -> Counts:
        """For as long as is wanted, from ``begin`` on. Returns what these published."""
        numbers = [number for number in self._sockets if number - self._job.first < self._job.senders]
        await asyncio.gather(*(self._publish(number, begin) for number in numbers), _at(begin + self._job.seconds))
        return dict(self._published)

    async def end(self, published: Counts) -> Heard:
        """``published``: by all processes. Waits until it was heard, but not for ever."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline and not all(self._ears[n].has_all(published) for n in self._sockets):
            await _at(min(deadline, time.monotonic() + 0.02))
        self._gone.set()
        for number in self._sockets:
            self._judge(self._ears[number], published)
        self.heard.stayed = len(self._sockets)
        await asyncio.gather(*self._tasks)
        return self.heard

    def _judge(self, ear: Ear, published: Counts) -> None:
        heard = self.heard
        heard.latencies += ear.latencies
        heard.intervals += ear.intervals
        heard.doubled += ear.doubled
        heard.disordered += ear.disordered
        heard.lost += sum(max(0, count - ear.heard_of[sender]) for sender, count in published.items())

    async def _one(self, number: int, joined: asyncio.Future[None]) -> None:
        job = self._job
        try:
            async with contextlib.AsyncExitStack() as stack:
                async with self._gate:
                    began = time.monotonic()
                    socket = await stack.enter_async_context(Socket.to(job.urls[number % len(job.urls)]))
                player: Payload = {"player": f"{job.name}-{number}"} if job.topic == GAME else {"presence": False}
                await socket.push(job.topic, "phx_join", player)
                self.heard.joined.append((time.monotonic() - began) * 1000)
                self._sockets[number] = socket
                joined.set_result(None)
                await self._hear(socket, self._ears[number])
        except (OSError, TimeoutError, WebSocketException, Refused) as error:
            self.heard.note(f"{type(error).__name__}: {error}")
        finally:
            if not self._gone.is_set():
                self._sockets.pop(number, None)
            if not joined.done():
                joined.set_result(None)

    async def _hear(self, socket: Socket, ear: Ear) -> None:
        """Until the end, or until the socket is lost."""

        async def hear() -> None:
            while True:
                _, event, payload = await socket.events.get()
                ear.hear(event, payload, time.monotonic())

        closed = asyncio.create_task(socket.closed())
        others = [asyncio.create_task(hear()), asyncio.create_task(self._gone.wait())]
        try:
            await asyncio.wait([closed, *others], return_when=asyncio.FIRST_COMPLETED)
            if closed.done() and not self._gone.is_set():
                self.heard.note(f"closed by the node, with {closed.result()}")
        finally:
            for task in (closed, *others):
                task.cancel()

    async def _publish(self, number: int, begin: float) -> None:
        """What is refused, as by a limit, was not published: the next has its number."""
        job, sender = self._job, str(number)
        for turn in range(round(job.seconds / job.pace_seconds)):
            due = begin + turn * job.pace_seconds
            await _at(due)
            if number not in self._sockets:
                return
            payload = {"bench": job.name, "from": sender, "number": self._published[sender] + 1, "due": due}
            try:
                await self._sockets[number].push(job.topic, job.event, {**payload, "text": "x" * job.size})
                self._published[sender] += 1
            except Refused as refusal:
                self.heard.refused[refusal.reason] = self.heard.refused.get(refusal.reason, 0) + 1
            except (OSError, TimeoutError) as error:  # it may have been published: the next number is not known
                self.heard.note(f"{job.event} was not answered: {type(error).__name__}")
                return


async def _at(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))
