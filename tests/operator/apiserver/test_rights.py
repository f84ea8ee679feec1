"""The operator may do what it does, and nothing else. Comes last: it looks at what the operator did in all tests before it."""

from __future__ import annotations

from gamecluster_operator import manifests, spec

from ..test_chart import rules
from ..world import game_cluster
from .audit import Audit
from .operators import USER

Right = tuple[str, str, str]
"""Group, resource, verb."""

BY_ADMISSION = "OwnerReferencesPermissionEnforcement asks for it, with which these tests run"
UNSEEN: dict[Right, str] = {
    ("gamecluster.dev", "gameclusters/finalizers", "update"): BY_ADMISSION,
    ("", "secrets", "delete"): BY_ADMISSION,
    ("", "pods", "delete"): "frees the pods of lost nodes, once another pod leads and says so: e2e/test_node_killed.py",
}
"""Needed, though no request of these tests shows it."""


def granted() -> set[Right]:
    return {(g, r, v) for rule in rules() for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]}


def passed_on() -> set[Right]:
    """A Role can be made only by who has all of it."""
    given = manifests.role(spec.parse(game_cluster()))["rules"]
    return {(g, r, v) for rule in given for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]}


def test_the_charts_rights_are_those_that_the_operator_used(audit: Audit) -> None:
    requests = [request for request in audit.requests(USER) if request.resource]
    used = {(request.group, request.resource, request.verb) for request in requests}
    used |= {(request.group, request.resource, "create") for request in requests if request.code == 201}  # by an apply
    refused = sorted({request.what for request in requests if request.code == 403})
    unused = sorted(granted() - used - passed_on() - UNSEEN.keys())
    assert refused == [], "missing in the chart"
    assert unused == [], "take them from the chart; if only this file was run, run the whole folder"
