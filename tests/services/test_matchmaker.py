"""The matchmaker's tickets: taken once, matched once, never lost, whoever asks how often."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamecluster.core.messages import Fields, Incarnation
from gamecluster.rules import Rejected
from gamecluster.services.ledger import Ledger
from gamecluster.services.matchmaker import (
    MATCHED,
    QUEUED,
    REMEMBERED_MILLISECONDS,
    TICKETS,
    TICKETS_AT_MOST,
    Matchmaker,
)
from gamecluster.services.rooms import Rooms

POD, OTHER = Incarnation("arena-0_a_1"), Incarnation("arena-1_b_1")


class Stage:
    def __init__(self) -> None:
        self.now = 1_000_000
        self.ledger = Ledger()
        self.rooms = Rooms(self.ledger, lambda: self.now, lambda *call: None)
        self.service = Matchmaker(self.ledger, lambda: self.now, self.rooms)
        self.told: list[tuple[str, str, Fields]] = []

    def call(self, verb: str, **args: Any) -> Fields:
        try:
            response: Fields = getattr(self.service, verb)(POD, **args) or {}
        except Rejected as refusal:
            self.ledger.undo()
            return refusal.response
        self.told += [(b.topic, b.event, b.payload) for b in self.ledger.take()[1]]
        return response

    def enqueue(self, id: str, *players: str, size: int = 2, **properties: Any) -> Fields:
        return self.call("enqueue", id=id, players=list(players), size=size, properties=properties)

    def keys(self, table: str) -> list[str]:
        return sorted(self.ledger.rows(table))


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_ticket_waits_and_asking_again_is_the_same_ticket(stage: Stage) -> None:
    assert stage.enqueue("t1", "ann", mode="ctf") == {"ticket": "t1"}
    assert stage.enqueue("t1", "ann", mode="ctf") == {"ticket": "t1"}
    assert stage.ledger.rows(TICKETS) == {
        "t1": {"players": ["ann"], "size": 2, "properties": {"mode": "ctf"}, "at": 1_000_000}
    }
    assert stage.enqueue("t2", "bob", "ann", size=4) == {"reason": "already queued", "player": "ann", "ticket": "t1"}
    assert stage.keys(QUEUED) == ["ann"]


def test_a_match_takes_all_its_tickets_and_tells_their_players(stage: Stage) -> None:
    stage.enqueue("t1", "ann", size=3)
    stage.enqueue("t2", "bob", "cat", size=3)
    made = {"id": "m1", "topic": "duel:m1", "tickets": ["t1", "t2"]}
    assert stage.call("match", **made) == {"match": "m1"}
    told = {"match": "m1", "topic": "duel:m1", "url": None, "players": ["ann", "bob", "cat"]}
    assert stage.told == [
        ("player:ann", "match.found", {"ticket": "t1", **told}),
        ("player:bob", "match.found", {"ticket": "t2", **told}),
        ("player:cat", "match.found", {"ticket": "t2", **told}),
    ]
    assert stage.keys(TICKETS) == stage.keys(QUEUED) == [] and stage.keys(MATCHED) == ["t1", "t2"]
    assert stage.call("match", **made) == {"match": "m1"} and len(stage.told) == 3, "repeated, it is the same match"
    assert stage.enqueue("t1", "ann", size=3) == {"ticket": "t1"} and stage.keys(TICKETS) == [], "and the same ticket"
    assert stage.enqueue("t3", "ann", size=3) == {"ticket": "t3"}, "who was matched may look for the next match"


def test_a_match_that_is_played_in_a_room_has_it_made_for_its_players(stage: Stage) -> None:
    room = {"id": "duel-m1", "kind": "Duel", "copies": 2, "pods": {POD: "ws://a", OTHER: None}}
    stage.enqueue("t1", "ann")
    stage.enqueue("t2", "bob")
    made = {"id": "m1", "topic": "game:duel-m1", "tickets": ["t1", "t2"], "room": room}
    assert stage.call("match", **{**made, "room": {**room, "pods": {}}})["reason"] == "no pods"
    assert stage.keys(TICKETS) == ["t1", "t2"], "where there is no room, they go on waiting"
    assert stage.call("match", **made) == stage.call("match", **made) == {"match": "m1"}
    assert [(topic, told["url"]) for topic, _, told in stage.told] == [
        ("player:ann", "ws://a"),
        ("player:bob", "ws://a"),
    ]
    row = stage.rooms.row("duel-m1")
    assert row is not None and (row["kind"], row["holder"], row["backups"]) == ("Duel", POD, [OTHER])
    assert row["players"] == ["ann", "bob"]
    assert stage.ledger.rows(MATCHED)["t1"]["url"] == "ws://a"
    stage.enqueue("t3", "ann")
    stage.enqueue("t4", "bob")
    stage.call("match", **{**made, "id": "m2", "tickets": ["t3", "t4"], "room": {**room, "id": "duel-m2"}})
    assert stage.told[-1][2]["url"] is None, "its pod has none of its own"


def test_a_match_of_a_ticket_that_is_gone_leaves_the_others_waiting(stage: Stage) -> None:
    stage.enqueue("t1", "ann")
    stage.enqueue("t2", "bob")
    assert stage.call("cancel", id="t1", player="ann") == {"cancelled": True}
    assert stage.call("match", id="m1", topic="x", tickets=["t1", "t2"]) == {"reason": "gone", "tickets": ["t1"]}
    assert stage.keys(TICKETS) == ["t2"] and stage.keys(QUEUED) == ["bob"]


def test_only_its_players_cancel_a_ticket_and_all_are_told(stage: Stage) -> None:
    stage.enqueue("t1", "ann", "bob", size=4)
    assert stage.call("cancel", id="t1", player="eve")["reason"] == "not yours"
    assert stage.call("cancel", id="t1", player="bob") == {"cancelled": True}
    assert stage.call("cancel", id="t1", player="bob") == {"cancelled": False}
    assert [(topic, event) for topic, event, _ in stage.told] == [
        ("player:ann", "match.cancelled"),
        ("player:bob", "match.cancelled"),
    ]


def test_tickets_expire_and_matches_are_forgotten_after_a_minute(stage: Stage) -> None:
    for n in range(3):
        stage.enqueue(f"t{n}", f"p{n}")
    stage.call("expire", tickets=["t0", "nothing"])
    assert stage.told == [("player:p0", "match.expired", {"ticket": "t0"})] and stage.keys(QUEUED) == ["p1", "p2"]
    stage.call("match", id="m", topic="x", tickets=["t1", "t2"])
    stage.now += REMEMBERED_MILLISECONDS
    stage.call("forget")
    assert stage.keys(MATCHED) == ["t1", "t2"]
    stage.now += 1
    stage.call("forget")
    assert stage.keys(MATCHED) == []


def test_the_queue_is_bounded(stage: Stage) -> None:
    for n in range(TICKETS_AT_MOST):
        stage.enqueue(f"t{n}", f"p{n}")
    assert stage.enqueue("one more", "ann")["reason"] == "overloaded"


@pytest.mark.parametrize(
    ("ticket", "detail"),
    [
        ({"size": 1}, "size: expected how many play together, from 2 to 100"),
        ({"size": True}, "size: expected"),
        ({"players": []}, "players: expected 1 to 2 different ones, got 0"),
        ({"players": ["a", "b", "c"]}, "got 3"),
        ({"players": ["a", "a"]}, "different ones"),
        ({"players": "ann"}, "players: expected a list"),
        ({"properties": {"skill": float("nan")}}, "properties: skill: expected"),
        ({"properties": {"skill": [1]}}, "properties: skill: expected"),
        ({"properties": {"mode": "x" * 65}}, "at most 64 characters"),
        ({"properties": {str(n): n for n in range(17)}}, "at most 16"),
    ],
)
def test_a_bad_ticket_is_told_what_would_be_right(stage: Stage, ticket: Fields, detail: str) -> None:
    asked = {"id": "t", "players": ["ann"], "size": 2, "properties": {}} | ticket
    refused = stage.call("enqueue", **asked)
    assert refused["reason"] == "bad ticket" and detail in refused["detail"]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("enqueue"), st.integers(0, 8), st.sets(st.sampled_from("abcd"), min_size=1, max_size=2)),
        st.tuples(st.just("cancel"), st.integers(0, 8), st.sampled_from("abcd")),
        st.tuples(st.just("match"), st.sets(st.integers(0, 8), min_size=1, max_size=2), st.integers(0, 3)),
        st.tuples(st.just("expire"), st.sets(st.integers(0, 8)), st.none()),
    ),
    max_size=40,
)


@given(steps)
def test_a_player_waits_with_one_ticket_and_a_ticket_ends_once(drawn: list[Any]) -> None:
    stage = Stage()
    for verb, first, second in drawn:
        match verb:
            case "enqueue":
                stage.enqueue(f"t{first}", *sorted(second))
            case "cancel":
                stage.call("cancel", id=f"t{first}", player=second)
            case "match":
                stage.call("match", id=f"m{second}", topic="x", tickets=[f"t{n}" for n in sorted(first)])
            case "expire":
                stage.call("expire", tickets=[f"t{n}" for n in sorted(first)])
        waiting = stage.ledger.rows(TICKETS)
        queued = {player: row["ticket"] for player, row in stage.ledger.rows(QUEUED).items()}
        assert queued == {player: id for id, row in waiting.items() for player in row["players"]}
    found = [(topic, told["ticket"], told["match"]) for topic, event, told in stage.told if event == "match.found"]
    assert len(found) == len(set(found)), "nobody is told of one match twice"
