from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gamecluster_operator.backstop import EPOCH_LEAP, TotalLoss, backstop, is_certainly_dead, is_lost, newest_held
from gamecluster_operator.observed import ObservedPod, Telling
from gamecluster_operator.record import Incarnation, Record

A, B, C = (Incarnation(f"arena-{i}_pod{i}_1") for i in range(3))
HELD = Record(7, A, 4, (A, B, C))


def pod(i: int, boot: int | None = 1, *, ended: bool = False, restarts: int = 0, epoch: int = 4) -> ObservedPod:
    """``boot`` None: it does not answer."""
    told = Telling(Incarnation(f"arena-{i}_pod{i}_{boot}"), "arena-0", epoch) if boot else None
    return ObservedPod(
        f"arena-{i}", f"pod{i}", f"10.0.0.{i}", running=not ended, ended=ended, restarts=restarts, told=told
    )


def after(
    seconds: float, record: Record, *pods: ObservedPod, gone: dict[str, float] | None = None
) -> Record | TotalLoss | None:
    return backstop(record, pods, seconds, 0.0, gone)


def test_a_holder_that_answers_is_left_alone() -> None:
    assert after(1000, HELD, pod(0), pod(1), pod(2)) is None


def test_before_ten_seconds_nothing_is_done() -> None:
    assert after(9.9, HELD, pod(0, None), pod(1), pod(2)) is None


def test_the_first_living_member_in_the_records_order_is_named() -> None:
    assert after(10, HELD, pod(0, None), pod(1), pod(2)) == Record(7, B, 5, (B, C))
    assert after(10, HELD, pod(0, None), pod(1, None), pod(2)) == Record(7, C, 5, (B, C))


def test_a_learner_is_never_named() -> None:
    assert after(10, Record(7, A, 4, (A,)), pod(0, None), pod(1), pod(2)) is None


def test_a_restarted_member_is_never_named() -> None:
    assert after(10, HELD, pod(0, None), pod(1, 2), pod(2, None)) is None


def test_the_epoch_goes_past_all_that_any_pod_has_heard_of() -> None:
    assert after(10, HELD, pod(0, None), pod(1, epoch=9), pod(2)) == Record(7, B, 10, (B, C))


def test_a_pod_that_leads_off_the_record_is_not_interfered_with() -> None:
    elected = ObservedPod("arena-1", "pod1", "10.0.0.1", running=True, told=Telling(B, "arena-1", 5))
    assert after(100, HELD, pod(0, 2), elected, pod(2)) is None


def test_a_lease_that_was_never_held_is_the_pods_own_affair() -> None:
    assert after(1000, Record(7, None, 0, (), True), pod(0)) is None


def test_all_certainly_dead_is_a_total_loss() -> None:
    lost = after(100, HELD, pod(0, 2), pod(1, None, ended=True), gone={"pod2": 0.0})
    assert lost == TotalLoss(Record(7, None, 4 + EPOCH_LEAP, (), True), (A, B, C))


def test_one_that_may_live_makes_it_none() -> None:
    assert after(100, HELD, pod(0, 2), pod(1, 2), pod(2, None)) is None


def test_a_pod_that_is_gone_is_dead_only_after_a_minute() -> None:
    alone = Record(7, A, 4, (A,))
    assert after(69, alone, gone={"pod0": 10.0}) is None
    assert isinstance(after(70, alone, gone={"pod0": 10.0}), TotalLoss)


def test_a_pod_that_is_gone_but_renewed_the_record_since_is_not_dead_yet() -> None:
    """Its object was deleted by force, and it ran on: rule 11 lets it commit for a lease duration after its last renewal."""
    alone, gone = Record(7, A, 4, (A,)), {"pod0": 10.0}
    assert backstop(alone, (), 120, 100.0, gone) is None
    assert backstop(alone, (), 159, 100.0, gone) is None
    assert isinstance(backstop(alone, (), 160, 100.0, gone), TotalLoss)


def test_an_end_that_the_kubelet_told_of_an_earlier_boot_proves_nothing_of_a_later_one() -> None:
    second = Incarnation("arena-0_pod0_2")
    assert not is_certainly_dead(second, [pod(0, None, ended=True, restarts=0)], set())
    assert is_certainly_dead(second, [pod(0, None, ended=True, restarts=1)], set())


def test_an_answer_of_an_earlier_boot_certifies_nobody() -> None:
    assert not is_certainly_dead(Incarnation("arena-0_pod0_2"), [pod(0, 1)], set())


