"""The operator's word that members have ended (the record's ``dead``): it frees whom a seal binds to pods that can't answer any more."""

from __future__ import annotations

from gamecluster.core.messages import Incarnation, Record

from .cluster import Cluster


def bereaved(size: int = 3) -> tuple[Cluster, tuple[Incarnation, ...]]:
    """All are sealed, the leader has acknowledged a move, and all but the last have ended for good, with the store away."""
    cluster = Cluster(size=size, replicas=size)
    cluster.join("a-1")
    cluster.lease_away = True
    cluster.run(3)
    answer = cluster.answer("a-1", cluster.ask("a-1", n=1))
    assert answer is not None and answer.ok
    ended = tuple(cluster.nodes[f"a-{i}"].me for i in range(size - 1))
    for who in ended:
        cluster.kill(who.split("_")[0])
    cluster.run(3)
    return cluster, ended


def name(cluster: Cluster, who: str, dead: tuple[Incarnation, ...]) -> None:
    """The store is back, and the operator writes what it would."""
    cluster.lease_away = False
    record, me = cluster.lease, cluster.nodes[who].me
    in_sync = tuple(m for m in record.in_sync if m != record.holder)
    cluster.lease = Record(record.version + 1, me, record.epoch + 1, in_sync, dead=dead)
    cluster.run(3)


def test_the_survivor_of_a_seal_leads_when_the_operator_says_that_the_others_have_ended() -> None:
    cluster, ended = bereaved()
    name(cluster, "a-2", dead=ended)
    assert cluster.leader() == "a-2"
    answer = cluster.answer("a-2", cluster.ask("a-2", n=2, player="bob"))
    assert answer is not None
    assert cluster.total("a-2") == 1, "what was acknowledged under the seal"
    assert cluster.lease.in_sync == (cluster.nodes["a-2"].me,)
    assert cluster.nodes["a-2"].view().bound == []


def test_without_that_word_it_stays_bound_and_says_to_whom() -> None:
    cluster, ended = bereaved()
    name(cluster, "a-2", dead=())
    cluster.run(60)
    assert cluster.leader() is None
    assert set(cluster.nodes["a-2"].view().bound) == {*ended, cluster.nodes["a-2"].me}


def test_the_word_may_come_later_than_the_name() -> None:
    cluster, ended = bereaved()
    name(cluster, "a-2", dead=())
    record = cluster.lease
    cluster.lease = Record(record.version + 1, record.holder, record.epoch, record.in_sync, dead=ended)
    cluster.run(3)
    assert cluster.leader() == "a-2"
    assert cluster.total("a-2") == 1


def test_a_leader_whose_followers_have_ended_under_the_seal_needs_it_as_well() -> None:
    cluster = Cluster()
    cluster.join("a-0")
    cluster.lease_away = True
    cluster.run(3)
    ended = (cluster.nodes["a-1"].me, cluster.nodes["a-2"].me)
    cluster.kill("a-1")
    cluster.kill("a-2")
    cluster.lease_away = False
    request = cluster.ask("a-0", n=1)
    cluster.run(9)
    assert cluster.nodes["a-0"].view().bound
    assert not [e for e in [cluster.answer("a-0", request)] if e is not None and e.ok]
    record = cluster.lease
    cluster.lease = Record(record.version + 1, record.holder, record.epoch, record.in_sync, dead=ended)
    cluster.run(3)
    assert cluster.lease.in_sync == (cluster.nodes["a-0"].me,)
    answer = cluster.answer("a-0", cluster.ask("a-0", n=2))
    assert answer is not None and answer.ok


def test_one_of_five_who_is_certainly_dead_for_the_operator_does_not_free_the_others() -> None:
    cluster, ended = bereaved(size=5)
    name(cluster, "a-4", dead=ended[:1])
    cluster.run(10)
    assert cluster.leader() is None, "three others could still lead by the seal"
    record = cluster.lease
    cluster.lease = Record(record.version + 1, record.holder, record.epoch, record.in_sync, dead=ended)
    cluster.run(3)
    assert cluster.leader() == "a-4"
