"""The rules of the GameState's protocol, each as a short story. The long ones are told by the simulator."""

from __future__ import annotations

from typing import Any

from gamecluster.core import effects as do
from gamecluster.core import events as happened
from gamecluster.core.messages import (
    Append,
    Follow,
    Forward,
    Install,
    Move,
    Position,
    Promise,
    Record,
    Refused,
    incarnation,
    name_of,
)

from .cluster import Cluster


def names(record: Record) -> list[str]:
    return [name_of(m) for m in record.in_sync]


def test_the_first_pod_by_name_claims_a_vacant_lease_and_the_others_get_in_sync() -> None:
    cluster = Cluster()
    assert cluster.leader() == "a-0"
    assert cluster.lease.epoch == 1
    assert names(cluster.lease) == ["a-0", "a-1", "a-2"]


def test_a_pod_alone_leads_and_commits_at_once() -> None:
    cluster = Cluster(size=1)
    cluster.join("a-0")
    assert cluster.answer("a-0", cluster.ask("a-0")) is not None


def test_a_vacant_lease_that_was_held_before_is_not_claimed_by_just_anyone() -> None:
    cluster = Cluster(size=0)
    cluster.lease = Record(7, None, 41, (), False)
    cluster.add("a-0")
    cluster.run(2)
    assert cluster.leader() is None


def test_a_move_is_answered_only_when_every_pod_in_sync_holds_it() -> None:
    cluster = Cluster()
    cluster.join("a-1")
    cluster.cut = {("a-2", "a-0")}  # a-2's acknowledgements do not arrive
    request = cluster.ask("a-1")
    assert cluster.answer("a-1", request) is None
    assert cluster.total("a-0") == 0, "what is not committed is not shown, on the leader neither"
    cluster.lease_away = True
    cluster.run(0.8)
    assert cluster.answer("a-1", request) is None, "as long as the record has a-2"
    cluster.lease_away = False
    for _ in range(50):  # it is taken out of the set by a write, then the rest go on
        cluster.run(0.02)
        assert (cluster.answer("a-1", request) is None) == ("a-2" in names(cluster.lease))
    assert names(cluster.lease) == ["a-0", "a-1"]


def test_learners_get_the_stream_but_are_not_waited_for() -> None:
    cluster = Cluster(size=4, replicas=3)
    assert len(cluster.lease.in_sync) == 3
    cluster.join("a-3")
    cluster.cut = {("a-3", "a-0")}
    cluster.ask("a-1", player="bob")
    assert cluster.total("a-3") == 0
    cluster.cut = set()
    answer = cluster.answer("a-3", cluster.ask("a-3"))
    assert answer is not None and answer.ok
    assert cluster.total("a-3") == 1


def test_a_dead_leader_is_succeeded_at_once_with_everything_that_was_acknowledged() -> None:
    cluster = Cluster()
    cluster.join("a-1")
    for n in range(1, 6):
        assert cluster.answer("a-1", cluster.ask("a-1", n=n)) is not None
    cluster.kill("a-0")
    assert cluster.leader() == "a-1", "no waiting for a lease to expire"
    assert cluster.lease.epoch == 2
    assert cluster.total("a-2") == 5
    answer = cluster.answer("a-1", cluster.ask("a-1", n=6))
    assert answer is not None and answer.response["value"] == 6


def test_a_silent_leader_is_succeeded_after_one_and_a_half_times_suspect_after() -> None:
    cluster = Cluster()
    cluster.cut = {("a-0", "a-1"), ("a-0", "a-2"), ("a-1", "a-0"), ("a-2", "a-0")}
    cluster.run(0.6)
    assert names(cluster.lease) == ["a-0", "a-1", "a-2"], "the leader, on the smaller side, waits longer"
    cluster.run(0.3)
    assert cluster.lease.holder == cluster.nodes["a-1"].me
    cluster.cut = set()
    cluster.run(1)
    assert cluster.leader() == "a-1"
    assert set(names(cluster.lease)) == {"a-0", "a-1", "a-2"}


