"""The real API server answers as the fake one does."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gamecluster_operator.rest import RestKube

from ..kube_contract import NAMESPACE, KubeContract
from .conftest import Kubectl


@pytest.fixture(scope="module", autouse=True)
def namespace(kubectl: Kubectl) -> None:
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=true")
    kubectl("create", "namespace", NAMESPACE)


class TestRestKube(KubeContract):
    @pytest.fixture
    async def kube(self, kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RestKube]:
        monkeypatch.setenv("KUBECONFIG", str(kubectl.kubeconfig))
        kube = RestKube()
        yield kube
        await kube.close()
