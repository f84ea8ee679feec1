"""The real API server answers as the fake one does."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest
from lightkube import AsyncClient, KubeConfig

from gamecluster_operator.kube import LightKube
from gamecluster_operator.labels import FIELD_MANAGER

from ..kube_contract import NAMESPACE, KubeContract
from .conftest import Kubectl


@pytest.fixture(scope="module", autouse=True)
def namespace(kubectl: Kubectl) -> None:
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=true")
    kubectl("create", "namespace", NAMESPACE)


class TestLightKube(KubeContract):
    @pytest.fixture
    async def kube(self, kubectl: Kubectl) -> AsyncIterator[LightKube]:
        config = KubeConfig.from_file(kubectl.kubeconfig)
        kube = LightKube(AsyncClient(config=config, field_manager=FIELD_MANAGER, timeout=httpx2.Timeout(10)))
        yield kube
        await kube.close()
