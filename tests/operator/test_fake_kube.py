from __future__ import annotations

import pytest

from .fakes import FakeKube
from .kube_contract import KubeContract


class TestFakeKube(KubeContract):
    @pytest.fixture
    def kube(self) -> FakeKube:
        return FakeKube()
