"""Sees what the nodes and the Lease say, several times a second: readiness, events for the console, the backstop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import httpx2

from ..core.messages import Incarnation, Position, Record, name_of
from ..shell.lease import LeaseError
from . import backstop
from .console import Failover, Line, Picture, lines
from .lease import Store
from .plan import HOST
from .restore import Shelf, begin, wake
from .supervisor import Supervised, Supervisor

T = TypeVar("T")

EVERY_SECONDS = 0.25
ASK_EVERY_ROUNDS = 4
"""Nodes are asked when the Lease has changed or one of them is not ready, else once in so many rounds: it takes them milliseconds."""
ANSWER_SECONDS = 0.5
APART_SECONDS = 0.02
"""Between one node and the next: all share this machine, and are not to answer at once."""


class Watch:
    def __init__(
        self,
        supervisor: Supervisor,
        store: Store,
        say: Callable[[str, str, str], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        keeps: bool = False,
        restores: bool = False,
        is_own: bool = True,
    ) -> None:
        """``keeps``: there is a storage; ``restores``: what it holds is wanted after a total loss; ``is_own``: each node has one."""
        self._supervisor = supervisor
        self._store = store
        self._say = say
        self._clock = clock
        self._keeps, self._restores, self._is_own = keeps, restores, is_own
        self._shelves: dict[Incarnation, Shelf] = {}
        self._told: dict[Incarnation, backstop.Told] = {}
        self._picture = Picture()
        self._last_record: Record | None = None
        self._held: Record | None = None  # the newest with a holder
        self._leaderless_since: float | None = None
        self._rounds = 0
        self._problem = ""
        self._failover: Failover | None = None
        self._half_told = 0  # the epoch of an account of which more may come; it is waited for once

    def ready(self) -> list[tuple[str, int]]:
        """Addresses for new clients."""
        return [(HOST, node.place.port) for node in self._supervisor.running() if node.ready]

    async def run(self, admin_token: str) -> None:
        headers = {"Authorization": f"Bearer {admin_token}"} if admin_token else {}
        async with httpx2.AsyncClient(timeout=ANSWER_SECONDS, headers=headers, trust_env=False) as client:
            while True:
                await self.look(client)
                await asyncio.sleep(EVERY_SECONDS)

    async def look(self, client: httpx2.AsyncClient) -> None:
        """One round."""
        record = await self._read()
        running = self._supervisor.running()
        is_news = record != self._last_record or self._rounds % ASK_EVERY_ROUNDS == 0
        if is_news or not all(node.ready for node in running):
            await _apart(_ask_ready(client, node) for node in running)
        if is_news:
            answers = await _apart(_ask_cluster(client, node) for node in running)
            self._note_failover(answers)
            self._hear(answers)
        self._rounds += 1
        self._tell(record)
        await self._back_stop(record)

    def _hear(self, answers: list[dict[str, Any]]) -> None:
        heard = list(filter(None, map(_heard, answers)))
        self._shelves = {who: shelf for who, shelf, _ in heard}
        self._told = {who: told for who, _, told in heard}

    async def _read(self) -> Record | None:
        """What the Lease says; what it said last, if it can't be understood now (which is said once)."""
        try:
            record = await self._store.read()
        except LeaseError as error:
            if str(error) != self._problem:
                self._problem = str(error)
                self._say("lease", "", self._problem)
            return self._last_record
        self._problem = ""
        return record

    def _note_failover(self, answers: list[Any]) -> None:
        seen = [Failover.parse(answer.get("lastFailover")) for answer in answers]
        newest = max((f for f in seen if f), key=lambda f: (f.epoch, f.is_whole), default=None)
        if newest and (self._failover is None or newest.epoch > self._failover.epoch):
            if newest.is_whole or newest.epoch == self._half_told:
                self._failover = newest
            self._half_told = newest.epoch

    def _tell(self, record: Record | None) -> None:
        running = {node.place.name: node.process.pid for node in self._supervisor.running() if node.process}
        ready = {node.place.name: running[node.place.name] for node in self._supervisor.running() if node.ready}
        after = Picture(record, running, ready, self._failover)
        for line in lines(self._picture, after):
            self._say(*line)
        self._picture = after

    async def _back_stop(self, record: Record | None) -> None:
        """The operator's part (rules 9 and 12)."""
        if record is None:
            await self._recreate()
            return
        if record != self._last_record:
            self._leaderless_since = None
        self._last_record = record
        running = self._supervisor.running()
        live = {node.place.name: node.incarnation for node in running if node.incarnation}
        told = {who: says for who, says in self._told.items() if who in live.values()}
        if not backstop.is_lost(record, told, self._held):
            self._held = record if record.holder is not None else None
        if record.never_held or backstop.leads(record, told):
            self._leaderless_since = None
            return
        if not running:  # asleep, or all are stopped: what is waited for begins when there is a node
            self._leaderless_since = None
        if self._leaderless_since is None:
            self._leaderless_since = self._clock()
        if len(live) < len(running):
            return  # somebody lives whose incarnation is not known yet: it may be the one
        replacement = self._decide(record, live, told, self._leaderless_since)
        if replacement and await self._store.write(replacement):
            self._say(*self._explain(record, replacement, backstop.is_lost(record, told, self._held)))
            self._leaderless_since = None

    def _decide(
        self, record: Record, live: dict[str, Incarnation], told: backstop.Tellings, since: float
    ) -> Record | None:
        now = self._clock()
        sleeps = record.asleep is not None and not backstop.is_lost(record, told, self._held)
        if not self._keeps or not (sleeps or backstop.is_total_loss(record, live, told, self._held)):
            return backstop.backstop(record, live, told, since, now, self._held)
        shelves = {who: shelf for who, shelf in self._shelves.items() if who in live.values()}
        expected = [node.place.name for node in self._supervisor.nodes.values() if node.wanted]
        how = shelves, expected, now - since, self._restores, backstop.highest_epoch(told)
        return wake(record, *how, self._is_own) if sleeps else begin(record, *how)

    def _explain(self, record: Record, replacement: Record, was_lost: bool) -> Line:
        if replacement.restore and replacement.holder:
            stored = self._shelves[replacement.holder].stored
            where = f"{stored.epoch}/{stored.seq}" if stored else "?"
            lost = "all that had the GameState are dead; " if record.in_sync else _missing(record, stored)
            name = name_of(replacement.holder)
            return "restored", name, f"{lost}it goes on with what is stored, at {where}, as epoch {replacement.epoch}"
        if self._keeps and replacement.holder is None:
            why = "nothing is stored" if self._restores else "onTotalLoss is Reset"
            lost = "all that had the GameState are dead; " if record.in_sync else _missing(record, None)
            return ("lost" if record.in_sync else "fresh"), "", f"{lost}{why}: afresh in epoch {replacement.epoch}"
        return _explain(record, replacement, was_lost)

    async def _recreate(self) -> None:
        """A Lease that vanished comes back vacant, with the epoch and the set that it had; the incumbent claims it."""
        last, held = self._last_record, backstop.newest_held(self._told, self._held)
        if last is None:
            return
        if held is not None and held.epoch > last.epoch:
            last = held
        elif last.never_held and len(self._told) < len(self._supervisor.running()):
            return  # somebody may lead who has yet to say so
        if await self._store.recreate(last):
            self._say("lease", "", f"had vanished: made anew, vacant, epoch {last.epoch}")