def test_the_old_leader_can_commit_nothing_once_another_was_promised_more() -> None:
    cluster = Cluster()
    cluster.join("a-0")
    cluster.cut = {("a-0", "a-1"), ("a-0", "a-2"), ("a-1", "a-0"), ("a-2", "a-0")}
    cluster.run(0.85)
    assert cluster.leader() is None and cluster.nodes["a-1"].is_leader and cluster.nodes["a-0"].is_leader
    request = cluster.ask("a-0", n=1)
    assert cluster.answer("a-0", request) is None
    cluster.cut = set()
    cluster.run(0.5)
    answer = cluster.answer("a-0", request)
    assert answer is not None and answer.ok, "the move that waited there runs under the new leader, once"
    assert cluster.total("a-2") == 1


def test_a_pod_refuses_what_is_older_than_its_promise_and_another_leader_in_the_same_epoch() -> None:
    cluster = Cluster()
    stranger = cluster.nodes["a-2"].me
    effects = cluster.nodes["a-1"].handle(happened.PeerSaid(stranger, Follow(1)), cluster.now)
    assert do.SendPeer(stranger, Refused(1, Promise(1, cluster.nodes["a-0"].me))) in effects
    old = Append(0, Position(0, 0), [], 0)
    effects = cluster.nodes["a-1"].handle(happened.PeerSaid(stranger, old), cluster.now)
    assert do.SendPeer(stranger, Refused(0, Promise(1, cluster.nodes["a-0"].me))) in effects


def test_an_unanswered_write_keeps_both_sets_waited_for_until_a_newer_record_is_seen() -> None:
    cluster = Cluster(size=2)
    cluster.join("a-0")
    cluster.lease_answers = False
    cluster.add("a-2")
    cluster.run(0.06)
    assert names(cluster.lease) == ["a-0", "a-1", "a-2"], "the write landed, only its answer is lost"
    cluster.cut = {("a-2", "a-0")}
    cluster.lease_answers = True
    assert cluster.answer("a-0", cluster.ask("a-0")) is None, "a-2 may be in the set, so it is waited for"


def test_errors_of_the_lease_are_no_reason_to_step_down() -> None:
    cluster = Cluster(renew_every=0.2)
    cluster.join("a-1")
    cluster.lease_answers = False
    cluster.run(2)
    assert cluster.leader() == "a-0"
    answer = cluster.answer("a-1", cluster.ask("a-1"))
    assert answer is not None and answer.ok


def test_a_hand_over_goes_to_the_pod_asked_for_and_loses_nothing() -> None:
    cluster = Cluster()
    cluster.join("a-2")
    cluster.ask("a-2", n=1)
    cluster.tell("a-1", happened.HandOffRequested("a-2"))
    assert cluster.leader() == "a-2"
    assert cluster.lease.epoch == 2
    assert len(cluster.lease.in_sync) == 3
    last = cluster.nodes["a-1"].view().last_failover
    assert last is not None and (last["from"], last["reason"]) == ("a-0", "handed over by a-0")
    answer = cluster.answer("a-2", cluster.ask("a-2", n=2))
    assert answer is not None and answer.response["value"] == 2


def test_a_hand_over_to_a_pod_without_a_copy_is_given_up_and_moves_go_on() -> None:
    cluster = Cluster()
    cluster.join("a-1")
    cluster.tell("a-0", happened.HandOffRequested("a-9"))
    request = cluster.ask("a-1")
    assert cluster.answer("a-1", request) is None
    cluster.run(3.2)
    assert cluster.answer("a-1", request) is not None
    assert any("no hand-over to a-9" in text for text in cluster.said("a-0"))


def test_a_draining_leader_hands_over_and_then_goes() -> None:
    cluster = Cluster()
    cluster.join("a-1")
    cluster.tell("a-0", happened.DrainRequested())
    cluster.run(0.1)
    assert cluster.leader() == "a-1"
    assert do.Drained() in cluster.effects["a-0"]
    assert names(cluster.lease) == ["a-1", "a-2"]


def test_draining_all_but_a_learner_moves_the_state_there_first() -> None:
    cluster = Cluster(size=4, replicas=3)
    cluster.join("a-1")
    cluster.ask("a-1", n=1)
    for name in ("a-0", "a-1", "a-2"):
        cluster.tell(name, happened.DrainRequested())
    cluster.run(0.5)
    assert cluster.leader() == "a-3"
    assert cluster.total("a-3") == 1
    assert all(do.Drained() in cluster.effects[name] for name in ("a-0", "a-1", "a-2"))


