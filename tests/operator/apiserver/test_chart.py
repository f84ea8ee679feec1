"""The chart on a real API server: installed, upgraded, uninstalled; its rights; and Pod Security's strictest level for all pods."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from gamecluster_operator import manifests, spec

from ..world import game_cluster
from . import helm
from .conftest import REPOSITORY, Kubectl, wait_for

SYSTEM, GAMES = "chart-test", "chart-test-games"
ACCOUNT = f"{SYSTEM}-operator"
CRD = "gameclusters.gamecluster.dev"
NEEDS_CRD = ("PodMonitor",)
"""Of somebody else, whose CRD is not there."""


@pytest.fixture(scope="module", autouse=True)
def namespaces(kubectl: Kubectl) -> Iterator[None]:
    for name in (SYSTEM, GAMES):
        kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=true")
        kubectl("create", "namespace", name)
        kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    yield
    for name in (SYSTEM, GAMES):
        kubectl("delete", "namespace", name, "--wait=false")


# --- what it renders ----------------------------------------------------------------------------------------------


def test_the_chart_is_linted_and_rendered_with_all_its_values() -> None:
    done = subprocess.run(
        [REPOSITORY / "charts" / "check", "--helm"],
        env={**os.environ, "HELM": helm.binary()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.split()) == len(list((helm.CHART / "ci").glob("*.yaml")))


@pytest.mark.parametrize("values", sorted(path.name for path in (helm.CHART / "ci").glob("*.yaml")))
def test_the_api_server_takes_every_object(kubectl: Kubectl, values: str) -> None:
    objects = helm.template(SYSTEM, SYSTEM, values=helm.CHART / "ci" / values)
    for obj in objects:
        if "namespace" in obj["metadata"]:
            obj["metadata"]["namespace"] = SYSTEM
    known = [obj for obj in objects if obj["kind"] not in (*NEEDS_CRD, "Pod")]  # a pod needs its account
    body = json.dumps({"apiVersion": "v1", "kind": "List", "items": known})
    said = kubectl("apply", "--dry-run=server", "-f", "-", stdin=body)
    assert said.count("(server dry run)") == len(known)


def test_two_replicas_without_election_are_refused_with_what_to_do() -> None:
    with pytest.raises(AssertionError, match=r"need leaderElection.enabled=true.*else set replicas=1"):
        helm.template(SYSTEM, SYSTEM, "replicas=2", "leaderElection.enabled=false")


@pytest.mark.parametrize(
    "wrong", ["replica=2", "replicas=9", "watchNamespaces={A_B}", "monitoring.podMonitor.interval=often"]
)
def test_a_value_that_can_not_be_is_refused_by_its_name(wrong: str) -> None:
    named = wrong.partition("=")[0].rpartition(".")[2]
    with pytest.raises(AssertionError, match=named):
        helm.template(SYSTEM, SYSTEM, wrong)


def test_an_admission_policy_is_only_there_where_it_can_be() -> None:
    def policies(*sets: str, **more: Any) -> int:
        kinds = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
        return len(helm.kinds(helm.template(SYSTEM, SYSTEM, *sets, **more), *kinds))

    assert policies() == 2
    assert policies("watchNamespaces={games}") == 0
    assert policies("admissionPolicy.enabled=false") == 0
    assert policies(kubernetes="1.29.0") == 0


def test_monitors_and_services_choose_the_pods_they_are_for() -> None:
    objects = helm.template(SYSTEM, SYSTEM, "monitoring.podMonitor.enabled=true")
    (deployment,) = helm.kinds(objects, "Deployment")
    (service,) = helm.kinds(objects, "Service")
    (test,) = helm.kinds(objects, "Pod")
    operator, games = helm.kinds(objects, "PodMonitor")
    template = deployment["spec"]["template"]
    game = manifests.stateful_set(spec.parse(game_cluster()), 3)["spec"]["template"]

    def chooses(selector: dict[str, str], pod: dict[str, Any]) -> bool:
        return selector.items() <= pod["metadata"]["labels"].items()

    def ports(pod: dict[str, Any]) -> set[str]:
        return {port["name"] for container in pod["spec"]["containers"] for port in container["ports"]}

    assert chooses(service["spec"]["selector"], template) and not chooses(service["spec"]["selector"], test)
    for monitor, pod in ((operator, template), (games, game)):
        assert chooses(monitor["spec"]["selector"]["matchLabels"], pod)
        assert {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]} <= ports(pod)
    assert not chooses(games["spec"]["selector"]["matchLabels"], template)


# --- Pod Security -------------------------------------------------------------------------------------------------


def dry_run(kubectl: Kubectl, pod: dict[str, Any]) -> str:
    """In a namespace that enforces the level `restricted`."""
    meta = {"name": "probe", "namespace": GAMES, "labels": pod["metadata"]["labels"]}
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {**pod["spec"], "serviceAccountName": "default"},
    }
    wait_for(lambda: kubectl("-n", GAMES, "get", "serviceaccount", "default", "--ignore-not-found"), "its account")
    return kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(body))


STORAGES: list[dict[str, Any]] = [
    {"type": "Memory"},
    {"type": "Volume"},
    {"type": "Redis", "secretRef": {"name": "db", "key": "url"}},
]


@pytest.mark.parametrize("storage", STORAGES, ids=[storage["type"] for storage in STORAGES])
def test_the_pods_of_games_are_restricted(kubectl: Kubectl, storage: dict[str, Any]) -> None:
    template = manifests.stateful_set(spec.parse(game_cluster(storage=storage)), 3)["spec"]["template"]
    if storage["type"] == "Volume":  # the StatefulSet's controller adds it
        template["spec"]["volumes"].append(
            {"name": "storage", "persistentVolumeClaim": {"claimName": "storage-arena-0"}}
        )
    assert "created" in dry_run(kubectl, template)
    template["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        dry_run(kubectl, template)


def test_the_pods_of_the_chart_are_restricted(kubectl: Kubectl) -> None:
    objects = helm.template(SYSTEM, SYSTEM)
    (deployment,), (test,) = helm.kinds(objects, "Deployment"), helm.kinds(objects, "Pod")
    for pod in (deployment["spec"]["template"], test):
        assert "created" in dry_run(kubectl, pod)


# --- a release ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, to be changed."""
    return Path(shutil.copytree(helm.CHART, tmp_path_factory.mktemp("chart") / "chart"))


