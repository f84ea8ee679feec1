"""Who reaches which port of a game's pods, by the NetworkPolicy that the operator makes."""

from __future__ import annotations

from typing import Any

import pytest

from gamecluster_operator import labels as names
from gamecluster_operator import manifests, spec
from gamecluster_operator.networkpolicy import NAMESPACE_NAME, policy_spec
from gamecluster_operator.settings import Settings, parse

from . import golden
from .world import World, game_cluster

OWN = names.labels("arena")
OTHER_GAME = names.labels("other")


def reaches(policy: dict[str, Any], port: int, namespace: str, labels: dict[str, str]) -> bool:
    """As a network plugin reads it: the policy is in the namespace ``games``."""

    def matches(selector: dict[str, Any], present: dict[str, str]) -> bool:
        return selector.get("matchLabels", {}).items() <= present.items()

    def is_peer(peer: dict[str, Any]) -> bool:
        if "namespaceSelector" not in peer and namespace != "games":
            return False
        there = matches(peer.get("namespaceSelector", {}), {NAMESPACE_NAME: namespace})
        return there and matches(peer.get("podSelector", {}), labels)

    return any(
        port in [p["port"] for p in rule["ports"]] and ("from" not in rule or any(map(is_peer, rule["from"])))
        for rule in policy["ingress"]
    )


@pytest.mark.parametrize(
    ("port", "namespace", "labels", "allowed"),
    [
        (4000, "anywhere", {}, True),
        (4000, "games", OTHER_GAME, True),
        (4100, "games", OWN, True),
        (4100, "games", OTHER_GAME, False),
        (4100, "anywhere", OWN, False),
        (4100, "operators", {}, False),
        (4200, "operators", {}, True),
        (4200, "monitoring", {}, True),
        (4200, "games", OWN, False),
        (4200, "anywhere", {}, False),
        (22, "operators", {}, False),
    ],
)
def test_a_port_is_open_to_whom_it_is_for(port: int, namespace: str, labels: dict[str, str], allowed: bool) -> None:
    policy = policy_spec("arena", ["operators", "monitoring"])
    assert reaches(policy, port, namespace, labels) == allowed


def test_the_admin_port_is_closed_when_nobody_is_named() -> None:
    policy = policy_spec("arena", [])
    assert not any(reaches(policy, 4200, namespace, OWN) for namespace in ("games", "operators"))
    assert all(rule.get("from") != [] for rule in policy["ingress"]), "an empty list would mean anybody"


def test_the_policy_is_this_object() -> None:
    cluster = spec.parse(game_cluster())
    golden.check("network-policy", [*manifests.network_policies(cluster, ["gamecluster-system", "monitoring"])])


def test_it_chooses_the_pods_that_the_stateful_set_makes() -> None:
    cluster = spec.parse(game_cluster())
    (policy,) = manifests.network_policies(cluster, [])
    chosen = policy["spec"]["podSelector"]["matchLabels"]
    labels = manifests.stateful_set(cluster, 3)["spec"]["template"]["metadata"]["labels"]
    assert chosen.items() <= labels.items()


async def test_it_is_made_by_default_put_right_and_removed_when_not_wanted() -> None:
    world = World()
    world.reconciler.settings = Settings(admin_namespaces=("operators",))
    await world.settle()
    made = world.kube.one("NetworkPolicy", "arena")
    assert reaches(made["spec"], 4200, "operators", {})
    assert [owner["uid"] for owner in made["metadata"]["ownerReferences"]] == ["uid-of-arena"]
    world.kube.remove("NetworkPolicy", "arena")
    await world.settle()
    assert world.kube.names("NetworkPolicy") == {"arena"}
    world.edit(networkPolicy={"enabled": False})
    await world.settle()
    assert world.kube.names("NetworkPolicy") == set()


async def test_a_policy_of_somebody_else_under_that_name_is_left_alone() -> None:
    world = World(networkPolicy={"enabled": False})
    meta = {"name": "arena", "namespace": "games", "uid": "theirs", "labels": names.labels("arena")}
    world.kube.put({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": {}})
    await world.settle()
    assert world.kube.names("NetworkPolicy") == {"arena"}


def test_the_namespaces_come_from_flags_or_the_environment() -> None:
    environment = {"GAMECLUSTER_OPERATOR_ADMIN_NAMESPACES": "operators, monitoring"}
    assert parse([], environment).admin_namespaces == ("operators", "monitoring")
    assert parse(["--admin-namespace", "a", "--admin-namespace", "b"], environment).admin_namespaces == ("a", "b")
