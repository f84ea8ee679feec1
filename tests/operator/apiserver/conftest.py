"""A real API server on loopback (no pods run on it): started once, taken down at the end. Run by `make apiserver`.

``GAMECLUSTER_TEST_KUBECONFIG``: use this one instead; ``GAMECLUSTER_TEST_AUDIT_LOG``: the audit log that it writes, by AUDIT_POLICY.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .audit import Audit
from .server import AIRGAP, REPOSITORY, Kubectl, api_server, kubectl_binary, wait_for, with_the_schema

__all__ = ["AIRGAP", "REPOSITORY", "Kubectl", "wait_for"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What looks at all that the others did comes last."""
    items.sort(key=lambda item: item.path.name == "test_rights.py")


@pytest.fixture(scope="session")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """Talks to the API server, on which the CRD is."""
    given = os.environ.get("GAMECLUSTER_TEST_KUBECONFIG")
    if given:
        yield with_the_schema(Kubectl(kubectl_binary(), Path(given)))
        return
    with api_server(tmp_path_factory.mktemp("apiserver")) as kubectl:
        yield kubectl


@pytest.fixture(scope="session")
def audit(kubectl: Kubectl) -> Audit:
    """What the API server was asked, by whom."""
    given = os.environ.get("GAMECLUSTER_TEST_AUDIT_LOG")
    log = Path(given) if given else kubectl.kubeconfig.parent / "audit.log"
    assert log.exists(), "GAMECLUSTER_TEST_KUBECONFIG needs GAMECLUSTER_TEST_AUDIT_LOG beside it, for this test"
    return Audit(log)
