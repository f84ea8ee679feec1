"""The parser, and that its defaults, the schema's, and what is said to be built agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gamecluster_operator import spec
from gamecluster_operator.spec import Autoscaling, Gateway, SpecError

from .world import game_cluster

SCHEMA = yaml.safe_load((Path(__file__).parents[2] / "crds" / "gameclusters.yaml").read_text())["spec"]["versions"][0]
SPEC = SCHEMA["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
STATUS = SCHEMA["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]


def defaults(properties: dict[str, Any]) -> dict[str, Any]:
    """As the API server fills them in."""
    filled: dict[str, Any] = {}
    for name, schema in properties.items():
        if "default" in schema:
            value = schema["default"]
            filled[name] = defaults(schema["properties"]) | value if isinstance(value, dict) else value
    return filled


def test_the_parsers_defaults_are_the_schemas() -> None:
    assert spec.parse(game_cluster(**defaults(SPEC))) == spec.parse(game_cluster())
    assert spec.problems(game_cluster(**defaults(SPEC))) == []


@pytest.mark.parametrize("field", ["pubsub", "storage"])
def test_every_server_that_the_schema_allows_works_once_its_secret_is_named(field: str) -> None:
    for kind in SPEC[field]["properties"]["type"]["enum"]:
        found = [problem.message for problem in spec.problems(game_cluster(**{field: {"type": kind}}))]
        missing = f"spec.{field}.secretRef.name is missing: the Secret with the URL of {kind}"
        assert found == ([missing] if kind in ("Redis", "PostgreSQL") else [])
        body = game_cluster(**{field: {"type": kind, "secretRef": {"name": "server", "key": "address"}}})
        assert spec.problems(body) == []
        parsed = getattr(spec.parse(body), field)
        assert (parsed.type, parsed.secret, parsed.key) == (kind, "server", "address")


def test_a_pod_left_alone_may_be_told_to_go_on() -> None:
    body = game_cluster(gameState={"aloneWithoutApi": "Continue"})
    assert spec.problems(body) == []
    assert spec.parse(body).game_state.alone_without_api == "Continue"


def test_how_clients_get_in_is_read_with_all_that_it_needs() -> None:
    gateway = {"name": "edge", "namespace": "infra", "sectionName": "https"}
    body = game_cluster(expose={"type": "HTTPRoute", "host": "play.example.com", "gateway": gateway, "tls": True})
    assert spec.problems(body) == []
    parsed = spec.parse(body).expose
    assert parsed.gateway == Gateway("edge", "infra", "https") and parsed.is_tls


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"expose": {"type": "Ingress"}}, "spec.expose.host"),
        ({"expose": {"type": "HTTPRoute", "host": "a.b"}}, "spec.expose.gateway.name"),
        ({"autoscaling": {"maxReplicas": 2}}, "spec.autoscaling.maxReplicas"),
        ({"autoscaling": {"minReplicas": 5, "maxReplicas": 4}}, "spec.autoscaling.maxReplicas"),
    ],
)
def test_what_an_older_schema_let_through_is_said_by_its_path(wrong: dict[str, Any], named: str) -> None:
    (problem,) = spec.problems(game_cluster(**wrong))
    assert problem.reason == "InvalidSpec" and problem.message.startswith(named)


def test_the_bounds_of_autoscaling_have_the_schemas_defaults() -> None:
    given = defaults(SPEC["autoscaling"]["properties"])
    both = [spec.parse(game_cluster(autoscaling={"maxReplicas": 9, **more})) for more in (given, {})]
    assert both[0].autoscaling == both[1].autoscaling == Autoscaling(3, 9, 2000, 0, 30, 300)
    assert spec.parse(game_cluster()).autoscaling is None


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"image": None}, "spec.image"),
        ({"replicas": "3"}, "spec.replicas"),
        ({"replicas": True}, "spec.replicas"),
        ({"targets": [1]}, "spec.targets"),
        ({"gameState": {"replicas": "x"}}, "spec.gameState.replicas"),
        ({"template": "x"}, "spec.template"),
        ({"expose": {"annotations": {"a": 1}}}, "spec.expose.annotations"),
        ({"autoscaling": {"minReplicas": 1}}, "spec.autoscaling.maxReplicas"),
    ],
)
def test_nonsense_is_refused_by_its_path(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(SpecError, match=named):
        spec.parse(game_cluster(**wrong))


def test_every_field_of_the_schema_has_bounds_and_a_description() -> None:
    def check(path: str, schema: dict[str, Any]) -> None:
        if schema.get("type") == "integer":
            assert "minimum" in schema and "maximum" in schema, path
        if schema.get("type") == "array":
            assert "maxItems" in schema, path
        for name, inner in (schema.get("properties") or {}).items():
            check(f"{path}.{name}", inner)

    for name, schema in SPEC.items():
        check(name, schema)
        assert schema.get("description") or schema.get("properties"), name


def test_the_schema_has_every_field_of_the_status() -> None:
    from .test_status import SITUATIONS, derive

    for observed, situation in SITUATIONS.values():
        made = derive(observed, situation)
        assert set(made) <= set(STATUS)
        assert set(made.get("gameState", {})) <= set(STATUS["gameState"]["properties"])
        assert set(made.get("lastFailover", {})) <= set(STATUS["lastFailover"]["properties"])
