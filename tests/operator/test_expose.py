from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamecluster_operator import expose, podtemplate, spec
from gamecluster_operator.labels import Object
from gamecluster_operator.spec import GameCluster

from . import golden
from .world import World, game_cluster

HOST = "play.example.com"
GATEWAY = {"name": "edge", "namespace": "infra"}
exposures = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer", "Ingress", "HTTPRoute"]),
        "perPod": st.booleans(),
        "host": st.just(HOST),
        "gateway": st.just(GATEWAY),
        "className": st.sampled_from(["", "nginx", "nginx-internal", "haproxy", "traefik", "alb", "gce", "other"]),
        "tlsSecretName": st.sampled_from(["", "play-tls"]),
        "annotations": st.dictionaries(st.sampled_from(["a/b", "c/d"]), st.text(max_size=3)),
    }
)


def cluster(**exposure: Any) -> GameCluster:
    return spec.parse(game_cluster(expose=exposure))


def built(made: GameCluster, replicas: int = 2) -> list[Object]:
    return [expose.client_service(made), *expose.in_front(made, replicas)]


def kinds(objects: list[Object]) -> list[tuple[str, str]]:
    return [(obj["kind"], obj["metadata"]["name"]) for obj in objects]


EXPOSED = {
    "pod-services": {
        "type": "LoadBalancer",
        "annotations": {"service.beta.kubernetes.io/aws-load-balancer-type": "external"},
    },
    "ingress": {"type": "Ingress", "host": HOST, "className": "nginx", "tlsSecretName": "play-tls"},
    "ingress-gce": {"type": "Ingress", "host": HOST, "className": "gce", "perPod": False},
    "routes": {"type": "HTTPRoute", "host": HOST, "gateway": {**GATEWAY, "sectionName": "https"}, "tls": True},
}


@pytest.mark.parametrize("name", EXPOSED)
def test_each_way_in_gives_these_objects(name: str) -> None:
    golden.check(name, built(cluster(**EXPOSED[name])))


def test_pods_have_addresses_of_their_own_only_where_that_is_asked_for() -> None:
    for type in ("NodePort", "LoadBalancer", "Ingress", "HTTPRoute"):
        shared = built(cluster(type=type, host=HOST, gateway=GATEWAY, perPod=False))
        assert [name for _, name in kinds(shared)] == ["arena"] * len(shared)
        own = built(cluster(type=type, host=HOST, gateway=GATEWAY))
        assert {("Service", "arena-0"), ("Service", "arena-1")} < set(kinds(own))
    assert kinds(built(cluster(type="ClusterIP"))) == [("Service", "arena")]


@pytest.mark.parametrize(
    ("exposure", "url"),
    [
        ({"type": "Ingress", "host": HOST}, "ws://play.example.com/$(GAMECLUSTER_NODE)/socket"),
        ({"type": "Ingress", "host": HOST, "tlsSecretName": "x"}, "wss://play.example.com/$(GAMECLUSTER_NODE)/socket"),
        ({"type": "HTTPRoute", "host": HOST, "tls": True}, "wss://play.example.com/$(GAMECLUSTER_NODE)/socket"),
        ({"type": "Ingress", "host": HOST, "perPod": False}, None),
        ({"type": "LoadBalancer"}, None),
        ({}, None),
    ],
)
def test_a_pod_is_told_the_address_under_which_clients_reach_it(exposure: dict[str, Any], url: str | None) -> None:
    variables = {entry["name"]: entry.get("value") for entry in podtemplate.environment(cluster(**exposure))}
    assert variables.get("GAMECLUSTER_URL") == url
    order = list(variables)
    assert url is None or order.index("GAMECLUSTER_NODE") < order.index("GAMECLUSTER_URL"), "or it is not put in"


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("nginx", "nginx.ingress.kubernetes.io/proxy-read-timeout"),
        ("nginx-internal", "nginx.ingress.kubernetes.io/proxy-send-timeout"),
        ("haproxy", "haproxy-ingress.github.io/timeout-tunnel"),
        ("alb", "alb.ingress.kubernetes.io/load-balancer-attributes"),
        ("gce", "kubernetes.io/ingress.class"),
    ],
)
def test_a_class_that_is_known_is_told_to_keep_silent_sockets(name: str, note: str) -> None:
    ingress = built(cluster(type="Ingress", host=HOST, className=name))[-1]
    assert note in ingress["metadata"]["annotations"]


