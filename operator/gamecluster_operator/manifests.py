"""GameCluster → the objects that should exist. Pure; one builder per kind."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence

from . import expose
from . import labels as names
from .labels import Object
from .networkpolicy import policy_spec
from .owned import owned
from .podtemplate import STORAGE_VOLUME, pod_template
from .record import Asleep, Incarnation
from .spec import GameCluster


def applied(cluster: GameCluster, replicas: int, admin_namespaces: Sequence[str] = ()) -> list[Object]:
    """What is applied at every change, in this order. ``replicas``: as many pods as are wanted right now; ``admin_namespaces``:
    those whose pods may reach the admin port."""
    return [
        service_account(cluster),
        role(cluster),
        role_binding(cluster),
        mesh_service(cluster),
        expose.client_service(cluster),
        disruption_budget(cluster),
        *network_policies(cluster, admin_namespaces),
        stateful_set(cluster, replicas),
        *expose.in_front(cluster, replicas),
    ]


def stateful_set(cluster: GameCluster, replicas: int) -> Object:
    """Parallel: pods don't wait for each other to start. OnDelete: the operator replaces them, see ``rollout``."""
    return owned("apps/v1", "StatefulSet", cluster, cluster.name) | {
        "spec": _volume_claims(cluster)
        | {
            "replicas": replicas,
            "serviceName": names.mesh_name(cluster.name),
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "OnDelete"},
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": names.selector(cluster.name)},
            "template": pod_template(cluster),
        }
    }


def _volume_claims(cluster: GameCluster) -> Object:
    """Each pod's own volume. They outlive the GameCluster: what is on them may be all that is left of a game."""
    if cluster.storage.type != "Volume":
        return {}
    claim: Object = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": cluster.storage.size}}}
    if cluster.storage.class_name:
        claim["storageClassName"] = cluster.storage.class_name
    meta = {"name": STORAGE_VOLUME, "labels": names.selector(cluster.name)}
    template = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": claim}
    return {
        "volumeClaimTemplates": [template],
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
    }


def mesh_service(cluster: GameCluster) -> Object:
    """Headless, and with pods that are not ready: they must find each other to become so."""
    port = {"name": "mesh", "port": names.MESH_PORT, "targetPort": "mesh", "protocol": "TCP"}
    return owned("v1", "Service", cluster, names.mesh_name(cluster.name), "mesh") | {
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": names.selector(cluster.name),
            "ports": [port],
        }
    }


def service_account(cluster: GameCluster) -> Object:
    return owned("v1", "ServiceAccount", cluster, cluster.name)


def role(cluster: GameCluster) -> Object:
    """Its own Lease by name, and a look at its peers; nothing else."""
    lease = {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "resourceNames": [names.lease_name(cluster.name)],
        "verbs": ["get", "list", "watch", "update", "patch"],
    }
    pods = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
    slices = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]}
    return owned("rbac.authorization.k8s.io/v1", "Role", cluster, cluster.name) | {"rules": [lease, pods, slices]}


def role_binding(cluster: GameCluster) -> Object:
    return owned("rbac.authorization.k8s.io/v1", "RoleBinding", cluster, cluster.name) | {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": cluster.name},
        "subjects": [{"kind": "ServiceAccount", "name": cluster.name, "namespace": cluster.namespace}],
    }


def disruption_budget(cluster: GameCluster) -> Object:
    """One pod at a time may be drained, and the only one too: it never blocks a drain for good. While one is not ready, only that one."""
    return owned("policy/v1", "PodDisruptionBudget", cluster, cluster.name) | {
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": names.selector(cluster.name)}}
    }


def network_policies(cluster: GameCluster, admin_namespaces: Sequence[str]) -> list[Object]:
    """One, or none if the cluster is not to have one."""
    if not cluster.network_policy:
        return []
    policy = owned("networking.k8s.io/v1", "NetworkPolicy", cluster, cluster.name)
    return [policy | {"spec": policy_spec(cluster.name, admin_namespaces)}]


# --- created once, never applied again ----------------------------------------------------------------------------


def secret(cluster: GameCluster, random_text: Callable[[], str]) -> Object:
    """The keys that admit pods to the mesh, sign players' tokens and open the admin port."""
    keys = (names.MESH_KEY, names.PLAYER_KEY, names.ADMIN_TOKEN)
    data = {key: base64.b64encode(random_text().encode()).decode() for key in keys}
    return owned("v1", "Secret", cluster, names.mesh_name(cluster.name), "mesh") | {"type": "Opaque", "data": data}


def vacant_lease(
    cluster: GameCluster, epoch: int, in_sync: Iterable[Incarnation], never_held: bool, asleep: Asleep | None = None
) -> Object:
    """Nobody holds it yet. ``never_held`` lets any pod begin; else only one that ``in_sync`` names may claim it, or who has stored
    what ``asleep`` says."""
    lease = owned("coordination.k8s.io/v1", "Lease", cluster, names.lease_name(cluster.name), "gamestate")
    lease["metadata"]["annotations"] = {names.IN_SYNC: ",".join(in_sync)}
    if never_held:
        lease["metadata"]["annotations"][names.NEVER_HELD] = "true"
    if asleep is not None:
        lease["metadata"]["annotations"][names.ASLEEP] = str(asleep)
    duration = cluster.game_state.lease_duration_seconds
    return lease | {"spec": {"leaseTransitions": epoch, "leaseDurationSeconds": duration}}
