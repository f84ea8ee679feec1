"""The machines of the kind cluster, and how they break. By docker and by ctr within the nodes: the API server may be away."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .cluster import CommandFailed, Namespace, run, wait_until

PARTITION = Path(__file__).parent / "airgap" / "kind" / "partition"
SERVER = "server"
"""The container of a GameCluster's pod."""
CTR = ("ctr", "--namespace", "k8s.io")
MANIFESTS, ASIDE = "/etc/kubernetes/manifests", "/etc/kubernetes/aside"
CONTROL_PLANE_LABEL = "node-role.kubernetes.io/control-plane"
ON_CONTROL_PLANE: dict[str, Any] = {
    "nodeSelector": {CONTROL_PLANE_LABEL: ""},
    "tolerations": [{"key": CONTROL_PLANE_LABEL, "operator": "Exists"}],
}
"""For pods that must live through the loss of any worker: players, and the operator."""
DROP_API = """
for rule in "OUTPUT -d $2 -p tcp --dport 6443" "FORWARD -d $2 -p tcp --dport 6443" \
            "INPUT -s $2 -p tcp --sport 6443" "FORWARD -s $2 -p tcp --sport 6443"; do
  iptables -w "$1" $rule -j DROP
done
"""


def in_node(node: str, *command: str, seconds: float = 60) -> str:
    return run("docker", "exec", node, *command, seconds=seconds)


def control_plane() -> str:
    return run("kubectl", "get", "nodes", "-l", CONTROL_PLANE_LABEL, "-o", "jsonpath={.items[0].metadata.name}")


def workers() -> list[str]:
    names = run("kubectl", "get", "nodes", "-l", f"!{CONTROL_PLANE_LABEL}", "-o", "jsonpath={.items[*].metadata.name}")
    return names.split()


def is_ready(node: str) -> bool:
    conditions = json.loads(run("kubectl", "get", "node", node, "-o", "json"))["status"]["conditions"]
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def wait_not_ready(node: str) -> None:
    wait_until(f"{node} is NotReady", lambda: not is_ready(node), seconds=40)


def wait_ready(node: str) -> None:
    wait_until(f"{node} is Ready", lambda: is_ready(node), seconds=60)


def find_container(node: str, namespace: str, pod: str, name: str) -> str:
    """The id of the pod's running container of that name, as the node itself knows it. Raises IndexError without one."""
    labels = {"pod.namespace": namespace, "pod.name": pod, "container.name": name}
    wanted = ",".join(f'labels."io.kubernetes.{key}"=={value}' for key, value in labels.items())
    there = in_node(node, *CTR, "containers", "ls", "--quiet", wanted).split()
    tasks = [line.split() for line in in_node(node, *CTR, "tasks", "ls").splitlines()]
    running = [task[0] for task in tasks if task[0] in there and task[-1] == "RUNNING"]
    return running[0]


def kill_container(namespace: Namespace, pod: str, node: str | None = None) -> None:
    """SIGKILL to the pod's process, from outside the pod: process 1 of a pod cannot be killed from within.

    With `node`, where the pod runs, the API server is not asked."""
    node = node or namespace.get("pod", pod)["spec"]["nodeName"]
    container = find_container(node, namespace.name, pod, SERVER)
    in_node(node, *CTR, "tasks", "kill", "--signal", "SIGKILL", container)


@contextlib.contextmanager
def paused(node: str) -> Iterator[None]:
    """The node hangs, its connections open; afterwards it goes on as if nothing had happened."""
    run("docker", "pause", node)
    try:
        yield
    finally:
        run("docker", "unpause", node)
    wait_ready(node)


@contextlib.contextmanager
def killed(node: str) -> Iterator[None]:
    """The node is gone at once, with all its pods; afterwards it boots again."""
    run("docker", "kill", node)
    try:
        yield
    finally:
        run("docker", "start", node)
    wait_ready(node)


@contextlib.contextmanager
def parted(one: str, other: str) -> Iterator[None]:
    """Two nodes and their pods don't hear each other; both see all others."""
    run(str(PARTITION), "on", one, other)
    try:
        yield
    finally:
        run(str(PARTITION), "off", one, other)


@contextlib.contextmanager
def cut_from_api(node: str) -> Iterator[None]:
    """What the node and its pods say to the API server, and what that answers, is dropped; all else goes through."""
    address = json.loads(run("docker", "inspect", control_plane()))[0]["NetworkSettings"]["Networks"]
    to = next(iter(address.values()))["IPAddress"]
    in_node(node, "sh", "-euc", DROP_API, "sh", "-I", to)
    try:
        yield
    finally:
        in_node(node, "sh", "-euc", DROP_API, "sh", "-D", to)
    wait_ready(node)


@contextlib.contextmanager
def api_server_stopped() -> Iterator[None]:
    """The control plane's static pods are gone, but for etcd: whoever asks the API server is refused.

    Afterwards pods reach it again only when kube-proxy has heard that it is back; that can take it half a minute."""
    node = control_plane()
    in_node(node, "sh", "-euc", f"mkdir -p {ASIDE}; mv $(ls {MANIFESTS}/kube-*.yaml) {ASIDE}/")
    try:
        wait_until("the API server has stopped", lambda: not _api_answers(), seconds=60)
        yield
    finally:
        in_node(node, "sh", "-euc", f"mv {ASIDE}/kube-*.yaml {MANIFESTS}/")
        _wait_for_api()
    for name in (node, *workers()):
        wait_ready(name)
        _wait_reaches_api(name)


@contextlib.contextmanager
def api_server_hung() -> Iterator[None]:
    """The API server's process stands still: connections stay open, and nobody answers."""
    node = control_plane()
    container = find_container(node, "kube-system", f"kube-apiserver-{node}", "kube-apiserver")
    in_node(node, *CTR, "tasks", "pause", container)
    try:
        yield
    finally:
        in_node(node, *CTR, "tasks", "resume", container)
        _wait_for_api()


def _wait_for_api() -> None:
    wait_until("the API server answers", _api_answers, seconds=120)


def _wait_reaches_api(node: str) -> None:
    """By the Service's address, as pods do."""
    address = run("kubectl", "get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}")
    dial = ("timeout", "2", "bash", "-c", f"</dev/tcp/{address}/443 && echo reached")
    wait_until(f"pods on {node} reach the API server", lambda: in_node(node, *dial), seconds=90)


def _api_answers() -> bool:
    try:
        return run("kubectl", "get", "--raw", "/readyz", "--request-timeout=2s", seconds=10).strip() == "ok"
    except CommandFailed:
        return False
