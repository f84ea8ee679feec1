"""Streams on the leader: numbers, what is kept, repeated calls, what expires; and what readers see of it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamecluster import Entity, Game, Player, Rejected, Table, on
from gamecluster.core.messages import Broadcast, Fields, Incarnation, Tables
from gamecluster.core.replication import apply
from gamecluster.rules import Outcome
from gamecluster.services import Services, streams
from gamecluster.services.stream_view import StreamView
from gamecluster.services.streams import MOST_KEPT, ROW_SECONDS, TABLE, is_due, table_of
from gamecluster.testing import play

POD = Incarnation("a-0_uid_1")
TOPIC = "chat:lobby"


class Leader:
    """Its services, and a copy of the tables that follows what is committed."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.services = Services(lambda: self.seconds, random.Random(7))
        self.copy: Tables = {}
        self.said: list[Broadcast] = []
        self.view = StreamView(lambda table: self.copy.get(table, {}), TOPIC)

    def call(self, verb: str, /, **args: Any) -> Outcome:
        outcome = self.services.call("streams", verb, args, POD)
        apply(self.copy, outcome.ops)
        self.said += outcome.broadcasts
        return outcome

    def append(self, *bodies: str, topic: str = TOPIC, keep: int = 100, **more: Any) -> Fields:
        lines = [("said", {"body": body}) for body in bodies]
        outcome = self.call("append", topic=topic, lines=lines, keep=keep, **more)
        assert outcome.ok, outcome
        return outcome.response

    def kept(self) -> list[tuple[int, str]]:
        return [(line["offset"], line["payload"]["body"]) for line in self.view.lines(MOST_KEPT)]


@pytest.fixture
def leader() -> Leader:
    return Leader()


def test_lines_are_numbered_kept_and_broadcast_in_order(leader):
    assert leader.append("a") == {"offset": 1, "at": 1_000_000}
    leader.seconds = 1001.5
    assert leader.append("b", "c") == {"offset": 3, "at": 1_001_500}
    assert leader.kept() == [(1, "a"), (2, "b"), (3, "c")]
    epoch = leader.view.epoch
    assert leader.said == [
        Broadcast(TOPIC, "said", {"body": body, "offset": offset, "epoch": epoch})
        for offset, body in enumerate("abc", 1)
    ]


def test_topics_have_numbers_and_epochs_of_their_own(leader):
    leader.append("a")
    assert leader.append("x", topic="chat:other")["offset"] == 1
    rows = leader.copy[TABLE]
    assert rows[TOPIC]["epoch"] != rows["chat:other"]["epoch"]


def test_the_oldest_lines_beyond_those_to_be_kept_are_gone(leader):
    for number in range(10):
        leader.append(str(number), keep=3)
    assert leader.kept() == [(8, "7"), (9, "8"), (10, "9")]
    leader.append("last", keep=1)
    assert leader.kept() == [(11, "last")] and len(leader.copy[table_of(TOPIC)]) == 1


def test_time_does_not_fall_when_another_leaders_clock_is_behind(leader):
    first = leader.append("a")["at"]
    leader.seconds -= 60
    assert leader.append("b")["at"] == first


def test_a_repeated_call_is_answered_as_the_first_time(leader):
    first = leader.append("a", "b", nonce="once")
    leader.seconds += 5
    leader.append("c")
    assert leader.append("a", "b", nonce="once") == first == {"offset": 2, "at": 1_000_000}
    assert leader.kept() == [(1, "a"), (2, "b"), (3, "c")]
    assert leader.append("a", nonce="other")["offset"] == 4
    assert leader.append("a", topic="chat:other", nonce="once")["offset"] == 1


def test_the_next_leader_knows_what_was_answered(leader):
    first = leader.append("a", nonce="once")
    follower = Services(lambda: 2000.0, random.Random(8))
    follower.load({name: dict(rows) for name, rows in leader.copy.items()})
    args = {"topic": TOPIC, "lines": [("said", {"body": "a"})], "keep": 100, "nonce": "once"}
    assert follower.call("streams", "append", args, POD).response == first


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"keep": 0}, "keep: expected 1 to 10000, got 0"),
        ({"keep": 10_001}, "keep: expected 1 to 10000, got 10001"),
        ({"keep": True}, "keep: expected int, got bool"),
        ({"topic": "game"}, "not the cluster's own"),
        ({"topic": ""}, "a topic of 1 to 250 characters"),
        ({"topic": "x" * 251}, "a topic of 1 to 250 characters"),
        ({"lines": []}, "the number of lines: expected 1 to 100, got 0"),
        ({"lines": [["said", {}]] * 101}, "the number of lines: expected 1 to 100, got 101"),
        ({"nonce": "n" * 201}, "nonce: expected at most 200 characters, got 201"),
        ({"expires": 0}, "expire_seconds: expected seconds above 0, or None"),
    ],
    ids=str,
)
def test_what_is_out_of_bounds_is_refused_with_what_would_be_right(leader, args, says):
    outcome = leader.call("append", **{"topic": TOPIC, "lines": [["said", {}]], "keep": 5} | args)
    assert not outcome.ok and says in outcome.response["detail"]
    assert leader.copy == {} and not leader.services.ledger.has_changed