def test_when_all_drain_nobody_waits_for_anybody() -> None:
    cluster = Cluster()
    for name in ("a-0", "a-1", "a-2"):
        cluster.tell(name, happened.DrainRequested())
    cluster.run(0.2)
    assert all(do.Drained() in cluster.effects[name] for name in cluster.nodes)


def test_the_last_pod_waits_for_one_that_comes_back() -> None:
    cluster = alone_after_the_others_left()
    cluster.tell("a-0", happened.DrainRequested())
    cluster.run(2.0)
    assert do.Drained() not in cluster.effects["a-0"]
    cluster.add("a-1", boot=2)
    cluster.run(0.5)
    assert cluster.leader() == "a-1"
    assert cluster.total("a-1") == 1
    assert do.Drained() in cluster.effects["a-0"]


def test_the_last_pod_goes_after_a_while_though_nobody_comes() -> None:
    cluster = alone_after_the_others_left()
    cluster.tell("a-0", happened.DrainRequested())
    cluster.run(3.1)
    assert do.Drained() in cluster.effects["a-0"]


def test_a_pod_that_never_met_another_goes_at_once() -> None:
    cluster = Cluster(size=1)
    cluster.tell("a-0", happened.DrainRequested())
    cluster.run(0.1)
    assert do.Drained() in cluster.effects["a-0"]


def test_an_only_pod_plays_on_until_a_newcomer_has_what_is_in_its_memory() -> None:
    cluster = Cluster(size=1, awaits_newcomers=True)
    cluster.join("a-0")
    cluster.tell("a-0", happened.DrainRequested())
    cluster.run(10.0)
    answer = cluster.answer("a-0", cluster.ask("a-0", n=1))
    assert answer is not None and answer.ok, "it takes moves all the while"
    assert do.Drained() not in cluster.effects["a-0"]
    cluster.add("a-1")
    cluster.run(0.5)
    assert (cluster.leader(), cluster.total("a-1"), names(cluster.lease)) == ("a-1", 1, ["a-1"])
    assert do.Drained() in cluster.effects["a-0"]


def test_when_all_drain_and_newcomers_are_sent_the_leader_stays_for_them() -> None:
    cluster = Cluster(awaits_newcomers=True)
    cluster.join("a-0")
    cluster.ask("a-0", n=1)
    for name in ("a-0", "a-1", "a-2"):
        cluster.tell(name, happened.DrainRequested())
    cluster.run(0.5)
    assert [do.Drained() in cluster.effects[name] for name in ("a-0", "a-1", "a-2")] == [False, True, True]
    for name in ("a-1", "a-2"):
        cluster.kill(name)
    cluster.run(5.0)
    assert do.Drained() not in cluster.effects["a-0"]
    cluster.add("a-2", boot=2)
    cluster.run(0.5)
    assert (cluster.leader(), cluster.total("a-2")) == ("a-2", 1)
    assert do.Drained() in cluster.effects["a-0"]


def test_a_hand_over_is_given_up_at_once_when_the_others_go_too() -> None:
    cluster = Cluster(awaits_newcomers=True)
    cluster.join("a-0")
    cluster.lease_away = True
    for name in ("a-0", "a-1", "a-2"):
        cluster.tell(name, happened.DrainRequested())
    cluster.lease_away = False
    cluster.run(0.5)
    answer = cluster.answer("a-0", cluster.ask("a-0", n=1))
    assert answer is not None and answer.ok
    assert cluster.leader() == "a-0"


def test_nobody_is_awaited_once_the_lease_is_deleted() -> None:
    cluster = Cluster(size=1, awaits_newcomers=True)
    cluster.tell("a-0", happened.DrainRequested())
    cluster.run(1.0)
    assert do.Drained() not in cluster.effects["a-0"]
    cluster.tell("a-0", happened.RecordRead(None))
    cluster.run(0.1)
    assert do.Drained() in cluster.effects["a-0"]


