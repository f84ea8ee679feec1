"""Whole reconciliations: what is written, and what is told, from the first apply to the loss of everything."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace

import pytest

from gamecluster_operator import labels as names
from gamecluster_operator.kube import Conflict, Refused, Unavailable
from gamecluster_operator.labels import Object
from gamecluster_operator.observed import Failover

from .world import World, game_cluster

OWNED = (
    *("StatefulSet", "Service", "Lease", "Secret", "ServiceAccount", "Role", "RoleBinding", "PodDisruptionBudget"),
    "NetworkPolicy",
)


async def test_a_new_cluster_gets_its_objects_each_owned_by_it() -> None:
    world = World()
    await world.settle()
    assert {kind: world.kube.names(kind) for kind in OWNED} == {
        "StatefulSet": {"arena"},
        "Service": {"arena", "arena-mesh"},
        "Lease": {"arena-gamestate"},
        "Secret": {"arena-mesh"},
        "ServiceAccount": {"arena"},
        "Role": {"arena"},
        "RoleBinding": {"arena"},
        "PodDisruptionBudget": {"arena"},
        "NetworkPolicy": {"arena"},
    }
    for (kind, _, _), obj in world.kube.objects.items():
        if kind in OWNED:
            assert [owner["uid"] for owner in obj["metadata"]["ownerReferences"]] == ["uid-of-arena"]
            assert "finalizers" not in obj["metadata"]
    assert world.events == ["Created"]
    assert world.kube.one("Lease", "arena-gamestate")["metadata"]["annotations"][names.NEVER_HELD] == "true"


async def test_the_keys_are_there_before_the_pods_and_the_lease_too() -> None:
    world = World()
    await world.look()
    kinds = [kind for _, kind, _ in world.kube.writes]
    assert kinds.index("Secret") < kinds.index("StatefulSet")
    assert kinds.index("Lease") < kinds.index("StatefulSet")


async def test_nothing_is_written_when_nothing_happens_but_renewals() -> None:
    world = World()
    await world.play()
    world.kube.writes.clear()
    for _ in range(30):
        world.renew()
        await world.look(10)
    assert world.kube.writes == []


async def test_an_operator_that_starts_anew_changes_nothing() -> None:
    world = World()
    await world.play()
    before = {id: obj["metadata"]["resourceVersion"] for id, obj in world.kube.objects.items()}
    world.restart_operator()
    await world.look()
    after = {id: obj["metadata"]["resourceVersion"] for id, obj in world.kube.objects.items()}
    assert after == before


async def test_a_cluster_that_plays_says_so() -> None:
    world = World()
    await world.play()
    conditions = {
        type: world.condition(type)[0]
        for type in ("Ready", "Reconciling", "Stalled", "LeaderElected", "FullyReplicated")
    }
    assert conditions == {
        "Ready": "True",
        "Reconciling": "False",
        "Stalled": "False",
        "LeaderElected": "True",
        "FullyReplicated": "True",
    }
    assert (world.status["leader"], world.status["epoch"], world.status["inSync"]) == (
        "arena-0",
        1,
        ["arena-0", "arena-1", "arena-2"],
    )
    assert "LeaderElected" in world.events


async def test_the_leaders_pod_is_marked_and_only_it() -> None:
    world = World()
    await world.play()
    world.hold(2, 2, 2, 0)
    await world.settle()
    roles = {i: world.kube.one("Pod", f"arena-{i}")["metadata"]["labels"].get(names.ROLE) for i in range(3)}
    assert roles == {0: None, 1: None, 2: "leader"}


# --- drift ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), [("Service", "arena"), ("StatefulSet", "arena"), ("Role", "arena")])
async def test_what_is_deleted_comes_back(kind: str, name: str) -> None:
    world = World()
    await world.play()
    world.kube.remove(kind, name)
    await world.look()
    assert name in world.kube.names(kind)


async def test_a_changed_field_is_put_back_and_an_added_one_left() -> None:
    world = World()
    await world.play()
    await world.kube.merge(
        "Service", "games", "arena", {"spec": {"type": "NodePort"}, "metadata": {"annotations": {"a": "b"}}}
    )
    await world.look()
    service = world.kube.one("Service", "arena")
    assert service["spec"]["type"] == "ClusterIP"
    assert service["metadata"]["annotations"]["a"] == "b"


async def test_a_new_operator_applies_only_what_differs() -> None:
    world = World()
    await world.play()
    await world.kube.merge("Service", "games", "arena", {"spec": {"type": "NodePort"}})
    world.restart_operator()
    world.kube.writes.clear()
    await world.look()
    assert [write for write in world.kube.writes if write[0] == "apply"] == [("apply", "Service", "arena")]
    assert world.kube.one("Service", "arena")["spec"]["type"] == "ClusterIP"


async def test_a_change_of_the_spec_reaches_the_pods_template() -> None:
    world = World()
    await world.play()
    world.edit(image="game:2")
    await world.look()
    container = world.kube.one("StatefulSet", "arena")["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "game:2"


async def test_a_paused_cluster_is_left_as_it_is_but_not_without_a_leader() -> None:
    world = World()
    await world.play()
    world.edit(paused=True, image="game:2")
    world.kube.remove("Service", "arena")
    await world.look()
    assert "arena" not in world.kube.names("Service")
    assert world.condition("Reconciling") == ("False", "Paused")
    world.remove_pod(0)
    world.silence(1)
    await world.look(1)
    await world.look(11)
    assert "BackstopNamed" in world.events


async def test_a_secret_is_never_made_anew_while_its_pods_run() -> None:
    world = World()
    await world.play()
    before = world.kube.one("Secret", "arena-mesh")["data"]
    world.kube.remove("Secret", "arena-mesh")
    await world.look()
    assert world.kube.one("Secret", "arena-mesh")["data"] == before, "the operator remembers it"
    world.kube.remove("Secret", "arena-mesh")
    world.restart_operator()
    await world.look()
    assert world.kube.names("Secret") == set()
    assert world.condition("Stalled") == ("True", "SecretLost")
    world.kube.put(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "arena-mesh", "namespace": "games"}, "data": before}
    )
    await world.look()
    await world.look()
    assert world.condition("Stalled")[0] == "False", "restored by hand, without an owner: taken over"
    assert world.kube.one("Secret", "arena-mesh")["metadata"]["ownerReferences"][0]["uid"] == "uid-of-arena"


async def test_what_belongs_to_others_is_never_taken() -> None:
    world = World()
    theirs = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "arena", "namespace": "games"},
        "spec": {"mine": True},
    }
    world.kube.put(theirs)
    await world.look()
    assert world.kube.one("Service", "arena")["spec"] == {"mine": True}
    assert world.condition("Stalled") == ("True", "NameTaken")
    world.kube.remove("Service", "arena")
    await world.look()
    assert world.condition("Stalled")[0] == "False"


async def test_a_cluster_made_anew_waits_until_the_earlier_one_is_gone() -> None:
    world = World()
    await world.play()
    world.kube.put({**game_cluster(uid="another"), "metadata": {**game_cluster(uid="another")["metadata"]}})
    world.kube.remove("StatefulSet", "arena")
    world.kube.remove("Lease", "arena-gamestate")
    world.kube.remove("Secret", "arena-mesh")
    assert await world.look() is not None
    assert world.kube.names("Lease") == set(), "the pods of the earlier one would claim it"
    assert world.condition("Reconciling") == ("True", "Retrying")
    for i in range(3):
        world.kube.remove("Pod", f"arena-{i}")
    for kind in OWNED:
        for name in world.kube.names(kind):
            world.kube.remove(kind, name)
    await world.settle()
    assert world.kube.one("Lease", "arena-gamestate")["metadata"]["annotations"][names.NEVER_HELD] == "true"


def orphan(world: World) -> None:
    """``kubectl delete --cascade=orphan``: Kubernetes takes the owner from all that the GameCluster owns."""
    for kind in OWNED:
        for name in world.kube.names(kind):
            left = copy.deepcopy(world.kube.one(kind, name))
            del left["metadata"]["ownerReferences"]
            world.kube.put(left)


async def test_what_an_earlier_one_left_without_an_owner_is_taken_over_and_play_goes_on() -> None:
    world = World()
    await world.play()
    before, kept = world.record, {uid for uid in world.pods.tells}
    orphan(world)
    world.kube.remove("GameCluster", "arena")
    world.kube.put(game_cluster(uid="another", replicas=2))
    await world.look()
    assert world.kube.one("StatefulSet", "arena")["spec"]["replicas"] == 3, "first it is seen who leads"
    await world.settle()
    for kind in OWNED:
        for name in world.kube.names(kind):
            owners = world.kube.one(kind, name)["metadata"]["ownerReferences"]
            assert [owner["uid"] for owner in owners] == ["another"], (kind, name)
    assert (world.record, {uid for uid in world.pods.tells}) == (before, kept)
    assert world.kube.one("StatefulSet", "arena")["spec"]["replicas"] == 2
    assert world.condition("Ready") == ("True", "Serving") and world.condition("Stalled")[0] == "False"
    assert world.events.count("Created") == 1, "of the earlier one"
    assert {"Adopted", "Scaled"} <= set(world.events) and "TotalLoss" not in world.events


async def test_one_that_is_being_deleted_takes_nothing_over() -> None:
    world = World()
    await world.play()
    orphan(world)
    body = copy.deepcopy(world.kube.one("GameCluster", "arena"))
    body["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    world.kube.put(body)
    for (kind, _, _), obj in world.kube.objects.items():
        if kind != "GameCluster":  # of which the watch has not told yet
            world.store.put(obj)
    world.kube.writes.clear()
    with pytest.raises(Conflict):  # of its status
        await world.reconciler.reconcile(("games", "arena"))
    assert [(verb, kind) for verb, kind, _ in world.kube.writes if kind in OWNED] == []


# --- specs that can't be done -----------------------------------------------------------------------------------------


async def test_a_spec_that_can_not_be_done_says_what_is_missing_and_makes_nothing() -> None:
    world = World(pubsub={"type": "Redis"})
    await world.look()
    assert world.kube.names("StatefulSet") == set()
    assert world.condition("Stalled") == ("True", "InvalidSpec")
    assert "spec.pubsub.secretRef.name is missing" in world.message("Stalled") and "of Redis" in world.message(
        "Stalled"
    )
    assert world.events == ["InvalidSpec"]
    world.edit(pubsub={"type": "Mesh"})
    await world.look()
    assert world.condition("Stalled")[0] == "False"


async def test_a_changed_spec_that_can_not_be_done_leaves_the_game_alone() -> None:
    world = World()
    await world.play()
    before = world.kube.one("StatefulSet", "arena")["metadata"]["resourceVersion"]
    world.edit(expose={"type": "Ingress"}, replicas=9)
    await world.look()
    assert world.kube.one("StatefulSet", "arena")["metadata"]["resourceVersion"] == before
    assert world.condition("Stalled")[0] == "True"
    assert world.condition("Ready")[0] == "True"


async def test_a_spec_that_is_nonsense_is_told_too() -> None:
    world = World(targets="not a list")
    await world.look()
    assert world.condition("Stalled") == ("True", "InvalidSpec")
    assert "spec.targets" in world.message("Stalled")


async def test_what_the_api_server_refuses_is_told_in_its_words() -> None:
    world = World()
    world.kube.fail["apply"] = Refused("spec.template.spec.containers[0].ports: Invalid value")
    await world.look()
    assert world.condition("Stalled") == ("True", "Refused")
    assert "ports: Invalid value" in world.message("Stalled")
    world.kube.fail.clear()
    await world.look(1)
    assert world.condition("Stalled")[0] == "False"


async def test_what_is_refused_is_tried_again_later_each_time_and_at_once_when_it_changes() -> None:
    world = World()
    tries: list[float] = []
    apply = world.kube.apply

    async def refused(obj: Object) -> Object:
        if obj["kind"] == "StatefulSet":
            tries.append(world.clock.seconds)
            raise Refused("spec.template: Invalid value")
        return await apply(obj)

    world.kube.apply = refused  # type: ignore[method-assign]
    for _ in range(80):
        await world.look(0.5)
    pauses = [round(later - earlier) for earlier, later in itertools.pairwise(tries)]
    assert pauses == sorted(pauses) and pauses[0] <= 1 and pauses[4] == 8
    assert world.condition("Stalled") == ("True", "Refused"), "in between, too"
    before = len(tries)
    world.edit(image="game:2")
    await world.look()
    assert len(tries) == before + 1


async def test_an_api_server_that_falters_is_asked_again() -> None:
    world = World()
    world.kube.fail["apply"] = Unavailable("etcd is busy")
    assert await world.look() is not None
    assert world.condition("Reconciling") == ("True", "Retrying")
    assert world.condition("Stalled")[0] == "False"


async def test_without_the_right_to_write_events_all_else_goes_on() -> None:
    world = World()
    await world.settle()
    world.kube.fail["create"] = Refused("events is forbidden")
    world.run_pod(0)
    world.hold(0, 1, 0)
    await world.look()
    assert world.status["leader"] == "arena-0"


# --- leadership -------------------------------------------------------------------------------------------------------


async def test_a_games_beginning_is_no_failover() -> None:
    world = World()
    await world.play()
    world.hold(0, 1, 0, 1, 2, failover=Failover("", "arena-0", 1, ""))
    await world.look(20)
    assert world.events == ["Created", "LeaderElected"]
    assert "lastFailover" not in world.status


async def test_a_failover_is_told_with_its_time() -> None:
    world = World()
    await world.play()
    world.remove_pod(0)
    world.hold(1, 2, 1, 2, failover=Failover("arena-0", "arena-1", 2, "link reset", 3, 21))
    await world.settle()
    last = world.status["lastFailover"]
    assert (last["from"], last["to"], last["epoch"], last["takeoverMilliseconds"]) == ("arena-0", "arena-1", 2, 21)
    assert world.events == ["Created", "LeaderElected", "Failover"]
    assert world.said[-1] == "arena-0 → arena-1, epoch 2: noticed in 3 ms, taken over in 21 ms (link reset)"


async def test_a_failover_is_told_with_all_its_parts_once_they_are_known() -> None:
    world = World()
    await world.play()
    world.remove_pod(0)
    begun = Failover("arena-0", "arena-1", 2, "link reset", 3, 13, 9, 4)
    world.hold(1, 2, 1, 2, failover=begun)
    await world.settle()
    assert world.status["lastFailover"]["claimMilliseconds"] == 9
    assert "Failover" not in world.events, "the first commit is awaited"
    world.hold(1, 2, 1, 2, failover=replace(begun, first_commit_milliseconds=21))
    await world.settle()
    assert world.status["lastFailover"]["firstCommitMilliseconds"] == 21
    assert world.events[-1] == "Failover"
    parts = "noticed in 3 ms, claimed in 9 ms, equalised in 4 ms, first commit after 21 ms"
    assert world.said[-1] == f"arena-0 → arena-1, epoch 2: {parts} (link reset)"


async def test_a_failover_whose_first_commit_is_never_told_of_is_told_all_the_same() -> None:
    world = World()
    await world.play()
    world.remove_pod(0)
    world.hold(1, 2, 1, 2, failover=Failover("arena-0", "arena-1", 2, "link reset", 3, 13, 9, 4))
    await world.settle()
    await world.look(5)
    assert world.events[-1] == "Failover"


async def test_a_hand_over_is_not_called_a_failover() -> None:
    world = World()
    await world.play()
    world.hold(1, 2, 0, 1, 2, failover=Failover("arena-0", "arena-1", 2, "handed over by arena-0", 0, 9))
    await world.settle()
    assert world.events[-1] == "HandedOver"


async def test_a_failover_whose_leader_does_not_answer_the_operator_is_told_all_the_same() -> None:
    world = World()
    await world.play()
    world.pods.tells.clear()
    world.write_record(world.who(1), 2, [world.who(1), world.who(2)])
    await world.settle()
    await world.look(5)
    assert world.events[-1] == "Failover"
    assert (world.status["lastFailover"]["from"], world.status["lastFailover"]["to"]) == ("arena-0", "arena-1")


async def test_a_leader_that_renews_leads_even_if_it_does_not_answer_the_operator() -> None:
    world = World()
    await world.play()
    world.pods.tells.clear()
    for _ in range(12):
        world.renew()
        await world.look(5)
    assert world.condition("LeaderElected")[0] == "True"
    assert world.record[:2] == (world.who(0), 1)


async def test_the_backstop_names_a_living_in_sync_pod_after_ten_seconds() -> None:
    world = World()
    await world.play()
    world.end_container(0)
    await world.look()
    assert world.condition("Ready") == ("False", "NoLeader")
    await world.look(9)
    assert world.record[1] == 1
    await world.look(1.5)
    assert world.record == (world.who(1), 2, f"{world.who(1)},{world.who(2)}")
    assert "BackstopNamed" in world.events
    world.hold(1, 2, 1, 2, failover=Failover("arena-0", "arena-1", 2, "named by the record", 0, 9))
    await world.settle()
    assert world.events[-1] == "Failover", "it was no hand-over"


async def test_the_backstop_gives_way_to_a_pod_that_was_faster() -> None:
    world = World()
    await world.play()
    world.end_container(0)
    await world.look()
    world.clock.seconds += 11
    for obj in world.kube.objects.values():
        world.store.put(obj)
    world.hold(2, 2, 1, 2)  # unseen by the operator: its store still has epoch 1
    await world.reconciler.reconcile(("games", "arena"))
    assert world.record[:2] == (world.who(2), 2)
    assert "BackstopNamed" not in world.events


async def test_a_restarted_leader_is_not_its_predecessor() -> None:
    world = World()
    await world.play()
    world.run_pod(0, boot=2)
    await world.look()
    await world.look(11)
    assert world.record[:2] == (world.who(1), 2)


async def test_a_total_loss_is_told_and_the_game_begins_anew() -> None:
    world = World()
    await world.play()
    for i in range(3):
        world.run_pod(i, boot=2)
    await world.look()
    await world.look(11)
    assert world.record == (None, 1001, "")
    assert world.kube.one("Lease", "arena-gamestate")["metadata"]["annotations"][names.NEVER_HELD] == "true"
    assert world.condition("TotalLoss") == ("True", "Reset")
    assert "TotalLoss" in world.events
    world.hold(2, 1002, 2)
    await world.settle()
    assert world.condition("TotalLoss") == ("False", "BegunAnew")
    assert world.status["epoch"] == 1002


async def test_pods_that_only_do_not_answer_are_no_total_loss() -> None:
    world = World()
    await world.play()
    world.pods.tells.clear()
    for _ in range(50):
        await world.look(10)
    assert world.record[:2] == (world.who(0), 1)
    assert world.condition("LeaderElected")[0] == "False"


@pytest.mark.parametrize("alone", ["Stop", "Continue"])
async def test_pods_that_are_gone_are_dead_only_after_a_minute(alone: str) -> None:
    """Whatever the last of them does in the meantime: the wait is what keeps the game single, or makes two games rare."""
    world = World(gameState={"aloneWithoutApi": alone})
    await world.play()
    for i in range(3):
        world.remove_pod(i)
    for i in range(3):
        world.run_pod(i, uid=f"new{i}")
    await world.look()
    await world.look(55)
    assert world.record[:2] == (world.who(0), 1)
    await world.look(10)
    assert world.record == (None, 1001, "")


async def test_a_total_loss_is_not_declared_on_the_word_of_a_watch_that_lags() -> None:
    world = World()
    await world.play()
    for i in range(3):
        world.end_container(i)
    await world.look()
    world.clock.seconds += 11
    for obj in world.kube.objects.values():
        world.store.put(obj)
    pod = world.kube.one("Pod", "arena-1")
    pod["status"]["containerStatuses"][0] = {"name": "server", "state": {"running": {}}, "restartCount": 0}
    await world.reconciler.reconcile(("games", "arena"))
    assert world.record[:2] == (world.who(0), 1)


# --- the Lease ----------------------------------------------------------------------------------------------------------


async def test_a_deleted_lease_comes_back_vacant_with_its_past() -> None:
    world = World()
    await world.play()
    world.hold(1, 5, 1, 2)
    await world.settle()
    world.kube.remove("Lease", "arena-gamestate")
    await world.look()
    assert world.record == (None, 5, f"{world.who(1)},{world.who(2)}")
    assert names.NEVER_HELD not in world.kube.one("Lease", "arena-gamestate")["metadata"]["annotations"]
    assert "LeaseRestored" in world.events


async def test_a_lease_deleted_before_the_status_knew_a_leader_is_made_from_what_pods_say() -> None:
    world = World()
    await world.settle()
    for i in range(3):
        world.run_pod(i)
    world.hold(0, 4, 0, 1)
    world.kube.remove("Lease", "arena-gamestate")
    await world.look()
    assert world.record == (None, 4, f"{world.who(0)},{world.who(1)}")


async def test_a_lease_is_not_called_never_held_while_a_running_pod_does_not_answer() -> None:
    world = World()
    await world.settle()
    world.run_pod(0)
    world.pods.tells.clear()
    world.kube.remove("Lease", "arena-gamestate")
    await world.look()
    assert world.kube.names("Lease") == set()
    assert world.condition("Reconciling") == ("True", "Retrying")


async def test_a_lease_that_is_deleted_while_its_leader_dies_goes_to_the_longest_log_that_is_left() -> None:
    world = World()
    await world.play()
    world.kube.remove("Lease", "arena-gamestate")
    world.run_pod(0, boot=2)
    world.lose_leader()
    world.pods.tells["pod2"] = replace(world.pods.tells["pod2"], last=(1, 9))
    await world.look()
    await world.look()
    await world.look(9)
    assert world.record[0] is None
    assert world.condition("LeaderElected") == ("False", "Vacant")
    assert "waiting for arena-0, arena-1, arena-2 to reclaim it" in world.message("LeaderElected")
    await world.look(1.5)
    assert world.record == (world.who(2), 1001, f"{world.who(2)},{world.who(1)}")
    assert world.dead == world.who(0)
    named = next(said for said in world.said if "the Lease was lost (it was deleted)" in said)
    assert "named arena-2, which has the longest log" in named
    world.hold(2, 1001, 2, 1)
    await world.settle()
    assert world.condition("LeaderElected") == ("True", "Leading")


async def test_a_lost_lease_waits_for_a_pod_of_which_nobody_knows_what_it_knows() -> None:
    world = World()
    await world.play()
    world.kube.remove("Lease", "arena-gamestate")
    world.run_pod(0, boot=2)
    world.run_pod(3)
    world.silence(3)
    world.lose_leader()
    for _ in range(20):
        await world.look(10)
    assert world.record[0] is None
    world.end_container(3)
    await world.look(1)
    assert world.record[0] == world.who(1)


async def test_an_epoch_that_was_lowered_while_the_leader_died_is_put_right() -> None:
    world = World()
    await world.play()
    world.hold(1, 7, 1, 0, 2)
    await world.settle()
    world.write_record(world.who(1), 3, [world.who(i) for i in (1, 0, 2)])
    world.run_pod(1, boot=2)
    world.lose_leader()
    await world.look()
    await world.look(11)
    assert world.record == (world.who(0), 1007, f"{world.who(0)},{world.who(2)}")
    assert "(its epoch was lowered)" in world.said[-1]


async def test_what_the_operator_saw_before_the_lease_was_lost_counts_though_no_living_pod_saw_it() -> None:
    world = World()
    await world.play()
    before = world.pods.tells["pod2"]
    world.hold(0, 1, 0, 1)
    await world.settle()
    world.pods.tells["pod2"] = replace(before, leader=None)
    world.kube.remove("Lease", "arena-gamestate")
    for i in (0, 1):
        world.run_pod(i, boot=2)
    await world.look()
    await world.look()
    await world.look(11)
    assert world.condition("TotalLoss") == ("True", "Reset"), "arena-2 was out of the set"


async def test_a_game_of_which_a_pod_knows_is_not_begun_from_the_storage_though_its_lease_says_nothing() -> None:
    world = World(storage={"type": "Volume"})
    await world.play()
    for uid, told in list(world.pods.tells.items()):
        world.pods.tells[uid] = replace(told, leader=None, knows_stored=True, stored=(1, 0))
    world.write_record(None, 1, [])
    await world.look()
    await world.look(11)
    assert world.record[1:] == (1001, f"{world.who(0)},{world.who(1)},{world.who(2)}")
    assert names.RESTORE not in world.kube.one("Lease", "arena-gamestate")["metadata"]["annotations"]


# --- seals ----------------------------------------------------------------------------------------------------------------


async def test_the_last_of_a_sealed_set_is_freed_when_the_others_are_certainly_dead() -> None:
    world = World()
    await world.play()
    sealed = tuple(world.who(i) for i in range(3))
    for i in (0, 1):
        world.remove_pod(i)
        world.run_pod(i, uid=f"new{i}")
    world.pods.tells["pod2"] = replace(world.pods.tells["pod2"], leader=None, bound=sealed)
    await world.look()
    await world.look(11)
    assert world.record == (world.who(2), 2, f"{world.who(1)},{world.who(2)}")
    await world.look(1)
    await world.look(58)
    assert world.dead == "", "they may still run: they have been gone for less than a minute"
    await world.look(3)
    assert world.dead == f"{world.who(0)},{world.who(1)}"
    assert "SealReleased" in world.events
    assert "wrote into the Lease that arena-0, arena-1 as they were then have certainly ended" in world.said[-1]
    world.kube.writes.clear()
    for _ in range(30):
        await world.look(10)
    assert [write for write in world.kube.writes if write[1] == "Lease"] == [], "once is enough"


async def test_a_leader_that_a_seal_binds_to_the_dead_is_freed_as_well() -> None:
    world = World()
    await world.play()
    sealed = tuple(world.who(i) for i in range(3))
    world.pods.tells["pod0"] = replace(world.pods.tells["pod0"], bound=sealed)
    for i in (1, 2):
        world.remove_pod(i)
        world.run_pod(i, uid=f"new{i}")
    await world.look()
    assert await world.look(10) is not None, "it is looked at again soon"
    await world.look(59)
    assert world.dead == ""
    await world.look(2)
    assert world.record == (world.who(0), 1, ",".join(sealed))
    assert world.dead == f"{world.who(1)},{world.who(2)}"
    assert world.condition("LeaderElected") == ("True", "Leading")


async def test_a_held_lease_is_never_applied() -> None:
    world = World()
    await world.play()
    world.restart_operator()
    world.kube.writes.clear()
    await world.look()
    assert [write for write in world.kube.writes if write[1] == "Lease"] == []


# --- how many pods --------------------------------------------------------------------------------------------------------


def replicas(world: World) -> int:
    return int(world.kube.one("StatefulSet", "arena")["spec"]["replicas"])


async def test_growing_is_done_at_once() -> None:
    world = World()
    await world.play()
    world.edit(replicas=5)
    await world.look()
    assert replicas(world) == 5
    assert world.events[-1] == "Scaled"


async def test_a_leader_hands_over_before_its_pod_is_removed() -> None:
    world = World()
    await world.play()
    world.hold(2, 2, 2, 0, 1)
    await world.settle()
    world.edit(replicas=1)
    await world.look()
    assert (replicas(world), world.pods.handed_off) == (3, [("arena-2", "arena-0")])
    assert world.condition("Reconciling") == ("True", "Waiting")
    world.hold(0, 3, 0, 1, 2)
    await world.look(1)
    assert replicas(world) == 1


async def test_a_leader_that_does_not_hand_over_is_waited_for_ten_seconds() -> None:
    world = World()
    await world.play()
    world.hold(2, 2, 2, 0, 1)
    world.edit(replicas=2)
    await world.look()
    await world.look(9)
    assert replicas(world) == 3
    await world.look(2)
    assert replicas(world) == 2


async def test_an_only_pod_that_goes_is_stood_in_for_until_the_one_in_its_place_is_ready() -> None:
    world = World(replicas=1)
    await world.play(1)
    world.end_pod(0)
    await world.look()
    assert replicas(world) == 2
    assert "arena-0, the only pod, goes" in world.said[-1]
    world.starting_pod(1, "pod1")
    world.hold(0, 1, 0)
    await world.look(10)
    world.run_pod(1)
    world.hold(1, 2, 1)
    world.remove_pod(0)
    world.restart_operator()
    await world.look(60)
    assert replicas(world) == 2, "nothing has to be remembered for it"
    world.starting_pod(0, "another0")
    world.hold(1, 2, 1)
    await world.look(60)
    assert (replicas(world), world.pods.handed_off) == (2, [])
    world.run_pod(0, "another0")
    world.hold(1, 2, 1, 0)
    await world.look()
    assert (replicas(world), world.pods.handed_off) == (2, [("arena-1", "arena-0")])
    world.hold(0, 3, 0, 1)
    await world.look(1)
    assert replicas(world) == 1
    world.end_pod(1)
    await world.look(1)
    assert replicas(world) == 1
    world.remove_pod(1)
    world.hold(0, 3, 0)
    await world.settle()
    assert world.condition("Reconciling") == ("False", "Settled")


REDIS = {"type": "Redis", "secretRef": {"name": "redis", "key": "url"}}


@pytest.mark.parametrize(
    ("spec", "edited"),
    [({"replicas": 1}, {"paused": True}), ({"replicas": 1, "storage": REDIS}, {}), ({"replicas": 2}, {})],
    ids=["paused", "stored", "two"],
)
async def test_no_pod_stands_in_where_that_is_not_wanted_or_not_needed(spec: Object, edited: Object) -> None:
    world, wanted = World(**spec), spec["replicas"]
    await world.play(wanted)
    world.edit(**edited)
    for ordinal in range(wanted):
        world.end_pod(ordinal)
    await world.look()
    assert replicas(world) == wanted


async def test_pods_own_services_come_and_go_with_the_pods() -> None:
    world = World(expose={"type": "NodePort"}, replicas=3)
    await world.play()
    assert world.kube.names("Service") == {"arena", "arena-mesh", "arena-0", "arena-1", "arena-2"}
    world.edit(replicas=1)
    await world.settle()
    assert world.kube.names("Service") == {"arena", "arena-mesh", "arena-0"}
    world.edit(expose={"type": "ClusterIP"})
    await world.settle()
    assert world.kube.names("Service") == {"arena", "arena-mesh"}


# --- counters, lost pods ----------------------------------------------------------------------------------------------------


async def test_players_are_counted_at_most_every_fifteen_seconds() -> None:
    world = World()
    await world.play()
    world.hold(0, 1, 0, 1, 2, players=5)
    await world.look(20)
    assert world.status["players"] == 5
    writes = 0
    for second in range(60):
        world.hold(0, 1, 0, 1, 2, players=6 + second)
        world.kube.writes.clear()
        await world.look(1)
        writes += sum(1 for verb, _, _ in world.kube.writes if verb == "apply_status")
    assert 3 <= writes <= 4


async def test_a_pod_that_hangs_on_a_lost_node_is_freed_once_it_is_out_of_the_set() -> None:
    world = World()
    await world.play()
    meta = world.kube.one("Pod", "arena-2")["metadata"]
    world.silence(2)
    world.kube.put(
        {
            **world.kube.one("Pod", "arena-2"),
            "metadata": {**meta, "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30},
            "status": {**world.kube.one("Pod", "arena-2")["status"], "conditions": []},
        }
    )
    await world.look()
    await world.look(60)
    assert "arena-2" in world.kube.names("Pod"), "it is still in sync: it may lead"
    world.hold(0, 1, 0, 1)
    await world.look(1)
    assert "arena-2" not in world.kube.names("Pod")
    assert "PodFreed" in world.events


async def test_a_cluster_that_is_gone_is_forgotten() -> None:
    world = World()
    await world.play()
    world.kube.remove("GameCluster", "arena")
    world.kube.writes.clear()
    assert await world.look() is None
    assert world.kube.writes == []