# --- a seal that binds for ever -----------------------------------------------------------------------------------------


def bound(i: int, *to: Incarnation, leader: str | None = None) -> ObservedPod:
    return telling(i, held=HELD, bound=to, leader=leader)


def test_with_a_name_goes_who_is_certainly_dead() -> None:
    assert after(10, HELD, pod(0, 2), pod(1), pod(2)) == Record(7, B, 5, (B, C), dead=(A,))


def test_those_that_the_named_pod_is_bound_to_are_named_as_dead_though_the_record_has_forgotten_them() -> None:
    record = Record(9, C, 6, (C,))
    result = after(60, record, bound(2, A, B, C), gone={"pod0": 0.0, "pod1": 0.0})
    assert result == Record(9, C, 6, (C,), dead=(A, B))


def test_a_bound_holder_is_told_who_else_has_ended_since_and_nothing_twice() -> None:
    record = Record(9, C, 6, (B, C), dead=(A,))
    assert after(59, record, bound(2, A, B, C), gone={"pod0": 0.0, "pod1": 0.0}) is None
    freed = after(60, record, bound(2, A, B, C), gone={"pod0": 0.0, "pod1": 0.0})
    assert freed == Record(9, C, 6, (B, C), dead=(A, B))
    assert after(1000, freed, bound(2, A, B, C), gone={"pod0": 0.0, "pod1": 0.0}) is None


def test_a_leader_that_is_bound_is_freed_too() -> None:
    result = after(60, HELD, bound(0, A, B, C, leader="arena-0"), gone={"pod1": 0.0, "pod2": 0.0})
    assert result == Record(7, A, 4, (A, B, C), dead=(B, C))


def test_a_holder_that_is_not_bound_needs_no_word_about_the_dead() -> None:
    assert after(1000, HELD, telling(0, held=HELD), pod(1, 2), pod(2, 2)) is None


# --- a Lease that was lost ------------------------------------------------------------------------------------------------

VACANT = Record(20, None, 4, (A, B, C))
LOWERED = Record(20, A, 2, (A, B, C))
D = Incarnation("arena-3_pod3_1")


def telling(i: int, boot: int = 1, *, epoch: int = 4, **more: Any) -> ObservedPod:
    """``held``, ``last``, ``bound``, ``leader``: see Telling."""
    told = Telling(Incarnation(f"arena-{i}_pod{i}_{boot}"), epoch=epoch, **more)
    return ObservedPod(f"arena-{i}", f"pod{i}", f"10.0.0.{i}", running=True, told=told)


def test_the_longest_log_of_those_that_are_left_of_the_newest_set_goes_on_with_them() -> None:
    seen = telling(1, held=HELD, last=(4, 10)), telling(2, held=HELD, last=(4, 12))
    assert after(10, VACANT, telling(0, 2), *seen) == Record(20, C, 4 + EPOCH_LEAP, (C, B), dead=(A,))
    assert after(9.9, VACANT, telling(0, 2), *seen) is None


def test_a_log_of_a_later_epoch_is_longer_than_one_with_more_entries() -> None:
    seen = telling(1, held=HELD, last=(4, 10)), telling(2, held=HELD, last=(3, 900))
    assert after(10, VACANT, telling(0, 2), *seen) == Record(20, B, 4 + EPOCH_LEAP, (B, C), dead=(A,))


def test_the_newest_set_that_any_pod_knows_counts_and_not_an_older_one_of_the_lease() -> None:
    newest, older = Record(15, B, 5, (A, B)), Record(14, B, 5, (A, B, C))
    seen = telling(1, held=newest, last=(5, 10)), telling(2, held=older, last=(5, 12))
    assert after(10, VACANT, telling(0, 2), *seen) == Record(20, B, 5 + EPOCH_LEAP, (B,), dead=(A,))


def test_when_all_of_the_newest_set_have_ended_it_is_a_total_loss_though_others_live() -> None:
    newest = Record(15, A, 5, (A, B))
    lost = after(10, VACANT, telling(0, 2), telling(1, 2), telling(2, held=newest, last=(5, 12)))
    assert lost == TotalLoss(Record(20, None, 5 + EPOCH_LEAP, (), True), (A, B))


def test_the_leases_own_set_counts_if_no_living_pod_has_heard_of_its_epoch() -> None:
    """The operator knew of a change that a pod without the API server did not."""
    later = Record(20, None, 6, (A, B))
    seen = telling(2, held=HELD, last=(4, 12))
    assert after(10, later, telling(0, 2), telling(1, 2), seen) == TotalLoss(
        Record(20, None, 6 + EPOCH_LEAP, (), True), (A, B)
    )
    named = after(10, later, telling(0, 2), telling(1, held=HELD, last=(4, 9)), seen)
    assert named == Record(20, B, 6 + EPOCH_LEAP, (B,), dead=(A,))


