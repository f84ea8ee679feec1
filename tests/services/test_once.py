"""Calls that run once: a repeated one is answered as the first time, or refused if nobody knows."""

from __future__ import annotations

import random
from typing import Any

import pytest

from gamecluster import Singleton, on
from gamecluster.core.messages import Fields, Incarnation
from gamecluster.core.replication import apply
from gamecluster.rules import Outcome
from gamecluster.services import Services
from gamecluster.services.once import CALLS, SESSIONS

A, B = Incarnation("arena-0_a_1"), Incarnation("arena-1_b_1")


class Count(Singleton):
    name = "count"
    value: int = 0

    @on("add")
    def add(self, amount: int) -> dict[str, int]:
        self.value += amount
        return {"value": self.value}


@pytest.fixture
def these() -> Services:
    made = Services(lambda: 0.0, random.Random(1), [Count])
    assert made.call("once", "open", {"session": "s1"}, A).ok
    return made


def add(these: Services, n: int, slot: int = 0, origin: Incarnation = A, amount: int = 1, **more: Any) -> Outcome:
    call: Fields = {"service": "singletons", "verb": "call"}
    call["args"] = {"name": "count", "event": "add", "payload": {"amount": amount}}
    return these.call("once", "call", {"session": "s1", "slot": slot, "n": n, **call, **more}, origin)


def test_a_repeated_call_is_answered_as_the_first_time(these: Services) -> None:
    assert [add(these, n).response for n in (1, 1, 2, 2)] == [{"response": {"value": v}} for v in (1, 1, 2, 2)]
    assert add(these, 1, slot=1).response == {"response": {"value": 3}}
    assert add(these, 2).response == {"response": {"value": 2}} and add(these, 2).ops == []


def test_a_call_that_a_later_one_of_its_slot_has_followed_is_unknown(these: Services) -> None:
    add(these, 2)
    assert add(these, 1).response["reason"] == "unknown"


def test_a_refused_call_is_not_kept(these: Services) -> None:
    assert add(these, 1, amount="x").response["reason"] == "bad payload"  # type: ignore[arg-type]
    assert add(these, 1).response == {"response": {"value": 1}}


def test_answers_outlive_the_leader_and_end_with_the_pod(these: Services) -> None:
    tables: dict[str, dict[str, Fields]] = {}
    other = Services(lambda: 0.0, random.Random(2), [Count])
    apply(tables, [(SESSIONS, "s1", {"pod": A}), *add(these, 1).ops])
    other.load(tables)
    assert add(other, 1).response == {"response": {"value": 1}}
    assert other.pods() == {A}
    ops = other.gone({A}).ops
    assert (SESSIONS, "s1", None) in ops and (CALLS, "s1/0", None) in ops
    assert add(other, 1).response == {"reason": "no session"}, "it may have run"
    assert add(other, 2).response == {"reason": "no session"}


def test_a_session_is_of_one_pod_and_not_of_calls_within_calls(these: Services) -> None:
    assert add(these, 1, origin=B).response == {"reason": "no session"}
    assert add(these, 1, slot=64).response == {"reason": "no session"}
    assert add(these, 1, service="once", verb="open", args={}).response["reason"] == "unknown service"
    assert add(these, 1, service="names", verb="pods", args={}).response["reason"] == "unknown service"
