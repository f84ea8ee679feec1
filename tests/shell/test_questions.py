"""Questions between pods, calls that run once, and how far copies have come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gamecluster.core.messages import Fields, Position, incarnation
from gamecluster.rules import Rejected
from gamecluster.services.once import SESSIONS, SLOTS
from gamecluster.shell.progress import Progress
from gamecluster.shell.questions import OPEN_AT_MOST, Answered, Question, Questions
from gamecluster.shell.sessions import Sessions

A, B, C = (incarnation(f"arena-{i}", "uid", 1) for i in range(3))


class Timers:
    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []

    def later(self, seconds: float, then: Callable[[], None]) -> Timers:
        self.due.append((seconds, then))
        return self

    def cancel(self) -> None: ...


class Pod:
    def __init__(self) -> None:
        self.timers = Timers()
        self.sent: list[tuple[Any, Any]] = []
        self.answers: list[tuple[bool, Fields]] = []
        self.questions = Questions(self.timers.later, lambda peer, said: self.sent.append((peer, said)))

    def ask(self, peer: Any = B) -> None:
        self.questions.ask(peer, "name", {"x": 1}, 3.0, lambda ok, response: self.answers.append((ok, response)))


def test_a_question_is_answered_once_by_whom_it_was_asked() -> None:
    pod = Pod()
    pod.ask()
    assert pod.sent == [(B, Question(1, "name", {"x": 1}))]
    pod.questions.said(C, Answered(1, True, {"not": "its business"}))
    pod.questions.said(B, Answered(1, True, {"y": 2}))
    pod.questions.said(B, Answered(1, True, {"y": 3}))
    pod.questions.link_changed(B)
    assert pod.answers == [(True, {"y": 2})]


def test_one_that_is_not_answered_ends_with_its_time_or_its_link() -> None:
    pod = Pod()
    pod.ask()
    pod.ask()
    pod.timers.due[0][1]()
    assert pod.answers == [(False, {"reason": "timed out"})]
    pod.questions.link_changed(C)
    pod.questions.link_changed(B)
    assert pod.answers[1:] == [(False, {"reason": "unknown"})]


def test_too_many_at_once_are_not_asked() -> None:
    pod = Pod()
    for _ in range(OPEN_AT_MOST + 1):
        pod.ask()
    assert pod.answers == [(False, {"reason": "overloaded"})] and len(pod.sent) == OPEN_AT_MOST
    pod.ask(C)
    pod.questions.said(B, Answered(1, True, {}))
    pod.ask()
    assert len(pod.sent) == OPEN_AT_MOST + 2


def test_who_is_asked_answers_or_says_that_it_does_not_know_the_question() -> None:
    pod = Pod()
    pod.questions.answer("name", lambda body, then: then(True, {"got": body["x"]}))
    pod.questions.said(B, Question(7, "name", {"x": 1}))
    pod.questions.said(B, Question(8, "other", {}))
    assert pod.sent == [(B, Answered(7, True, {"got": 1})), (B, Answered(8, False, {"reason": "unknown question"}))]


# --- how far copies have come


async def test_a_put_waits_for_every_pod_that_is_heard_and_names_who_did_not_say_so() -> None:
    pod = Pod()
    progress = Progress(lambda: Position(1, 5), lambda: [B, C], pod.questions, pod.timers.later)
    waiting = asyncio.ensure_future(progress.everywhere(1, 5))
    await asyncio.sleep(0)
    assert pod.sent == [(peer, Question(n, "position", {"epoch": 1, "seq": 5})) for n, peer in ((1, B), (2, C))]
    pod.questions.said(B, Answered(1, True, {}))
    pod.timers.due[1][1]()
    assert await waiting == {"pods": 2, "missing": ["arena-2"]}


async def test_a_pod_answers_when_its_copy_has_come_so_far() -> None:
    pod, here = Pod(), [Position(1, 5)]
    progress = Progress(lambda: here[0], lambda: [], pod.questions, pod.timers.later)
    pod.questions.said(B, Question(1, "position", {"epoch": 1, "seq": 5}))
    pod.questions.said(B, Question(2, "position", {"epoch": 1, "seq": 6}))
    assert pod.sent == [(B, Answered(1, True, {}))]
    here[0] = Position(2, 6)
    progress.look()
    assert pod.sent[1:] == [(B, Answered(2, True, {}))]
    assert await progress.everywhere(1, 1) == {"pods": 1}


# --- calls that run once


class Leader:
    """``hold``: calls are answered when it is set."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Fields]] = []
        self.rows: set[str] = set()
        self.hold = asyncio.Event()
        self.hold.set()
        self.refuses: str | None = None
        self.sessions = Sessions("a", self.ask, self.rows.__contains__)

    async def ask(self, service: str, verb: str, args: Fields) -> Fields:
        assert service == "once"
        self.asked.append((verb, args))
        if verb == "open":
            self.rows.add(args["session"])
            return {}
        await self.hold.wait()
        if self.refuses is not None:
            raise Rejected(self.refuses)
        return {"epoch": 1, "seq": 1}

    def calls(self) -> list[tuple[str, int, int]]:
        return [(args["session"], args["slot"], args["n"]) for verb, args in self.asked if verb == "call"]

    async def add(self) -> Fields:
        return await self.sessions.ask_once("singletons", "call", {"name": "x"})


async def test_calls_share_one_session_and_count_in_their_slots() -> None:
    leader = Leader()
    await asyncio.gather(*(leader.add() for _ in range(3)))
    await leader.add()
    assert [verb for verb, _ in leader.asked].count("open") == 1
    assert leader.calls() == [("a/1", 0, n) for n in (1, 2, 3, 4)], "one after the other: one slot is enough"
    leader.hold.clear()
    running = [asyncio.ensure_future(leader.add()) for _ in range(3)]
    for _ in range(5):
        await asyncio.sleep(0)
    leader.hold.set()
    await asyncio.gather(*running)
    assert leader.calls()[4:] == [("a/1", 0, 5), ("a/1", 1, 1), ("a/1", 2, 1)]


async def test_no_more_are_under_way_than_there_are_slots() -> None:
    leader = Leader()
    leader.hold.clear()
    running = [asyncio.ensure_future(leader.add()) for _ in range(SLOTS + 5)]
    running[0].cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert len({slot for _, slot, _ in leader.calls()}) == len(leader.calls()) == SLOTS
    leader.hold.set()
    await asyncio.gather(*running[1:])
    assert len(leader.calls()) >= SLOTS + 4


async def test_a_session_that_the_leader_has_ended_is_not_used_again_and_what_was_asked_in_it_is_unknown() -> None:
    leader = Leader()
    await leader.add()
    leader.refuses = "no session"
    with pytest.raises(Rejected, match="unknown"):
        await leader.add()
    leader.refuses = None
    leader.rows.clear()
    leader.sessions.followed([(SESSIONS, "a/1", None)])
    await leader.add()
    assert leader.calls()[-1] == ("a/2", 0, 1)
