"""The StatefulSet of a rollout, on the real API server."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from gamecluster_operator import manifests, spec
from gamecluster_operator.labels import FIELD_MANAGER
from gamecluster_operator.rest import RestKube

from ..world import game_cluster
from .conftest import Kubectl

NAMESPACE = "rollout-test"


@pytest.fixture
def namespace(kubectl: Kubectl) -> None:
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=true")
    kubectl("create", "namespace", NAMESPACE)


async def test_a_set_that_replaced_its_pods_itself_is_taken_over(
    kubectl: Kubectl, namespace: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As earlier operators made it."""
    body = game_cluster()
    body["metadata"]["namespace"] = NAMESPACE
    wanted = manifests.stateful_set(spec.parse(body), 3)
    wanted["metadata"].pop("ownerReferences")  # of a GameCluster that is not there
    before = copy.deepcopy(wanted)
    before["spec"]["updateStrategy"] = {"type": "RollingUpdate"}
    monkeypatch.setenv("KUBECONFIG", str(kubectl.kubeconfig))
    kube = RestKube()
    try:
        await kube.apply(before)
        changed = await kube.apply(wanted)
        again = await kube.apply(wanted)
    finally:
        await kube.close()
    assert changed["spec"]["updateStrategy"] == {"type": "OnDelete"}
    assert _ours(again) == _ours(changed), "nothing is left to write"


def _ours(resource: dict[str, Any]) -> dict[str, Any]:
    """Without what the StatefulSet's controller writes meanwhile: its status, and with it the resourceVersion."""
    metadata = {name: value for name, value in resource["metadata"].items() if name != "resourceVersion"}
    metadata["managedFields"] = [entry for entry in metadata["managedFields"] if entry["manager"] == FIELD_MANAGER]
    assert metadata["managedFields"], "and when this manager wrote last"
    return {"metadata": metadata, "spec": resource["spec"]}
