"""The operator as a process, with the rights of its chart, on a real API server. No pods run there: tests play the kubelet."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml

from gamecluster_operator.labels import ADMIN_PORT

from .account import GAMES, as_the_charts_account
from .conftest import REPOSITORY, Kubectl, wait_for

OWNED = "statefulsets,services,leases,secrets,serviceaccounts,roles,rolebindings,poddisruptionbudgets,networkpolicies"


class Operator:
    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port

    def figure(self, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            found = re.search(rf"^{name} (\S+)$", answer.read().decode(), re.MULTILINE)
        assert found is not None, name
        return float(found[1])


@pytest.fixture(scope="module")
def operator(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    folder = tmp_path_factory.mktemp("operator")
    environment = {**os.environ, "KUBECONFIG": str(as_the_charts_account(kubectl, folder))}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment["PYTHONPATH"] = str(REPOSITORY / "operator")
    arguments = ["--health-host", "127.0.0.1", "--health-port", str(port), "--log-format", "text"]
    log = (folder / "log").open("w+")
    command = [sys.executable, "-m", "gamecluster_operator", *arguments]
    process = subprocess.Popen(command, env=environment, stderr=log, text=True)
    try:
        yield Operator(process, port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, "SIGTERM ends it in order"
        text = (folder / "log").read_text()
        assert "Traceback" not in text, text
    finally:
        if process.poll() is None:
            process.kill()
        log.close()


class Game:
    def __init__(self, kubectl: Kubectl, name: str) -> None:
        self.kubectl, self.name = kubectl, name

    def __call__(self, *arguments: str) -> str:
        return self.kubectl("-n", GAMES, *arguments)

    def get(self, *arguments: str) -> dict[str, Any]:
        return self.kubectl.get("-n", GAMES, *arguments)

    def apply(self, **spec: Any) -> None:
        body = yaml.safe_load((REPOSITORY / "examples" / "arena.yaml").read_text())
        body["metadata"] = {"name": self.name, "namespace": GAMES}
        body["spec"] |= spec
        self.kubectl.apply(body)

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get("gc", self.name).get("status") or {}
        return found

    def condition(self, type: str) -> tuple[str, str]:
        found = next((c for c in self.status.get("conditions", []) if c["type"] == type), None)
        return (found["status"], found["reason"]) if found else ("absent", "")

    def told(self, reason: str) -> bool:
        return reason in self("describe", "gc", self.name).partition("Events:")[2]

    def versions(self) -> dict[str, str]:
        """Of all objects but the Lease, which the leader renews."""
        found = self.get(OWNED, "-l", f"app.kubernetes.io/instance={self.name}")["items"]
        objects = [*(o for o in found if o["kind"] != "Lease"), self.get("gc", self.name)]
        return {f"{o['kind']}/{o['metadata']['name']}": o["metadata"]["resourceVersion"] for o in objects}

    def play_the_kubelet(self, *addresses: str) -> list[str]:
        """Every pod is running and ready, at those addresses if any are given; returns their incarnations."""
        pods = wait_for(lambda: self._pods(3), "three pods")
        state = {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [
                {
                    "name": "server",
                    "image": "x",
                    "imageID": "x",
                    "ready": True,
                    "restartCount": 0,
                    "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
                }
            ],
        }
        for n, pod in enumerate(pods):
            at = {"podIP": addresses[n], "podIPs": [{"ip": addresses[n]}]} if addresses else {}
            status = json.dumps({"status": {**state, **at}})
            self("patch", "pod", pod["metadata"]["name"], "--subresource=status", "-p", status)
        return [f"{pod['metadata']['name']}_{pod['metadata']['uid']}_1" for pod in pods]

    def play_the_leader(self, epoch: int, *in_sync: str) -> None:
        marks = dict.fromkeys(("gamecluster.dev/never-held", "gamecluster.dev/asleep"))
        notes = {"gamecluster.dev/in-sync": ",".join(in_sync), **marks}
        patch = {"metadata": {"annotations": notes}, "spec": {"holderIdentity": in_sync[0], "leaseTransitions": epoch}}
        self("patch", "lease", f"{self.name}-gamestate", "--type=merge", "-p", json.dumps(patch))

    def renew(self) -> None:
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self(
            "patch",
            "lease",
            f"{self.name}-gamestate",
            "--type=merge",
            "-p",
            json.dumps({"spec": {"renewTime": moment}}),
        )

    @property
    def selector(self) -> tuple[str, str]:
        return "-l", f"app.kubernetes.io/instance={self.name}"

    def write_lease(self, note: str | None = None, **said: Any) -> None:
        """``asleep`` and ``note``: annotations; all else: its spec."""
        notes: dict[str, Any] = {"example.com/note": note} if note else {"gamecluster.dev/asleep": said.pop("asleep")}
        if said:
            notes["gamecluster.dev/in-sync"] = ""
        patch = {"metadata": {"annotations": notes}, "spec": said}
        self("patch", "lease", f"{self.name}-gamestate", "--type=merge", "-p", json.dumps(patch))

    def _pods(self, count: int) -> list[dict[str, Any]] | None:
        found = self.get("pods", "-l", f"app.kubernetes.io/instance={self.name}")["items"]
        return sorted(found, key=lambda pod: str(pod["metadata"]["name"])) if len(found) == count else None


@pytest.fixture
def game(kubectl: Kubectl, operator: Operator, request: pytest.FixtureRequest) -> Iterator[Game]:
    game = Game(kubectl, re.sub("[^a-z]+", "-", request.node.name.removeprefix("test_"))[:30].strip("-"))
    game.apply()
    wait_for(lambda: game.told("Created"), "the event Created")
    yield game
    game("delete", "gc", game.name, "--ignore-not-found", "--wait=true")


def until(look: Callable[[], Any], expected: Any) -> None:
    wait_for(lambda: look() == expected, f"{expected}")


def test_leader(game: Game) -> None:
    """From kubectl apply to a cluster that plays, and over a failover, as people see it."""
    until(lambda: game.condition("LeaderElected"), ("False", "NotYetHeld"))
    a, b, c = game.play_the_kubelet()
    game.play_the_leader(1, a, b, c)
    until(lambda: game.condition("Ready"), ("True", "Serving"))
    until(lambda: game.condition("FullyReplicated")[0], "True")
    leader = f"{game.name}-0"
    labelled = ("get", "pods", "-l", "gamecluster.dev/role=leader", "-o", "name")
    wait_for(lambda: f"pod/{leader}" in game(*labelled).split(), "the label on the leader's pod")
    heading, row = game("get", "gc", game.name).splitlines()
    assert heading.split() == ["NAME", "READY", "LEADER", "EPOCH", "PLAYERS", "PODS", "AGE"]
    assert row.split()[:4] == [game.name, "True", leader, "1"]
    game.play_the_leader(2, b, c)
    wait_for(lambda: game.told("Failover"), "the event Failover")
    assert (game.status["leader"], game.status["epoch"], game.status["inSync"]) == (
        f"{game.name}-1",
        2,
        [f"{game.name}-1", f"{game.name}-2"],
    )
    until(lambda: f"pod/{leader}" in game(*labelled).split(), False)


def test_steady(game: Game, operator: Operator) -> None:
    """Nothing is written while nothing happens."""
    game.play_the_leader(1, *game.play_the_kubelet())
    until(lambda: game.condition("Ready")[0], "True")
    until(lambda: game.condition("Reconciling")[0], "False")
    before, looks = game.versions(), operator.figure("gamecluster_operator_reconciled_total")

    def looked() -> bool:
        game.renew()
        return operator.figure("gamecluster_operator_reconciled_total") >= looks + 5

    wait_for(looked, "five more looks", 60)
    assert game.versions() == before
    assert operator.figure("gamecluster_operator_failed_total") == 0


def test_drift(game: Game) -> None:
    name = game.name
    uid = game.get("service", name)["metadata"]["uid"]
    game("delete", "service", name)
    wait_for(lambda: game("get", "service", name, "--ignore-not-found"), "the Service again")
    assert game.get("service", name)["metadata"]["uid"] != uid
    game("patch", "statefulset", name, "--type=merge", "-p", '{"spec": {"replicas": 1}}')
    until(lambda: game.get("statefulset", name)["spec"]["replicas"], 3)
    game("scale", "gc", name, "--replicas=5")
    until(lambda: game.get("statefulset", name)["spec"]["replicas"], 5)
    wait_for(lambda: game.told("Scaled"), "the event Scaled")
    selector = json.loads(
        game("get", "--raw", f"/apis/gamecluster.dev/v1alpha1/namespaces/{GAMES}/gameclusters/{name}/scale")
    )
    assert selector["status"]["selector"].endswith("app.kubernetes.io/component=server")


def test_lease(game: Game) -> None:
    """A deleted Lease comes back with its past."""
    a, b, _ = game.play_the_kubelet()
    game.play_the_leader(7, a, b)
    until(lambda: game.status.get("epoch"), 7)
    lease = f"{game.name}-gamestate"
    game("delete", "lease", lease)
    wait_for(lambda: game("get", "lease", lease, "--ignore-not-found"), "the Lease again")
    made = game.get("lease", lease)
    assert made["spec"]["leaseTransitions"] == 7 and not made["spec"].get("holderIdentity")
    assert made["metadata"]["annotations"] == {"gamecluster.dev/in-sync": f"{a},{b}"}


class Pod:
    """The admin port of a pod that is not there."""

    def __init__(self, address: str) -> None:
        said: dict[str, Any] = {}

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(said).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.address, self._said = address, said
        self._server = ThreadingHTTPServer((address, ADMIN_PORT), Answer)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def says(self, incarnation: str, **more: Any) -> None:
        name = incarnation.split("_")[0]
        self._said |= {"self": name, "nodes": [{"name": name, "incarnation": incarnation}], **more}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def pods() -> Iterator[list[Pod]]:
    made = [Pod(f"127.0.42.{n}") for n in range(1, 4)]
    yield made
    for pod in made:
        pod.close()


def test_lost(game: Game, pods: list[Pod]) -> None:
    """The Lease is deleted while its leader dies: the longest log that is left is named, and those who died are told of."""
    a, b, c = game.play_the_kubelet(*(pod.address for pod in pods))
    game.play_the_leader(3, a, b, c)
    lease = f"{game.name}-gamestate"
    version = int(game.get("lease", lease)["metadata"]["resourceVersion"])
    held = {"version": version, "holder": a, "epoch": 3, "inSync": [a, b, c]}
    for n, (pod, who) in enumerate(zip(pods, (a, b, c), strict=True)):
        pod.says(who, leader=f"{game.name}-0", epoch=3, status="Serving", held=held, last={"epoch": 3, "seq": 10 + n})
    until(lambda: game.condition("LeaderElected"), ("True", "Leading"))
    for pod, who in zip(pods, (a.removesuffix("1") + "2", b, c), strict=True):
        pod.says(who, leader=None, status="NoLeader")
    pods[0].says(a.removesuffix("1") + "2", held=None, last=None)
    game("delete", "lease", lease)
    wait_for(lambda: game.told("BackstopNamed"), "a pod is named", 40)
    made = game.get("lease", lease)
    assert (made["spec"]["holderIdentity"], made["spec"]["leaseTransitions"]) == (c, 1003)
    notes = made["metadata"]["annotations"]
    assert notes == {"gamecluster.dev/in-sync": f"{c},{b}", "gamecluster.dev/dead": a}
    assert "the Lease was lost (it was deleted)" in game("describe", "gc", game.name)


def test_exposed(game: Game, kubectl: Kubectl) -> None:
    """An Ingress comes, changes and goes; routes wait for their definition, and the rest does not wait for them."""
    name = game.name
    ingress: dict[str, Any] = {"type": "Ingress", "host": "play.example.com", "className": "nginx"}
    game.apply(expose=ingress)
    wait_for(lambda: game("get", "ingress", name, "--ignore-not-found"), "the Ingress")
    first = game.get("ingress", name)
    assert first["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-read-timeout"] == "3600"

    def paths() -> list[tuple[str, str]]:
        rules = game.get("ingress", name)["spec"]["rules"]
        return [(path["path"], path["backend"]["service"]["name"]) for path in rules[0]["http"]["paths"]]

    assert paths() == [*((f"/{name}-{n}", f"{name}-{n}") for n in range(3)), ("/", name)]
    container = game.get("statefulset", name)["spec"]["template"]["spec"]["containers"][0]
    url = next(entry["value"] for entry in container["env"] if entry["name"] == "GAMECLUSTER_URL")
    assert url == "ws://play.example.com/$(GAMECLUSTER_NODE)/socket"
    assert game.get("service", f"{name}-2")["spec"]["type"] == "ClusterIP"

    game.apply(expose=ingress | {"perPod": False, "tlsSecretName": "play-tls"})
    until(paths, [("/", name)])
    changed = game.get("ingress", name)
    assert changed["metadata"]["uid"] == first["metadata"]["uid"]
    assert changed["spec"]["tls"] == [{"hosts": ["play.example.com"], "secretName": "play-tls"}]
    until(lambda: game("get", "service", f"{name}-2", "--ignore-not-found"), "")

    game.apply(expose={"type": "HTTPRoute", "host": "play.example.com", "gateway": {"name": "edge"}}, replicas=4)
    until(lambda: game("get", "ingress", name, "--ignore-not-found"), "")
    until(lambda: game.condition("Stalled"), ("True", "KindMissing"))
    until(lambda: game.get("statefulset", name)["spec"]["replicas"], 4)
    with gateway_api(kubectl):
        wait_for(lambda: game("get", "httproute", f"{name}-3", "--ignore-not-found"), "a pod's route", 60)
        until(lambda: game.condition("Stalled")[0], "False")
        assert len(game.get("httproutes")["items"]) == 5
        game.apply()
        until(lambda: game.get("httproutes")["items"], [])


@contextmanager
def gateway_api(kubectl: Kubectl) -> Iterator[None]:
    """A definition of HTTPRoute that takes any; the real one comes with a controller."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    plural = {"kind": "HTTPRoute", "plural": "httproutes", "singular": "httproute"}
    spec = {"group": "gateway.networking.k8s.io", "scope": "Namespaced", "names": plural, "versions": [version]}
    approved = {"api-approved.kubernetes.io": "unapproved, for a test"}
    meta = {"name": "httproutes.gateway.networking.k8s.io", "annotations": approved}
    kubectl.apply(
        {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": meta, "spec": spec}
    )
    try:
        kubectl("wait", "--for=condition=Established", f"crd/{meta['name']}", "--timeout=30s")
        yield
    finally:
        kubectl("delete", "crd", str(meta["name"]))


def test_wrong(game: Game) -> None:
    """What the schema refuses, what a condition refuses, and what the API server refuses."""
    for spec, said in (
        ({"replicas": -1}, "spec.replicas"),
        ({"targets": ["nonsense"]}, "spec.targets"),
        ({"gameState": {"suspectAfterMilliseconds": 5000}}, "at least four times"),
        ({"pubsub": {"type": "Redis"}}, "spec.pubsub.secretRef"),
    ):
        with pytest.raises(AssertionError, match=said):
            game.apply(**spec)
    game.apply(template={"spec": {"containers": [{"name": "server", "ports": [{"containerPort": 99999999}]}]}})
    until(lambda: game.condition("Stalled"), ("True", "Refused"))
    wait_for(lambda: game.told("Refused"), "the event Refused")
    game.apply()
    until(lambda: game.condition("Stalled")[0], "False")


def test_asleep(kubectl: Kubectl, operator: Operator, pods: list[Pod]) -> None:
    """A game goes to sleep, sleeps without a write, and wakes."""
    game = Game(kubectl, "sleeper")
    lease, first = f"{game.name}-gamestate", f"{game.name}-0"
    end = {"epoch": 1, "seq": 123}
    try:
        game.apply(storage={"type": "Volume"})
        members = game.play_the_kubelet(*(pod.address for pod in pods))
        for pod, who in zip(pods, members, strict=True):
            pod.says(who, leader=first, epoch=1, status="Serving", storage="Ready", stored=end, players=5)
        game.play_the_leader(1, *members)
        until(lambda: game.condition("Ready"), ("True", "Serving"))
        game("patch", "pod", first, "--type=merge", "-p", json.dumps({"metadata": {"finalizers": ["example.com/end"]}}))
        game("scale", "gc", game.name, "--replicas=0")
        until(lambda: game.condition("Reconciling"), ("True", "Hibernating"))
        until(lambda: [pod["metadata"]["name"] for pod in game.get("pods", *game.selector)["items"]], [first])
        game.play_the_leader(1, members[0])
        until(lambda: game.get("statefulset", game.name)["spec"]["replicas"], 0)
        game.write_lease(holderIdentity=None, leaseTransitions=2, asleep=f"{members[0]}@1/123")
        game("patch", "pod", first, "--type=merge", "-p", json.dumps({"metadata": {"finalizers": None}}))
        game("wait", "--for=jsonpath={.status.replicas}=0", f"gc/{game.name}", "--timeout=20s")
        until(lambda: game.condition("Ready"), ("False", "Hibernated"))
        until(lambda: game.condition("Reconciling"), ("False", "Hibernated"))
        assert game.condition("LeaderElected") == ("False", "Hibernated")
        assert (game.status["players"], game.status["leader"], game.status["inSync"]) == (0, "", [])
        said = game("describe", "gc", game.name)
        assert "everything acknowledged is stored, up to entry 123 of epoch 1, by sleeper-0" in said
        assert game.told("Hibernating") and game.told("Hibernated")
        before, looks = game.versions(), operator.figure("gamecluster_operator_reconciled_total")

        def looked() -> bool:
            game.write_lease(note=str(time.monotonic()))
            return operator.figure("gamecluster_operator_reconciled_total") >= looks + 5

        wait_for(looked, "five more looks", 60)
        assert game.versions() == before
        game("scale", "gc", game.name, "--replicas=3")
        members = game.play_the_kubelet(*(pod.address for pod in pods))
        for pod, who in zip(pods, members, strict=True):
            pod.says(who, leader=None, epoch=0, status="NoLeader", stored=end)
        until(lambda: game.condition("LeaderElected"), ("False", "Waking"))
        game.play_the_leader(3, *members)
        for pod, who in zip(pods, members, strict=True):
            pod.says(who, leader=first, epoch=3, status="Serving")
        until(lambda: game.condition("Ready"), ("True", "Serving"))
        wait_for(lambda: game.told("Woken"), "the event Woken")
        assert game.condition("TotalLoss")[0] == "absent"
        for alarm in ("TotalLoss", "Restored", "Failover", "BackstopNamed", "LeaseRestored"):
            assert not game.told(alarm), alarm
        assert game("get", "lease", lease, "-o", "name")
    finally:
        game("delete", "gc", game.name, "--ignore-not-found", "--wait=true")
        game("delete", "pvc", *game.selector, "--wait=false")


def test_again(game: Game) -> None:
    """Deleted and made anew at once: nothing of the first is taken over."""
    game.play_the_leader(9, *game.play_the_kubelet())
    until(lambda: game.status.get("epoch"), 9)
    keys = game.get("secret", f"{game.name}-mesh")["data"]
    game("delete", "gc", game.name, "--wait=true")
    game.apply()
    for pod in range(3):
        game("delete", "pod", f"{game.name}-{pod}", "--force", "--wait=false", "--ignore-not-found")
    wait_for(lambda: game("get", "lease", f"{game.name}-gamestate", "--ignore-not-found"), "a Lease", 60)

    def begun() -> bool:
        lease = game.get("lease", f"{game.name}-gamestate")
        return lease["metadata"]["ownerReferences"][0]["uid"] == game.get("gc", game.name)["metadata"]["uid"]

    wait_for(begun, "a Lease of the new one", 60)
    assert (
        game.get("lease", f"{game.name}-gamestate")["metadata"]["annotations"]["gamecluster.dev/never-held"] == "true"
    )
    assert game.get("secret", f"{game.name}-mesh")["data"] != keys
    assert "epoch" not in game.status


def test_gone(game: Game) -> None:
    """With the GameCluster goes all that it owned."""
    game("delete", "gc", game.name, "--wait=true")
    selector = f"app.kubernetes.io/instance={game.name}"
    until(lambda: game.get(OWNED, "-l", selector)["items"], [])


def test_explained(kubectl: Kubectl) -> None:
    text = kubectl("explain", "gamecluster.spec.gameState.suspectAfterMilliseconds")
    assert "never a move" in " ".join(text.split())