def test_newcomers_are_not_awaited_for_long_while_the_lease_does_not_answer() -> None:
    cluster = Cluster(size=1, awaits_newcomers=True)
    cluster.lease_away = True
    cluster.tell("a-0", happened.RecordReadFailed("timed out"))
    cluster.tell("a-0", happened.DrainRequested())
    cluster.run(2.9)
    assert do.Drained() not in cluster.effects["a-0"]
    cluster.run(0.3)
    assert do.Drained() in cluster.effects["a-0"]


def alone_after_the_others_left() -> Cluster:
    cluster = Cluster(size=2)
    cluster.join("a-1")
    cluster.ask("a-1", n=1)
    cluster.tell("a-1", happened.DrainRequested())
    cluster.run(0.2)
    cluster.kill("a-1")
    cluster.run(0.5)
    return cluster


def test_a_restarted_pod_is_a_new_incarnation_and_catches_up_before_it_counts() -> None:
    cluster = Cluster()
    cluster.join("a-1")
    for n in range(1, 4):
        cluster.ask("a-1", n=n)
    cluster.kill("a-2")
    assert names(cluster.lease) == ["a-0", "a-1"]
    cluster.add("a-2", boot=2)
    cluster.run(0.3)
    assert cluster.lease.in_sync[-1] == "a-2_uid_2"
    assert cluster.total("a-2") == 3


def test_without_its_own_take_over_a_replica_waits_for_the_backstop() -> None:
    cluster = Cluster(takeover=False)
    cluster.kill("a-0")
    cluster.run(15)
    assert cluster.leader() is None
    replica = cluster.nodes["a-2"].me
    cluster.lease = Record(cluster.lease.version + 1, replica, 2, (cluster.nodes["a-1"].me, replica))
    for name in cluster.nodes:
        cluster.tell(name, happened.RecordRead(cluster.lease))
    assert cluster.leader() == "a-2", "named: starts the epoch"
    last = cluster.nodes["a-2"].view().last_failover
    assert last is not None and (last["from"], last["reason"]) == ("a-0", "named by the record")


def test_a_deleted_lease_is_reclaimed_by_the_leader_in_a_new_epoch() -> None:
    cluster = Cluster()
    cluster.join("a-1")
    cluster.ask("a-1", n=1)
    cluster.lease = Record(cluster.lease.version + 1, None, 1, cluster.lease.in_sync)
    for name in cluster.nodes:
        cluster.tell(name, happened.RecordRead(cluster.lease))
    cluster.run(0.2)
    assert cluster.leader() == "a-0"
    assert cluster.lease.epoch == 2
    answer = cluster.answer("a-1", cluster.ask("a-1", n=2))
    assert answer is not None and answer.response["value"] == 2


def test_a_late_forward_of_an_earlier_epoch_is_bounced_not_run() -> None:
    cluster = Cluster()
    cluster.join("a-1")
    cluster.tell("a-0", happened.HandOffRequested("a-2"))
    cluster.tell("a-2", happened.HandOffRequested("a-0"))
    assert cluster.leader() == "a-0"
    late = Forward(1, 99, Move("bob", 1, "add", {"amount": 1}, None))
    cluster.tell("a-0", happened.PeerSaid(cluster.nodes["a-1"].me, late))
    assert cluster.total("a-0") == 0


def test_without_a_leader_a_move_is_refused_in_time_and_says_why() -> None:
    cluster = Cluster(takeover=False)
    cluster.join("a-1")
    cluster.kill("a-0")
    request = cluster.ask("a-1", n=1)
    cluster.run(3.2)
    answer = cluster.answer("a-1", request)
    assert answer is not None and answer.response == {"reason": "no leader"}


def test_a_stalled_pod_accuses_nobody() -> None:
    cluster = Cluster()
    cluster.now += 5  # every loop stood still; nobody heard anybody
    cluster.run(0.3)
    assert cluster.leader() == "a-0" and cluster.lease.epoch == 1
    assert names(cluster.lease) == ["a-0", "a-1", "a-2"]


def test_a_pod_left_alone_stops_committing_when_the_lease_has_not_answered_for_its_duration() -> None:
    cluster = Cluster(size=2)
    cluster.join("a-0")
    cluster.kill("a-1")
    assert names(cluster.lease) == ["a-0"]
    cluster.lease_answers = False
    cluster.run(14)
    assert cluster.answer("a-0", cluster.ask("a-0", n=1)) is not None
    cluster.run(2)
    request = cluster.ask("a-0", n=2)
    assert cluster.answer("a-0", request) is None
    view = cluster.nodes["a-0"].view()
    assert view.status == "Stalled" and "the API server does not answer" in view.reason
    cluster.lease_answers = True
    cluster.run(3)
    assert cluster.answer("a-0", request) is not None
    assert cluster.nodes["a-0"].view().status == "Serving"


