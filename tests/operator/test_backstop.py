from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gamecluster_operator.backstop import EPOCH_LEAP, TotalLoss, backstop, is_certainly_dead
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


def test_a_lease_made_anew_goes_to_a_survivor_only_if_all_others_are_certainly_dead() -> None:
    vacant = Record(7, None, 4, (A, B, C))
    assert after(10, vacant, pod(0), pod(1), pod(2, 2)) is None
    assert after(10, vacant, pod(0), pod(1, 2), pod(2, None)) is None
    assert after(10, vacant, pod(0), pod(1, 2), pod(2, 2)) == Record(7, A, 4 + EPOCH_LEAP, (A,))


members = st.lists(st.sampled_from([A, B, C]), unique=True, max_size=3).map(tuple)
pods = st.lists(
    st.builds(pod, st.integers(0, 3), st.none() | st.integers(1, 3), ended=st.booleans(), restarts=st.integers(0, 3)),
    unique_by=lambda p: p.uid,
)


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
    assert holder not in living, "never against a living holder"
    if isinstance(result, TotalLoss):
        assert not living & set(in_sync), "no total loss while one of the set lives"
        assert result.record.version == 7 and result.record.epoch > record.epoch + 999 and result.record.never_held
    else:
        assert result.holder in set(in_sync) & living - {holder}, "never outside the in-sync set"
        assert set(result.in_sync) <= set(in_sync) - {holder} and result.holder in result.in_sync
        assert result.version == 7 and result.epoch > record.epoch and not result.never_held
