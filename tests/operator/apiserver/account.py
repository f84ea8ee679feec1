"""The account that the operator has by its chart, and the namespaces of these tests."""

from __future__ import annotations

from pathlib import Path

import yaml

from ..test_chart import rules
from .server import Kubectl

SYSTEM, GAMES = "operator-test-system", "operator-test"


def as_the_charts_account(kubectl: Kubectl, folder: Path) -> Path:
    """A kubeconfig of a ServiceAccount that may do what the chart's may."""
    kubectl(
        "delete", "namespace", SYSTEM, GAMES, "--ignore-not-found", "--wait=true"
    )  # at once: each takes 5 s or more
    for namespace in (SYSTEM, GAMES):
        kubectl("create", "namespace", namespace)
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": SYSTEM},
        "rules": rules(),
    }
    subject = {"kind": "ServiceAccount", "name": "operator", "namespace": SYSTEM}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": SYSTEM}
    kubectl.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "operator", "namespace": SYSTEM}},
        role,
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": SYSTEM},
            "roleRef": ref,
            "subjects": [subject],
        },
    )
    config = yaml.safe_load(kubectl.kubeconfig.read_text())
    token = kubectl("create", "token", "operator", "-n", SYSTEM).strip()
    for user in config["users"]:
        user["user"] = {"token": token}
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path