@pytest.mark.parametrize(
    ("event", "payload", "stamped", "says"),
    [
        ("said", {"offset": 1}, False, "the cluster itself adds offset"),
        ("said", {"epoch": 1}, False, "the cluster itself adds epoch"),
        ("said", {"id": 1, "at": 2}, True, "the cluster itself adds at and id"),
        ("phx_reply", {}, False, "reserved"),
        ("", {}, False, "reserved"),
        ("said", b"bytes", False, "bytes can't be kept"),
        ("said", [1], False, "expected dict"),
    ],
)
def test_a_payload_that_could_not_be_told_apart_is_the_applications_mistake(event, payload, stamped, says):
    with pytest.raises((ValueError, TypeError), match=says):
        streams.check_line(event, payload, stamped)


# --- what is swept


def test_a_stream_that_nobody_adds_to_loses_its_lines_and_later_its_row(leader):
    leader.append("a", "b", expires=60)
    leader.append("x", topic="chat:kept", expires=None)
    leader.seconds += 59
    assert leader.call("sweep").ops == []
    leader.seconds += 1
    assert is_due(leader.copy[TABLE][TOPIC], 1_060_000)
    assert leader.call("sweep").response == {"more": False}
    assert (leader.kept(), leader.view.offset, table_of(TOPIC) in leader.copy) == ([], 2, False)
    assert leader.append("c", expires=60)["offset"] == 3, "who was away must be able to tell that it missed something"
    leader.seconds += 60
    leader.call("sweep")
    epoch = leader.view.epoch
    leader.seconds += ROW_SECONDS
    leader.call("sweep")
    assert list(leader.copy[TABLE]) == ["chat:kept"]
    assert leader.append("d")["offset"] == 1 and leader.view.epoch != epoch


def test_much_is_swept_a_part_at_a_time(leader, monkeypatch):
    monkeypatch.setattr(streams, "MOST_SWEPT", 3)
    for number in range(4):
        leader.append("a", "b", topic=f"t{number}", expires=1)
    leader.seconds += 2
    rounds = []
    while (outcome := leader.call("sweep")).response["more"]:
        rounds.append(len(outcome.ops))
    assert len(rounds) == 2 and all(count < 10 for count in rounds)
    assert list(leader.copy) == [TABLE]


def test_there_are_so_many_streams_and_an_empty_one_makes_room(leader, monkeypatch):
    monkeypatch.setattr(streams, "MOST_STREAMS", 2)
    leader.append("a", topic="t1", expires=5)
    leader.append("a", topic="t2", expires=None)
    refused = leader.call("append", topic="t3", lines=[("said", {})], keep=5)
    assert refused.response == {
        "reason": "too many streams",
        "detail": "2 topics have lines that are kept: use one of them",
    }
    leader.seconds += 5
    leader.call("sweep")
    leader.append("a", topic="t3")
    assert sorted(leader.copy[TABLE]) == ["t2", "t3"]


def test_of_one_beginning_there_may_be_so_many(leader):
    leader.append("a", topic="chat:1", most=("chat:", 1))
    leader.append("a", topic="room:1", most=("room:", 1))
    refused = leader.call("append", topic="chat:2", lines=[("said", {})], keep=5, most=("chat:", 1))
    assert refused.response["reason"] == "too many topics" and "1 topics chat:*" in refused.response["detail"]
    leader.append("b", topic="chat:1", most=("chat:", 1))


def test_after_a_restore_streams_have_other_epochs(leader):
    leader.append("a")
    epoch = leader.view.epoch
    apply(leader.copy, leader.services.restored().ops)
    assert leader.view.epoch != epoch and leader.kept() == [(1, "a")]


# --- reading