def _missing(record: Record, stored: Position | None) -> str:
    if record.asleep is None or (stored is not None and stored >= record.asleep.position):
        return ""
    at = f"{record.asleep.epoch}/{record.asleep.seq}"
    return f"what {name_of(record.asleep.by)} had stored last, up to {at}, is not there any more; "


def _explain(record: Record, replacement: Record, was_lost: bool) -> Line:
    if replacement.holder is None:
        return (
            "lost",
            "",
            f"all that had the GameState are dead; it was in memory only: afresh in epoch {replacement.epoch}",
        )
    who = name_of(replacement.holder)
    if was_lost:
        left = "the Lease was lost, and not all of the last in-sync set are left to reclaim it"
        return "backstop", who, f"named: {left}; it has the longest log of those that are"
    if replacement.epoch == record.epoch:
        ended = ", ".join(name_of(member) for member in replacement.dead if member not in record.dead)
        return "backstop", who, f"freed from its seal: {ended} have certainly ended"
    former = name_of(record.holder) if record.holder else "nobody"
    return "backstop", who, f"named: {former} does not hold any more, and nobody took over"


def _heard(answer: dict[str, Any]) -> tuple[Incarnation, Shelf, backstop.Told] | None:
    """What a node says of itself in ``GET /cluster``, and of its storage."""
    try:
        me = next(Incarnation(node["incarnation"]) for node in answer["nodes"] if node["name"] == answer["self"])
        stored = _position(answer.get("stored"))
        told = backstop.Told(
            leads=answer.get("leader") == name_of(me),
            epoch=int(answer.get("epoch") or 0),
            held=_held(answer.get("held")),
            last=_position(answer.get("last")) or Position(0, 0),
            bound=tuple(Incarnation(who) for who in answer.get("bound") or ()),
        )
        return me, Shelf(answer.get("storage") == "Ready" or stored is not None, stored), told
    except (KeyError, TypeError, ValueError, StopIteration):
        return None


def _position(answer: dict[str, Any] | None) -> Position | None:
    return Position(int(answer["epoch"]), int(answer["seq"])) if answer else None


def _held(answer: dict[str, Any] | None) -> Record | None:
    if not answer:
        return None
    in_sync = tuple(Incarnation(who) for who in answer["inSync"])
    return Record(int(answer["version"]), Incarnation(answer["holder"]), int(answer["epoch"]), in_sync)


async def _apart(asks: Iterable[Awaitable[T]]) -> list[T]:
    """All of them, each begun a little after the one before."""

    async def later(number: int, ask: Awaitable[T]) -> T:
        await asyncio.sleep(number * APART_SECONDS)
        return await ask

    return await asyncio.gather(*(later(number, ask) for number, ask in enumerate(asks)))


async def _ask_ready(client: httpx2.AsyncClient, node: Supervised) -> None:
    process = node.process
    try:
        ready = (await client.get(node.place.admin_url + "/readyz")).status_code == 200
    except httpx2.HTTPError:
        ready = False
    if process is not None and node.process is process:
        node.ready = ready


async def _ask_cluster(client: httpx2.AsyncClient, node: Supervised) -> dict[str, Any]:
    process = node.process
    try:
        answer: dict[str, Any] = (await client.get(node.place.admin_url + "/cluster")).json()
    except (httpx2.HTTPError, ValueError):
        return {}
    for entry in answer.get("nodes", ()):
        if entry.get("name") == answer.get("self") == node.place.name and node.process is process:
            node.incarnation = Incarnation(entry["incarnation"])
    return answer
