from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gamecluster_operator.observed import ObservedPod, ObservedSet
from gamecluster_operator.record import Incarnation, Record
from gamecluster_operator.scaling import Plan, needs_second, plan


def pods(count: int) -> tuple[ObservedPod, ...]:
    return tuple(ObservedPod(f"arena-{i}", f"pod{i}", running=True, ready=True) for i in range(count))


def record(leader: int, *in_sync: int) -> Record:
    who = [Incarnation(f"arena-{i}_pod{i}_1") for i in in_sync]
    return Record(1, Incarnation(f"arena-{leader}_pod{leader}_1"), 3, tuple(who))


def test_a_first_set_and_a_larger_one_are_made_at_once() -> None:
    assert plan(3, None, None, (), 0, 3) == Plan(3)
    assert plan(5, 3, record(2, 0, 1, 2), pods(3), 0, 3) == Plan(5)


def test_a_leader_that_stays_is_not_troubled() -> None:
    assert plan(2, 5, record(1, 1, 3, 4), pods(5), 0, 3) == Plan(2)


def test_a_leader_that_goes_is_asked_to_hand_over_to_one_that_stays() -> None:
    made = plan(2, 5, record(4, 4, 1, 3), pods(5), 0, 3)
    assert made.replicas == 5 and made.hand_off is not None
    assert (made.hand_off.leader.name, made.hand_off.to) == ("arena-4", "arena-1")


def test_of_a_set_that_goes_as_a_whole_the_lowest_stays_until_another_is_in() -> None:
    assert plan(1, 10, record(7, 7, 8, 9), pods(10), 11, 3).replicas == 8
    assert plan(1, 8, record(7, 7, 0), pods(8), 11, 3).replicas == 1


def test_no_wait_is_for_ever() -> None:
    assert plan(1, 10, record(7, 7, 8, 9), pods(10), 30, 3) == Plan(1)


def test_a_leader_that_keeps_no_other_copy_is_removed_at_once_for_as_it_goes_it_takes_in_who_stays() -> None:
    assert plan(1, 2, record(1, 1), pods(2), 0, 1) == Plan(1)
    first, second = pods(2)
    assert plan(1, 2, record(1, 1), (first, replace(second, copies=1)), 0, 3) == Plan(1), "as it says itself"


def test_nor_is_it_removed_while_nobody_who_stays_is_ready_or_others_may_come_into_the_set() -> None:
    first, second = pods(2)
    for other in (replace(first, ready=False), replace(first, deleting=True)):
        assert plan(1, 2, record(1, 1), (other, second), 0, 1).replicas == 2
    assert plan(1, 2, record(1, 1), (second,), 0, 1).replicas == 2
    assert plan(1, 2, record(1, 1), (first, second), 0, 2).replicas == 2
    assert plan(1, 3, record(1, 1, 2), pods(3), 0, 1).replicas == 3, "two copies: one too many, so the set will change"
    assert plan(1, 2, record(1, 1), (first, replace(second, copies=2)), 0, 1).replicas == 2


@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(0, 11),
    st.sets(st.integers(0, 11)),
    st.floats(0, 60),
    st.integers(1, 3),
)
def test_there_are_never_more_than_there_are_nor_fewer_than_wanted(
    wanted: int, current: int, leader: int, in_sync: set[int], seconds: float, copies: int
) -> None:
    made = plan(wanted, current, record(leader, *in_sync), pods(current), seconds, copies)
    assert min(wanted, current) <= made.replicas <= max(wanted, current)
    assert made.hand_off is None or made.replicas == current
    assert (made.replicas == wanted) or made.waiting


ONE, TWO = ObservedSet(1, 1, 1, True, "new"), ObservedSet(2, 2, 2, True, "new")
FIRST, SECOND = pods(2)


def test_an_only_pod_that_goes_gets_a_second_one() -> None:
    assert not needs_second(ONE, (FIRST,))
    assert needs_second(ONE, (replace(FIRST, deleting=True),))
    assert needs_second(TWO, (replace(FIRST, deleting=True),)), "its pod is not there yet"


def test_who_has_ended_or_never_ran_has_nothing_to_hand_over() -> None:
    assert not needs_second(ONE, (replace(FIRST, deleting=True, running=False),))
    assert not needs_second(ONE, ())
    assert not needs_second(None, ())


def test_a_set_that_makes_no_pods_any_more_is_left_alone() -> None:
    assert not needs_second(replace(ONE, deleting=True), (replace(FIRST, deleting=True),))
    assert not needs_second(replace(ONE, replicas=0), (replace(FIRST, deleting=True),))


def test_the_second_one_stays_until_the_one_in_the_first_ones_place_is_ready() -> None:
    assert needs_second(TWO, (replace(FIRST, deleting=True), SECOND))
    assert needs_second(TWO, (SECOND,))
    assert needs_second(TWO, (replace(FIRST, ready=False), SECOND))
    assert not needs_second(TWO, (FIRST, SECOND))


def test_while_one_stays_or_is_on_its_way_no_other_is_made() -> None:
    ending = replace(SECOND, deleting=True)
    assert not needs_second(ONE, (FIRST, ending)), "the surplus pod of a moment ago"
    assert not needs_second(ONE, (replace(FIRST, ready=False, running=False), ending))