def test_annotations_of_the_spec_win_and_a_class_that_is_not_known_gets_only_those() -> None:
    timeout = "nginx.ingress.kubernetes.io/proxy-read-timeout"
    mine = built(cluster(type="Ingress", host=HOST, className="nginx", annotations={timeout: "9", "a": "b"}))[-1]
    assert mine["metadata"]["annotations"][timeout] == "9" and mine["metadata"]["annotations"]["a"] == "b"
    unknown = built(cluster(type="Ingress", host=HOST, className="other", annotations={"a": "b"}))[-1]
    assert unknown["metadata"]["annotations"] == {"a": "b"}
    assert "annotations" not in built(cluster(type="Ingress", host=HOST))[-1]["metadata"]


def backends(objects: list[Object]) -> list[tuple[str, str]]:
    """Path and Service of everything that is routed."""
    found = []
    for obj in objects:
        if obj["kind"] == "Ingress":
            (rule,) = obj["spec"]["rules"]
            found += [(p["path"], p["backend"]["service"]["name"]) for p in rule["http"]["paths"]]
        if obj["kind"] == "HTTPRoute":
            (rule,) = obj["spec"]["rules"]
            found += [(m["path"]["value"], b["name"]) for m in rule["matches"] for b in rule["backendRefs"]]
    return found


@given(exposures, st.integers(1, 100))
def test_every_path_leads_to_a_service_that_there_is(exposure: dict[str, Any], replicas: int) -> None:
    made = cluster(**exposure)
    objects = built(made, replicas)
    services = {name for kind, name in kinds(objects) if kind == "Service"}
    routed = backends(objects)
    assert {service for _, service in routed} <= services
    assert len({path for path, _ in routed}) == len(routed)
    if exposure["type"] in expose.ROUTED:
        assert dict(routed)["/"] == "arena"
        assert len(routed) == (replicas + 1 if exposure["perPod"] else 1)
        assert all(path == "/" or path == f"/{service}" for path, service in routed)
    else:
        assert routed == []


@given(exposures, st.integers(1, 99))
def test_one_pod_more_changes_nothing_of_the_others(exposure: dict[str, Any], replicas: int) -> None:
    made = cluster(**exposure)
    before, after = built(made, replicas), built(made, replicas + 1)
    kept = [obj for obj in after if (obj["kind"], obj["metadata"]["name"]) in kinds(before)]
    assert [o for o in kept if o["kind"] != "Ingress"] == [o for o in before if o["kind"] != "Ingress"]
    assert set(backends(before)) <= set(backends(after))


# --- the whole operator -------------------------------------------------------------------------------------------------

ROUTES = {"type": "HTTPRoute", "host": HOST, "gateway": GATEWAY}


async def test_what_is_no_longer_wanted_goes() -> None:
    world = World(expose={"type": "Ingress", "host": HOST})
    await world.play()
    assert world.kube.names("Ingress") == {"arena"} and "arena-2" in world.kube.names("Service")
    world.edit(expose={"type": "Ingress", "host": HOST, "perPod": False})
    await world.settle()
    assert world.kube.names("Ingress") == {"arena"} and "arena-2" not in world.kube.names("Service")
    world.edit(expose={})
    await world.settle()
    assert world.kube.names("Ingress") == set()


async def test_where_routes_are_not_known_that_is_said_and_all_else_goes_on() -> None:
    world = World(expose=ROUTES)
    await world.play()
    assert world.condition("Stalled") == ("True", "KindMissing") and "Gateway API" in world.message("Stalled")
    assert world.condition("Ready")[0] == "True"
    world.edit(expose=ROUTES, replicas=4)
    await world.look(10)
    assert world.kube.one("StatefulSet", "arena")["spec"]["replicas"] == 4

    world.kube.unknown.clear()
    for _ in range(10):
        await world.look(10)
    assert world.kube.names("HTTPRoute") == {"arena", *(f"arena-{n}" for n in range(4))}
    assert world.condition("Stalled")[0] == "False"
    world.edit(expose={})
    await world.settle()
    assert world.kube.names("HTTPRoute") == set()


async def test_a_pod_keeps_its_path_until_it_goes() -> None:
    world = World(expose=ROUTES, replicas=3)
    world.kube.unknown.clear()
    await world.play()
    world.hold(2, 2, 0, 1, 2)
    world.edit(replicas=2)
    await world.look()
    assert world.pods.handed_off and "arena-2" in world.kube.names("HTTPRoute")
    world.hold(0, 3, 0, 1)
    await world.look(2)
    assert "arena-2" not in world.kube.names("HTTPRoute")
