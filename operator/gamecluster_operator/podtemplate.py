"""The pod of a GameCluster: one container that runs ``gamecluster serve``. Pure."""

from __future__ import annotations

from typing import Any

from . import expose
from . import labels as names
from .labels import Object
from .spec import GameCluster

KEYS_FOLDER = "/var/run/gamecluster/keys"
DATA_FOLDER = "/var/lib/gamecluster"
STORAGE_FOLDER = "/var/lib/gamecluster-storage"
STORAGE_VOLUME = "storage"
USER = 65_532
GRACE_SECONDS = 30
LOST_NODE_SECONDS = 5

MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "topologySpreadConstraints": "topologyKey",
}
"""Lists that are merged item by item, as the API's own strategic merge does; all others are replaced."""


def pod_template(cluster: GameCluster) -> Object:
    """Ours, with ``spec.template`` merged into it; the labels that the selector needs always stay."""
    merged: Object = merge(_ours(cluster), cluster.template)
    merged["metadata"] = {**(merged.get("metadata") or {})}
    merged["metadata"]["labels"] = {**(merged["metadata"].get("labels") or {}), **names.labels(cluster.name)}
    return merged


def merge(ours: Any, theirs: Any, path: str = "") -> Any:
    """Maps by key, known lists by their item's key, everything else replaced. ``null`` removes."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        result = {key: value for key, value in ours.items() if theirs.get(key, value) is not None}
        for key, value in theirs.items():
            if value is not None:
                result[key] = merge(ours[key], value, key) if key in ours else value
        return result
    if isinstance(ours, list) and isinstance(theirs, list) and path in MERGE_KEYS:
        return _merge_lists(ours, theirs, MERGE_KEYS[path])
    if isinstance(ours, list) and isinstance(theirs, list) and path == "tolerations":
        return ours + [toleration for toleration in theirs if toleration not in ours]
    return theirs


def _merge_lists(ours: list[Any], theirs: list[Any], key: str) -> list[Any]:
    changes = {item.get(key): item for item in theirs if isinstance(item, dict)}
    kept = [_merge_item(item, changes[item[key]]) if item.get(key) in changes else item for item in ours]
    known = {item.get(key) for item in ours}
    return kept + [item for item in theirs if not isinstance(item, dict) or item.get(key) not in known]


def _merge_item(ours: Object, theirs: Object) -> Any:
    sources = {"value", "valueFrom"}
    if sources & theirs.keys():  # an environment variable: one source replaces the other
        ours = {key: value for key, value in ours.items() if key not in sources}
    return merge(ours, theirs)


def _ours(cluster: GameCluster) -> Object:
    return {
        "metadata": {
            "labels": names.labels(cluster.name),
            "annotations": {names.COPIES: str(cluster.game_state.replicas)},  # what its leader was told
        },
        "spec": {
            "serviceAccountName": cluster.name,
            "enableServiceLinks": False,  # their variables could begin with GAMECLUSTER_
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "tolerations": [_leave_lost_node("not-ready"), _leave_lost_node("unreachable")],
            "topologySpreadConstraints": [_spread(cluster)],
            "affinity": {"podAntiAffinity": _rather_in_other_zones(cluster)},
            "containers": [_container(cluster)],
            "volumes": [
                {"name": "data", "emptyDir": {}},
                {"name": "tmp", "emptyDir": {}},
                {"name": "keys", "secret": _keys(cluster)},
            ],
        },
    }


def _keys(cluster: GameCluster) -> Object:
    items = [{"key": key, "path": key} for key in (names.MESH_KEY, names.PLAYER_KEY)]
    return {"secretName": names.mesh_name(cluster.name), "defaultMode": 0o440, "items": items}


def _leave_lost_node(taint: str) -> Object:
    key = f"node.kubernetes.io/{taint}"
    return {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": LOST_NODE_SECONDS}


def _spread(cluster: GameCluster) -> Object:
    """By nodes alone: where nodes lack the label of any constraint, as zones' often, the scheduler scores none of them
    (kube-scheduler, podtopologyspread: nodes without all topology keys are ignored), and all pods may end on one node."""
    return {
        "topologyKey": "kubernetes.io/hostname",
        "maxSkew": 1,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": names.selector(cluster.name)},
    }


def _rather_in_other_zones(cluster: GameCluster) -> Object:
    """Of no account where nodes have no zone."""
    term = {
        "labelSelector": {"matchLabels": names.selector(cluster.name)},
        "topologyKey": "topology.kubernetes.io/zone",
    }
    return {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}


def _container(cluster: GameCluster) -> Object:
    return {
        "name": names.CONTAINER,
        "image": cluster.image,
        "command": ["gamecluster", "serve"],
        "env": environment(cluster),
        "ports": [
            {"name": "client", "containerPort": names.CLIENT_PORT},
            {"name": "mesh", "containerPort": names.MESH_PORT},
            {"name": "admin", "containerPort": names.ADMIN_PORT},
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        "startupProbe": _probe("/startupz", period=1, timeout=1, failures=120),
        "readinessProbe": _probe("/readyz", period=1, timeout=1, failures=2),
        "livenessProbe": _probe("/livez", period=5, timeout=3, failures=6),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "data", "mountPath": DATA_FOLDER},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "keys", "mountPath": KEYS_FOLDER, "readOnly": True},
            *([{"name": STORAGE_VOLUME, "mountPath": STORAGE_FOLDER}] if cluster.storage.type == "Volume" else []),
        ],
    }


def _probe(path: str, *, period: int, timeout: int, failures: int) -> Object:
    return {
        "httpGet": {"path": path, "port": "admin"},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }


def environment(cluster: GameCluster) -> list[Object]:
    """What ``gamecluster serve`` is told: the variables of the server's settings, checked by tests/contract."""
    state, limits = cluster.game_state, cluster.limits
    values = {
        "NAME": cluster.name,
        "TARGETS": ",".join(cluster.targets),
        "HOST": "0.0.0.0",
        "PORT": names.CLIENT_PORT,
        "PEERS": f"dns:{names.mesh_name(cluster.name)}.{cluster.namespace}.svc:{names.MESH_PORT}",
        "LEASE": f"kubernetes:{cluster.namespace}/{names.lease_name(cluster.name)}",
        "DATA_DIR": DATA_FOLDER,
        "MESH_KEY_FILE": f"{KEYS_FOLDER}/{names.MESH_KEY}",
        "PLAYER_KEY_FILE": f"{KEYS_FOLDER}/{names.PLAYER_KEY}",
        "GAMESTATE_REPLICAS": state.replicas,
        "SUSPECT_AFTER_MILLISECONDS": state.suspect_after_milliseconds,
        "LEASE_DURATION_SECONDS": state.lease_duration_seconds,
        "ALONE_WITHOUT_API": state.alone_without_api.lower(),
        "URL": expose.pod_url(cluster),
        "ALLOWED_ORIGINS": ",".join(cluster.allowed_origins),
        "LIMIT_MESSAGES_PER_SECOND": limits.messages_per_second,
        "LIMIT_FRAME_BYTES": limits.frame_bytes,
        "LIMIT_CONNECTIONS": limits.connections_per_pod,
        "PRESENCE_GRACE_MILLISECONDS": cluster.presence_grace_milliseconds,
        "LOG_FORMAT": "json",
    }
    if cluster.storage.type != "Memory":
        values["DURABILITY"] = state.durability.lower()
    fields = {"NODE": "metadata.name", "POD_UID": "metadata.uid", "REVISION": f"metadata.labels['{names.REVISION}']"}
    token = {"secretKeyRef": {"name": names.mesh_name(cluster.name), "key": names.ADMIN_TOKEN}}
    return [
        *(_variable(name, valueFrom={"fieldRef": {"fieldPath": path}}) for name, path in fields.items()),
        *(_variable(name, value=str(value)) for name, value in values.items() if value != ""),
        _variable("ADMIN_TOKEN", valueFrom=token),
        *_pubsub(cluster),
        *_storage(cluster),
    ]


def _pubsub(cluster: GameCluster) -> list[Object]:
    if cluster.pubsub.type == "Mesh":
        return []
    secret = {"name": cluster.pubsub.secret, "key": cluster.pubsub.key}
    return [_variable("PUBSUB", valueFrom={"secretKeyRef": secret})]


def _storage(cluster: GameCluster) -> list[Object]:
    match cluster.storage.type:
        case "Memory":
            return []
        case "Volume":
            return [_variable("STORAGE", value=f"volume:{STORAGE_FOLDER}")]
        case _:
            secret = {"name": cluster.storage.secret, "key": cluster.storage.key}
            return [_variable("STORAGE", valueFrom={"secretKeyRef": secret})]


def _variable(name: str, **source: Any) -> Object:
    return {"name": f"GAMECLUSTER_{name}", **source}