def test_lines_are_read_from_the_newest_or_before_one(leader):
    for number in range(1, 9):
        leader.append(str(number), keep=6)
    assert [line["offset"] for line in leader.view.lines(3)] == [6, 7, 8]
    assert [line["offset"] for line in leader.view.lines(3, before=5)] == [3, 4]
    assert leader.view.lines(3, before=3) == leader.view.lines(3, before=-5) == []
    assert [line["offset"] for line in leader.view.lines(2, before=99)] == [7, 8]
    assert leader.view.lines(2, event="other") == []


def test_what_was_missed_is_all_there_or_none(leader):
    assert (leader.view.epoch, leader.view.offset, leader.view.shown_after(0)) == ("", 0, [])
    for number in range(1, 6):
        leader.append(str(number), keep=3)
    missed = leader.view.shown_after(3)
    assert [line["payload"]["body"] for line in missed] == ["4", "5"]
    assert missed[0] == {
        "offset": 4,
        "event": "said",
        "payload": {"body": "4", "offset": 4, "epoch": leader.view.epoch},
        "at": 1_000_000,
    }
    assert leader.view.shown_after(5) == [] and leader.view.shown_after(1) is None


# --- in rules


class Score(Entity):
    goals: int = 0


class Match(Game):
    scores: Table[Score]

    @on("goal")
    def goal(self, player: Player, valid: bool, nonce: str) -> dict[str, Any]:
        self.scores.setdefault(player.id, Score()).goals += 1
        line = self.cluster.stream("match:1").append("goal", {"by": player.id}, keep=5, nonce=nonce)
        if not valid:
            raise Rejected("offside", known=self.cluster.stream("match:1").offset)
        return {"line": line["offset"]}


def test_what_a_rule_adds_is_undone_with_it():
    match = play(Match)
    match.join("ann")
    assert match.move("ann", "goal", valid=True, nonce="1") == {"line": 1}
    with pytest.raises(Rejected, match="known: 2"):
        match.move("ann", "goal", valid=False, nonce="2")
    assert match.move("ann", "goal", valid=True, nonce="2") == {"line": 2}, "the nonce of what was undone is new"
    assert match.move("ann", "goal", valid=True, nonce="1") == {"line": 1}
    assert [b.payload["offset"] for b in match.broadcasts] == [1, 2]


# --- any order of calls

calls = st.lists(
    st.tuples(
        st.sampled_from(["append", "undone", "next leader"]),
        st.integers(0, 6),  # nonce
        st.integers(1, 4),  # lines
        st.integers(1, 6),  # keep
    ),
    max_size=40,
)


@given(calls)
def test_no_nonce_of_a_kept_line_is_forgotten_or_made_up(steps):
    leader = Leader()
    model: list[tuple[int, int | None]] = []  # the kept lines: offset, nonce
    offset = 0
    for verb, nonce, count, keep in steps:
        if verb == "next leader":
            leader.services.load({name: dict(rows) for name, rows in leader.copy.items()})
            continue
        lines = [("said", {"n": nonce})] * count
        if verb == "undone":

            def fail(lines: Any = lines, keep: int = keep, nonce: int = nonce) -> None:
                leader.services.streams.append(POD, TOPIC, lines, keep, f"n{nonce}")
                raise Rejected("no")

            assert not leader.services.run(fail).ok
            continue
        answer = leader.call("append", topic=TOPIC, lines=lines, keep=keep, nonce=f"n{nonce}").response
        earlier = [at for at, known in model if known == nonce]
        if earlier:
            assert answer["offset"] == earlier[-1]
            continue
        model += [(offset + n, nonce if n == count else None) for n in range(1, count + 1)]
        offset += count
        model = model[-keep:]
        assert answer["offset"] == offset
    assert [line["offset"] for line in leader.view.lines(MOST_KEPT)] == [at for at, _ in model]
    assert {int(key) for key in leader.copy.get(table_of(TOPIC), {})} == {at for at, _ in model}


class Large(dict):
    """A table that nobody may go through."""

    def __iter__(self) -> Any:
        raise AssertionError("all lines were looked at")

    items = values = keys = __iter__


def test_a_line_more_does_not_look_at_all_that_are_kept(leader):
    for number in range(200):
        leader.append("x", keep=100, nonce=f"n{number}")
    tables = leader.services.ledger._tables
    tables[table_of(TOPIC)] = Large(dict.items(tables[table_of(TOPIC)]))
    for number in range(200, 250):
        leader.append("x", keep=100, nonce=f"n{number}")
    assert leader.append("x", keep=100, nonce="n240")["offset"] == 241
