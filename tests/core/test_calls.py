"""Calls to the services: run once on the leader, answered when committed, seen by every pod, made again after a failover."""

from __future__ import annotations

from gamecluster.core import effects as do
from gamecluster.core import events as happened

from .cluster import Cluster


def names(cluster: Cluster, pod: str) -> dict[str, str]:
    rows = cluster.nodes[pod].log.tables.get("$names", {})
    return {name: row["pod"].split("_")[0] for name, row in rows.items()}


def register(cluster: Cluster, pod: str, name: str = "npc:7") -> int:
    return cluster.call(pod, "names", "register", name=name, id="1")


def told_rows(cluster: Cluster, pod: str) -> list[do.DeliverRows]:
    return [e for e in cluster.effects[pod] if isinstance(e, do.DeliverRows)]


def test_a_call_is_answered_when_all_in_sync_hold_it_and_every_pod_is_told_the_rows() -> None:
    cluster = Cluster()
    cluster.cut = {("a-0", "a-2")}
    request = register(cluster, "a-1")
    assert cluster.answer("a-1", request) is None and names(cluster, "a-0") == {}
    cluster.cut = set()
    cluster.run(0.3)
    answer = cluster.answer("a-1", request)
    assert answer is not None and answer.ok
    position = cluster.nodes["a-1"].position()
    assert (answer.response["epoch"], answer.response["seq"]) <= (position.epoch, position.seq)
    for pod in cluster.nodes:
        assert names(cluster, pod) == {"npc:7": "a-1"}
        [told] = told_rows(cluster, pod)
        assert [(table, key) for table, key, _ in told.ops] == [("$names", "npc:7")]


def test_the_rows_of_services_are_no_part_of_what_clients_see() -> None:
    cluster = Cluster()
    register(cluster, "a-1")
    assert "$names" not in cluster.nodes["a-1"].visible_tables()
    assert not [e for e in cluster.effects["a-1"] if isinstance(e, do.DeliverPatch)]


def test_a_refusal_is_answered_and_changes_nothing() -> None:
    cluster = Cluster()
    register(cluster, "a-1")
    refused = cluster.answer("a-2", register(cluster, "a-2"))
    assert refused is not None and not refused.ok
    assert refused.response == {"reason": "name taken", "node": "a-1"}
    assert names(cluster, "a-0") == {"npc:7": "a-1"}


def test_a_call_whose_fate_is_unknown_is_made_again_by_itself() -> None:
    cluster = Cluster()
    cluster.cut = {("a-1", "a-0")}
    lost = register(cluster, "a-1", "npc:1")
    cluster.cut = {("a-0", "a-1"), ("a-0", "a-2")}
    done = register(cluster, "a-2", "npc:2")
    assert cluster.answer("a-1", lost) is None and cluster.answer("a-2", done) is None
    cluster.kill("a-0")
    cluster.cut = set()
    cluster.run(0.3)
    for pod, request in (("a-1", lost), ("a-2", done)):
        answer = cluster.answer(pod, request)
        assert answer is not None and answer.ok
    assert names(cluster, "a-1") == names(cluster, "a-2") == {"npc:1": "a-1", "npc:2": "a-2"}


def test_without_a_leader_a_call_is_refused_within_seconds() -> None:
    cluster = Cluster()
    cluster.lease_away = True
    cluster.kill("a-0")
    cluster.kill("a-1")
    request = register(cluster, "a-2")
    cluster.run(3)
    answer = cluster.answer("a-2", request)
    assert answer is not None and answer.response == {"reason": "no leader"}


def test_what_a_dead_pod_held_ends_and_a_new_leader_knows_whose_it_is() -> None:
    cluster = Cluster()
    register(cluster, "a-0", "npc:0")
    register(cluster, "a-1", "npc:1")
    cluster.kill("a-0")
    cluster.run(0.5)
    assert names(cluster, "a-2") == {"npc:0": "a-0", "npc:1": "a-1"}, "not at once: the link may come back"
    cluster.run(3)
    assert names(cluster, "a-2") == {"npc:1": "a-1"}
    newcomer = register(cluster, "a-2", "npc:0")
    assert (answer := cluster.answer("a-2", newcomer)) is not None and answer.ok


def test_a_pod_that_gets_a_snapshot_is_told_that_all_rows_may_be_others() -> None:
    cluster = Cluster()
    register(cluster, "a-1")
    late = cluster.add("a-3")
    cluster.run(0.5)
    assert late.log.tables["$names"]
    assert [e for e in cluster.effects["a-3"] if isinstance(e, do.DeliverState | do.DeliverRows)]


def test_without_services_calls_are_refused() -> None:
    cluster = Cluster(1)
    cluster.nodes["a-0"]._authority._services = None
    cluster.tell("a-0", happened.Called(-7, "names", "register", {"name": "x", "id": "1"}))
    answer = cluster.answer("a-0", -7)
    assert answer is not None and answer.response == {"reason": "no services"}
