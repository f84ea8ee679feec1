from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gamecluster_operator import labels as names
from gamecluster_operator import spec
from gamecluster_operator.podtemplate import merge, pod_template

from .world import game_cluster

plain = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.text(min_size=1, max_size=3), inner, max_size=3),
    max_leaves=8,
)
maps = st.dictionaries(st.text(min_size=1, max_size=3), plain, max_size=3)


def template(**theirs: Any) -> Any:
    return pod_template(spec.parse(game_cluster(template=theirs)))


def variables(made: Any) -> dict[str, Any]:
    return {v["name"]: v for v in made["spec"]["containers"][0]["env"]}


@given(maps)
def test_merging_nothing_changes_nothing(ours: dict[str, Any]) -> None:
    assert merge(ours, {}) == ours
    assert merge({}, ours) == ours
    assert merge(ours, ours) == ours


@given(maps, maps)
def test_what_they_say_holds(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    once = merge(ours, theirs)
    assert merge(once, theirs) == once


def test_the_server_container_is_merged_by_name() -> None:
    made = template(spec={"containers": [{"name": "server", "resources": {"limits": {"memory": "1Gi"}}}]})
    (container,) = made["spec"]["containers"]
    assert container["image"] == "game:1"
    assert container["resources"] == {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}


def test_a_sidecar_is_added() -> None:
    made = template(
        spec={"containers": [{"name": "logs", "image": "logs:1"}], "volumes": [{"name": "more", "emptyDir": {}}]}
    )
    assert [c["name"] for c in made["spec"]["containers"]] == ["server", "logs"]
    assert [v["name"] for v in made["spec"]["volumes"]] == ["data", "tmp", "keys", "more"]


def test_variables_are_added_and_replaced_by_name() -> None:
    env = [{"name": "GAMECLUSTER_TAKEOVER", "value": "off"}, {"name": "GAMECLUSTER_ADMIN_TOKEN", "value": "known"}]
    made = variables(template(spec={"containers": [{"name": "server", "env": env}]}))
    assert made["GAMECLUSTER_TAKEOVER"]["value"] == "off"
    assert made["GAMECLUSTER_ADMIN_TOKEN"] == {"name": "GAMECLUSTER_ADMIN_TOKEN", "value": "known"}, (
        "no second source besides"
    )
    assert "GAMECLUSTER_LEASE" in made


def test_the_pods_are_told_what_the_last_of_them_does_without_the_api_server() -> None:
    told = variables(pod_template(spec.parse(game_cluster(gameState={"aloneWithoutApi": "Continue"}))))
    assert told["GAMECLUSTER_ALONE_WITHOUT_API"]["value"] == "continue"
    assert variables(template())["GAMECLUSTER_ALONE_WITHOUT_API"]["value"] == "stop"


def test_null_removes() -> None:
    assert "topologySpreadConstraints" not in template(spec={"topologySpreadConstraints": None})["spec"]


def test_pods_are_spread_also_where_nodes_have_no_zone() -> None:
    """A second constraint, on a label that nodes lack, would undo the first: the scheduler scores such nodes by none."""
    made = template()["spec"]
    assert [c["topologyKey"] for c in made["topologySpreadConstraints"]] == ["kubernetes.io/hostname"]
    [rather] = made["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert rather["podAffinityTerm"]["topologyKey"] == "topology.kubernetes.io/zone"


def test_tolerations_are_added_to_ours() -> None:
    made = template(spec={"tolerations": [{"key": "games", "operator": "Exists"}]})["spec"]["tolerations"]
    assert [t["key"] for t in made] == ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable", "games"]


def test_the_labels_that_the_selector_needs_can_not_be_changed() -> None:
    made = template(metadata={"labels": {names.INSTANCE: "other", "mine": "x"}, "annotations": {"a": "b"}})["metadata"]
    assert made["labels"][names.INSTANCE] == "arena" and made["labels"]["mine"] == "x"
    assert made["annotations"]["a"] == "b"
