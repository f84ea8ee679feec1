"""Plays the kubelet: runs a GameCluster's pods as processes of this machine, each at an address of its own.

A pod gets the command and the environment that its spec says, from the fields and Secrets that it names. Another place is said only
for what a machine without containers has elsewhere: addresses, folders, and the way to the API server.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from gamecluster_operator.labels import ADMIN_PORT, ADMIN_TOKEN, MESH_PORT, mesh_name

from ..apiserver.server import REPOSITORY, Kubectl, wait_for

NODE = "this-machine"
START_SECONDS = 60
Object = dict[str, Any]


class Pod:
    """``address``: the IP address at which its ports are."""

    def __init__(self, name: str, address: str, token: str, process: subprocess.Popen[bytes]) -> None:
        self.name, self.address, self._token, self.process = name, address, token, process

    def is_ready(self) -> bool:
        assert self.process.poll() is None, f"{self.name} has ended"
        try:
            return bool(self._ask("/readyz"))
        except OSError:
            return False

    def connections(self) -> int:
        """How many clients' sockets it has."""
        found = re.search(r"^gamecluster_connections (\S+)$", self._ask("/metrics"), re.MULTILINE)
        assert found is not None
        return int(float(found[1]))

    def _ask(self, path: str) -> str:
        """Raises OSError unless the answer is a 200."""
        headers = {"Authorization": f"Bearer {self._token}"}
        request = urllib.request.Request(f"http://{self.address}:{ADMIN_PORT}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=2) as answer:
            return str(answer.read().decode())


class Kubelet:
    """``addresses``: one for each pod, all on this machine. Its node is there for the scheduler, and never NotReady."""

    def __init__(self, kubectl: Kubectl, namespace: str, folder: Path, addresses: list[str]) -> None:
        self.kubectl, self.namespace, self.folder, self.addresses = kubectl, namespace, folder, addresses
        self.pods: list[Pod] = []
        room = {"cpu": "32", "memory": "64Gi", "pods": "110"}
        ready = [{"type": "Ready", "status": "True", "reason": "Tests", "message": ""}]
        status = {"capacity": room, "allocatable": room, "conditions": ready}
        kubectl.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
        kubectl("patch", "node", NODE, "--subresource=status", "-p", json.dumps({"status": status}))
        kubectl("patch", "node", NODE, "--type=merge", "-p", '{"spec": {"taints": null}}')

    def run(self, cluster: str) -> None:
        """All pods of ``cluster``, until they are ready by their own word, and the API server knows."""
        scheduled = wait_for(lambda: self._scheduled(cluster), "the pods, scheduled")
        for pod, address in zip(scheduled, self.addresses, strict=True):
            self.pods.append(self._start(cluster, pod, address))
        for one in self.pods:
            wait_for(one.is_ready, f"{one.name} is ready", START_SECONDS)
            self._report(one)

    def end(self) -> None:
        for pod in self.pods:
            pod.process.kill()
        for pod in self.pods:
            pod.process.wait(10)

    def _scheduled(self, cluster: str) -> list[Object] | None:
        found = self._get("pods", "-l", f"app.kubernetes.io/instance={cluster}")["items"]
        here = [pod for pod in found if pod["spec"].get("nodeName") == NODE]
        return sorted(here, key=lambda pod: str(pod["metadata"]["name"])) if len(here) == len(self.addresses) else None

    def _start(self, cluster: str, pod: Object, address: str) -> Pod:
        name = pod["metadata"]["name"]
        folder = self.folder / name
        folder.mkdir()
        keys = self._secret(mesh_name(cluster))
        for key, content in keys.items():
            (folder / key).write_bytes(content)
        container = pod["spec"]["containers"][0]
        environment = self._environment(container, pod) | self._places(
            folder, address, pod["spec"]["serviceAccountName"]
        )
        with (folder / "log").open("wb") as log:
            command = [sys.executable, "-m", *container["command"]]
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
        return Pod(name, address, keys[ADMIN_TOKEN].decode(), process)

    def _environment(self, container: Object, pod: Object) -> dict[str, str]:
        """As its spec has it."""
        said: dict[str, str] = {}
        for entry in container["env"]:
            source = entry.get("valueFrom", {})
            if "fieldRef" in source:
                value = _field(pod, source["fieldRef"]["fieldPath"])
            elif "secretKeyRef" in source:
                value = self._secret(source["secretKeyRef"]["name"])[source["secretKeyRef"]["key"]].decode()
            else:
                value = re.sub(r"\$\((\w+)\)", lambda found: said.get(found[1], found[0]), entry.get("value", ""))
            said[entry["name"]] = value
        return said

    def _places(self, folder: Path, address: str, account: str) -> dict[str, str]:
        """What is elsewhere than in a container."""
        config = yaml.safe_load(self.kubectl.kubeconfig.read_text())
        token = self.kubectl("-n", self.namespace, "create", "token", account).strip()
        for user in config["users"]:
            user["user"] = {"token": token}
        (folder / "kubeconfig").write_text(yaml.safe_dump(config))
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(REPOSITORY / "server"),
            "KUBECONFIG": str(folder / "kubeconfig"),
            "GAMECLUSTER_HOST": address,
            "GAMECLUSTER_PEERS": ",".join(f"{peer}:{MESH_PORT}" for peer in self.addresses),
            "GAMECLUSTER_DATA_DIR": str(folder / "data"),
            "GAMECLUSTER_MESH_KEY_FILE": str(folder / "mesh.key"),
            "GAMECLUSTER_PLAYER_KEY_FILE": str(folder / "player.key"),
        }

    def _report(self, pod: Pod) -> None:
        running = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
        container = {"name": "server", "image": "x", "imageID": "x", "ready": True, "restartCount": 0, "state": running}
        status = {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [container],
            "podIP": pod.address,
            "podIPs": [{"ip": pod.address}],
        }
        where = ("-n", self.namespace, "patch", "pod", pod.name, "--subresource=status")
        self.kubectl(*where, "-p", json.dumps({"status": status}))

    def _secret(self, name: str) -> dict[str, bytes]:
        return {key: base64.b64decode(value) for key, value in self._get("secret", name)["data"].items()}

    def _get(self, *what: str) -> Object:
        return self.kubectl.get("-n", self.namespace, *what)


def _field(pod: Object, path: str) -> str:
    label = re.fullmatch(r"metadata\.labels\['(.+)'\]", path)
    if label:
        return str(pod["metadata"]["labels"].get(label[1], ""))
    return str(pod["metadata"][path.removeprefix("metadata.")])
