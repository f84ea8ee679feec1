"""What every object of a GameCluster has in common. Pure."""

from __future__ import annotations

from . import labels as names
from .labels import Object
from .spec import GameCluster


def owned(api_version: str, kind: str, cluster: GameCluster, name: str, component: str = "server") -> Object:
    """An object without a body, labelled, and owned by ``cluster``: it goes with it."""
    owner = {
        "apiVersion": names.API_VERSION,
        "kind": "GameCluster",
        "name": cluster.name,
        "uid": cluster.uid,
        "controller": True,
    }
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": cluster.namespace,
            "labels": names.labels(cluster.name, component),
            "ownerReferences": [owner],
        },
    }


def is_labelled(obj: Object, cluster: str) -> bool:
    """Made by the operator for a GameCluster of this name."""
    found = obj["metadata"].get("labels") or {}
    return (found.get(names.INSTANCE), found.get(names.MANAGED_BY)) == (cluster, names.FIELD_MANAGER)
