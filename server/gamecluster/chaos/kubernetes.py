"""A GameCluster on Kubernetes as the target of faults, with no more rights than its user has: all goes through kubectl.

Players and questions come to the pods through ``kubectl port-forward``, one for clients and one for the admin port of each pod,
so that a question which a dying pod refuses does not end its players' connections; or players come by the address that is given.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from .. import kubectl
from ..errors import ConfigurationError
from .forward import Forward
from .target import Fault, Place

GAME_CLUSTERS = "gameclusters.gamecluster.dev"
CONTAINER, CLIENT_PORT, ADMIN_PORT = "server", 4000, 4200
COUNT_SECONDS = 1.0
RIGHTS = {
    Fault.delete: ("delete", "pods"),
    Fault.force_delete: ("delete", "pods"),
    Fault.scale: ("patch", f"{GAME_CLUSTERS}/scale"),
}
"""What a fault needs beside looking, forwarding ports, and exec in pods."""
BACK_OFF_SECONDS, BACK_OFF_AT_MOST = 10.0, 300.0
"""The kubelet starts a container that ended at once, the next times after 10, 20, 40 … seconds."""
KILL = """
import os, resource, signal, sys, time
pid = int(sys.argv[1])
if pid == 1:
    resource.prlimit(pid, resource.RLIMIT_CPU, (1, 1))
else:
    os.kill(pid, signal.SIGKILL)
time.sleep(10)
sys.exit("its process lives on")
"""
"""Process 1 is protected from signals of its own container, but not from the kernel's SIGKILL to who has used up its CPU time."""


@contextmanager
def opened(namespace: str, cluster: str, url: str | None) -> Iterator[KubernetesTarget]:
    """``url``: where players connect, instead of through the API server. Raises ConfigurationError, which says what is missing."""
    target = KubernetesTarget(namespace, cluster, entrance(url) if url else None)
    try:
        yield target
    finally:
        target.close()