@pytest.fixture(scope="module")
def release(kubectl: Kubectl, chart: Path) -> Iterator[str]:
    """What `helm install` says. The CRD is there already, so it is taken over."""
    arguments = ("--namespace", SYSTEM, "--take-ownership")
    yield helm.helm("install", SYSTEM, str(chart), *arguments, kubeconfig=kubectl.kubeconfig)
    if helm.helm("list", "--namespace", SYSTEM, "--short", kubeconfig=kubectl.kubeconfig).strip():
        helm.helm("uninstall", SYSTEM, "--namespace", SYSTEM, kubeconfig=kubectl.kubeconfig)
    kubectl("apply", "-f", str(REPOSITORY / "crds" / "gameclusters.yaml"))


def may(kubectl: Kubectl, verb: str, group: str, resource: str, namespace: str, name: str = "") -> bool:
    """As the API server sees the rights of the operator's account."""
    what = {"verb": verb, "group": group, "resource": resource, "namespace": namespace, "name": name}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": f"system:serviceaccount:{SYSTEM}:{ACCOUNT}", "resourceAttributes": what},
    }
    answer = json.loads(kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(review)))
    return bool(answer["status"]["allowed"])


def test_an_install_says_what_to_type_next(release: str, kubectl: Kubectl) -> None:
    for line in (
        f"kubectl -n {SYSTEM} rollout status deployment/{ACCOUNT}",
        f"helm test -n {SYSTEM} {SYSTEM}",
        "kubectl wait --for=condition=Ready gc/arena",
        "kubectl port-forward service/arena 4000",
    ):
        assert line in release, release
    manifest = release.partition("<<YAML\n")[2].partition("     YAML\n")[0]
    body = yaml.safe_load(manifest)
    assert "created" in kubectl("-n", GAMES, "apply", "--dry-run=server", "-f", "-", stdin=json.dumps(body))


def test_its_pods_are_made_where_only_restricted_ones_may_be(release: str, kubectl: Kubectl) -> None:
    selector = f"app.kubernetes.io/name=gamecluster-operator,app.kubernetes.io/instance={SYSTEM}"
    wait_for(lambda: len(kubectl.get("-n", SYSTEM, "pods", "-l", selector)["items"]) == 2, "two pods")


