"""Rule 10: play, and one death, while the Lease's store is away."""

from __future__ import annotations

from gamecluster.core import effects as do
from gamecluster.core.messages import name_of

from .cluster import Cluster


def sealed(size: int = 3, seconds: float = 3.0) -> Cluster:
    cluster = Cluster(size=size)
    cluster.join("a-1")
    cluster.lease_away = True
    cluster.run(seconds)
    return cluster


def restart(cluster: Cluster, name: str) -> None:
    cluster.kill(name)
    cluster.add(name, boot=2)


def test_play_goes_on_without_the_store() -> None:
    cluster = sealed(seconds=120)
    answer = cluster.answer("a-1", cluster.ask("a-1", n=1))
    assert answer is not None and answer.ok
    assert cluster.leader() == "a-0" and cluster.lease.epoch == 1


def test_a_leader_that_crashes_meanwhile_is_succeeded_when_its_restart_proves_its_death() -> None:
    cluster = sealed()
    cluster.ask("a-1", n=1)
    cluster.kill("a-0")
    request = cluster.ask("a-1", n=2)
    cluster.run(1)
    assert cluster.answer("a-1", request) is None, "dead or cut off: nobody can know yet"
    cluster.add("a-0", boot=2)
    cluster.run(1)
    answer = cluster.answer("a-1", request)
    assert answer is not None and answer.response["value"] == 2
    assert cluster.leader() == "a-1"
    assert cluster.lease.epoch == 1, "the record does not know yet"


def test_the_record_is_written_when_the_store_is_back_and_the_restarted_pod_gets_in_sync() -> None:
    cluster = sealed()
    restart(cluster, "a-0")
    cluster.run(1)
    cluster.lease_away = False
    cluster.run(2)
    assert cluster.lease.holder == cluster.nodes["a-1"].me and cluster.lease.epoch == 2
    assert {name_of(m) for m in cluster.lease.in_sync} == {"a-0", "a-1", "a-2"}
    assert "a-0_uid_2" in cluster.lease.in_sync
    answer = cluster.answer("a-1", cluster.ask("a-1", n=1))
    assert answer is not None and answer.ok


def test_a_follower_that_crashes_meanwhile_is_not_waited_for_once_its_death_is_certain() -> None:
    cluster = sealed()
    cluster.kill("a-2")
    request = cluster.ask("a-1", n=1)
    cluster.run(0.5)
    assert cluster.answer("a-1", request) is None
    cluster.add("a-2", boot=2)
    cluster.run(0.5)
    assert cluster.answer("a-1", request) is not None
    assert cluster.total("a-2") == 1, "let in again, as a learner"


def test_a_second_death_waits_for_the_store() -> None:
    cluster = sealed()
    restart(cluster, "a-0")
    cluster.run(1)
    restart(cluster, "a-1")
    cluster.run(3)
    assert cluster.leader() is None
    cluster.lease_away = False
    cluster.run(3)
    assert cluster.leader() == "a-2"


def test_with_two_in_sync_there_is_no_failover_without_the_store() -> None:
    cluster = sealed(size=2)
    restart(cluster, "a-0")
    cluster.run(3)
    assert cluster.leader() is None
    cluster.lease_away = False
    cluster.run(2)
    assert cluster.leader() == "a-1"


def test_a_crash_before_the_set_is_sealed_waits_for_the_store() -> None:
    cluster = Cluster()
    cluster.lease_away = True
    restart(cluster, "a-0")
    cluster.run(5)
    assert cluster.leader() is None
    cluster.lease_away = False
    cluster.run(2)
    assert cluster.leader() in ("a-1", "a-2")


def test_a_leader_that_was_only_silent_goes_on_if_the_store_was_away_meanwhile() -> None:
    cluster = Cluster(size=2)
    cluster.join("a-1")
    cluster.lease_away = True
    cluster.run(1.5)
    cluster.cut = {("a-0", "a-1"), ("a-1", "a-0")}
    cluster.run(3)
    cluster.cut = set()
    cluster.run(0.3)
    answer = cluster.answer("a-1", cluster.ask("a-1", n=1))
    assert answer is not None and answer.ok
    assert cluster.leader() == "a-0" and cluster.nodes["a-1"].epoch == 1


def test_when_the_store_is_back_the_seal_is_broken_and_everything_is_as_before() -> None:
    cluster = sealed()
    cluster.lease_away = False
    cluster.run(2)
    cluster.kill("a-0")
    assert cluster.leader() == "a-1", "by the record, at once"
    assert cluster.lease.epoch == 2


def test_who_is_left_out_of_an_election_can_commit_nothing() -> None:
    cluster = sealed()
    cluster.cut = {(a, b) for a in ("a-0",) for b in ("a-1", "a-2")} | {
        (b, a) for a in ("a-0",) for b in ("a-1", "a-2")
    }
    request = cluster.ask("a-1", n=1)
    cluster.run(9)
    assert cluster.leader() == "a-0", "unreachable is not dead"
    answer = cluster.answer("a-1", request)
    assert answer is not None and answer.response == {"reason": "unknown"}
    cluster.cut = set()
    cluster.run(1)
    assert not [e for e in cluster.effects["a-1"] if isinstance(e, do.Answer) and e.ok and not e.join]
