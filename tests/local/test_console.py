"""What people read while a local cluster runs."""

from __future__ import annotations

from typing import Any

from gamecluster.core.messages import Incarnation, Record
from gamecluster.local.console import Failover, Picture, lines
from gamecluster.local.watch import Watch

A, B = Incarnation("arena-0_u_1"), Incarnation("arena-1_u_1")
LED = Picture(Record(5, A, 3, (A, B)), {"arena-0": 10, "arena-1": 11}, {"arena-0": 10, "arena-1": 11})


def test_nothing_new_is_no_line_not_even_when_the_lease_is_renewed() -> None:
    assert lines(LED, LED) == []
    assert lines(LED, Picture(Record(6, A, 3, (A, B)), LED.running, LED.ready)) == []


def test_a_node_joins_when_it_is_ready_and_again_in_its_next_life() -> None:
    assert lines(Picture(), Picture(None, {"arena-0": 10}, {"arena-0": 10})) == [("joined", "arena-0", "ready, pid 10")]
    again = Picture(LED.record, {**LED.running, "arena-0": 12}, {**LED.ready, "arena-0": 12})
    assert lines(LED, again) == [("joined", "arena-0", "ready, pid 12")]


def test_a_process_that_hangs_is_told_of_but_one_that_died_only_by_the_supervisor() -> None:
    hangs = Picture(LED.record, LED.running, {"arena-1": 11})
    assert [line[:2] for line in lines(LED, hangs)] == [("unready", "arena-0")]
    died = Picture(LED.record, {"arena-1": 11}, {"arena-1": 11})
    assert lines(LED, died) == []


def test_a_new_leader_is_told_with_its_epoch_and_set() -> None:
    after = Picture(Record(9, B, 4, (B,)), LED.running, LED.ready)
    assert lines(LED, after) == [("leader", "arena-1", "epoch 4, in sync: arena-1")]
    grown = Picture(Record(10, B, 4, (B, A)), LED.running, LED.ready)
    assert lines(after, grown) == [("in sync", "arena-1", "arena-1, arena-0")]


def test_a_lease_without_a_holder_is_told_unless_nobody_ever_held_it() -> None:
    vacant = Picture(Record(9, None, 4, (A,)), LED.running, LED.ready)
    assert lines(LED, vacant) == [("vacant", "", "nobody holds the GameState (epoch 4)")]
    assert lines(Picture(), Picture(Record(1, None, 0, (), never_held=True))) == []


def test_a_failover_is_told_once_with_its_milliseconds() -> None:
    seen = Failover.parse(
        {
            "from": "arena-0",
            "to": "arena-1",
            "epoch": 4,
            "reason": "link reset",
            "detectMilliseconds": 3,
            "takeoverMilliseconds": 21,
        }
    )
    after = Picture(LED.record, LED.running, LED.ready, seen)
    told = "from arena-0, epoch 4: noticed in 3 ms, taken over in 21 ms (link reset)"
    assert lines(LED, after) == [("failover", "arena-1", told)]
    assert lines(after, after) == []
    assert Failover.parse(None) is None


def test_an_account_of_which_more_may_come_is_waited_for_once() -> None:
    nothing: Any = None
    half = {"from": "arena-0", "to": "arena-1", "epoch": 4, "reason": "link reset", "claimMilliseconds": 9}
    whole = half | {"firstCommitMilliseconds": 21}
    for second, first_commit in ((whole, True), (half, False)):
        watch = Watch(nothing, nothing, nothing)
        watch._note_failover([{"lastFailover": half}, {}])
        assert watch._failover is None
        watch._note_failover([{"lastFailover": half}, {"lastFailover": second}, {}])
        assert watch._failover is not None and ("first commit" in watch._failover.told) == first_commit


def test_a_hand_over_is_not_called_a_failover() -> None:
    account = {"from": "arena-0", "to": "arena-1", "epoch": 4, "reason": "handed over by arena-0"}
    seen = Failover.parse(account | {"detectMilliseconds": 0, "takeoverMilliseconds": 7, "firstCommitMilliseconds": 9})
    [line] = lines(LED, Picture(LED.record, LED.running, LED.ready, seen))
    told = "from arena-0, epoch 4: taken over in 7 ms, first commit after 9 ms (handed over by arena-0)"
    assert line == ("handover", "arena-1", told)
