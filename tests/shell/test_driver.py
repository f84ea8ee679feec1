"""The driver with a node that is told what to decide: effects reach who they are for, events come in order, nothing hangs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.shell.fakes import VIEW

from gamecluster.core.effects import (
    Answer,
    Deliver,
    DeliverPatch,
    DeliverState,
    Drained,
    Effect,
    Level,
    ReadRecord,
    Replace,
    Say,
    SendPeer,
    WriteRecord,
)
from gamecluster.core.events import (
    ConnectionsCounted,
    DrainRequested,
    Event,
    RecordConflicted,
    RecordRead,
    RecordReadFailed,
    RecordUnanswered,
    RecordWritten,
    Ticked,
)
from gamecluster.core.messages import HandOffTo, Incarnation, Message, Position, Record, Tables, incarnation
from gamecluster.core.replication import Log
from gamecluster.core.view import ClusterView
from gamecluster.shell import driver as module
from gamecluster.shell.driver import Driver, NodeFailed, tick_seconds
from gamecluster.shell.lease import LeaseConflict, LeaseUnanswered, OnRecord
from gamecluster.shell.metrics import Metrics
from gamecluster.shell.questions import Questions

PEER = Incarnation("arena-1_u_1")
RECORD = Record(7, PEER, 3, (PEER,))


class ScriptedNode:
    """Answers each kind of event with the effects it was given; records what it was told."""

    me = incarnation("arena-0", "uid", 1)
    log = Log()
    suspect_after = 0.7

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.script: dict[type[Any], list[Effect]] = {}
        self.fails_on: type[Any] | None = None
        self.depth = 0

    def handle(self, event: Event, now: float) -> list[Effect]:
        assert self.depth == 0, "the node was entered while it was deciding"
        self.depth += 1
        try:
            self.events.append(event)
            if self.fails_on is not None and isinstance(event, self.fails_on):
                raise AssertionError("an invariant does not hold")
            return self.script.pop(type(event), [])
        finally:
            self.depth -= 1

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def position(self) -> Position:
        return Position(1, 2)

    def visible_tables(self) -> Tables:
        return {"totals": {"p1": {"value": 3}}}

    def view(self) -> ClusterView:
        return VIEW


class Neighbours:
    """Mesh and hub: write down in which order they were called."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.on_call: Callable[[Any], None] = lambda call: None
        self.questions = Questions(asyncio.get_running_loop().call_later, lambda peer, said: None)

    def send(self, peer: Incarnation, message: Message) -> None:
        self._called((peer, message))

    def answer(self, effect: Answer) -> None:
        self._called(effect)

    def deliver(self, effect: Deliver) -> None:
        self._called(effect)

    def deliver_patch(self, effect: DeliverPatch) -> None:
        self._called(effect)

    def deliver_state(self, effect: DeliverState) -> None:
        self._called(effect)

    def replace(self, effect: Replace) -> None:
        self._called(effect)

    def _called(self, call: Any) -> None:
        self.calls.append(call)
        self.on_call(call)


class ScriptedLease:
    """``answers`` for writes, in order: a version, an exception, or None for silence."""

    def __init__(self) -> None:
        self.reads = 0
        self.answers: list[int | Exception | None] = []
        self.fails: Exception | None = None
        self.hold = asyncio.Event()
        self.hold.set()
        self.changed = asyncio.Event()

    async def read(self) -> Record | None:
        self.reads += 1
        await self.hold.wait()
        if self.fails is not None:
            raise self.fails
        return RECORD

    async def write(self, record: Record) -> int:
        answer = self.answers.pop(0)
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, int)
        return answer

    async def watch(self, on_record: OnRecord) -> None:
        while True:
            await self.changed.wait()
            self.changed.clear()
            on_record(RECORD)

    async def close(self) -> None:
        return None


class Stage:
    def __init__(self) -> None:
        self.node = ScriptedNode()
        self.lease = ScriptedLease()
        self.around = Neighbours()
        self.driver = Driver(self.node, self.lease, Metrics())
        self.driver.connect(self.around, self.around)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.driver.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (conditions of any kind)
            await asyncio.sleep(0.005)


