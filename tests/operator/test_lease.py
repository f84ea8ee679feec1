from __future__ import annotations

from gamecluster_operator.lease import LastKnown, NewLease, new_lease
from gamecluster_operator.observed import ObservedPod, Telling
from gamecluster_operator.record import Incarnation, Record

A, B = Incarnation("arena-0_pod0_1"), Incarnation("arena-1_pod1_1")
NEW = LastKnown(None, ())


def pod(who: Incarnation | None, epoch: int = 0, *in_sync: str) -> ObservedPod:
    told = Telling(who, epoch=epoch, in_sync=in_sync) if who else None
    return ObservedPod("arena-0", "pod0", running=True, told=told)


def test_a_cluster_without_a_past_has_never_been_held() -> None:
    assert new_lease(NEW, []) == NewLease(0, (), True)
    assert new_lease(NEW, [pod(A), pod(B)]) == NewLease(0, (), True)
    assert new_lease(NEW, [ObservedPod("arena-0", "pod0")]) == NewLease(0, (), True)


def test_a_running_pod_that_does_not_answer_may_have_a_past() -> None:
    assert new_lease(NEW, [pod(A), pod(None)]) is None


def test_what_the_status_knows_comes_back() -> None:
    assert new_lease(LastKnown(7, (A, B)), []) == NewLease(7, (A, B), False)


def test_pods_that_have_heard_of_a_higher_epoch_are_believed() -> None:
    assert new_lease(LastKnown(7, (A, B)), [pod(A, 9)]) == NewLease(9, (A, B), False)


def test_pods_have_a_past_that_the_status_missed() -> None:
    pods = [pod(A, 3, "arena-0", "arena-1"), pod(B, 3, "arena-0", "arena-1")]
    assert new_lease(NEW, pods) == NewLease(3, (A, B), False)
    assert new_lease(NEW, [pod(A, 3, "arena-5")]) is None


def test_who_does_not_answer_is_in_the_set_all_the_same() -> None:
    telling = Telling(A, epoch=3, in_sync=("arena-0", "arena-1"), held=Record(8, A, 2, (A, B)))
    pods = [ObservedPod("arena-0", "pod0", running=True, told=telling), pod(None)]
    assert new_lease(NEW, pods) == NewLease(3, (A, B), False)


def test_after_a_total_loss_it_may_still_be_begun_by_any() -> None:
    lost = LastKnown(1004, (), never_held=True)
    assert new_lease(lost, [pod(A, 4, "arena-0")]) == NewLease(1004, (), True)
    assert new_lease(lost, [pod(A, 1005, "arena-0")]) == NewLease(1005, (A,), False)
