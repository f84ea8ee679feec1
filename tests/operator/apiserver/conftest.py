"""A real API server on loopback (no pods run on it): started once, taken down at the end. Run by `make apiserver`.

``GAMECLUSTER_TEST_KUBECONFIG``: use this one instead.
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


@pytest.fixture(scope="session")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """Talks to the API server, on which the CRD is."""
    tools = subprocess.run([AIRGAP / "tools" / "build-tools", "apiserver"], capture_output=True, text=True, check=True)
    binary = f"{tools.stdout.strip()}/kubectl"
    given = os.environ.get("GAMECLUSTER_TEST_KUBECONFIG")
    folder = tmp_path_factory.mktemp("apiserver")
    if not given:
        subprocess.run([AIRGAP / "apiserver" / "apiserver-up", folder, str(_free_ports(4))], check=True, timeout=120)
    try:
        kubectl = Kubectl(binary, Path(given) if given else folder / "kubeconfig")
        kubectl("apply", "-f", str(REPOSITORY / "crds" / "gameclusters.yaml"))
        kubectl("wait", "--for=condition=Established", "crd/gameclusters.gamecluster.dev", "--timeout=30s")
        yield kubectl
    finally:
        if not given:
            subprocess.run([AIRGAP / "apiserver" / "apiserver-down", folder], check=True, timeout=60)


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
