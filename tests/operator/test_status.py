from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamecluster_operator import spec, status
from gamecluster_operator.labels import Object
from gamecluster_operator.observed import Failover, Observed, ObservedPod, ObservedSet
from gamecluster_operator.record import Asleep, Incarnation, Record
from gamecluster_operator.spec import Problem
from gamecluster_operator.status import Counters, Situation

from . import golden
from .world import game_cluster

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
A, B, C = (Incarnation(f"arena-{i}_pod{i}_1") for i in range(3))
PODS = tuple(ObservedPod(f"arena-{i}", f"pod{i}", running=True, ready=True) for i in range(3))
PLAYING = Observed(ObservedSet(3, 3, 3, True), Record(7, A, 4, (A, B, C)), PODS)
UNREADY = tuple(replace(pod, ready=False) for pod in PODS)

SITUATIONS: dict[str, tuple[Observed, Situation]] = {
    "just-applied": (Observed(), Situation()),
    "starting": (Observed(ObservedSet(3, 3, 0, True), Record(1, None, 0, (), True), UNREADY), Situation()),
    "playing": (PLAYING, Situation(counters=Counters(120, 118))),
    "updating": (replace(PLAYING, stateful_set=ObservedSet(3, 3, 2, False)), Situation()),
    "leader-lost": (replace(PLAYING, pods=PODS[1:]), Situation(leading=False)),
    "failed-over": (
        replace(PLAYING, record=Record(9, B, 5, (B, C))),
        Situation(failover=Failover("arena-0", "arena-1", 5, "link reset", 3, 13, 9, 4, 21)),
    ),
    "lease-deleted": (replace(PLAYING, record=Record(11, None, 4, (A, B, C))), Situation()),
    "totally-lost": (
        replace(PLAYING, record=Record(12, None, 1004, (), True)),
        Situation(lost=(A, B, C), leading=False),
    ),
    "invalid-spec": (
        Observed(),
        Situation(Problem("InvalidSpec", "spec.storage.secretRef.name is missing: the Secret with the URL of Redis")),
    ),
    "shrinking": (
        PLAYING,
        Situation(waiting="arena-2 is asked to hand the GameState over to arena-0 before it is removed"),
    ),
    "hibernating": (
        Observed(ObservedSet(1, 1, 1, True), Record(13, A, 4, (A,)), PODS[:1]),
        Situation(waiting="arena-0 stays until its storage takes what it holds (it is Failing)"),
    ),
    "hibernated": (
        Observed(ObservedSet(0, 0, 0, True), Record(14, None, 5, (), asleep=Asleep(A, 4, 123)), ()),
        Situation(leading=False),
    ),
    "hibernated-without-a-word": (
        Observed(ObservedSet(0, 0, 0, True), Record(14, A, 4, (A,)), ()),
        Situation(leading=False),
    ),
}


def derive(observed: Observed, situation: Situation, previous: Object | None = None, now: datetime = NOW) -> Object:
    sleeps = observed.stateful_set is not None and observed.stateful_set.replicas < 3
    wanted = {"replicas": 0, "storage": {"type": "Volume"}} if sleeps else {}
    cluster = spec.parse(game_cluster(**wanted))
    return status.derive("arena", 1, cluster, observed, previous or {}, situation, now)


@pytest.mark.parametrize("name", SITUATIONS)
def test_what_is_told_of(name: str) -> None:
    golden.check(f"status-{name}", [derive(*SITUATIONS[name])])


names = st.sampled_from(sorted(SITUATIONS))


@given(names, names)
def test_a_status_that_says_nothing_new_is_equal_to_the_last(before: str, name: str) -> None:
    observed, situation = SITUATIONS[name]
    situation = replace(situation, failover=None, lost=())
    first = derive(observed, situation, derive(*SITUATIONS[before]))
    assert derive(observed, situation, first, NOW + timedelta(hours=1)) == first


@given(names, names)
def test_a_transition_time_changes_only_with_the_status(before: str, name: str) -> None:
    old = derive(*SITUATIONS[before])
    new = derive(*SITUATIONS[name], old, NOW + timedelta(hours=1))
    for condition in new["conditions"]:
        was = status.condition(old, condition["type"])
        flipped = was is None or was["status"] != condition["status"]
        assert condition["lastTransitionTime"] == ("2026-01-01T13:00:00Z" if flipped else "2026-01-01T12:00:00Z")


@given(st.lists(names, max_size=6))
def test_the_epoch_never_decreases_and_the_record_stays_known(path: list[str]) -> None:
    current: Object = {}
    for name in path:
        epoch = current.get("epoch", 0)
        current = derive(*SITUATIONS[name], current)
        assert current.get("epoch", 0) >= epoch
        assert not epoch or current["gameState"] is not None


@given(names)
def test_ready_and_stalled_agree_with_kstatus(name: str) -> None:
    conditions = {c["type"]: c for c in derive(*SITUATIONS[name])["conditions"]}
    assert all(c["reason"] and c["message"] and c["observedGeneration"] == 1 for c in conditions.values())
    assert not (conditions["Stalled"]["status"] == conditions["Reconciling"]["status"] == "True")


def test_a_cluster_that_was_never_held_has_no_epoch() -> None:
    assert "epoch" not in derive(*SITUATIONS["starting"])


def test_a_spec_that_cannot_be_read_leaves_the_rest_visible() -> None:
    made = status.derive("arena", 2, None, PLAYING, {}, Situation(Problem("InvalidSpec", "spec.targets")), NOW)
    conditions = {c["type"]: c["status"] for c in made["conditions"]}
    assert (conditions["Stalled"], conditions["Ready"], made["leader"]) == ("True", "True", "arena-0")
