"""Who may reach a GameCluster's pods, and on which port. Pure.

| port  | from                                                                           |
| ----- | ------------------------------------------------------------------------------ |
| 4000  | anywhere: players                                                              |
| 4100  | the cluster's own pods: the mesh                                               |
| 4200  | pods of the operator's namespace, and of those that watch over it: the admin port |

Probes and `kubectl port-forward` come from the pod's node, which is always allowed. What pods reach themselves is not limited: a
game may need anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import labels as names
from .labels import Object

NAMESPACE_NAME = "kubernetes.io/metadata.name"
"""The API server labels every namespace with its name."""


def ingress_rules(cluster: str, admin_namespaces: Sequence[str]) -> list[Object]:
    """``admin_namespaces`` empty: nobody reaches the admin port over the network."""
    rules = [
        {"ports": [_port(names.CLIENT_PORT)]},
        {"from": [{"podSelector": {"matchLabels": names.selector(cluster)}}], "ports": [_port(names.MESH_PORT)]},
    ]
    watchers = [{"namespaceSelector": {"matchLabels": {NAMESPACE_NAME: name}}} for name in admin_namespaces]
    return [*rules, {"from": watchers, "ports": [_port(names.ADMIN_PORT)]}] if watchers else rules


def policy_spec(cluster: str, admin_namespaces: Sequence[str]) -> Object:
    """The ``spec`` of the NetworkPolicy of the pods of ``cluster``."""
    return {
        "podSelector": {"matchLabels": names.selector(cluster)},
        "policyTypes": ["Ingress"],
        "ingress": ingress_rules(cluster, admin_namespaces),
    }


def _port(number: int) -> Object:
    return {"protocol": "TCP", "port": number}
