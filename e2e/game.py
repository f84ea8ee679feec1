"""A GameCluster in a namespace of its own, as a test holds it."""

from __future__ import annotations

import copy
import json
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import yaml

from .cluster import CommandFailed, Namespace, wait_until
from .play import Play
from .players import Plan

EXAMPLES = Path(__file__).parent.parent / "examples"
OWNED = (
    *(("StatefulSet", ""), ("Service", ""), ("Service", "-mesh"), ("Lease", "-gamestate"), ("Secret", "-mesh")),
    *(("ServiceAccount", ""), ("Role", ""), ("RoleBinding", ""), ("PodDisruptionBudget", ""), ("NetworkPolicy", "")),
)
"""What a GameCluster without an exposure has, and the rest of each name."""
OBJECTS = ",".join(sorted({kind.lower() for kind, _ in OWNED} | {"ingress"}))
CALL = """
import json, os, sys, urllib.request
path, body = json.loads(sys.argv[1])
request = urllib.request.Request("http://127.0.0.1:4200" + path, data=None if body is None else json.dumps(body).encode())
request.add_header("Authorization", "Bearer " + os.environ["GAMECLUSTER_ADMIN_TOKEN"])
request.add_header("Content-Type", "application/json")
print(urllib.request.urlopen(request, timeout=10).read().decode())
"""


def example(name: str, image: str) -> dict[str, Any]:
    """The GameCluster of examples/NAME.yaml, with this image."""
    documents = yaml.safe_load_all((EXAMPLES / f"{name}.yaml").read_text())
    manifest: dict[str, Any] = next(d for d in documents if d and d["kind"] == "GameCluster")
    manifest = copy.deepcopy(manifest)
    manifest["metadata"].pop("namespace", None)
    manifest["spec"]["image"] = image
    return manifest


