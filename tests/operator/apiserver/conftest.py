"""A real API server on loopback (no pods run on it): started once, taken down at the end. Run by `make apiserver`.

``GAMECLUSTER_TEST_KUBECONFIG``: use this one instead; ``GAMECLUSTER_TEST_AUDIT_LOG``: the audit log that it writes, by AUDIT_POLICY.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .audit import AUDIT_POLICY, Audit

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What looks at all that the others did comes last."""
    items.sort(key=lambda item: item.path.name == "test_rights.py")


@pytest.fixture(scope="session")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """Talks to the API server, on which the CRD is."""
    tools = subprocess.run([AIRGAP / "tools" / "build-tools", "apiserver"], capture_output=True, text=True, check=True)
    binary = f"{tools.stdout.strip()}/kubectl"
    given = os.environ.get("GAMECLUSTER_TEST_KUBECONFIG")
    folder = tmp_path_factory.mktemp("apiserver")
    if not given:
        command = [AIRGAP / "apiserver" / "apiserver-up", folder, str(_free_ports(4))]
        subprocess.run(command, env=_with_an_audit_log(folder), check=True, timeout=120)
    try:
        kubectl = Kubectl(binary, Path(given) if given else folder / "kubeconfig")
        kubectl("apply", "-f", str(REPOSITORY / "crds" / "gameclusters.yaml"))
        kubectl("wait", "--for=condition=Established", "crd/gameclusters.gamecluster.dev", "--timeout=30s")
        yield kubectl
    finally:
        if not given:
            subprocess.run([AIRGAP / "apiserver" / "apiserver-down", folder], check=True, timeout=60)


@pytest.fixture(scope="session")
def audit(kubectl: Kubectl) -> Audit:
    """What the API server was asked, by whom."""
    given = os.environ.get("GAMECLUSTER_TEST_AUDIT_LOG")
    log = Path(given) if given else kubectl.kubeconfig.parent / "audit.log"
    assert log.exists(), "GAMECLUSTER_TEST_KUBECONFIG needs GAMECLUSTER_TEST_AUDIT_LOG beside it, for this test"
    return Audit(log)


def _with_an_audit_log(folder: Path) -> dict[str, str]:
    policy, log = folder / "audit.yaml", folder / "audit.log"
    policy.write_text(AUDIT_POLICY)
    log.touch()
    arguments = f"--audit-policy-file={policy} --audit-log-path={log}"
    owners = "--enable-admission-plugins=OwnerReferencesPermissionEnforcement"  # some clusters have it, so the rights must do
    return {**os.environ, "APISERVER_ARGS": f"{os.environ.get('APISERVER_ARGS', '')} {arguments} {owners}"}


def wait_for(look: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.1)
    return seen


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
