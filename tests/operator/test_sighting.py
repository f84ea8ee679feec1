from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gamecluster_operator import labels as names
from gamecluster_operator.labels import Object
from gamecluster_operator.sighting import sighting, sighting_of, trimmed

META = {"name": "arena", "namespace": "games", "resourceVersion": "7", "labels": {names.INSTANCE: "of", "other": "x"}}


def trim(kind: str, **body: Any) -> Object:
    """As items of a list come: without their kind."""
    found: Object = msgspec.json.decode(trimmed(sighting(kind, msgspec.Raw(msgspec.json.encode(body)))))
    return found


def test_whose_it_is_is_told_by_the_label_and_of_a_game_cluster_by_its_name() -> None:
    assert sighting_of({"kind": "Pod", "metadata": META}).cluster == ("games", "of")
    assert sighting_of({"kind": "GameCluster", "metadata": META}).cluster == ("games", "arena")
    for labels in ({}, {"other": "x"}, None):
        assert sighting_of({"kind": "Pod", "metadata": META | {"labels": labels}}).cluster is None
    seen = sighting_of({"kind": "Pod", "metadata": META})
    assert (seen.id, seen.version) == (("Pod", "games", "arena"), 7)


def test_what_is_kept_has_its_kind_and_all_but_what_is_never_looked_at() -> None:
    managed = {"managedFields": [{"manager": names.FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {}}}]}
    pod = trim("Pod", metadata=META | managed, spec={"x": 1}, status={"phase": "Running"})
    assert pod == {"kind": "Pod", "apiVersion": "v1", "metadata": META, "status": {"phase": "Running"}}
    kept = trim("StatefulSet", metadata=META | managed, spec={"replicas": 3, "template": {}}, status={"replicas": 2})
    body = {"metadata": META | managed, "spec": {"replicas": 3}, "status": {"replicas": 2}}
    assert kept == {"kind": "StatefulSet", "apiVersion": "apps/v1", **body}
    secret = trim("Secret", metadata=META | {"managedFields": None}, data={"a": "Yg=="}, type="Opaque")
    assert secret["metadata"] == META | {"managedFields": []}
    assert (secret["data"], secret["type"]) == ({"a": "Yg=="}, "Opaque")


@pytest.mark.parametrize(
    "json", [b"[]", b"{}", b'{"metadata": {"name": 1}}', b'{"metadata": {"name": "a", "resourceVersion": "x"}}']
)
def test_what_is_no_object_is_an_error(json: bytes) -> None:
    with pytest.raises((msgspec.MsgspecError, ValueError)):
        sighting("Pod", msgspec.Raw(json))
