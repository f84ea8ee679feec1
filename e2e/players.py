"""Players over real WebSockets, and a verdict on what they saw. Runs in the cluster, with `websockets` alone.

`python players.py '{"addresses": ["arena-0.arena-mesh.default.svc.cluster.local:4000", …], "players": 6}'`

Every player joins the topic `game`, or that of a room, and moves at its pace, one move outstanding at a time, each with its own count `n`.
On any error it goes to the next address and repeats the unanswered move with the same `n`. Prints a line of JSON twice
a second and ends when its standard input does: then every unanswered move is brought to its end, and the last line is
the verdict.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

ANSWER_WITHIN_SECONDS = 2.0
FINISH_WITHIN_SECONDS = 60.0
NOT_NOW = ("no leader", "rate limited", "unknown", "not ready", "draining")
"""Refusals that leave the move undone or undecided: the same move is repeated."""


@dataclass(frozen=True)
class Plan:
    """What to play. With `totals` the game is the counter, and its sums are compared with what was acknowledged."""

    addresses: list[str]
    players: int = 6
    moves_per_second: float = 20.0
    prefix: str = "p"
    event: str = "add"
    payload: dict[str, Any] = field(default_factory=lambda: {"amount": 1})
    totals: bool = True
    begins_anew: bool = False
    """The game may be deleted and made anew under the players: what was acknowledged in an earlier one is not looked for."""
    rooms: int = 0
    """They play in so many rooms, `match-0` and on, instead of in the game."""
    leaves: bool = False
    """At the end the players leave the game; else they only go away, and their stays end later."""


@dataclass(frozen=True)
class Verdict:
    """What the players saw. A blackout is a player's longest time between two acknowledged moves."""

    players: int
    acknowledged: int
    lost: int
    doubled: int
    unanswered: int
    blackout_p50_ms: int
    blackout_p99_ms: int
    blackout_max_ms: int
    reconnects: int
    refusals: dict[str, int]
    violations: list[str]
    begun_anew: int = 0
    """How often a player found another game than its own, and joined that."""

    def __str__(self) -> str:
        return (
            f"{self.players} players, {self.acknowledged} moves acknowledged, {self.lost} lost, "
            f"{self.doubled} doubled, {self.unanswered} unanswered; "
            f"blackout p50 {self.blackout_p50_ms} ms, p99 {self.blackout_p99_ms} ms, max {self.blackout_max_ms} ms; "
            f"{self.reconnects} reconnects, refusals {self.refusals or 'none'}"
            f"{f'; {self.begun_anew} began anew' if self.begun_anew else ''}"
        )

    def figures(self) -> tuple[int, ...]:
        counted = (self.acknowledged, self.lost, self.doubled)
        return (*counted, self.blackout_p50_ms, self.blackout_p99_ms, self.blackout_max_ms, self.reconnects)


class Elsewhere(Exception):
    """This pod does not serve the player now; another may."""


class Channel:
    """The topic of the game, or of the player's room, on one socket, in Phoenix's V2 text form."""

    def __init__(self, socket: ClientConnection, player: Player) -> None:
        self._socket = socket
        self._player = player
        self._ref = 0
        self._answers: dict[str, asyncio.Future[tuple[str, dict[str, Any]]]] = {}

    async def ask(self, event: str, payload: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
        """Pushes one event and waits for its reply: (ok, response)."""
        self._ref += 1
        ref = str(self._ref)
        answer = self._answers[ref] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps(["1", ref, self._player.topic, event, payload]))
        async with asyncio.timeout(ANSWER_WITHIN_SECONDS):
            status, response = await answer
        return status == "ok", response

    async def read(self) -> None:
        """Takes all that comes until the socket ends; then every open question fails."""
        try:
            async for frame in self._socket:
                self._take(*json.loads(frame))
        except WebSocketException:
            pass
        finally:
            self._fail("the socket ended")

    def _take(self, _join_ref: Any, ref: Any, topic: str, event: str, payload: dict[str, Any]) -> None:
        if topic == self._player.topic and event in ("phx_close", "phx_error"):
            self._fail(event)
        elif event == "phx_reply" and ref in self._answers:
            answer = self._answers.pop(ref)
            if "state" in payload["response"]:
                self._player.saw(payload["response"], "join")
            if not answer.done():
                answer.set_result((payload["status"], payload["response"]))
        elif event in ("patch", "state"):
            self._player.saw(payload, event)

    def _fail(self, reason: str) -> None:
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(Elsewhere(reason))
        self._answers.clear()


