"""A member that stands still holds up every commit: it is left out long before it is suspected, and comes back later."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from gamecluster.core.events import Ticked
from gamecluster.core.insync import Facts, planned_set
from gamecluster.core.leadership import REST_AT_MOST_SECONDS, REST_SECONDS
from gamecluster.core.messages import Incarnation, Record, incarnation, name_of

from .cluster import Cluster

ME, A, B, C, D = (incarnation(name, "uid", 1) for name in ("me-0", "a-1", "b-2", "c-3", "d-4"))
SUSPECT_AFTER = 0.5


def facts(overdue: dict[Incarnation, float], linked: tuple[Incarnation, ...] = (A, B, C, D), **more: Any) -> Facts:
    given: dict[str, Any] = {
        "now": 10.0,
        "silence": lambda peer: 0.0,
        "overdue": lambda peer: overdue.get(peer, 0.0),
        "reason": lambda peer: "",
        "heard_at": lambda peer: 10.0,
        "linked": frozenset(linked),
        "draining": frozenset(),
        "has_promised": lambda peer: True,
        "knows_sealed": lambda peer: False,
        "is_caught_up": lambda peer: not overdue.get(peer),
        "revision": lambda peer: "",
        "all_committed": True,
        "closed": None,
        "can_wake": False,
    }
    return Facts(**(given | more))


def planned(in_sync: list[Incarnation], seen: Facts, *resting: Incarnation, replicas: int = 3) -> list[str]:
    record = Record(1, ME, 1, tuple(in_sync), False)
    return [name_of(m) for m in planned_set(record, seen, ME, False, replicas, SUSPECT_AFTER, frozenset(resting))]


@pytest.mark.parametrize(("overdue", "expected"), [(0.25, ["me-0", "a-1", "b-2"]), (0.26, ["me-0", "b-2"])])
def test_who_owes_an_acknowledgement_for_too_long_is_left_out(overdue: float, expected: list[str]) -> None:
    assert planned([ME, A, B], facts({A: overdue}, (A, B))) == expected


def test_two_copies_are_kept_however_slow() -> None:
    assert planned([ME, A], facts({A: 0.4}, (A,))) == ["me-0", "a-1"]
    assert planned([ME, A, B], facts({A: 0.4, B: 0.3}, (A, B))) == ["me-0", "a-1", "b-2"]
    assert planned([ME, A, B, C], facts({A: 0.4, B: 0.3}, (A, B, C)), replicas=4) == ["me-0", "c-3"]


def test_a_learner_takes_the_place_of_one_that_is_left_out() -> None:
    assert planned([ME, A, B], facts({A: 0.3})) == ["me-0", "b-2", "c-3"]


def test_who_rests_does_not_come_back_yet() -> None:
    assert planned([ME, B], facts({}, (A, B)), A) == ["me-0", "b-2"]
    assert planned([ME, B], facts({}, (A, B))) == ["me-0", "b-2", "a-1"]


def test_who_rests_comes_back_if_there_would_be_one_copy_only() -> None:
    assert planned([ME], facts({}, (A,)), A) == ["me-0", "a-1"]


def test_who_rests_comes_back_if_another_waits_to_be_replaced() -> None:
    assert planned([ME, B], facts({}, (A, B), draining=frozenset({B})), A) == ["me-0", "a-1"]


def test_one_that_is_silent_is_no_different_from_before() -> None:
    seen = facts({A: 0.4}, (A, B), silence=lambda peer: inf if peer == A else 0.0)
    assert planned([ME, A, B], seen) == ["me-0", "b-2"]


# --- the node


def stall(cluster: Cluster, name: str, seconds: float) -> None:
    """``name`` answers nobody, and plays go on; then it has caught up."""
    leader = cluster.leader()
    assert leader is not None
    cluster.cut = {(name, other) for other in cluster.nodes if other != name}
    cluster.ask(leader)
    cluster.run(seconds)
    cluster.cut = set()
    cluster.run(0.3)


def members(cluster: Cluster) -> list[str]:
    return sorted(name_of(m) for m in cluster.lease.in_sync)


def test_a_short_stall_of_one_of_three_holds_up_a_move_for_half_the_time_to_suspect_it() -> None:
    cluster = Cluster()
    cluster.join("a-0")
    cluster.cut = {("a-2", "a-0"), ("a-2", "a-1")}
    request, waited = cluster.ask("a-0"), 0.0
    while cluster.answer("a-0", request) is None:
        cluster.run(0.02)
        waited += 0.02
    assert 0.25 <= round(waited, 3) <= 0.28
    assert "out of the in-sync set: a-2 (stands still for 260 ms)" in cluster.said("a-0")


def test_it_comes_back_after_a_rest_which_grows_each_time() -> None:
    cluster = Cluster()
    cluster.join("a-0")
    rest = REST_SECONDS
    while rest <= REST_AT_MOST_SECONDS:
        stall(cluster, "a-2", 0.3)
        assert members(cluster) == ["a-0", "a-1"]
        cluster.run(rest - 0.6)
        assert members(cluster) == ["a-0", "a-1"]
        cluster.run(0.6)
        assert members(cluster) == ["a-0", "a-1", "a-2"]
        rest *= 2
    stall(cluster, "a-2", 0.3)
    cluster.run(REST_AT_MOST_SECONDS)
    assert members(cluster) == ["a-0", "a-1", "a-2"], "but not for ever"


def test_after_a_quiet_time_it_is_forgotten() -> None:
    cluster = Cluster()
    cluster.join("a-0")
    for _ in range(3):
        stall(cluster, "a-2", 0.3)
        cluster.run(80)
        assert members(cluster) == ["a-0", "a-1", "a-2"]
    stall(cluster, "a-2", 0.3)
    cluster.run(REST_SECONDS)
    assert members(cluster) == ["a-0", "a-1", "a-2"]


def test_with_two_it_is_waited_for_until_it_is_suspected() -> None:
    cluster = Cluster(size=2)
    cluster.join("a-0")
    cluster.cut = {("a-1", "a-0")}
    request = cluster.ask("a-0")
    cluster.run(0.44)
    assert members(cluster) == ["a-0", "a-1"] and cluster.answer("a-0", request) is None


def test_nobody_is_left_out_while_nothing_is_owed() -> None:
    cluster = Cluster()
    cluster.join("a-0")
    cluster.cut = {("a-2", "a-0"), ("a-2", "a-1")}
    cluster.run(0.4)
    assert members(cluster) == ["a-0", "a-1", "a-2"]


def test_a_leader_that_stood_still_itself_accuses_nobody() -> None:
    """What came meanwhile is read after its tick."""
    cluster = Cluster()
    cluster.join("a-0")
    cluster.cut = {("a-2", "a-0")}
    cluster.ask("a-0")
    for _ in range(2):
        cluster.now += 0.19  # nearly as long as is noticed as a stall of its own
        for name in ("a-0", "a-1", "a-2"):
            cluster.tell(name, Ticked())
    assert members(cluster) == ["a-0", "a-1", "a-2"]
