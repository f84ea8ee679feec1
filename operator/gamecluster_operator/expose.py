"""How clients get in: Services, and in front of them an Ingress, or routes of a Gateway. Pure.

    type            Service NAME   with perPod, also
    ClusterIP       ClusterIP      nothing: inside the cluster the headless Service names each pod
    NodePort        NodePort       a NodePort Service for each pod
    LoadBalancer    LoadBalancer   a LoadBalancer Service for each pod
    Ingress         ClusterIP      a ClusterIP Service for each pod, and a path of the host for each: /NAME-0/ …
    HTTPRoute       ClusterIP      the same, as a route for each

A pod knows its own path (``GAMECLUSTER_URL``) and takes it off, so nothing in between has to rewrite paths. One name and one
certificate do for all pods, and a page's origin is the same for each of them.
"""

from __future__ import annotations

from . import labels as names
from .labels import Object
from .owned import owned
from .spec import Expose, GameCluster

IDLE_SECONDS = 3600
"""How long a silent WebSocket is kept. The stock Phoenix client sends a heartbeat every 30 s."""
LIFETIME_SECONDS = 86_400
"""Where all that can be set is how long a connection may last at all, however busy it is."""

ROUTED = ("Ingress", "HTTPRoute")
GATEWAY = "gateway.networking.k8s.io"

IDLE: dict[str, dict[str, str]] = {
    "nginx": {
        "nginx.ingress.kubernetes.io/proxy-read-timeout": str(IDLE_SECONDS),
        "nginx.ingress.kubernetes.io/proxy-send-timeout": str(IDLE_SECONDS),
    },
    "haproxy": {"haproxy-ingress.github.io/timeout-tunnel": f"{IDLE_SECONDS}s"},
    "alb": {
        "alb.ingress.kubernetes.io/load-balancer-attributes": f"idle_timeout.timeout_seconds={IDLE_SECONDS}",
        "alb.ingress.kubernetes.io/target-type": "ip",
    },
}
"""Class of an Ingress, or how its name begins → annotations."""


def client_service(cluster: GameCluster) -> Object:
    return _service(cluster, cluster.name, "clients", names.selector(cluster.name))


def in_front(cluster: GameCluster, replicas: int) -> list[Object]:
    """All but the Service of all pods. ``replicas``: as many pods as are wanted right now."""
    pods = [names.pod_name(cluster.name, n) for n in range(replicas)] if has_pod_services(cluster.expose) else []
    services = [_service(cluster, pod, "pod", {names.POD_NAME: pod}) for pod in pods]
    match cluster.expose.type:
        case "Ingress":
            return [*_backend_config(cluster), *services, _ingress(cluster, pods)]
        case "HTTPRoute":
            return [*services, *(_route(cluster, pod, f"/{pod}") for pod in pods), _route(cluster, cluster.name, "/")]
        case _:
            return services


def has_pod_services(expose: Expose) -> bool:
    return expose.per_pod and expose.type != "ClusterIP"


def pod_url(cluster: GameCluster) -> str:
    """Under which clients reach one pod, as a value of its environment that has ``$(GAMECLUSTER_NODE)`` in it; empty: nobody
    knows that beforehand."""
    expose = cluster.expose
    if not (expose.per_pod and expose.type in ROUTED):
        return ""
    return f"{'wss' if expose.is_tls else 'ws'}://{expose.host}/$(GAMECLUSTER_NODE)/socket"


def _service(cluster: GameCluster, name: str, component: str, selector: dict[str, str]) -> Object:
    routed = cluster.expose.type in ROUTED
    service = owned("v1", "Service", cluster, name, component)
    port = {"name": "client", "port": names.CLIENT_PORT, "targetPort": "client", "protocol": "TCP"}
    notes = _backend_note(cluster) if routed else dict(cluster.expose.annotations)
    if notes:
        service["metadata"]["annotations"] = notes
    type = "ClusterIP" if routed else cluster.expose.type
    return service | {"spec": {"type": type, "selector": selector, "ports": [port]}}


def _ingress(cluster: GameCluster, pods: list[str]) -> Object:
    """``pods``: those that get a path of their own."""
    expose = cluster.expose
    paths = [*(_path(f"/{pod}", pod) for pod in pods), _path("/", cluster.name)]
    spec: Object = {"rules": [{"host": expose.host, "http": {"paths": paths}}]}
    if expose.class_name and not _is_gce(expose):
        spec["ingressClassName"] = expose.class_name
    if expose.tls_secret:
        spec["tls"] = [{"hosts": [expose.host], "secretName": expose.tls_secret}]
    ingress = _annotated(owned("networking.k8s.io/v1", "Ingress", cluster, cluster.name, "clients"), cluster)
    return ingress | {"spec": spec}


def _path(path: str, service: str) -> Object:
    backend = {"service": {"name": service, "port": {"number": names.CLIENT_PORT}}}
    return {"path": path, "pathType": "Prefix", "backend": backend}


def _route(cluster: GameCluster, name: str, path: str) -> Object:
    """One for each path: an HTTPRoute has at most 16 rules. Of several that match, the longest path wins."""
    gateway = cluster.expose.gateway
    where = {"name": gateway.name, "namespace": gateway.namespace, "sectionName": gateway.section_name}
    parent = {"group": GATEWAY, "kind": "Gateway", **{key: value for key, value in where.items() if value}}
    rule = {
        "matches": [{"path": {"type": "PathPrefix", "value": path}}],
        "backendRefs": [{"group": "", "kind": "Service", "name": name, "port": names.CLIENT_PORT}],
    }
    component = "clients" if name == cluster.name else "pod"
    route = _annotated(owned(f"{GATEWAY}/v1", "HTTPRoute", cluster, name, component), cluster)
    return route | {"spec": {"parentRefs": [parent], "hostnames": [cluster.expose.host], "rules": [rule]}}


def _annotated(obj: Object, cluster: GameCluster) -> Object:
    """What its class needs, and over it what the spec says."""
    notes = _class_notes(cluster.expose) | dict(cluster.expose.annotations)
    if notes:
        obj["metadata"]["annotations"] = notes
    return obj


def _class_notes(expose: Expose) -> dict[str, str]:
    """Classes are often called after their controller: nginx, nginx-internal."""
    if expose.type != "Ingress":
        return {}
    if _is_gce(expose):
        return {"kubernetes.io/ingress.class": expose.class_name}  # the field means nothing to it
    return dict(IDLE.get(expose.class_name.split("-")[0], {}))


# --- GKE's own controller reads time-outs from an object that the Services name -----------------------------------


def _is_gce(expose: Expose) -> bool:
    return expose.type == "Ingress" and expose.class_name in ("gce", "gce-internal")


def _backend_note(cluster: GameCluster) -> dict[str, str]:
    return {"cloud.google.com/backend-config": f'{{"default": "{cluster.name}"}}'} if _is_gce(cluster.expose) else {}


def _backend_config(cluster: GameCluster) -> list[Object]:
    if not _is_gce(cluster.expose):
        return []
    config = owned("cloud.google.com/v1", "BackendConfig", cluster, cluster.name, "clients")
    return [config | {"spec": {"timeoutSec": LIFETIME_SECONDS}}]