def test_what_the_operator_has_seen_itself_counts_like_what_a_pod_has() -> None:
    """It saw a change in the same epoch that the pod, cut off from the API server, did not."""
    gone, alone = (telling(0, 2), telling(1, 2)), telling(2, held=HELD, last=(4, 12))
    shrunk = Record(15, A, 4, (A, B))
    lost = backstop(Record(20, None, 4, (A, B)), (*gone, alone), 10, 0.0, known=shrunk)
    assert lost == TotalLoss(Record(20, None, 4 + EPOCH_LEAP, (), True), (A, B))
    grown = Record(6, A, 4, (A, B))
    named = backstop(Record(20, None, 4, (A, B)), (*gone, alone), 10, 0.0, known=grown)
    assert named == Record(20, C, 4 + EPOCH_LEAP, (C,), dead=(A, B)), "the pod saw what came after it"
    waits = backstop(VACANT, (telling(0, 2), alone), 1000, 0.0, known=shrunk)
    assert waits is None, "nobody knows what became of arena-1"


def test_whoever_does_not_answer_may_know_better() -> None:
    seen = telling(1, held=HELD), telling(2, held=HELD)
    assert after(1000, VACANT, pod(0, None), *seen) is None, "one of the set"
    assert after(1000, VACANT, telling(0, 2), *seen, pod(3, None)) is None, "any other"
    assert after(1000, VACANT, telling(0, 2), telling(1, 2), telling(2, 2), pod(3, None)) is None, (
        "nor is it a total loss"
    )
    never_ran = ObservedPod("arena-3", "pod3", unplaced=True)
    assert after(10, VACANT, telling(0, 2), *seen, never_ran) is not None
    assert after(10, VACANT, telling(0, 2), *seen, pod(3, None, ended=True)) is not None


def test_a_member_whose_pod_is_gone_is_waited_for_until_it_is_certainly_dead() -> None:
    seen = telling(1, held=HELD), telling(2, held=HELD)
    assert after(59, VACANT, *seen, gone={"pod0": 0.0}) is None
    assert after(60, VACANT, *seen, gone={"pod0": 0.0}) == Record(20, B, 4 + EPOCH_LEAP, (B, C), dead=(A,))


def test_one_of_the_leases_own_older_set_that_may_live_may_know_better_too() -> None:
    newest = Record(15, B, 5, (A, B))
    seen = telling(0, 2), telling(1, held=newest)
    assert after(1000, VACANT, *seen) is None, "arena-2 is in the set of the Lease"
    assert after(60, VACANT, *seen, gone={"pod2": 0.0}) is not None


def test_all_alive_for_ten_seconds_and_still_no_leader_is_no_reason_to_wait_longer() -> None:
    """They may be forbidden to take over, or ask for the promise of a dead one that an unanswered write would have let in."""
    seen = [telling(i, held=HELD, last=(4, 10 + i % 2)) for i in range(3)]
    assert after(10, VACANT, *seen) == Record(20, B, 4 + EPOCH_LEAP, (B, A, C))


def test_a_leader_that_has_not_read_of_the_loss_plays_on() -> None:
    seen = telling(1, held=HELD), telling(2, held=HELD)
    assert after(1000, VACANT, telling(0, held=HELD, leader="arena-0"), *seen) is None


def test_one_that_slept_and_believes_it_leads_does_not_keep_the_others_from_going_on() -> None:
    newest = Record(15, B, 5, (B, C))
    asleep = telling(0, held=HELD, leader="arena-0", epoch=4)
    assert after(10, VACANT, asleep, telling(1, 2), telling(2, held=newest)) == Record(
        20, C, 5 + EPOCH_LEAP, (C,), dead=(B,)
    )


def test_a_log_elsewhere_that_ends_in_a_later_epoch_is_proof_of_a_record_that_nobody_knows() -> None:
    seen = telling(0, 2), telling(1, held=HELD, last=(4, 10)), telling(2, held=HELD, last=(4, 12))
    assert after(1000, VACANT, *seen, telling(3, held=HELD, last=(6, 13))) is None
    assert after(10, VACANT, *seen, telling(3, held=HELD, last=(4, 13))) is not None, "a learner may be ahead"