def left_alone_without_the_lease(**config: Any) -> Cluster:
    cluster = Cluster(size=2, **config)
    cluster.join("a-0")
    cluster.kill("a-1")
    cluster.lease_away = True
    cluster.run(60)
    return cluster


def test_a_pod_left_alone_goes_on_without_the_lease_if_it_was_told_to() -> None:
    cluster = left_alone_without_the_lease(stops_when_alone=False)
    answer = cluster.answer("a-0", cluster.ask("a-0", n=1))
    assert answer is not None and answer.ok
    assert cluster.nodes["a-0"].view().status == "Serving"


def test_a_pod_that_went_on_alone_gives_way_to_the_game_that_was_restored_meanwhile() -> None:
    cluster = left_alone_without_the_lease(stops_when_alone=False)
    other = incarnation("a-2", "uid", 1)
    restored = Record(cluster.lease.version + 1, other, 1001, (other,))
    cluster.lease, cluster.lease_away = restored, False
    cluster.run(1.5)
    assert cluster.answer("a-0", cluster.ask("a-0", n=1)) is None
    assert not cluster.nodes["a-0"].is_leader and cluster.lease == restored


def test_a_pod_that_was_alone_from_the_start_goes_on_without_the_lease() -> None:
    cluster = Cluster(size=1)
    cluster.join("a-0")
    cluster.lease_answers = False
    cluster.run(60)
    assert cluster.answer("a-0", cluster.ask("a-0", n=1)) is not None


def test_a_pod_whose_last_companion_left_in_an_orderly_way_goes_on_without_the_lease() -> None:
    cluster = Cluster(size=2)
    cluster.join("a-0")
    cluster.tell("a-1", happened.DrainRequested())
    cluster.run(0.2)
    assert names(cluster.lease) == ["a-0"]
    cluster.kill("a-1")
    cluster.lease_answers = False
    cluster.run(60)
    assert cluster.answer("a-0", cluster.ask("a-0", n=1)) is not None


def test_a_snapshot_that_comes_late_does_not_cut_off_what_was_acknowledged_since() -> None:
    cluster = Cluster()
    cluster.join("a-1")
    leader, replica = cluster.nodes["a-0"], cluster.nodes["a-1"]
    late = Install(1, leader.position(), leader.log.snapshot())
    cluster.cut = {("a-2", "a-0")}  # so that nothing more is committed
    cluster.ask("a-1")
    end = replica.log.last
    assert end > late.position
    cluster.tell("a-1", happened.PeerSaid(leader.me, late))
    assert replica.log.last == end


def test_the_account_of_a_failover_has_nothing_left_of_the_one_before() -> None:
    cluster = Cluster()
    cluster.tell("a-0", happened.HandOffRequested("a-1"))
    cluster.run(0.1)
    first = cluster.nodes["a-1"].view().last_failover
    assert first is not None and "firstCommitMilliseconds" in first
    cluster.lease = Record(cluster.lease.version + 1, None, cluster.lease.epoch, cluster.lease.in_sync)
    for name in cluster.nodes:
        cluster.tell(name, happened.RecordRead(cluster.lease))
    cluster.run(0.2)
    last = cluster.nodes["a-1"].view().last_failover
    assert last is not None and last["epoch"] > first["epoch"]
    assert last == {"to": "a-1", "epoch": last["epoch"]}


def test_the_larger_side_wins_though_the_leader_does_not_lose_all_at_the_same_moment() -> None:
    cluster = Cluster()
    cluster.cut = {("a-0", "a-1"), ("a-1", "a-0")}
    cluster.run(0.04)
    cluster.cut |= {("a-0", "a-2"), ("a-2", "a-0")}
    cluster.run(1.0)
    assert cluster.lease.holder == cluster.nodes["a-1"].me
    assert names(cluster.lease) == ["a-1", "a-2"]
