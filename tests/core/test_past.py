"""A Lease that was deleted, or lowered by hand (rule 12): who may go on, and with what."""

from __future__ import annotations

from gamecluster.core import effects as do
from gamecluster.core import events as happened
from gamecluster.core.messages import Incarnation, Record
from gamecluster.core.past import Past

from .cluster import Cluster

A, B, C, D = (Incarnation(f"{name}_u_1") for name in ("a", "b", "c", "d"))


def vacate(cluster: Cluster, epoch: int) -> None:
    """The Lease was deleted, and made anew by an operator that knew ``epoch``."""
    cluster.lease = Record(cluster.lease.version + 1, None, epoch, cluster.lease.in_sync)


def read_by(cluster: Cluster, *names: str) -> None:
    for name in names:
        cluster.tell(name, happened.RecordRead(cluster.lease))


def test_a_leader_that_slept_does_not_reclaim_what_another_has_led_since() -> None:
    cluster = Cluster()
    cluster.join("a-1")
    asleep = cluster.nodes.pop("a-0")
    cluster.run(1.5)
    assert cluster.leader() == "a-1"
    answer = cluster.answer("a-1", cluster.ask("a-1", n=1))
    assert answer is not None and answer.ok
    vacate(cluster, epoch=1)
    cluster.nodes["a-0"] = asleep
    read_by(cluster, "a-0")
    cluster.run(0.3)
    assert any("the Lease was deleted" in said for said in cluster.said("a-0"))
    read_by(cluster, "a-1", "a-2")
    cluster.run(1.5)
    assert cluster.leader() == "a-1"
    assert cluster.lease.epoch > 2
    assert {cluster.total(name) for name in cluster.nodes} == {1}


def test_nothing_is_cut_off_a_log_before_all_of_the_last_set_have_promised() -> None:
    cluster = Cluster()
    cluster.join("a-1")
    asleep = cluster.nodes.pop("a-0")
    cluster.run(1.5)
    cluster.ask("a-1", n=1)
    ends = cluster.nodes["a-2"].log.last
    vacate(cluster, epoch=1)
    leader = cluster.nodes.pop("a-1")  # who alone knows better does not answer
    cluster.nodes["a-0"] = asleep
    read_by(cluster, "a-0", "a-2")
    cluster.run(3.0)
    assert cluster.leader() is None
    assert cluster.nodes["a-2"].log.last == ends
    cluster.nodes["a-1"] = leader
    read_by(cluster, "a-1")
    cluster.run(3.0)
    assert cluster.leader() in ("a-1", "a-2")
    assert {cluster.total(name) for name in cluster.nodes} == {1}


def test_a_lowered_epoch_is_put_right_by_the_leader() -> None:
    cluster = Cluster()
    cluster.join("a-1")
    cluster.tell("a-0", happened.HandOffRequested("a-1"))
    cluster.run(0.2)
    assert (cluster.leader(), cluster.lease.epoch) == ("a-1", 2)
    holder = cluster.nodes["a-1"].me
    cluster.lease = Record(cluster.lease.version + 1, holder, 1, cluster.lease.in_sync)
    read_by(cluster, *cluster.nodes)
    cluster.run(0.3)
    assert cluster.leader() == "a-1"
    assert cluster.lease.epoch == 3
    assert any("went back to epoch 1" in said for said in cluster.said("a-1"))


def test_without_a_leader_a_member_of_the_last_set_reclaims_when_all_of_it_promise() -> None:
    cluster = Cluster()
    cluster.join("a-1")
    cluster.ask("a-1", n=1)
    cluster.tell("a-0", happened.HandOffRequested("a-2"))
    cluster.run(0.2)
    vacate(cluster, epoch=9)  # beyond what any of them knows: nobody is sure to have led last
    read_by(cluster, *cluster.nodes)
    assert cluster.leader() is None
    cluster.run(3.0)
    assert cluster.leader() is not None
    assert cluster.lease.epoch > 9
    assert {cluster.total(name) for name in cluster.nodes} == {1}


def test_all_whom_an_unanswered_write_would_have_let_in_are_asked_as_well() -> None:
    past = Past()
    past.saw(Record(5, A, 1, (A, B)), [])
    past.saw(Record(9, None, 1, ()), [Record(5, A, 1, (A, B, C))])
    assert past.missing(A) == {B, C}
    past.promised(B, (Record(5, B, 2, (B, D)),))
    past.promised(C, ())
    assert past.missing(A) == {D}
    assert past.highest_epoch() == 2, "whoever goes on begins above it"
    past.promised(D, ())
    assert not past.missing(A)


def test_a_write_on_an_earlier_record_is_settled_by_the_newer_one() -> None:
    past = Past()
    past.saw(Record(5, A, 1, (A, B)), [])
    past.saw(Record(9, None, 1, ()), [Record(5, A, 1, (A, B, C))])
    past.learn(Record(7, B, 2, (B,)))
    assert past.wanted() == {B}


def test_a_write_that_the_operator_had_seen_has_landed() -> None:
    past = Past()
    past.saw(Record(1, None, 0, (), never_held=True), [])
    past.saw(Record(9, None, 1, (A,)), [Record(1, A, 1, (A,))])
    assert past.held is not None and past.held.holder == A
    assert past.wanted() == {A}


def test_what_a_new_game_begins_with_is_not_lost() -> None:
    past = Past()
    past.saw(Record(5, A, 7, (A, B)), [])
    fresh = Record(9, None, 1007, (), never_held=True)
    assert not past.is_lost(fresh)
    past.saw(fresh, [])
    assert not past.is_lost(Record(10, C, 1008, (C,)))


def test_while_there_is_no_lease_nobody_tries_to_write_it() -> None:
    cluster = Cluster()
    leader, follower = cluster.nodes["a-0"].me, cluster.nodes["a-1"]
    follower.handle(happened.RecordRead(None), cluster.now)
    lost = follower.handle(happened.LinkDown(leader, "reset"), cluster.now)
    assert not any(isinstance(effect, do.WriteRecord) for effect in lost)
    found = follower.handle(happened.RecordRead(cluster.lease), cluster.now)
    assert any(isinstance(effect, do.WriteRecord) for effect in found), "it takes over"