class KubernetesTarget:
    hits_at_once = False
    recover_seconds = 120.0
    """A node of a cloud may have to pull the image first."""

    def __init__(self, namespace: str, cluster: str, url: str | None) -> None:
        self._namespace, self._cluster, self._url = namespace, cluster, url
        self._pods: dict[str, tuple[Forward, Forward]] = {}
        self._count, self._counted_at = 0, 0.0
        spec, leader = self._check_ready()
        for action, right in {
            "reach pods by port-forward": "pods/portforward",
            "run commands in pods": "pods/exec",
        }.items():
            if not self._may("create", right):
                raise ConfigurationError(f"you may not {action} in namespace {namespace} (create {right})")
        self.lacking = tuple(dict.fromkeys(" ".join(right) for right in RIGHTS.values() if not self._may(*right)))
        """Rights that this user does not have, and whose faults are left out therefore."""
        allowed = {fault for fault, right in RIGHTS.items() if " ".join(right) not in self.lacking}
        is_autoscaled = bool(spec.get("autoscaling"))
        self._counted_in = ".status.replicas" if is_autoscaled else ".spec.replicas"
        if spec.get("paused") or is_autoscaled:
            allowed -= {Fault.scale}
        self.faults = frozenset({Fault.kill, Fault.handover, Fault.drain} | allowed)
        self._token = self._ask("exec", leader, "-c", CONTAINER, "--", "printenv", "GAMECLUSTER_ADMIN_TOKEN").strip()

    def close(self) -> None:
        for forwards in self._pods.values():
            for forward in forwards:
                forward.close()

    def places(self) -> list[Place]:
        """All pods that there should be, whether they are there or not."""
        names = [f"{self._cluster}-{ordinal}" for ordinal in range(self._wanted())]
        for name in set(self._pods).difference(names):
            for forward in self._pods.pop(name):
                forward.close()
        for name in names:
            if name not in self._pods:
                clients, admin = (Forward(self._namespace, name, port) for port in (CLIENT_PORT, ADMIN_PORT))
                self._pods[name] = clients, admin
        return [self._place(name) for name in names]

    def hit(self, fault: Fault, place: Place) -> None:
        match fault:
            case Fault.kill:
                self._kill(place)
            case Fault.delete:
                self._ask("delete", "pod", place.name, "--wait=false")
            case Fault.force_delete:
                self._ask("delete", "pod", place.name, "--force", "--grace-period=0")
            case _:
                raise ConfigurationError(f"{fault} can't be done to a pod with kubectl")

    def scale(self, count: int) -> None:
        command = ("scale", f"{GAME_CLUSTERS}/{self._cluster}", f"--replicas={count}")
        try:
            self._ask(*command)
        except ConfigurationError as error:
            raise ConfigurationError(
                f"{error}; do it yourself: `kubectl -n {self._namespace} {' '.join(command)}`"
            ) from None
        self._counted_at = 0.0

    def back_off_seconds(self, fault: Fault, place: Place) -> float:
        if fault not in (Fault.kill, Fault.drain):
            return 0.0  # another pod, or none, is started
        path = f"jsonpath={{.status.containerStatuses[?(@.name=='{CONTAINER}')].restartCount}}"
        ended = int(self._ask("get", "pod", place.name, "-o", path).strip() or 0)
        return back_off(ended)

    def _check_ready(self) -> tuple[dict[str, Any], str]:
        """Its spec, and the name of the pod that leads."""
        try:
            found = json.loads(self._ask("get", GAME_CLUSTERS, self._cluster, "-o", "json"))
        except ConfigurationError as error:
            if "(NotFound)" not in str(error):
                raise
            there = [name.rpartition("/")[2] for name in self._ask("get", GAME_CLUSTERS, "-o", "name").split()]
            raise ConfigurationError(
                f"there is no GameCluster {self._cluster} in namespace {self._namespace}; there is: {', '.join(there) or 'none'}"
            ) from None
        conditions = {c["type"]: c for c in found.get("status", {}).get("conditions", [])}
        ready = conditions.get("Ready", {"status": "False", "message": "the operator has not said anything of it"})
        if ready["status"] != "True":
            raise ConfigurationError(f"GameCluster {self._cluster} is not Ready: {ready['message']}")
        return found["spec"], found["status"]["leader"]

    def _may(self, verb: str, right: str) -> bool:
        resource, _, part = right.partition("/")
        try:
            return (
                self._ask("auth", "can-i", verb, resource, *([f"--subresource={part}"] if part else [])).strip()
                == "yes"
            )
        except ConfigurationError:
            return False  # "no" is an exit code, too

    def _wanted(self) -> int:
        """How many pods there should be; somebody else, or the load, may scale it too."""
        if time.monotonic() - self._counted_at > COUNT_SECONDS:
            try:
                self._count = int(
                    self._ask("get", GAME_CLUSTERS, self._cluster, "-o", f"jsonpath={{{self._counted_in}}}")
                )
            except ConfigurationError as error:
                if not self._count or "(NotFound)" in str(error):
                    raise  # else the API server is away: what it said last may do for a while
            self._counted_at = time.monotonic()
        return self._count

    def _place(self, name: str) -> Place:
        clients, admin = self._pods[name]
        clients.wait()
        admin.wait()
        is_reached = clients.port and admin.port
        url = self._url or f"ws://127.0.0.1:{clients.port}/socket"
        return Place(name, url, f"http://127.0.0.1:{admin.port if is_reached else 0}", None, self._token)

    def _kill(self, place: Place) -> None:
        view = place.ask("GET", "/cluster")
        pid = next((node.get("pid") for node in view.get("nodes", []) if node["name"] == place.name), None) or 1
        try:
            self._ask("exec", place.name, "-c", CONTAINER, "--", "python", "-c", KILL, str(pid))
        except ConfigurationError as error:
            if "exit code 137" not in str(error):  # it ends with the container that it kills
                raise

    def _ask(self, *arguments: str) -> str:
        return kubectl.ask("-n", self._namespace, *arguments)


def back_off(ended: int) -> float:
    """Seconds until the kubelet starts a container again that will then have ended once more than so often."""
    return min(BACK_OFF_SECONDS * 2 ** min(ended - 1, 9), BACK_OFF_AT_MOST) if ended else 0.0


def entrance(url: str) -> str:
    """Where players connect, as the URL of a Phoenix socket. Raises ConfigurationError."""
    place = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(place.scheme, place.scheme)
    if scheme not in ("ws", "wss") or not place.hostname:
        raise ConfigurationError(f"--url {url}: expected where players connect, such as http://game.example.org:4000")
    path = place.path.rstrip("/").removesuffix("/websocket").removesuffix("/socket")
    return f"{scheme}://{place.netloc}{path}/socket"
