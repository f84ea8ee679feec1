"""An API server on loopback, with its controllers, from e2e/airgap. No pods run there, unless fake ones are asked for."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .audit import AUDIT_POLICY

REPOSITORY = Path(__file__).parents[3]
AIRGAP = REPOSITORY / "e2e" / "airgap"


class Kubectl:
    def __init__(self, binary: str, kubeconfig: Path) -> None:
        self.binary, self.kubeconfig = binary, kubeconfig

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        command = [self.binary, "--kubeconfig", str(self.kubeconfig), *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def get(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("get", *arguments, "-o", "json"))
        return found

    def apply(self, *objects: dict[str, Any]) -> None:
        self("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


@contextmanager
def api_server(folder: Path, nodes: int = 0, **environment: str) -> Iterator[Kubectl]:
    """In ``folder``, with an audit log, and the CRD; data stay there. ``nodes``: kwok's fake ones; ``environment``: of ``apiserver-up``."""
    command = [str(AIRGAP / "apiserver" / "apiserver-up"), str(folder), str(_free_ports(4)), str(nodes)]
    subprocess.run(command, env={**_with_an_audit_log(folder), **environment}, check=True, timeout=120)
    try:
        yield with_the_schema(Kubectl(kubectl_binary(), folder / "kubeconfig"))
    finally:
        subprocess.run([AIRGAP / "apiserver" / "apiserver-down", folder], check=True, timeout=60)


def kubectl_binary() -> str:
    tools = subprocess.run([AIRGAP / "tools" / "build-tools", "apiserver"], capture_output=True, text=True, check=True)
    return f"{tools.stdout.strip()}/kubectl"


def with_the_schema(kubectl: Kubectl) -> Kubectl:
    kubectl("apply", "-f", str(REPOSITORY / "crds" / "gameclusters.yaml"))

    def is_established() -> bool:  # `kubectl wait`, and a jsonpath, fail while there are no conditions
        found = kubectl.get("crd", "gameclusters.gamecluster.dev").get("status") or {}
        return any(c["type"] == "Established" and c["status"] == "True" for c in found.get("conditions") or [])

    wait_for(is_established, "the schema", 30)
    return kubectl


def wait_for(look: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.1)
    return seen


def _with_an_audit_log(folder: Path) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    policy, log = folder / "audit.yaml", folder / "audit.log"
    policy.write_text(AUDIT_POLICY)
    log.touch()
    arguments = f"--audit-policy-file={policy} --audit-log-path={log}"
    owners = "--enable-admission-plugins=OwnerReferencesPermissionEnforcement"  # some clusters have it, so the rights must do
    return {**os.environ, "APISERVER_ARGS": f"{os.environ.get('APISERVER_ARGS', '')} {arguments} {owners}"}


def _free_ports(count: int) -> int:
    """The first of so many free ports in a row."""
    for first in range(17443, 27443, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError("no free ports")