async def test_every_effect_reaches_whom_it_is_for_in_order(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    effects: list[Effect] = [
        SendPeer(PEER, HandOffTo(None)),
        Answer(1, True, {}),
        Deliver("room:1", "e", b"{}"),
        DeliverPatch(1, 2, []),
        DeliverState(1, 2),
        Replace(4, "p1"),
    ]
    stage.node.script[DrainRequested] = [*effects, Say(Level.warning, "stepped down: 100% sure"), Drained()]
    stage.driver.dispatch(DrainRequested())
    assert stage.around.calls == [(PEER, HandOffTo(None)), *effects[1:]]
    assert "stepped down: 100% sure" in caplog.messages
    assert stage.driver.drained.is_set()


async def test_who_looks_is_shown_what_the_node_shows() -> None:
    stage = Stage()
    assert stage.driver.view() == VIEW
    assert stage.driver.position() == Position(1, 2)
    assert stage.driver.visible_tables() == {"totals": {"p1": {"value": 3}}}


async def test_rooms_suspect_a_pod_when_the_node_does() -> None:
    assert Stage().driver.rooms.machine.suspect_after == ScriptedNode.suspect_after


async def test_an_event_from_within_an_effect_waits_for_its_turn() -> None:
    stage = Stage()
    stage.node.script[DrainRequested] = [Answer(1, True, {}), Answer(2, True, {})]
    stage.node.script[ConnectionsCounted] = [Answer(3, True, {})]
    stage.around.on_call = lambda call: stage.driver.dispatch(ConnectionsCounted(9)) if call.request == 1 else None
    stage.driver.dispatch(DrainRequested())
    assert [call.request for call in stage.around.calls] == [1, 2, 3]
    assert stage.node.events == [DrainRequested(), ConnectionsCounted(9)]


async def test_an_effect_that_fails_does_not_keep_the_others_from_being_done(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()

    def fail_first(call: Any) -> None:
        if call.request == 1:
            raise ValueError("one client's trouble")

    stage.around.on_call = fail_first
    stage.node.script[DrainRequested] = [Answer(1, True, {}), Answer(2, True, {})]
    stage.driver.dispatch(DrainRequested())
    assert [call.request for call in stage.around.calls] == [1, 2]
    assert "Answer could not be done" in caplog.messages


async def test_a_node_that_fails_ends_the_run_and_decides_nothing_more() -> None:
    stage = Stage()
    stage.node.fails_on = ConnectionsCounted
    run = asyncio.create_task(stage.driver.run())
    await until(lambda: stage.node.of(Ticked))
    assert stage.driver.is_alive
    stage.driver.dispatch(ConnectionsCounted(1))
    with pytest.raises(ExceptionGroup) as raised:
        async with asyncio.timeout(5):
            await run
    assert raised.group_contains(NodeFailed, match="an invariant does not hold")
    assert not stage.driver.is_alive
    told = len(stage.node.events)
    stage.driver.dispatch(ConnectionsCounted(2))
    assert len(stage.node.events) == told


async def test_it_ticks_and_reads_the_lease_at_the_start() -> None:
    stage = Stage()
    async with stage.running():
        await until(lambda: len(stage.node.of(Ticked)) >= 5 and stage.node.of(RecordRead))
    assert stage.node.of(RecordRead)[0] == RecordRead(RECORD)


@pytest.mark.parametrize(("rate", "seconds"), [(0, 0.02), (10, 0.02), (30, 1 / 60), (60, 1 / 60), (50, 0.02)])
def test_ticks_are_a_whole_part_of_the_games_and_at_most_20_ms(rate: int, seconds: float) -> None:
    assert tick_seconds(rate) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("answer", "event"),
    [
        (8, RecordWritten(5, 8)),
        (LeaseConflict("version 9"), RecordConflicted(5)),
        (LeaseUnanswered("reset"), RecordUnanswered(5, "LeaseUnanswered: reset")),
        (OSError("anything"), RecordUnanswered(5, "OSError: anything")),
        (None, RecordUnanswered(5, "timed out")),
    ],
)
async def test_the_outcome_of_a_write_is_an_event(
    monkeypatch: pytest.MonkeyPatch, answer: int | Exception | None, event: Event
) -> None:
    monkeypatch.setattr(module, "LEASE_ANSWER_SECONDS", 0.05)
    stage = Stage()
    stage.lease.answers = [answer]
    stage.node.script[DrainRequested] = [WriteRecord(5, RECORD)]
    stage.driver.dispatch(DrainRequested())
    await until(lambda: len(stage.node.events) > 1)
    assert stage.node.events[1:] == [event]


async def test_a_read_that_fails_or_hangs_is_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEASE_ANSWER_SECONDS", 0.05)
    stage = Stage()
    stage.lease.fails = LeaseUnanswered("no route")
    stage.node.script[DrainRequested] = [ReadRecord()]
    stage.driver.dispatch(DrainRequested())
    await until(lambda: stage.node.of(RecordReadFailed))
    stage.lease.hold.clear()
    stage.node.script[DrainRequested] = [ReadRecord()]
    stage.driver.dispatch(DrainRequested())
    await until(lambda: len(stage.node.of(RecordReadFailed)) == 2)
    assert [e.reason for e in stage.node.of(RecordReadFailed)] == ["LeaseUnanswered: no route", "timed out"]


async def test_reads_asked_for_during_a_read_are_one_more_read() -> None:
    stage = Stage()
    stage.lease.hold.clear()
    for _ in range(5):
        stage.node.script[DrainRequested] = [ReadRecord()]
        stage.driver.dispatch(DrainRequested())
    await until(lambda: stage.lease.reads)
    stage.lease.hold.set()
    await until(lambda: len(stage.node.of(RecordRead)) == 2)
    assert stage.lease.reads == 2


async def test_a_change_that_the_watch_reports_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEASE_READ_EVERY_SECONDS", 3600)
    stage = Stage()
    async with stage.running():
        await until(lambda: stage.node.of(RecordRead))
        stage.lease.changed.set()
        await until(lambda: len(stage.node.of(RecordRead)) == 2)


async def test_without_a_watch_the_lease_is_read_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEASE_READ_EVERY_SECONDS", 0.02)
    stage = Stage()
    async with stage.running():
        await until(lambda: len(stage.node.of(RecordRead)) >= 3)
