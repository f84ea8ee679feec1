"""What the schema refuses, a real API server says in words that tell what to write instead."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from .conftest import REPOSITORY, Kubectl

NAMESPACE = "validation-test"
URL = {"name": "game-db", "key": "url"}
VOLUME = {"type": "Volume", "size": "2Gi", "storageClassName": "fast"}


class Games:
    def __init__(self, kubectl: Kubectl) -> None:
        self.kubectl = kubectl

    def apply(self, name: str, *flags: str, **spec: Any) -> str:
        wanted = {"image": "game:1", "targets": ["game:Arena"], **spec}
        body = {
            "apiVersion": "gamecluster.dev/v1alpha1",
            "kind": "GameCluster",
            "metadata": {"name": name},
            "spec": wanted,
        }
        return self.kubectl("-n", NAMESPACE, "apply", *flags, "-f", "-", stdin=json.dumps(body))

    def refused(self, name: str = "arena", **spec: Any) -> str:
        """What `kubectl apply` says."""
        with pytest.raises(AssertionError) as refused:
            self.apply(name, "--dry-run=server", **spec)
        return str(refused.value)

    def columns(self, *flags: str) -> list[list[str]]:
        return [line.split() for line in self.kubectl("-n", NAMESPACE, "get", "gc", *flags).splitlines()]


@pytest.fixture(scope="module")
def games(kubectl: Kubectl) -> Iterator[Games]:
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=true")
    kubectl("create", "namespace", NAMESPACE)
    yield Games(kubectl)
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


GOOD: dict[str, dict[str, Any]] = {
    "nothing but what is needed": {},
    "everything in the pods' memory, fewer pods than copies": {"replicas": 1, "gameState": {"replicas": 3}},
    "a class in a file": {"targets": ["my-games/arena.py:Arena", "a.b:C_1"]},
    "a game that sleeps from the start": {"storage": VOLUME, "replicas": 0},
    "volumes": {"storage": VOLUME, "gameState": {"durability": "Storage"}},
    "a database": {"storage": {"type": "PostgreSQL", "secretRef": URL}, "gameState": {"durability": "Storage"}},
    "a broker": {"pubsub": {"type": "Redis", "secretRef": URL}},
    "an Ingress": {"expose": {"type": "Ingress", "host": "play.example.com", "tlsSecretName": "play-tls"}},
    "a route": {"expose": {"type": "HTTPRoute", "host": "play", "gateway": {"name": "front"}, "tls": True}},
    "origins": {"allowedOrigins": ["*", "https://play.example.com:8443", "http://localhost"]},
    "no NetworkPolicy": {"networkPolicy": {"enabled": False}},
    "a template": {
        "template": {"metadata": {"annotations": {"a": "b"}}, "spec": {"hostNetwork": None, "containers": []}}
    },
}


@pytest.mark.parametrize("spec", GOOD.values(), ids=GOOD)
def test_what_is_right_is_taken(games: Games, spec: dict[str, Any]) -> None:
    assert "arena created" in games.apply("arena", "--dry-run=server", **spec)


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"image": "my game"}, "spec.image", "such as registry.example.com/my-game:1.2"),
    ({"targets": ["arena"]}, "spec.targets[0]", "such as my_game:Arena"),
    ({"targets": ["game:Arena", "game:Room,b:C"]}, "spec.targets[1]", "such as my_game:Arena"),
    ({"targets": []}, "spec.targets", "at least 1 item"),
    ({"replicas": 101}, "spec.replicas", "less than or equal to 100"),
    ({"replicas": 0}, "spec.replicas", "Delete the GameCluster, or make one with storage.type Volume"),
    ({"gameState": {"replicas": 10}}, "spec.gameState.replicas", "less than or equal to 9"),
    (
        {"gameState": {"suspectAfterMilliseconds": 5000}},
        "spec.gameState",
        "at least four times suspectAfterMilliseconds",
    ),
    ({"gameState": {"durability": "Storage"}}, "spec", "set spec.storage.type to Volume, Redis or PostgreSQL"),
    ({"gameState": {"durability": "Disk"}}, "spec.gameState.durability", 'supported values: "Memory", "Storage"'),
    ({"storage": {"type": "Redis"}}, "spec.storage.secretRef", "secretRef: {name: my-secret, key: url}"),
    ({"storage": {"type": "PostgreSQL"}}, "spec.storage.secretRef", "secretRef: {name: my-secret, key: url}"),
    ({"pubsub": {"type": "Redis"}}, "spec.pubsub.secretRef", "secretRef: {name: my-secret, key: url}"),
    ({"pubsub": {"type": "PostgreSQL"}}, "spec.pubsub.secretRef", "secretRef: {name: my-secret, key: url}"),
    ({"pubsub": {"secretRef": URL}}, "spec.pubsub.secretRef", "remove it, or set pubsub.type"),
    ({"pubsub": {"type": "Redis", "secretRef": {"name": "My_Db"}}}, "spec.pubsub.secretRef.name", "name of a Secret"),
    ({"storage": {"type": "Volume", "secretRef": URL}}, "spec.storage.secretRef", "remove it, or set storage.type"),
    ({"storage": {"storageClassName": "fast"}}, "spec.storage.storageClassName", "or set storage.type to Volume"),
    ({"storage": {"type": "Volume", "size": "big"}}, "spec.storage.size", "such as 1Gi"),
    ({"storage": {"type": "Volume", "size": "0"}}, "spec.storage.size", "such as 1Gi"),
    ({"storage": {"type": "Redis", "secretRef": {"name": "My_Db"}}}, "spec.storage.secretRef.name", "name of a Secret"),
    ({"storage": {"type": "Redis", "secretRef": {"name": "db", "key": "a/b"}}}, "secretRef.key", "such as url"),
    ({"expose": {"type": "Ingress"}}, "spec.expose.host", "host: play.example.com"),
    ({"expose": {"type": "HTTPRoute"}}, "spec.expose.host", "host: play.example.com"),
    ({"expose": {"type": "HTTPRoute", "host": "a.b"}}, "spec.expose.gateway", "gateway: {name: my-gateway}"),
    ({"expose": {"type": "Ingress", "host": "a.b", "gateway": {"name": "g"}}}, "spec.expose.gateway", "HTTPRoute only"),
    ({"expose": {"className": "nginx"}}, "spec.expose.className", "for Ingress only: remove it"),
    ({"expose": {"tls": True}}, "spec.expose.tls", "remove it, or set expose.type"),
    ({"expose": {"annotations": {"a": 1}}}, "spec.expose.annotations.a", "must be of type string"),
    ({"expose": {"type": "Ingress", "host": "https://play.example.com"}}, "spec.expose.host", "without scheme"),
    ({"expose": {"type": "NodePort", "host": "play.example.com"}}, "spec.expose.host", "remove it, or set expose.type"),
    ({"expose": {"tlsSecretName": "play-tls"}}, "spec.expose.tlsSecretName", "for Ingress only: remove it"),
    ({"autoscaling": {"minReplicas": 5, "maxReplicas": 3}}, "spec.autoscaling", "must not be above"),
    ({"allowedOrigins": ["https://play.example.com/"]}, "spec.allowedOrigins[0]", "without a path"),
    ({"template": {"containers": []}}, "spec.template.containers", "unknown field"),
    ({"pubSub": {"type": "Mesh"}}, "spec.pubSub", "unknown field"),
]


@pytest.mark.parametrize(("spec", "path", "advice"), BAD, ids=[json.dumps(spec) for spec, _, _ in BAD])
def test_what_is_wrong_is_refused_with_what_would_be_right(
    games: Games, spec: dict[str, Any], path: str, advice: str
) -> None:
    said = games.refused(**spec)
    assert path in said and advice in said, said


@pytest.mark.parametrize("name", ["Arena", "1-arena", "arena.one", "a" * 46])
def test_a_name_that_no_service_could_have_is_refused(games: Games, name: str) -> None:
    said = games.refused(name)
    assert "lower-case" in said and "Invalid value" in said, said


CHANGES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"type": "Memory"}, {"type": "Redis", "secretRef": URL}, "storage.type can't be changed"),
    (VOLUME, {"type": "Memory"}, "storage.type can't be changed"),
    (VOLUME, VOLUME | {"size": "4Gi"}, "resize the PersistentVolumeClaims"),
    (VOLUME, VOLUME | {"storageClassName": "slow"}, "storageClassName can't be changed"),
    (VOLUME, {"type": "Volume", "size": "2Gi"}, "storageClassName can't be changed"),
]


@pytest.mark.parametrize(("before", "after", "advice"), CHANGES)
def test_what_the_volumes_could_not_follow_is_refused(
    games: Games, before: dict[str, Any], after: dict[str, Any], advice: str
) -> None:
    games.apply("stored", storage=before)
    try:
        said = games.refused("stored", storage=after)
        assert "spec.storage" in said and advice in said, said
        assert "configured" in games.apply("stored", "--dry-run=server", storage=before, replicas=5)
    finally:
        games.kubectl("-n", NAMESPACE, "delete", "gc", "stored")


def test_another_database_url_is_a_change_that_is_taken(games: Games) -> None:
    games.apply("moved", storage={"type": "Redis", "secretRef": URL})
    assert "configured" in games.apply("moved", storage={"type": "Redis", "secretRef": {"name": "other-db"}})
    games.kubectl("-n", NAMESPACE, "delete", "gc", "moved")


def test_who_counts_the_pods_is_not_contradicted(games: Games) -> None:
    """An autoscaler of Kubernetes writes through the scale subresource, as `kubectl scale` does."""
    scale = ("-n", NAMESPACE, "scale", "gc", "counted")
    games.apply("counted", autoscaling={"maxReplicas": 9})
    with pytest.raises(AssertionError, match="remove autoscaling first"):
        games.kubectl(*scale, "--replicas=5")
    assert "spec.replicas" in games.refused("counted", autoscaling={"maxReplicas": 9}, replicas=5)
    games.apply("counted", autoscaling={"maxReplicas": 12})
    games.apply("counted")
    games.kubectl(*scale, "--replicas=5")
    games.apply("counted", replicas=4, autoscaling={"maxReplicas": 9})
    games.kubectl("-n", NAMESPACE, "delete", "gc", "counted")


def test_a_game_is_sent_to_sleep_only_where_it_has_a_storage(games: Games) -> None:
    scale = ("-n", NAMESPACE, "scale", "gc")
    games.apply("awake")
    with pytest.raises(AssertionError, match=r"the GameState would be lost\. Delete the GameCluster, or make one with"):
        games.kubectl(*scale, "awake", "--replicas=0")
    games.apply("sleeper", storage=VOLUME, autoscaling={"maxReplicas": 9})
    games.kubectl(*scale, "sleeper", "--replicas=0")
    games.kubectl(*scale, "sleeper", "--replicas=4")
    with pytest.raises(AssertionError, match="remove autoscaling first"):
        games.kubectl(*scale, "sleeper", "--replicas=5")
    games.kubectl("-n", NAMESPACE, "delete", "gc", "awake", "sleeper")


def test_the_columns_tell_who_leads_and_how_it_goes(games: Games) -> None:
    games.apply("arena")
    kubectl = games.kubectl
    status = {
        "status": {
            "leader": "arena-1",
            "epoch": 7,
            "players": 42,
            "inSync": ["arena-0", "arena-1"],
            "replicas": 4,
            "readyReplicas": 3,
            "conditions": [condition("Ready", "True", "Serving"), condition("Reconciling", "True", "Updating")],
        }
    }
    kubectl("-n", NAMESPACE, "patch", "gc", "arena", "--subresource=status", "--type=merge", "-p", json.dumps(status))
    narrow, wide = games.columns(), games.columns("-o", "wide")
    assert narrow[0] == ["NAME", "READY", "LEADER", "EPOCH", "PLAYERS", "PODS", "AGE"]
    assert narrow[1][:6] == ["arena", "True", "arena-1", "7", "42", "4"]
    assert wide[0][:6] == narrow[0][:6] and wide[0][6:] == ["IN-SYNC", "REPLICAS", "IMAGE", "STATUS", "AGE"]
    assert wide[1][6:10] == ['["arena-0","arena-1"]', "3", "game:1", "Updating"]
    assert "arena" in kubectl("-n", NAMESPACE, "get", "all")
    kubectl("-n", NAMESPACE, "delete", "gc", "arena")


def condition(type: str, status: str, reason: str) -> dict[str, str]:
    at = "2026-01-01T00:00:00Z"
    return {"type": type, "status": status, "reason": reason, "message": "", "lastTransitionTime": at}


def test_every_rule_has_a_message() -> None:
    crd = yaml.safe_load((REPOSITORY / "crds" / "gameclusters.yaml").read_text())

    def rules(schema: Any) -> Iterator[dict[str, Any]]:
        if isinstance(schema, dict):
            yield from schema.get("x-kubernetes-validations", [])
            for inner in schema.values():
                yield from rules(inner)

    found = list(rules(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]))
    assert len(found) > 15 and all(rule.get("message") for rule in found)