def test_the_epoch_goes_past_all_that_was_held_promised_or_logged() -> None:
    seen = telling(1, held=HELD, epoch=8), telling(2, held=HELD, last=(9, 1))
    result = after(10, VACANT, telling(0, 2), *seen)
    assert isinstance(result, Record) and result.epoch == 9 + EPOCH_LEAP


def test_an_epoch_that_was_lowered_by_hand_is_treated_alike() -> None:
    seen = telling(1, held=HELD), telling(2, held=HELD)
    assert after(10, LOWERED, telling(0, 2), *seen) == Record(20, B, 4 + EPOCH_LEAP, (B, C), dead=(A,))
    assert after(10, LOWERED, telling(0, held=HELD), telling(1, 2), seen[1]) == Record(
        20, A, 4 + EPOCH_LEAP, (A, C), dead=(B,)
    ), "the holder lives, but can't go on without the promise of a dead one"


def test_a_record_that_is_only_older_than_what_the_pods_have_seen_is_not_lost() -> None:
    """The operator's watch lags."""
    newer = Record(8, B, 5, (B, C))
    assert not is_lost(HELD, [telling(1, held=newer)])
    assert is_lost(Record(9, A, 4, (A, B, C)), [telling(1, held=newer)])


def test_without_a_pod_that_knows_a_record_the_set_of_the_lease_counts() -> None:
    assert isinstance(after(10, VACANT, *(telling(i, 2) for i in range(3))), TotalLoss)
    assert after(1000, Record(20, None, 4, ()), telling(0)) is None


members = st.lists(st.sampled_from([A, B, C]), unique=True, max_size=3).map(tuple)
helds = st.builds(
    Record,
    st.integers(1, 9),
    st.sampled_from([A, B, C]),
    st.integers(1, 6),
    st.lists(st.sampled_from([A, B, C]), unique=True, min_size=1, max_size=3).map(tuple),
)
positions = st.tuples(st.integers(0, 6), st.integers(0, 9))


@st.composite
def any_pod(draw: st.DrawFn) -> ObservedPod:
    i, boot, ended, restarts = draw(
        st.tuples(st.integers(0, 3), st.none() | st.integers(1, 3), st.booleans(), st.integers(0, 3))
    )
    made = pod(i, boot, ended=ended, restarts=restarts)
    if made.told is None:
        return made
    leader = draw(st.sampled_from([None, "arena-0", f"arena-{i}"]))
    told = replace(made.told, leader=leader, held=draw(st.none() | helds), last=draw(positions), bound=draw(members))
    return replace(made, told=told)


pods = st.lists(any_pod(), unique_by=lambda p: p.uid)


@given(
    st.none() | st.sampled_from([A, B, C]),
    members,
    pods,
    st.floats(0, 200),
    st.dictionaries(st.sampled_from(["pod0", "pod1", "pod2"]), st.floats(0, 100)),
)
def test_whatever_is_seen_the_rules_hold(
    holder: Incarnation | None,
    in_sync: tuple[Incarnation, ...],
    seen: list[ObservedPod],
    now: float,
    gone: dict[str, float],
) -> None:
    record = Record(7, holder, 4, in_sync)
    result = backstop(record, seen, now, 0.0, gone)
    living = {p.told.incarnation for p in seen if p.told}
    if result is None:
        return
    assert now >= 10, "never before the grace"
    newest = newest_held(seen) if is_lost(record, seen) else None
    able = set((newest.in_sync if newest else ()) + in_sync) & living
    if isinstance(result, TotalLoss):
        assert not set(result.lost) & living, "no total loss while one of the set lives"
        assert result.record.version == 7 and result.record.epoch > record.epoch + 999 and result.record.never_held
        return
    assert result.version == 7 and not result.never_held and not set(result.dead) & living
    if result.epoch == record.epoch:
        assert holder in living and replace(result, dead=()) == record, "the same, with the dead"
    elif is_lost(record, seen):
        assert result.holder in set(result.in_sync) <= able and result.epoch > record.epoch + 999
        last = {p.told.incarnation: p.told.last for p in seen if p.told}
        assert all(last[result.holder] >= last[who] for who in result.in_sync), "never with less than another has"
        assert all(last[result.holder][0] >= position[0] for position in last.values())
    else:
        assert result.holder in able - {holder}, "never outside the in-sync set"
        assert holder not in living, "never against a living holder"
        assert set(result.in_sync) <= set(in_sync) - {holder} and result.holder in result.in_sync
        assert result.epoch > record.epoch
