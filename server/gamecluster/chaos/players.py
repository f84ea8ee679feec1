"""Players who note all that they are told and shown.

Each adds random amounts to its own total (demo game ``counter``), or sends the one move it was given; counts its moves with
``n`` (rule 13), repeats what was not answered, goes to another node when its socket is lost or its node can't serve it, and so
ends with a history that can be checked.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from websockets.exceptions import InvalidHandshake, WebSocketException

from .client import Payload, Refused, Socket
from .history import Acknowledged, Ledger, Snapshot

RETRY_SECONDS = (0.0, 0.02, 0.05, 0.1, 0.2)
RETRIABLE = ("no leader", "rate limited", "overloaded")
PATIENCE_SECONDS = 1.5
"""How long a node may answer that it can't serve now before the player goes elsewhere: above any failover."""
DOUBT_SECONDS = 0.25
"""How long a move waits before its node is asked by a heartbeat whether it is there. Most take a tenth of it."""
HANG_SECONDS = 0.8
"""How long that answer may take. A node gives it at once, even while moves wait for another node to take over: who waits
there has to stay. A loop that stands still for 300 ms does not hang: this is well above twice that. The page has the same."""
REFUSALS_AT_MOST = 100
ADDED_AT_MOST = 1_000_000


@dataclass
class Player:
    """Moves until told to stop. ``urls``: the nodes' sockets; the player is at ``urls[at]``.

    ``other_move``: the event and payload for a game that is not the counter; then totals are neither read nor checked.
    ``topic``: that of a room, which has a ``ledger`` of its own, instead of the game's.
    """

    name: str
    urls: Sequence[str]
    at: int
    dice: random.Random
    pace_seconds: float = 0.1
    ledger: Ledger = field(default_factory=Ledger)
    other_move: tuple[str, Payload] | None = None
    topic: str = "game"
    history: list[Acknowledged] = field(default_factory=list)
    pending: int = 0
    violations: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    joins: int = 0
    token: str | None = None
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    acknowledged: asyncio.Event = field(default_factory=asyncio.Event)
    total: int = 0
    _n: int = 0
    _first_sent: float = 0.0
    _bound_for: int | None = None
    _stopping: bool = False

    def __post_init__(self) -> None:
        self.total = sum(move.amount for move in self.history)
        self._n = len(self.history)

    def stop(self) -> None:
        """After the move under way was answered."""
        self._stopping = True
        self.hurry.set()

    def go_to(self, at: int) -> None:
        """To another node, as soon as the move under way was answered."""
        self._bound_for = at if at != self.at else None

    async def run(self) -> None:
        failures = 0
        while not self._stopping or self.pending:
            moves = len(self.history)
            try:
                async with Socket.to(self.urls[self.at]) as socket:
                    await self._play(socket)
                if self._bound_for is None:
                    return
                self.at, self._bound_for = self._bound_for, None
                continue
            except (OSError, TimeoutError, InvalidHandshake, WebSocketException, Refused) as error:
                self.refusals.append(f"{time.monotonic():.3f} at {self.urls[self.at]}: {error!r}")
                del self.refusals[:-REFUSALS_AT_MOST]
            failures = 0 if len(self.history) > moves else failures + 1
            self.at = (self.at + self.dice.randrange(1, max(2, len(self.urls)))) % len(self.urls)
            pause = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
            await asyncio.sleep(pause * self.dice.uniform(0.5, 1.0))

    async def _play(self, socket: Socket) -> None:
        await self._join(socket)
        watching = asyncio.create_task(self._watch(socket))
        try:
            while self.pending or not (self._stopping or self._bound_for is not None):
                if not self.pending:
                    self._n += 1
                    self.pending = 1 if self.other_move else self.dice.randrange(1, ADDED_AT_MOST)
                await self._move(socket)
                await self._pause()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.pace_seconds):
                await self.hurry.wait()

    async def _join(self, socket: Socket) -> None:
        payload: Payload = {"player": self.name, "nonce": f"nonce of {self.name}"}
        if self.token:
            payload["token"] = self.token
        asked = time.monotonic()
        answer = await self._ask(socket, "phx_join", payload)
        self.joins += 1
        self.token = answer["token"]
        self._saw_all(asked, answer)

    async def _move(self, socket: Socket) -> None:
        event, payload = self.other_move or ("add", {"amount": self.pending})
        sent = time.monotonic()
        self._first_sent = self._first_sent or sent
        try:
            answer = await self._ask(socket, event, {**payload, "n": self._n})
        except Refused as refused:
            if refused.reason in RETRIABLE:
                raise
            if self.other_move and refused.reason not in ("gap", "unknown"):
                self.pending, self._first_sent = 0, 0.0  # the game's rule said no: that is an answer, too
                return
            self.violations.append(f"{self.name}: move {self._n} was refused: {refused}")
            raise
        now = time.monotonic()
        if not self.other_move and answer["value"] != self.total + self.pending:
            self.violations.append(
                f"{self.name}: move {self._n} made {answer['value']} of {self.total} + {self.pending}"
            )
        position = answer["epoch"], answer["seq"]
        self.history.append(Acknowledged(self._n, self.pending, sent, now, *position, self._first_sent))
        self.total += self.pending
        self.pending, self._first_sent = 0, 0.0
        self.acknowledged.set()

    async def _ask(self, socket: Socket, event: str, payload: Payload) -> Payload:
        """Asks again while the node says that it can't serve now. Raises Refused when that takes too long."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return await answer_of(socket, self.topic, event, payload)
            except Refused as refused:
                if refused.reason not in RETRIABLE or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.02)

    async def _watch(self, socket: Socket) -> None:
        """What players are shown, of their own totals and of others', must never be undone (I4)."""
        while True:
            topic, event, payload = await socket.events.get()
            if topic == self.topic and event == "patch":
                shown = {  # an op has only what changed, and none of a player who left
                    key: fields
                    for table, key, fields in payload["ops"]
                    if table == "totals" and (fields is None or "value" in fields)
                }
                for player, fields in shown.items():
                    self._saw(payload["epoch"], payload["seq"], fields, player)
            elif topic == self.topic and event == "state":
                self._saw_all(None, payload)

    def _saw_all(self, asked: float | None, payload: Payload) -> None:
        position = payload["epoch"], payload["seq"]
        table = {} if self.other_move else payload["state"].get("totals", {})
        totals = {key: int(fields.get("value", 0)) for key, fields in table.items()}
        self.ledger.read(Snapshot(self.name, asked, position, totals))
        self._saw(*position, table.get(self.name))

    def _saw(self, epoch: int, seq: int, fields: Payload | None, of: str | None = None) -> None:
        if self.other_move:
            return
        value = (fields or {}).get("value", 0)
        if fields is not None:
            self.ledger.shown(self.name, (epoch, seq), of or self.name, value)
        if of not in (None, self.name):
            return
        settled = self.total
        if value < settled and (not self.history or (epoch, seq) >= self.history[-1].position):
            self.violations.append(f"{self.name}: was shown {value} at {epoch}/{seq} after {settled} was acknowledged")
        if value > settled + self.pending:
            self.violations.append(
                f"{self.name}: was shown {value} at {epoch}/{seq}, more than it ever moved: {settled}"
            )


async def answer_of(socket: Socket, topic: str, event: str, payload: Payload) -> Payload:
    """As ``socket.push``, but raises ConnectionError soon when the node hangs."""
    pushing = asyncio.create_task(socket.push(topic, event, payload))
    try:
        while not (await asyncio.wait([pushing], timeout=DOUBT_SECONDS))[0]:
            if not await socket.is_there(HANG_SECONDS):
                socket.abort()
        return await pushing
    finally:
        pushing.cancel()
        await asyncio.gather(pushing, return_exceptions=True)


def answered_after(player: Player, moment: float) -> float | None:
    """Seconds from ``moment`` to the first answer of a move that was sent after it."""
    first = bisect_left(player.history, moment, key=lambda move: move.sent_at)
    return player.history[first].answered_at - moment if first < len(player.history) else None
