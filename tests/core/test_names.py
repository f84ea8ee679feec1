"""When the leader frees the names of a pod that it does not hear."""

from __future__ import annotations

from typing import Any

import pytest

from gamecluster.core import authority
from gamecluster.services.names import TABLE
from gamecluster.services.tenure import TENURE_SECONDS, Tenure

from .cluster import Cluster


def holders(cluster: Cluster, on: str) -> dict[str, Any]:
    return {name: row["pod"] for name, row in cluster.nodes[on].log.tables.get(TABLE, {}).items()}


def cut_off(cluster: Cluster, one: str, other: str) -> None:
    cluster.cut |= {(one, other), (other, one)}


def test_a_pod_that_is_not_heard_for_two_seconds_loses_its_names() -> None:
    cluster = Cluster()
    cluster.call("a-2", "names", "register", name="npc:7", id="1")
    assert holders(cluster, "a-0") == {"npc:7": "a-2_uid_1"}
    cluster.kill("a-2")
    cluster.run(TENURE_SECONDS)
    assert holders(cluster, "a-0"), "it may answer still"
    cluster.run(1.0)
    assert holders(cluster, "a-0") == holders(cluster, "a-1") == {}


def test_a_new_leader_spares_whom_it_did_not_hear_and_its_predecessor_did(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _freed_while_it_may_answer() is False
    monkeypatch.setattr(authority, "SPARED_SECONDS", 0.0)
    assert _freed_while_it_may_answer() is True, "that is what it is for"


def _freed_while_it_may_answer() -> bool:
    cluster, tenure = Cluster(4), Tenure()
    cluster.call("a-3", "names", "register", name="npc:7", id="1")
    cut_off(cluster, "a-1", "a-3")
    cluster.run(3.0)
    assert cluster.nodes["a-0"].is_leader and holders(cluster, "a-0")
    tenure.confirmed(cluster.now)
    cluster.call("a-3", "names", "hold")
    cluster.kill("a-0")
    while not cluster.nodes["a-1"].is_leader:
        cluster.run(0.02)
        assert tenure.is_good(cluster.now), "it takes too long to show anything"
    cluster.run(0.2)
    freed = not holders(cluster, "a-1") and tenure.is_good(cluster.now)
    cluster.run(3.0)
    assert not holders(cluster, "a-1"), "it is freed in the end"
    return freed
