"""Names that the operator, the server and people share: labels, annotations, ports, names of objects."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
"""A Kubernetes object as JSON. Parsed at the border; past ``spec.py`` and ``observed.py`` there are only values."""

GROUP = "gamecluster.dev"
API_VERSION = f"{GROUP}/v1alpha1"
FIELD_MANAGER = "gamecluster-operator"

NAME = "app.kubernetes.io/name"
INSTANCE = "app.kubernetes.io/instance"
MANAGED_BY = "app.kubernetes.io/managed-by"
COMPONENT = "app.kubernetes.io/component"
ROLE = f"{GROUP}/role"
POD_NAME = "statefulset.kubernetes.io/pod-name"
REVISION = "controller-revision-hash"

IN_SYNC = f"{GROUP}/in-sync"
NEVER_HELD = f"{GROUP}/never-held"
RESTORE = f"{GROUP}/restore"
DEAD = f"{GROUP}/dead"
ASLEEP = f"{GROUP}/asleep"
COPIES = f"{GROUP}/copies"
APPLIED = f"{GROUP}/applied"

CLIENT_PORT, MESH_PORT, ADMIN_PORT = 4000, 4100, 4200
CONTAINER = "server"
MESH_KEY, PLAYER_KEY, ADMIN_TOKEN = "mesh.key", "player.key", "admin-token"
SELECT_MANAGED = f"{MANAGED_BY}={FIELD_MANAGER}"


def mesh_name(cluster: str) -> str:
    """Of the headless Service, and of the Secret with the keys."""
    return f"{cluster}-mesh"


def lease_name(cluster: str) -> str:
    return f"{cluster}-gamestate"


def pod_name(cluster: str, ordinal: int) -> str:
    return f"{cluster}-{ordinal}"


def selector(cluster: str) -> dict[str, str]:
    """The labels that choose a cluster's pods. They never change: a StatefulSet's selector can't."""
    return {NAME: "gamecluster", INSTANCE: cluster, COMPONENT: "server"}


def labels(cluster: str, component: str = "server") -> dict[str, str]:
    return {NAME: "gamecluster", INSTANCE: cluster, MANAGED_BY: FIELD_MANAGER, COMPONENT: component}