def test_it_may_what_it_needs_and_no_more(release: str, kubectl: Kubectl) -> None:
    assert may(kubectl, "create", "apps", "statefulsets", GAMES)
    assert may(kubectl, "update", "coordination.k8s.io", "leases", SYSTEM, "gamecluster-operator")
    assert not may(kubectl, "delete", "apps", "statefulsets", GAMES)
    assert not may(kubectl, "delete", "", "serviceaccounts", GAMES)
    assert not may(kubectl, "list", "", "nodes", "")
    assert not may(kubectl, "create", "rbac.authorization.k8s.io", "clusterroles", "")


class _Alive(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"ok\n" if self.path == "/livez" else b""
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def operator() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Alive) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def helm_test(kubectl: Kubectl, folder: Path, account: str, operator: str, namespaces: str = "") -> tuple[int, str]:
    """What the test's pod would do: its program, with an account's token."""
    config = yaml.safe_load(kubectl.kubeconfig.read_text())["clusters"][0]["cluster"]
    (folder / "token").write_text(kubectl("-n", SYSTEM, "create", "token", account))
    authority = config.get("certificate-authority-data")
    given = base64.b64decode(authority) if authority else Path(config["certificate-authority"]).read_bytes()
    (folder / "ca.crt").write_bytes(given)
    server = urlsplit(config["server"])
    environment = {
        "OPERATOR": operator,
        "NAMESPACES": namespaces,
        "ACCOUNT": str(folder),
        "KUBERNETES_SERVICE_HOST": str(server.hostname),
        "KUBERNETES_SERVICE_PORT": str(server.port),
    }
    (test,) = helm.kinds(helm.template(SYSTEM, SYSTEM), "Pod")
    container = test["spec"]["containers"][0]
    assert {variable["name"] for variable in container["env"]} <= environment.keys()
    command = [sys.executable, *container["command"][1:], *container["args"]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


def test_helm_test_passes_when_all_is_well(release: str, kubectl: Kubectl, operator: str, tmp_path: Path) -> None:
    assert helm_test(kubectl, tmp_path, ACCOUNT, operator) == (
        0,
        "operator: ok\nAPI server: GameClusterList in all namespaces\n",
    )


def test_helm_test_fails_without_rights_and_without_an_operator(
    release: str, kubectl: Kubectl, operator: str, tmp_path: Path
) -> None:
    code, said = helm_test(kubectl, tmp_path, "default", operator)
    assert code == 1 and "403" in said and "operator: ok" in said
    code, said = helm_test(kubectl, tmp_path, ACCOUNT, "http://127.0.0.1:9")
    assert code == 1 and "Look at its pods" in said


def test_an_upgrade_upgrades_the_schema_and_an_uninstall_keeps_it_and_the_games(
    release: str, kubectl: Kubectl, chart: Path
) -> None:
    body = yaml.safe_load((REPOSITORY / "examples" / "arena.yaml").read_text())
    kubectl.apply(body | {"metadata": {"name": "kept", "namespace": GAMES}})
    copy = chart / "templates" / "gameclusters.yaml"
    text = copy.read_text()
    field = "                paused: {type: boolean"
    assert field in text
    copy.write_text(text.replace(field, f"                motto: {{type: string, maxLength: 9}}\n{field}"))
    arguments = ("--namespace", SYSTEM, "--set", f"watchNamespaces={{{GAMES}}}")
    helm.helm("upgrade", SYSTEM, str(chart), *arguments, kubeconfig=kubectl.kubeconfig)

    def spec_of_the_crd() -> Any:
        versions = kubectl.get("crd", CRD)["spec"]["versions"]
        return versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]

    assert "motto" in spec_of_the_crd()
    assert may(kubectl, "create", "apps", "statefulsets", GAMES)
    assert not may(kubectl, "create", "apps", "statefulsets", "default"), "no rights elsewhere any more"
    election = ("coordination.k8s.io", "leases", SYSTEM)
    assert may(kubectl, "create", *election), "a name can't limit that"
    assert all(may(kubectl, verb, *election, "gamecluster-operator") for verb in ("get", "update"))
    assert not may(kubectl, "update", *election, "other")
    helm.helm("uninstall", SYSTEM, "--namespace", SYSTEM, kubeconfig=kubectl.kubeconfig)
    assert "motto" in spec_of_the_crd()
    assert kubectl.get("-n", GAMES, "gc", "kept")["metadata"]["name"] == "kept"
    assert not kubectl.get("validatingadmissionpolicies", "-l", f"app.kubernetes.io/instance={SYSTEM}")["items"]
    kubectl("-n", GAMES, "delete", "gc", "kept")
