"""The kinds of objects that the operator has to do with, and where the API server has them."""

from __future__ import annotations

KINDS: dict[str, tuple[str, str, str]] = {
    "GameCluster": ("gamecluster.dev", "v1alpha1", "gameclusters"),
    "StatefulSet": ("apps", "v1", "statefulsets"),
    "Pod": ("", "v1", "pods"),
    "Service": ("", "v1", "services"),
    "Secret": ("", "v1", "secrets"),
    "ServiceAccount": ("", "v1", "serviceaccounts"),
    "Event": ("", "v1", "events"),
    "Lease": ("coordination.k8s.io", "v1", "leases"),
    "Role": ("rbac.authorization.k8s.io", "v1", "roles"),
    "RoleBinding": ("rbac.authorization.k8s.io", "v1", "rolebindings"),
    "PodDisruptionBudget": ("policy", "v1", "poddisruptionbudgets"),
    "NetworkPolicy": ("networking.k8s.io", "v1", "networkpolicies"),
    "Ingress": ("networking.k8s.io", "v1", "ingresses"),
    "HTTPRoute": ("gateway.networking.k8s.io", "v1", "httproutes"),
    "BackendConfig": ("cloud.google.com", "v1", "backendconfigs"),
}
"""Kind → group, version, plural."""
OPTIONAL = ("HTTPRoute", "BackendConfig")
"""Kinds that not every API server has."""


def api_version(kind: str) -> str:
    group, version, _ = KINDS[kind]
    return f"{group}/{version}" if group else version