class Game:
    """One GameCluster: what it is asked to be, and what can be seen of it."""

    def __init__(self, namespace: Namespace, manifest: dict[str, Any], players: Namespace) -> None:
        self.namespace = namespace
        self.manifest = manifest
        self.name: str = manifest["metadata"]["name"]
        self._players = players
        self._last: dict[str, Any] = {}

    def start(self) -> None:
        """Applies it and waits until it says that it is Ready, with a leader and every pod."""
        self.namespace.apply(self.manifest)
        self.wait_ready(self.manifest["spec"]["replicas"], seconds=120)

    def wait_ready(self, pods: int, seconds: float = 60) -> None:
        def look() -> dict[str, Any] | bool:
            status = self.status()
            is_ready = (
                status.get("readyReplicas") == pods and self.condition("Ready") == "True" and status.get("leader")
            )
            self._last = status
            return status if is_ready else False

        try:
            wait_until(f"{self.name} Ready with {pods} pods", look, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; status: {json.dumps(self._last)}") from None

    def resource(self) -> dict[str, Any]:
        return self.namespace.get("gamecluster", self.name)

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.resource().get("status", {})
        return status

    def condition(self, kind: str) -> str | None:
        return next((c["status"] for c in self.status().get("conditions", []) if c["type"] == kind), None)

    def described(self) -> str:
        return self.namespace.kubectl("describe", "gamecluster", self.name)

    def leader(self) -> str:
        """The name of the pod that the Lease names. Raises KeyError while there is none."""
        return str(self._lease()["holderIdentity"].split("_")[0])

    def epoch(self) -> int:
        return int(self._lease()["leaseTransitions"])

    def wait_for_another_leader(self, epoch: int, seconds: float = 20) -> str:
        """Waits until the Lease has moved on from `epoch`, and the status says so too."""
        wait_until(f"an epoch after {epoch} in the Lease", lambda: self.epoch() > epoch, seconds)

        def look() -> str | Literal[False]:
            status, leader = self.status(), self.leader()
            return leader if (status.get("epoch"), status.get("leader")) == (self.epoch(), leader) else False

        return wait_until("the new leader in the status", look)

    def wait_in_sync(self, pods: int = 3) -> list[str]:
        """Waits until so many pods, no more, are in sync; returns their names."""

        def look() -> list[str] | Literal[False]:
            in_sync: list[str] = self.status().get("inSync", [])
            return in_sync if len(in_sync) == pods else False

        return wait_until(f"{pods} pods in sync", look)

    def wait_pods(self, pods: int) -> None:
        """Waits until there are so many pods, ready, and no more."""
        wait_until(f"{pods} pods, no more", lambda: len(self.pods()) == pods, seconds=90)
        self.wait_ready(pods)

    def pods(self) -> list[dict[str, Any]]:
        pods: list[dict[str, Any]] = self.namespace.get("pods", "-l", f"app.kubernetes.io/instance={self.name}")[
            "items"
        ]
        return pods

    def a_replica(self) -> str:
        """The name of an in-sync pod that does not lead."""
        return next(name for name in self.wait_in_sync() if name != self.leader())

    def node_of(self, pod: str) -> str:
        return str(self.namespace.get("pod", pod)["spec"]["nodeName"])

    def is_any_pod_ending(self) -> bool:
        return any("deletionTimestamp" in pod["metadata"] for pod in self.pods())

    def is_ending(self, pod: str) -> bool:
        return "deletionTimestamp" in self.namespace.get("pod", pod)["metadata"]

    def spread(self) -> None:
        """Waits until all pods are in sync, and sees to it that they are on more than one node."""
        pods = self.manifest["spec"]["replicas"]
        self.wait_pods(pods)
        self.wait_in_sync(pods)
        if len({pod["spec"]["nodeName"] for pod in self.pods()}) == 1:
            self.namespace.kubectl("delete", "pod", self.a_replica())  # its successor is put where there are fewest
            self.wait_pods(pods)
            self.wait_in_sync(pods)

    def told(self) -> Counter[str]:
        """How often each reason has been told in the GameCluster's events; not in those of an earlier one of its name."""
        events = self.namespace.get("events", "--field-selector", f"involvedObject.uid={self.uid()}")["items"]
        return Counter(event["reason"] for event in events)

    def call(self, pod: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """A request to the pod's admin port, from within the pod."""
        answer = self.namespace.kubectl("exec", pod, "--", "python", "-c", CALL, json.dumps([path, body]))
        parsed: dict[str, Any] = json.loads(answer or "{}")
        return parsed

    def page(self, pod: str) -> str:
        """The page at the pod's client port."""
        code = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:4000/', timeout=10).read().decode())"
        return self.namespace.kubectl("exec", pod, "--", "python", "-c", code)

    def address(self, number: int) -> str:
        return f"{self.name}-{number}.{self.name}-mesh.{self.namespace.name}.svc.cluster.local:4000"

    def play(self, pods: int = 3, **plan: Any) -> Play:
        """Players on the counter, spread over the pods' own addresses."""
        return Play(self._players, Plan(addresses=[self.address(i) for i in range(pods)], **plan))

    def wait_for_event(self, *reasons: str) -> None:
        """Waits until `kubectl describe` tells one of these."""

        def told() -> str | Literal[False]:
            events = self.described().partition("Events:")[2]
            return events if any(reason in events for reason in reasons) else False

        wait_until(f"an event {' or '.join(reasons)} in kubectl describe", told)

    def objects(self) -> dict[str, str]:
        """All that carry its label but pods, as Kind/name → UID of the owner, "" without one."""
        found = self.namespace.get(OBJECTS, "-l", f"app.kubernetes.io/instance={self.name}")["items"]
        owners = {id(obj): obj["metadata"].get("ownerReferences") or [{"uid": ""}] for obj in found}
        return {f"{obj['kind']}/{obj['metadata']['name']}": owners[id(obj)][0]["uid"] for obj in found}

    def is_all_there(self) -> bool:
        """There is one of everything that belongs to a GameCluster, nothing else, and all of it is owned by this one."""
        names = {f"{kind}/{self.name}{rest}" for kind, rest in OWNED}
        return self.objects() == dict.fromkeys(names, self.uid())

    def uid(self) -> str:
        return str(self.resource()["metadata"]["uid"])

    def pod_uids(self) -> set[str]:
        return {pod["metadata"]["uid"] for pod in self.pods()}

    def restarts(self, pod: str) -> int:
        try:
            return int(self.namespace.get("pod", pod)["status"]["containerStatuses"][0]["restartCount"])
        except (CommandFailed, KeyError):
            return -1

    def _lease(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.namespace.get("lease", f"{self.name}-gamestate")["spec"]
        return spec
