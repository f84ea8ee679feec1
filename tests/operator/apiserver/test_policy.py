"""The chart's ValidatingAdmissionPolicy: nobody lowers an epoch or empties an in-sync set, and what pods and operator write passes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import structs

from gamecluster.core import messages
from gamecluster.shell.lease import parse_document, patch_of
from gamecluster_operator import manifests, spec
from gamecluster_operator.labels import IN_SYNC
from gamecluster_operator.record import Incarnation, Record, read, write

from ..world import game_cluster
from . import helm
from .conftest import Kubectl, wait_for

NAMESPACE = "policy-test"
A, B = Incarnation("arena-0_uid-a_1"), Incarnation("arena-1_uid-b_3")
HELD = Record(0, A, 7, (A, B))


class Lease:
    """One that says ``HELD``."""

    def __init__(self, kubectl: Kubectl) -> None:
        self.kubectl = kubectl
        lease = manifests.vacant_lease(spec.parse(game_cluster()), 7, (), never_held=False)
        lease["metadata"] |= {"namespace": NAMESPACE}
        del lease["metadata"]["ownerReferences"]  # of nobody who is there: it would be collected
        self.put(write(lease, HELD, datetime.now(UTC)), "create")

    def get(self) -> dict[str, Any]:
        return self.kubectl.get("-n", NAMESPACE, "lease", "arena-gamestate")

    def put(self, lease: dict[str, Any], verb: str = "replace") -> str:
        return self.kubectl(verb, "-f", "-", stdin=json.dumps(lease))

    def patch(self, patch: dict[str, Any], *flags: str) -> str:
        how = ("--type=merge", "-p", json.dumps(patch), *flags)
        return self.kubectl("-n", NAMESPACE, "patch", "lease", "arena-gamestate", *how)

    def refused(self, patch: dict[str, Any]) -> str:
        with pytest.raises(AssertionError, match="ValidatingAdmissionPolicy") as refused:
            self.patch(patch)
        assert read(self.get()).epoch == 7
        return str(refused.value)


@pytest.fixture(scope="module", autouse=True)
def policy(kubectl: Kubectl) -> Iterator[None]:
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=true")
    kubectl("create", "namespace", NAMESPACE)
    objects = helm.template(NAMESPACE, NAMESPACE)
    policies = helm.kinds(objects, "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    assert len(policies) == 2
    kubectl.apply(*policies)
    probe = Lease(kubectl)

    def is_in_force() -> bool:
        try:
            probe.patch(LOWER, "--dry-run=server")
        except AssertionError:
            return True
        return False

    wait_for(is_in_force, "the policy in force", 30)
    kubectl("-n", NAMESPACE, "delete", "lease", "arena-gamestate")
    yield
    for obj in policies:
        kubectl("delete", obj["kind"], obj["metadata"]["name"])
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture
def lease(kubectl: Kubectl) -> Iterator[Lease]:
    yield Lease(kubectl)
    kubectl("-n", NAMESPACE, "delete", "lease", "arena-gamestate")


LOWER = {"spec": {"leaseTransitions": 6}}
EMPTIED = {"metadata": {"annotations": {IN_SYNC: ""}}}
VACANT = {"holderIdentity": None, "acquireTime": None, "renewTime": None}


def test_the_api_server_finds_no_fault_with_its_expressions(kubectl: Kubectl) -> None:
    def checked() -> Any:
        status = kubectl.get("validatingadmissionpolicy", f"{NAMESPACE}-operator-lease").get("status") or {}
        return status if status.get("observedGeneration") else None

    assert wait_for(checked, "its expressions checked").get("typeChecking", {}) == {}


def test_an_epoch_is_never_lowered(lease: Lease) -> None:
    said = lease.refused(LOWER)
    assert "may only grow: it is 7" in said and "gamecluster handoff" in said
    lease.refused({"spec": {"leaseTransitions": None}})
    lease.refused({**LOWER, "metadata": {"labels": None}})


@pytest.mark.parametrize(
    "emptied", [EMPTIED, {"metadata": {"annotations": {IN_SYNC: None}}}, {"metadata": {"annotations": None}}]
)
def test_an_in_sync_set_is_not_emptied_while_somebody_holds_it(lease: Lease, emptied: dict[str, Any]) -> None:
    said = lease.refused(emptied)
    assert "no pod could take over" in said and "delete the pod" in said
    lease.refused({**emptied, "spec": {"holderIdentity": B}})


def test_it_is_emptied_only_with_a_higher_epoch(lease: Lease) -> None:
    said = lease.refused({**EMPTIED, "spec": VACANT})
    assert "only with a higher epoch (spec.leaseTransitions above 7)" in said
    lease.patch({**EMPTIED, "spec": {**VACANT, "leaseTransitions": 8}})


@pytest.mark.parametrize(
    "written",
    [
        replace(HELD, holder=B, epoch=8),
        replace(HELD, holder=B, epoch=1007, in_sync=(B,), dead=(A,)),
        replace(HELD, dead=(B,)),
        Record(0, B, 1007, (B,), restore=True),
        Record(0, None, 1007, (), never_held=True),
    ],
    ids=["names a pod", "reclaims a lost Lease", "frees from a seal", "restores", "begins anew"],
)
def test_what_the_operator_writes_passes(lease: Lease, written: Record) -> None:
    lease.put(write(lease.get(), written, datetime.now(UTC)))
    assert replace(read(lease.get()), version=0) == written


def test_what_the_pods_write_passes(lease: Lease) -> None:
    a, b = messages.Incarnation(A), messages.Incarnation(B)
    for holder, epoch, in_sync in ((a, 7, (a, b)), (a, 7, (a,)), (b, 8, (b,)), (b, 8, (b, a)), (a, 9, (a, b))):
        version = int(lease.get()["metadata"]["resourceVersion"])
        lease.patch(patch_of(messages.Record(version, holder, epoch, in_sync), 15, acquired=True))
    assert read(lease.get()).epoch == 9


def test_the_last_word_of_a_game_that_goes_to_sleep_passes_and_that_it_is_woken(lease: Lease) -> None:
    a = messages.Incarnation(A)
    word = messages.Asleep(a, 7, 123)
    for told in (
        messages.Record(0, None, 8, (), asleep=word),
        messages.Record(0, a, 9, (a,), restore=True),
        messages.Record(0, a, 9, (a,)),
    ):
        patch = patch_of(replace_version(told, lease), 15, acquired=True)
        lease.patch(patch)
        assert parse_document(lease.get()) == replace_version(told, lease)


def replace_version(record: messages.Record, lease: Lease) -> messages.Record:
    return structs.replace(record, version=int(lease.get()["metadata"]["resourceVersion"]))


def test_a_vacant_lease_is_claimed_and_a_deleted_one_made_anew(lease: Lease, kubectl: Kubectl) -> None:
    lease.put(write(lease.get(), Record(0, None, 1007, (), never_held=True), datetime.now(UTC)))
    version = int(lease.get()["metadata"]["resourceVersion"])
    a = messages.Incarnation(A)
    lease.patch(patch_of(messages.Record(version, a, 1008, (a,)), 15, acquired=True))
    kubectl("-n", NAMESPACE, "delete", "lease", "arena-gamestate")
    Lease(kubectl)


def test_leases_of_others_are_not_looked_at(kubectl: Kubectl) -> None:
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {"leaseTransitions": 7}}
    kubectl.apply({**body, "metadata": {"name": "other", "namespace": NAMESPACE}})
    kubectl("-n", NAMESPACE, "patch", "lease", "other", "--type=merge", "-p", json.dumps(LOWER))