class Player:
    """One player through all its sockets. `acknowledged` holds when each move was answered with ok."""

    def __init__(self, number: int, plan: Plan) -> None:
        self.id = f"{plan.prefix}{number}"
        self.topic = f"game:match-{plan.prefix}-{number % plan.rooms}" if plan.rooms else "game"
        self.acknowledged: list[float] = []
        self.unanswered = 0
        self.total: int | None = None
        self.sockets = 0
        self.refusals: Counter[str] = Counter()
        self.violations: list[str] = []
        self._plan = plan
        self.earlier: list[float] = []
        """When moves were answered in games that are no more."""
        self.begun_anew = 0
        self._token: str | None = None
        self._position = (0, 0)
        self._next_address = number
        self._over = False
        """No more moves: all are answered, or one was answered as none should be."""

    async def play(self, stop: asyncio.Event) -> None:
        """Moves until `stop`, then until the move that is out is answered; then reads its total at another pod."""
        pause = 0.02
        while not self._over:
            before = len(self.acknowledged)
            try:
                async with self._joined() as channel:
                    while not self._over and not (stop.is_set() and not self.unanswered):
                        await self._move(channel)
                        await asyncio.sleep(1 / self._plan.moves_per_second if not self.unanswered else 0.02)
                    self._over = True
            except (OSError, WebSocketException, TimeoutError, Elsewhere):
                pause = 0.02 if len(self.acknowledged) > before else min(pause * 1.5, 0.5)
                await asyncio.sleep(pause)
        while self._plan.totals and self.total is None:
            try:
                async with self._joined() as channel:
                    if self._plan.leaves:
                        await channel.ask("phx_leave", {})
            except (OSError, WebSocketException, TimeoutError, Elsewhere):
                await asyncio.sleep(0.2)

    def saw(self, payload: dict[str, Any], what: str) -> None:
        """Positions never go back for a client, across reconnects too."""
        position = (payload["epoch"], payload["seq"])
        if position < self._position:
            self.violations.append(f"{self.id}: {what} at {position} after {self._position}")
        self._position = max(self._position, position)

    @asynccontextmanager
    async def _joined(self) -> AsyncIterator[Channel]:
        address = self._plan.addresses[self._next_address % len(self._plan.addresses)]
        self._next_address += 1
        url = f"ws://{address}/socket/websocket?vsn=2.0.0"
        async with connect(
            url, open_timeout=1.5, close_timeout=0.2, ping_interval=None, compression=None, proxy=None
        ) as socket:
            channel = Channel(socket, self)
            reading = asyncio.create_task(channel.read())
            try:
                await self._join(channel)
                self.sockets += 1
                yield channel
            finally:
                reading.cancel()

    async def _join(self, channel: Channel) -> None:
        payload = {"player": self.id, "nonce": f"nonce-of-{self.id}"} | ({"token": self._token} if self._token else {})
        ok, response = await channel.ask("phx_join", payload)
        if not ok:
            self.refusals["join: " + str(response.get("reason"))] += 1
            if response.get("reason") == "bad token" and self._plan.begins_anew:
                self._begin_anew()
            raise Elsewhere(f"join refused: {response}")
        self._token = response["token"]
        if self._over and self._plan.totals:
            self.total = response["state"]["totals"].get(self.id, {}).get("value", 0)

    def _begin_anew(self) -> None:
        """The token is of a game that is no more, and so are its positions, and the move that was out."""
        self.begun_anew += 1
        self.earlier += self.acknowledged
        self.acknowledged, self.unanswered = [], 0
        self._token, self._position = None, (0, 0)

    async def _move(self, channel: Channel) -> None:
        n = len(self.acknowledged) + 1
        self.unanswered = 1
        ok, response = await channel.ask(self._plan.event, {**self._plan.payload, "n": n})
        reason = response.get("reason")
        if ok:
            self.acknowledged.append(time.monotonic())
            self.unanswered = 0
            if response.get("value", n) != n:  # the counter answers with the player's own total
                self.violations.append(f"{self.id}: move {n} answered {response}")
        elif reason in NOT_NOW:
            self.refusals[reason] += 1
            if self.refusals[reason] % 50 == 0:
                raise Elsewhere(reason)  # the smaller side of a partition says this for ever
        else:
            self.violations.append(f"{self.id}: move {n} answered {response}")
            self._over = True


