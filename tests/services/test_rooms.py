"""The table of rooms: who holds them, who may, and that nobody else ever does."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

from gamecluster import Singleton, on
from gamecluster.core.messages import Fields, Incarnation, Placement
from gamecluster.core.replication import apply
from gamecluster.rules import Outcome, Rejected
from gamecluster.services import Services
from gamecluster.services.rooms import KEPT_BYTES_AT_MOST, LEAP, ROOMS_AT_MOST, placement_of

A, B, C, D = (Incarnation(f"arena-{n}_u{n}_1") for n in range(4))


class Count(Singleton):
    name = "count"
    value: int = 0

    @on("add")
    def add(self, amount: int) -> dict[str, int]:
        if amount < 0:
            raise Rejected("negative")
        self.value += amount
        return {"value": 1 // (1 - (amount == 13)) and self.value}


class Stage:
    """``tables``: what is committed, as another pod has it."""

    def __init__(self) -> None:
        self.services = Services(lambda: 5.0, random.Random(1), [Count])
        self.tables: dict[str, dict[str, Fields]] = {}

    def ask(self, origin: Incarnation, verb: str, /, **args: Any) -> Fields:
        return self.done(self.services.call("rooms", verb, args, origin))

    def open(self, id: str, *pods: Incarnation, copies: int = 2, **more: Any) -> Fields:
        return self.ask(pods[0], "open", id=id, kind="Duel", pods=list(pods), copies=copies, **more)

    def gone(self, *pods: Incarnation) -> None:
        self.done(self.services.gone(set(pods)))

    def done(self, outcome: Outcome) -> Fields:
        assert outcome.error is None, outcome.error
        apply(self.tables, outcome.ops)
        return outcome.response

    def at(self, id: str) -> Placement | None:
        """But for when it began."""
        row = self.services.rooms.row(id)
        return replace(placement_of(row), born=0) if row is not None else None

    def where(self, id: str) -> tuple[Incarnation, ...]:
        """Its holder, and its backups."""
        placement = self.at(id)
        return (placement.holder, *placement.backups) if placement else ()


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_room_is_opened_where_least_are_and_once(stage: Stage) -> None:
    assert stage.open("r1", A, B, C, players=["ann"]) == {"room": "r1"}
    assert stage.at("r1") == Placement("Duel", 1, 1, A, (B,), players=("ann",))
    assert stage.open("r1", C, copies=1) == {"room": "r1"} and stage.where("r1") == (A, B)
    stage.open("r2", A, B, C)
    stage.open("r3", A, B, C)
    assert [stage.where(id)[0] for id in ("r2", "r3")] == [B, C]
    stage.open("alone", D, copies=3)
    assert stage.at("alone") == Placement("Duel", 1, 1, D)
    assert stage.tables["$rooms"]["alone"]["at"] == 5000


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"id": ""}, "bad room"),
        ({"id": "x" * 101}, "bad room"),
        ({"id": "a/b"}, "bad room"),
        ({"id": 7}, "bad payload"),
        ({"copies": 0}, "bad copies"),
        ({"copies": True}, "bad copies"),
        ({"pods": []}, "no pods"),
        ({"players": [str(n) for n in range(1001)]}, "too many players"),
    ],
)
def test_a_room_that_can_not_be_is_refused(stage: Stage, more: Fields, reason: str) -> None:
    asked: Fields = {"id": "r", "kind": "Duel", "pods": [A], "copies": 1} | more
    assert stage.ask(A, "open", **asked)["reason"] == reason and stage.tables == {}


def test_one_that_joins_is_a_backup_when_its_holder_says_that_it_has_all(stage: Stage) -> None:
    stage.open("r", A, B)
    stage.ask(C, "place", changes=[{"id": "r", "version": 1, "joining": [C, D, C]}])
    assert stage.at("r") == Placement("Duel", 1, 2, A, (B,), (C, D))
    for origin, version, pod in (B, 2, C), (A, 1, C), (A, 2, Incarnation("else_x_1")):
        assert stage.ask(origin, "caught_up", id="r", version=version, pod=pod)["reason"] == "stale"
    caught_up: Fields = {"id": "r", "version": 2, "pod": C}
    assert stage.ask(A, "caught_up", **caught_up) == stage.ask(A, "caught_up", **caught_up) == {}
    assert stage.at("r") == Placement("Duel", 1, 3, A, (B, C), (D,))
    assert stage.ask(A, "caught_up", id="r", version=2, pod=D) == {
        "reason": "stale",
        "epoch": 1,
        "version": 3,
        "holder": A,
    }


def test_its_holder_drops_who_can_not_be_reached(stage: Stage) -> None:
    stage.open("r", A, B, C, copies=3)
    stage.ask(C, "place", changes=[{"id": "r", "version": 1, "joining": [D], "to": B}])
    assert stage.ask(A, "drop", id="r", version=1, pod=B)["reason"] == "stale"
    assert stage.ask(C, "drop", id="r", version=2, pod=B)["reason"] == "stale"
    assert stage.ask(A, "drop", id="r", version=2, pod=B) == stage.ask(A, "drop", id="r", version=2, pod=B) == {}
    assert stage.at("r") == Placement("Duel", 1, 3, A, (C,), (D,)), "nor is it to hold the room"
    stage.ask(A, "drop", id="r", version=3, pod=D)
    assert stage.at("r") == Placement("Duel", 1, 4, A, (C,))


def test_it_is_handed_over_to_a_backup_and_comes_back(stage: Stage) -> None:
    stage.open("r", A, B, C, copies=3)
    stage.ask(D, "place", changes=[{"id": "r", "version": 1, "to": C}])
    handed: Fields = {"id": "r", "version": 1, "to": C}
    assert stage.ask(A, "hand_over", **{**handed, "to": D})["reason"] == "stale"
    assert stage.ask(B, "hand_over", **handed)["reason"] == "stale"
    assert stage.ask(A, "hand_over", **handed) == stage.ask(A, "hand_over", **handed) == {}
    assert stage.at("r") == Placement("Duel", 2, 2, C, (B, A))
    assert stage.ask(C, "hand_over", id="r", version=2, to=A) == {}
    assert stage.at("r") == Placement("Duel", 3, 3, A, (B, C))


def test_the_placer_changes_what_is_as_it_saw_it(stage: Stage) -> None:
    stage.open("r", A, B, C, copies=3)
    changes: list[Fields] = [
        {"id": "r", "version": 1, "drop": [B], "to": C},
        {"id": "r", "version": 1, "joining": [D]},
        {"id": "none", "version": 1, "joining": [D]},
    ]
    stage.ask(D, "place", changes=changes)
    assert stage.at("r") == Placement("Duel", 1, 2, A, (C,), (), C)
    before = stage.services.ledger.version("$rooms")
    for to in (B, D, A):
        stage.ask(D, "place", changes=[{"id": "r", "version": 2, "to": to, "drop": [B]}])
    assert stage.services.ledger.version("$rooms") == before, "only a backup is asked to hold it"
    stage.ask(D, "place", changes=[{"id": "r", "version": 2, "to": None, "joining": [A, C, D]}])
    assert stage.at("r") == Placement("Duel", 1, 3, A, (C,), (D,))


def test_rooms_of_a_silent_pod_go_to_their_backups_at_once(stage: Stage) -> None:
    for id, pods in {"held": (A, B, C), "backed": (B, A, C), "alone": (A,), "other": (B, C)}.items():
        stage.open(id, *pods, copies=3 if len(pods) == 3 else 2)
    assert stage.where("backed") == (B, A, C)
    stage.ask(D, "place", changes=[{"id": "other", "version": 1, "joining": [A]}])
    stage.ask(D, "place", changes=[{"id": "held", "version": 1, "joining": [D], "to": C}])
    assert stage.ask(D, "lose", pods=[A]) == {"lost": 1, "more": False} == stage.ask(D, "lose", pods=[A])
    assert stage.at("held") == Placement("Duel", 2, 3, B, (C,), (D,))
    assert stage.at("backed") == Placement("Duel", 1, 2, B, (C,))
    assert stage.at("other") == Placement("Duel", 1, 3, C, (B,))
    assert stage.at("alone") == Placement("Duel", 1, 1, A)
    assert stage.services.pods() == {A, B, C, D}
    stage.gone(A)
    assert stage.where("alone") == () and stage.services.pods() == {B, C, D}


def test_many_rooms_go_a_part_at_a_time_those_that_wait_for_a_holder_first(stage: Stage) -> None:
    for id in ("r1", "r2", "r3", "r4", "r5"):
        stage.open(id, A, B)
    ofs = {holder: [id for id in ("r1", "r2", "r3", "r4", "r5") if stage.where(id)[0] == holder] for holder in (A, B)}
    assert [len(ofs[A]), len(ofs[B])] == [3, 2]
    asked: Fields = {"pods": [A], "at_most": 4}
    assert stage.ask(C, "lose", **asked) == {"lost": 0, "more": True}
    assert [stage.where(id) for id in ofs[A]] == [(B,)] * 3, "those have waited"
    assert sorted(stage.where(id) for id in ofs[B]) == [(B,), (B, A)]
    assert stage.ask(C, "lose", **asked) == {"lost": 0, "more": False} == stage.ask(C, "lose", **asked)
    assert [stage.where(id) for id in ofs[B]] == [(B,)] * 2


def test_a_room_of_silent_pods_only_stays_until_they_are_out_of_their_tenure(stage: Stage) -> None:
    stage.open("r", A, B)
    assert stage.ask(C, "lose", pods=[A, B]) == {"lost": 1, "more": False} and stage.where("r") == (A, B)
    assert stage.ask(C, "lose", pods=[A]) == {"lost": 0, "more": False} and stage.where("r") == (B,), (
        "one of them is back"
    )
    stage.gone(B)
    assert stage.at("r") is None and "$rooms" not in stage.tables


def test_a_room_that_is_over_is_no_more_and_one_of_its_name_is_newer(stage: Stage) -> None:
    stage.open("r", A, B)
    stage.ask(A, "hand_over", id="r", version=1, to=B)
    for origin, epoch in (A, 1), (A, 2), (B, 1):
        assert stage.ask(origin, "end", id="r", epoch=epoch)["reason"] == "stale"
    assert stage.ask(B, "end", id="r", epoch=2) == stage.ask(B, "end", id="r", epoch=2) == {}
    assert stage.at("r") is None
    stage.open("r", A, B)
    assert stage.at("r") == Placement("Duel", 3, 3, A, (B,)), "what was said about the first is not taken for it"
    assert stage.tables["$rooms"]["r"]["born"] == 3
    stage.open("s", B, A)
    stage.ask(B, "end", id="s", epoch=3)
    assert stage.tables["$placed"] == {"highest": {"epoch": 3, "version": 3}}


def add(stage: Stage, n: int, amount: int = 1, origin: Incarnation = A, **more: Any) -> Fields:
    payload = {"amount": amount}
    call: Fields = {"service": "singletons", "verb": "call", "args": {"name": "count", "event": "add"}}
    call["args"]["payload"] = payload
    return stage.ask(origin, "deliver", **{"id": "r", "n": n, **call, **more})


def test_a_lost_room_goes_on_from_the_copy_that_was_kept_with_no_call_run_twice(stage: Stage) -> None:
    stage.open("r", A, B)
    copy: Fields = {"id": "r", "epoch": 1, "seq": 5, "tables": {"sums": {"ann": {"value": 3}}}}
    assert stage.ask(B, "keep", **copy)["reason"] == stage.ask(A, "keep", **copy | {"epoch": 0})["reason"] == "stale"
    big = {"sums": {"ann": {"value": "x" * KEPT_BYTES_AT_MOST}}}
    assert stage.ask(A, "keep", **copy | {"tables": big})["reason"] == "too large" and "$kept" not in stage.tables
    assert stage.ask(A, "keep", **copy) == stage.ask(A, "keep", **copy) == {}
    stage.ask(A, "deliver", id="r", n=7, service="rooms", verb="hold", args={})
    stage.gone(A, B)
    assert stage.at("r") is None
    assert stage.tables["$kept"]["r"] == {"epoch": 1, "seq": 5, "tables": copy["tables"], "done": 7}
    stage.open("r", C)
    assert stage.tables["$rooms"]["r"]["done"] == 7
    stage.ask(C, "end", id="r", epoch=stage.tables["$rooms"]["r"]["epoch"])
    assert "$kept" not in stage.tables, "it is over, not lost"


def test_calls_of_a_room_are_run_once(stage: Stage) -> None:
    stage.open("r", A, B)
    assert add(stage, 1) == {"response": {"value": 1}}
    assert add(stage, 1) == {}
    assert add(stage, 4) == {"response": {"value": 2}}, "numbers between are of its letters"
    assert add(stage, 4) == add(stage, 3) == {}
    assert add(stage, 5, origin=B)["reason"] == "stale" and add(stage, 5, epoch=2)["reason"] == "stale"
    stage.ask(A, "hand_over", id="r", version=1, to=B)
    assert add(stage, 4, origin=B) == {} and add(stage, 5, origin=B, epoch=2) == {"response": {"value": 3}}
    assert stage.tables["$singletons"] == {"count": {"value": 3}}
    assert add(stage, 6, origin=B, id="none")["reason"] == "unknown room"


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ({"amount": -1}, "negative"),
        ({"amount": "x"}, "bad payload"),
        ({"amount": 13}, "internal error"),
        ({"verb": "none"}, "unknown service"),
        ({"service": "once", "verb": "open", "args": {"session": "s"}}, "unknown service"),
        ({"service": "rooms", "verb": "hold", "args": {}}, "unknown service"),
        ({"service": "rooms", "verb": "open", "args": {"id": "r2"}}, "internal error"),
    ],
)
def test_a_call_of_a_room_that_is_refused_has_been_run(stage: Stage, call: Fields, reason: str) -> None:
    stage.open("r", A, B)
    assert add(stage, 1, **call)["refused"]["reason"] == reason
    assert add(stage, 1) == {} and stage.tables.keys() == {"$rooms"}
    assert add(stage, 2) == {"response": {"value": 1}}


def test_a_room_opens_another(stage: Stage) -> None:
    stage.open("r", A, B)
    args: Fields = {"id": "r2", "kind": "Duel", "pods": [A, B], "copies": 1}
    assert add(stage, 1, service="rooms", verb="open", args=args) == {"room": "r2"}
    assert stage.where("r2") == (B,)


def test_after_a_restore_everything_is_newer_than_what_there_was(stage: Stage) -> None:
    stage.open("r", A, B)
    stage.done(stage.services.restored())
    assert stage.at("r") == Placement("Duel", 1 + LEAP, 1 + LEAP, A, (B,))
    stage.open("s", A, B)
    assert stage.at("s") == Placement("Duel", 1 + LEAP, 1 + LEAP, B, (A,))


def test_counts_are_right_after_a_call_is_undone(stage: Stage) -> None:
    stage.open("r1", A, B)

    def fails() -> None:
        stage.services.rooms.open(A, "r2", "Duel", [B], 1)
        stage.services.rooms.lose(A, [A])
        raise Rejected("no")

    assert not stage.services.run(fails).ok
    stage.open("r2", A, B, copies=1)
    assert stage.where("r1") == (A, B) and stage.where("r2") == (B,)


def test_ten_thousand_rooms_are_handled_at_once(stage: Stage) -> None:
    pods = [A, B, C]
    for n in range(10_000):
        stage.services.rooms.open(A, f"r{n}", "Duel", pods, 2)
    stage.services.ledger.take()
    began = time.process_time()
    outcome = stage.services.call("rooms", "lose", {"pods": [A]}, B)
    lasted = time.process_time() - began
    assert outcome.ok and 6_600 < len(outcome.ops) < 6_700
    assert lasted < 0.5, "seconds; a fifth of it at most, where nothing else runs"
    began = time.process_time()
    for n in range(1_000):
        assert stage.services.call("rooms", "open", {"id": f"s{n}", "kind": "D", "pods": [B, C], "copies": 2}, B).ok
    assert time.process_time() - began < 0.5


def test_there_are_not_more_rooms_than_may_be(stage: Stage) -> None:
    for n in range(ROOMS_AT_MOST):
        stage.services.rooms.open(A, f"r{n}", "Duel", [A], 1)
    assert stage.open("more", A)["reason"] == "too many rooms" and stage.open("r7", A) == {"room": "r7"}


pods = st.sampled_from([A, B, C, D])
ids = st.sampled_from(["r1", "r2", "r3"])
lag = st.integers(-2, 0)


class AnySequence(RuleBasedStateMachine):
    """Of calls, sensible ones and others, by anybody."""

    @initialize()
    def begin(self) -> None:
        self.stage = Stage()
        self.last: dict[str, Placement] = {}
        self.highest: dict[str, tuple[int, int]] = {}

    def version(self, id: str, lag: int) -> int:
        placement = self.stage.at(id)
        return (placement.version if placement else 0) + lag

    def held_by(self, id: str, other: Incarnation, lag: int) -> Incarnation:
        placement = self.stage.at(id)
        return placement.holder if placement and not lag else other

    @rule(id=ids, pods=st.lists(pods, min_size=1), copies=st.integers(1, 4))
    def open(self, id: str, pods: list[Incarnation], copies: int) -> None:
        self.stage.open(id, *pods, copies=copies)

    @rule(verb=st.sampled_from(["caught_up", "drop"]), id=ids, lag=lag, by=pods, pod=pods)
    def tell(self, verb: str, id: str, lag: int, by: Incarnation, pod: Incarnation) -> None:
        self.stage.ask(self.held_by(id, by, lag), verb, id=id, version=self.version(id, lag), pod=pod)

    @rule(id=ids, lag=lag, by=pods, to=pods)
    def hand_over(self, id: str, lag: int, by: Incarnation, to: Incarnation) -> None:
        self.stage.ask(self.held_by(id, by, lag), "hand_over", id=id, version=self.version(id, lag), to=to)

    @rule(
        id=ids,
        lag=lag,
        change=st.fixed_dictionaries(
            {}, optional={"joining": st.lists(pods), "to": st.none() | pods, "drop": st.lists(pods)}
        ),
    )
    def place(self, id: str, lag: int, change: Fields) -> None:
        self.stage.ask(A, "place", changes=[{"id": id, "version": self.version(id, lag), **change}])

    @rule(silent=st.lists(pods))
    def lose(self, silent: list[Incarnation]) -> None:
        self.stage.ask(A, "lose", pods=silent)

    @rule(gone=st.lists(pods))
    def gone(self, gone: list[Incarnation]) -> None:
        self.stage.gone(*gone)
        assert self.stage.services.rooms.pods().isdisjoint(gone)

    @rule(id=ids, lag=lag, by=pods)
    def end(self, id: str, lag: int, by: Incarnation) -> None:
        placement = self.stage.at(id)
        self.stage.ask(self.held_by(id, by, lag), "end", id=id, epoch=(placement.epoch if placement else 0) + lag)

    @rule(id=ids, pod=pods)
    def undo(self, id: str, pod: Incarnation) -> None:
        def fails() -> None:
            self.stage.services.rooms.open(A, id, "Duel", [pod], 1)
            self.stage.services.rooms.gone({pod})
            raise Rejected("no")

        self.stage.services.run(fails)

    @rule()
    def another_leads(self) -> None:
        services = Services(lambda: 5.0, random.Random(2), [Count])
        services.load({name: dict(rows) for name, rows in self.stage.tables.items()})
        self.stage.services = services

    @invariant()
    def is_right(self) -> None:
        if not hasattr(self, "stage"):
            return
        rows = self.stage.services.ledger.rows("$rooms")
        assert rows == self.stage.tables.get("$rooms", {})
        now = {id: placement_of(row) for id, row in rows.items()}
        for id, placement in now.items():
            self.check(id, self.last.get(id), placement)
            self.highest[id] = placement.epoch, placement.version
        self.last = now
        self.check_counts(now)

    def check(self, id: str, before: Placement | None, now: Placement) -> None:
        everyone = [now.holder, *now.backups, *now.joining]
        assert len(everyone) == len(set(everyone)) and (now.to is None or now.to in now.backups)
        epoch, version = self.highest.get(id, (0, 0))
        if before is None:
            assert now.epoch > epoch and now.version > version, "a room that begins anew is newer than its last life"
            return
        assert now.epoch >= epoch and now.version >= version
        if now.holder != before.holder:
            assert now.holder in before.backups and now.epoch > epoch
        if (now.holder, now.backups, now.joining) != (before.holder, before.backups, before.joining):
            assert now.version > version
        came = set(now.backups) - {before.holder, *before.backups}
        assert came <= set(before.joining), "who has not joined has not all"

    def check_counts(self, now: dict[str, Placement]) -> None:
        placements = self.stage.services.rooms._placements
        for pod in (A, B, C, D):
            assert placements.held(pod) == sum(p.holder == pod for p in now.values())
            assert placements.kept(pod) == sum(pod in p.backups + p.joining for p in now.values())


TestAnySequence = AnySequence.TestCase
