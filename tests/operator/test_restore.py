"""With what a cluster begins that has a storage: at its start, and after all that were in sync are dead."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gamecluster_operator import labels as names
from gamecluster_operator import manifests, spec
from gamecluster_operator.observed import ObservedPod, Telling
from gamecluster_operator.podtemplate import environment, pod_template
from gamecluster_operator.record import Incarnation, Record
from gamecluster_operator.restore import ASK_SECONDS, begin

from .world import World, game_cluster

VOLUME = {"type": "Volume", "size": "2Gi", "storageClassName": "fast"}
REDIS = {"type": "Redis", "secretRef": {"name": "stores", "key": "redis"}}
CLUSTER = spec.parse(game_cluster(storage=VOLUME))
LOST = Record(9, Incarnation("arena-0_u0_1"), 4, (Incarnation("arena-0_u0_1"), Incarnation("arena-1_u1_1")))


def who(ordinal: int) -> Incarnation:
    return Incarnation(f"arena-{ordinal}_u{ordinal}_2")


def pod(ordinal: int, stored: tuple[int, int] | None = None, knows: bool = True, **told: Any) -> ObservedPod:
    telling = Telling(who(ordinal), stored=stored, knows_stored=knows, **told)
    return ObservedPod(f"arena-{ordinal}", f"u{ordinal}", running=True, told=telling)


def test_who_has_stored_the_most_is_named_to_restore_it_above_all_epochs() -> None:
    begun = begin(CLUSTER, LOST, [pod(0, (4, 70)), pod(1, (4, 71)), pod(2, (3, 900))], 5, 0.0)
    assert begun is not None and begun.stored == (4, 71) and begun.lost == LOST.in_sync
    assert begun.record == Record(9, who(1), 1005, (who(1),), restore=True)


def test_all_are_waited_for_but_not_for_ever() -> None:
    pods = [pod(0, knows=False), pod(2, (3, 5))]
    assert begin(CLUSTER, LOST, pods, 4, ASK_SECONDS - 1) is None
    begun = begin(CLUSTER, LOST, pods, 4, ASK_SECONDS)
    assert begun is not None and begun.record.holder == who(2)


def test_nothing_is_thrown_away_while_a_pod_that_was_in_sync_has_not_said() -> None:
    assert begin(CLUSTER, LOST, [pod(0), pod(2)], 4, 1e6) is None
    begun = begin(CLUSTER, LOST, [pod(0), pod(1)], 4, ASK_SECONDS)
    assert begun is not None and begun.record == Record(9, None, 1004, (), never_held=True)


def test_it_is_begun_anew_where_that_is_wanted() -> None:
    reset = replace(CLUSTER, game_state=replace(CLUSTER.game_state, on_total_loss="Reset"))
    begun = begin(reset, LOST, [pod(0, (4, 7)), pod(1), pod(2)], 4, 0.0)
    assert begun is not None and begun.record.never_held and begun.stored is None


def test_nothing_is_begun_while_a_pod_sees_a_leader() -> None:
    assert begin(CLUSTER, LOST, [pod(0, (4, 7)), pod(1, leader="arena-1"), pod(2)], 4, 1e6) is None


@pytest.mark.parametrize("storage", [VOLUME, REDIS])
def test_the_pods_are_told_of_the_storage(storage: dict[str, Any]) -> None:
    cluster = spec.parse(game_cluster(storage=storage, gameState={"durability": "Storage"}))
    told = {variable["name"]: variable for variable in environment(cluster)}
    assert told["GAMECLUSTER_DURABILITY"]["value"] == "storage"
    built = manifests.stateful_set(cluster, 3)["spec"]
    mounts = [mount["name"] for mount in pod_template(cluster)["spec"]["containers"][0]["volumeMounts"]]
    if storage is REDIS:
        source = told["GAMECLUSTER_STORAGE"]["valueFrom"]["secretKeyRef"]
        assert source == {"name": "stores", "key": "redis"}
        assert "volumeClaimTemplates" not in built and "storage" not in mounts
    else:
        assert told["GAMECLUSTER_STORAGE"]["value"] == "volume:/var/lib/gamecluster-storage"
        (claim,) = built["volumeClaimTemplates"]
        assert claim["spec"]["resources"]["requests"] == {"storage": "2Gi"}
        assert claim["spec"]["storageClassName"] == "fast" and claim["metadata"]["name"] in mounts


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"storage": {"type": "PostgreSQL"}}, "spec.storage.secretRef.name is missing"),
        ({"pubsub": {"type": "Redis"}}, "spec.pubsub.secretRef.name is missing: the Secret with the URL of Redis"),
        ({"gameState": {"durability": "Storage"}}, "set spec.storage.type"),
    ],
)
def test_a_storage_or_broker_that_can_not_be_reached_or_is_not_there_is_told(wrong: dict[str, Any], says: str) -> None:
    (problem,) = spec.problems(game_cluster(**wrong))
    assert problem.reason == "InvalidSpec" and says in problem.message


def tell(world: World, ordinal: int, boot: int, stored: tuple[int, int] | None) -> None:
    world.run_pod(ordinal, boot=boot)
    world.pods.tells[f"pod{ordinal}"] = Telling(world.who(ordinal, boot=boot), stored=stored, knows_stored=True)


async def test_a_new_cluster_begins_when_all_pods_have_said_that_nothing_is_stored() -> None:
    world = World(storage=VOLUME)
    await world.settle()
    assert names.NEVER_HELD not in world.kube.one("Lease", "arena-gamestate")["metadata"]["annotations"]
    tell(world, 0, 1, None)
    tell(world, 1, 1, None)
    await world.look()
    assert world.record == (None, 0, "")
    tell(world, 2, 1, None)
    await world.look()
    assert world.kube.one("Lease", "arena-gamestate")["metadata"]["annotations"][names.NEVER_HELD] == "true"
    assert world.record == (None, 1000, "")


async def test_a_total_loss_is_restored_and_the_condition_says_so() -> None:
    world = World(storage=VOLUME)
    await world.play()
    for i in range(3):
        tell(world, i, 2, (1, 40 + i))
    await world.look()
    await world.look(11)
    assert world.record == (world.who(2, boot=2), 1001, world.who(2, boot=2))
    assert world.kube.one("Lease", "arena-gamestate")["metadata"]["annotations"][names.RESTORE] == "true"
    assert world.condition("TotalLoss") == ("True", "Restored")
    assert "Restored" in world.events and "TotalLoss" not in world.events
    world.hold(2, 1001, 2)
    await world.settle()
    assert world.condition("TotalLoss") == ("False", "Restored")


async def test_a_total_loss_with_nothing_stored_says_that_it_is_a_reset() -> None:
    world = World(storage=VOLUME)
    await world.play()
    for i in range(3):
        tell(world, i, 2, None)
    await world.look()
    await world.look(11)
    assert world.condition("TotalLoss") == ("True", "Reset")
    assert "TotalLoss" in world.events