def judge(players: list[Player]) -> Verdict:
    """Each move counts 1: a total below the acknowledged moves is loss, one above them and the unanswered doubling."""
    counted = [(p.total, len(p.acknowledged), p.unanswered) for p in players if p.total is not None]
    gaps = [max((b - a for a, b in pairwise([*p.earlier, *p.acknowledged])), default=0.0) for p in players]
    return Verdict(
        players=len(players),
        acknowledged=sum(len(p.earlier) + len(p.acknowledged) for p in players),
        lost=sum(max(0, acknowledged - total) for total, acknowledged, _ in counted),
        doubled=sum(max(0, total - acknowledged - unanswered) for total, acknowledged, unanswered in counted),
        unanswered=sum(p.unanswered for p in players),
        blackout_p50_ms=round(statistics.median(gaps) * 1000),
        blackout_p99_ms=round(quantile(gaps, 0.99) * 1000),
        blackout_max_ms=round(max(gaps) * 1000),
        reconnects=sum(max(0, p.sockets - 1 - (p.total is not None)) for p in players),
        refusals=dict(sum((p.refusals for p in players), Counter())),
        violations=[v for p in players for v in p.violations],
        begun_anew=sum(p.begun_anew for p in players),
    )


def quantile(values: list[float], q: float) -> float:
    """Interpolated between the neighbours: with few players p99 is close to the longest."""
    ordered, at = sorted(values), q * (len(values) - 1)
    low = ordered[int(at)]
    return low + (ordered[min(int(at) + 1, len(ordered) - 1)] - low) * (at - int(at))


async def play(plan: Plan, stop: asyncio.Event, report: Any = None) -> Verdict:
    """Plays until `stop`; `report` is called twice a second with every player's acknowledged moves."""
    players = [Player(i, plan) for i in range(plan.players)]
    playing = asyncio.gather(*(p.play(stop) for p in players))
    deadline: float | None = None
    while not playing.done() and (deadline is None or time.monotonic() < deadline):
        await asyncio.wait([playing], timeout=0.5)
        if report:
            report([len(p.earlier) + len(p.acknowledged) for p in players])
        if stop.is_set() and deadline is None:
            deadline = time.monotonic() + FINISH_WITHIN_SECONDS
    if playing.done():
        await playing
    else:
        playing.cancel()
        for p in players:
            if p.total is None and plan.totals:
                p.violations.append(f"{p.id}: did not come to its end within {FINISH_WITHIN_SECONDS:.0f} s")
    return judge(players)


async def main() -> None:
    plan = Plan(**json.loads(sys.argv[1]))
    stop = asyncio.Event()
    asyncio.get_running_loop().run_in_executor(None, sys.stdin.read).add_done_callback(lambda _: stop.set())
    verdict = await play(plan, stop, lambda counts: print(json.dumps({"counts": counts}), flush=True))
    print(json.dumps({"verdict": asdict(verdict)}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
