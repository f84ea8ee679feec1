"""The chart beside what it has to agree with: the CRD, the operator's settings and calls, the pods' Role."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from gamecluster_operator import manifests, spec
from gamecluster_operator.handlers import LISTED, WATCHED
from gamecluster_operator.kinds import KINDS
from gamecluster_operator.settings import parse

from .world import game_cluster

REPOSITORY = Path(__file__).parents[2]
CHART = REPOSITORY / "charts" / "gamecluster-operator"


def rules() -> list[dict[str, Any]]:
    text = (CHART / "templates" / "_helpers.tpl").read_text()
    found: list[dict[str, Any]] = yaml.safe_load(text.partition('"operator.rules" -}}')[2].partition("{{- end }}")[0])
    return found


def may(verb: str, group: str, resource: str) -> bool:
    return any(verb in r["verbs"] and group in r["apiGroups"] and resource in r["resources"] for r in rules())


def test_the_charts_schema_is_the_one_in_crds() -> None:
    done = subprocess.run([REPOSITORY / "charts" / "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_outlives_the_release() -> None:
    crd = yaml.safe_load((REPOSITORY / "crds" / "gameclusters.yaml").read_text())
    assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_the_operator_may_do_what_it_does() -> None:
    for kind in LISTED:
        group, _, plural = KINDS[kind]
        assert may("list", group, plural) and (kind not in ("GameCluster", *WATCHED) or may("watch", group, plural)), (
            kind
        )
    made = spec.parse(game_cluster(expose={"type": "NodePort"}))
    for obj in manifests.applied(made, 3):
        group, _, plural = KINDS[obj["kind"]]
        assert all(may(verb, group, plural) for verb in ("get", "create", "patch")), obj["kind"]
    for verb, group, resource in (
        ("patch", "gamecluster.dev", "gameclusters/status"),
        ("create", "", "secrets"),
        ("create", "coordination.k8s.io", "leases"),
        ("update", "coordination.k8s.io", "leases"),
        ("create", "", "events"),
        ("patch", "", "pods"),
        ("delete", "", "pods"),
        ("delete", "", "services"),
        ("delete", "networking.k8s.io", "networkpolicies"),
    ):
        assert may(verb, group, resource), (verb, resource)


def test_the_operator_has_all_that_it_passes_on_to_the_pods() -> None:
    for rule in manifests.role(spec.parse(game_cluster()))["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                assert all(may(verb, group, resource) for verb in rule["verbs"]), resource


def test_the_deployments_variables_are_the_operators() -> None:
    text = (CHART / "templates" / "deployment.yaml").read_text()
    given = set(re.findall(r"GAMECLUSTER_OPERATOR_[A-Z_]+", text))
    values = {"NAMESPACES": "a,b", "HEALTH_PORT": "8080", "WORKERS": "4", "LOG_FORMAT": "text", "LOG_LEVEL": "debug"}
    values |= {"ADMIN_NAMESPACES": "a", "LEADER_ELECTION": "true", "LEASE_NAMESPACE": "a"}
    assert given == {f"GAMECLUSTER_OPERATOR_{name}" for name in values}
    made = parse([], {f"GAMECLUSTER_OPERATOR_{name}": value for name, value in values.items()})
    assert (made.namespaces, made.workers, made.log_format) == (("a", "b"), 4, "text")


def test_the_values_and_their_schema_have_the_same_fields() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())

    def compare(path: str, value: Any, part: dict[str, Any]) -> None:
        part = schema["definitions"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
        if "properties" not in part or not isinstance(value, dict):
            return
        assert part["additionalProperties"] is False, path
        assert path in FREE or set(part["properties"]) - {"global"} == set(value), path
        for name, inner in value.items():
            compare(f"{path}.{name}", inner, part["properties"][name])

    compare("", values, schema)


FREE = (".resources", ".affinity")
"""Kubernetes' own: what is not given is left to it."""
