"""The server's Lease on the real API server: what holds for the one in memory, in a file and on the fake one, holds here."""

from __future__ import annotations

import pytest

from ...shell.lease_contract import EveryLease, EveryStore
from .conftest import Kubectl


@pytest.fixture
def kind(kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("KUBECONFIG_FOR_LEASE", str(kubectl.kubeconfig))
    return "kubernetes"


class TestEveryLease(EveryLease):
    pass


class TestEveryStore(EveryStore):
    pass
