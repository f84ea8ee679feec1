"""What the operator needs of an API server. Both the fake one (test_fake_kube.py) and a real one (apiserver/) pass this."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from gamecluster_operator import manifests, spec
from gamecluster_operator.applied import is_applied, marked
from gamecluster_operator.kube import Conflict, Kube, NotFound, Refused, list_all
from gamecluster_operator.labels import APPLIED, INSTANCE, Object
from gamecluster_operator.sighting import is_ours, sighting_of, trimmed

NAMESPACE = "contract"


def service(name: str, port: int = 4000, **labels: str) -> Object:
    ports = [{"name": "client", "port": port, "targetPort": "client", "protocol": "TCP"}]
    meta = {"name": name, "namespace": NAMESPACE, "labels": {"kept": "yes", **labels}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"selector": {"a": "b"}, "ports": ports}}


def lease(name: str) -> Object:
    meta = {"name": name, "namespace": NAMESPACE, "annotations": {"gamecluster.dev/in-sync": ""}}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": {"leaseTransitions": 0}}


def game_cluster(name: str) -> Object:
    spec = {"image": "x", "targets": ["a:B"], "replicas": 1}
    meta = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "gamecluster.dev/v1alpha1", "kind": "GameCluster", "metadata": meta, "spec": spec}


def everything_of_a_game(name: str) -> list[Object]:
    """As it is applied, with a template of the user's own; but for the owner, which would have to be there."""
    limits = {"limits": {"cpu": "1000m", "memory": "1Gi"}}
    server = {
        "name": "server",
        "resources": limits,
        "env": [{"name": "A", "value": "b"}, {"name": "EMPTY", "value": ""}],
    }
    sidecar = {"name": "sidecar", "image": "x", "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}
    template = {
        "metadata": {"annotations": {"a": "b"}},
        "spec": {"containers": [server, sidecar], "tolerations": [{"operator": "Exists"}], "nodeSelector": {"a": "b"}},
    }
    body = game_cluster(name)
    body["spec"] |= {"template": template, "expose": {"type": "Ingress", "host": "x.example.com", "className": "nginx"}}
    body["spec"] |= {"storage": {"type": "Volume", "size": "1Gi"}}
    body["metadata"] |= {"uid": "unknown", "generation": 1}
    made = manifests.applied(spec.parse(body), 3, ["monitoring"])
    for obj in made:
        obj["metadata"].pop("ownerReferences")
    return [marked(obj) for obj in made]


def trim(obj: Object) -> Object:
    found: Object = msgspec.json.decode(trimmed(sighting_of(obj)))
    return found


def ours(obj: Object) -> list[Any]:
    return [entry["fieldsV1"] for entry in obj["metadata"]["managedFields"] if is_ours(entry)]


def status_of(obj: Object, status: Object) -> Object:
    meta = {key: obj["metadata"][key] for key in ("name", "namespace", "resourceVersion")}
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": meta, "status": status}


def versioned(obj: Object, seen: Object) -> Object:
    return {
        **obj,
        "metadata": {**obj["metadata"], **{key: seen["metadata"][key] for key in ("uid", "resourceVersion")}},
    }


class KubeContract:
    """Subclasses have a fixture ``kube``."""

    async def test_what_is_not_there_is_none(self, kube: Kube) -> None:
        assert await kube.get("Lease", NAMESPACE, "absent") is None

    async def test_a_kind_whose_definition_is_not_installed_is_not_found(self, kube: Kube) -> None:
        route = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "spec": {}}
        with pytest.raises(NotFound):
            await kube.apply({**route, "metadata": {"name": "route", "namespace": NAMESPACE}})
        with pytest.raises(NotFound):
            await list_all(kube, "HTTPRoute", None, None)
        assert await kube.get("HTTPRoute", NAMESPACE, "route") is None
        await kube.delete("HTTPRoute", NAMESPACE, "route", "uid")

    async def test_what_was_created_is_there_with_its_kind(self, kube: Kube) -> None:
        await kube.create(lease("created"))
        found = await kube.get("Lease", NAMESPACE, "created")
        assert found is not None and found["kind"] == "Lease" and found["metadata"]["uid"]

    async def test_creating_twice_is_a_conflict(self, kube: Kube) -> None:
        await kube.create(lease("twice"))
        with pytest.raises(Conflict):
            await kube.create(lease("twice"))

    async def test_a_name_that_cannot_be_is_refused(self, kube: Kube) -> None:
        with pytest.raises(Refused, match="name"):
            await kube.apply(service("Not_A_Name"))

    async def test_applying_creates_and_applying_again_changes_nothing(self, kube: Kube) -> None:
        first = await kube.apply(service("applied"))
        again = await kube.apply(service("applied"))
        assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        assert ours(again) == ours(first) != []

    async def test_what_is_no_longer_applied_goes(self, kube: Kube) -> None:
        await kube.apply(service("shrinks", gone="soon"))
        found = await kube.apply(service("shrinks"))
        assert found["metadata"]["labels"] == {"kept": "yes"}

    async def test_who_changes_a_field_of_ours_takes_it_from_us(self, kube: Kube) -> None:
        before = await kube.apply(service("tampered"))
        after = await kube.merge("Service", NAMESPACE, "tampered", {"spec": {"selector": {"a": "other"}}})
        assert ours(after) != ours(before)
        again = await kube.apply(service("tampered"))
        assert again["spec"]["selector"] == {"a": "b"}
        assert ours(again) == ours(before)

    async def test_who_adds_a_field_takes_nothing(self, kube: Kube) -> None:
        before = await kube.apply(service("added"))
        after = await kube.merge("Service", NAMESPACE, "added", {"metadata": {"annotations": {"theirs": "yes"}}})
        assert ours(after) == ours(before)

    async def test_what_was_applied_is_known_without_applying_it_again(self, kube: Kube) -> None:
        for wanted in everything_of_a_game("known"):
            assert is_applied(trim(await kube.apply(wanted)), wanted), wanted["kind"]
            changed = {**wanted, "metadata": {**wanted["metadata"], "annotations": {APPLIED: "of something else"}}}
            assert not is_applied(trim(await kube.apply(wanted)), changed), wanted["kind"]

    async def test_what_others_changed_is_not_taken_for_applied(self, kube: Kube) -> None:
        for wanted in everything_of_a_game("changed"):
            is_set = wanted["kind"] == "StatefulSet"
            patch = {"spec": {"replicas": 7}} if is_set else {"metadata": {"labels": {INSTANCE: "another"}}}
            await kube.apply(wanted)
            theirs = {"metadata": {"annotations": {"theirs": "yes"}}}
            added = await kube.merge(wanted["kind"], NAMESPACE, wanted["metadata"]["name"], theirs)
            assert is_applied(added, wanted), wanted["kind"]
            changed = await kube.merge(wanted["kind"], NAMESPACE, wanted["metadata"]["name"], patch)
            assert not is_applied(changed, wanted), wanted["kind"]

    async def test_replacing_is_conditional_on_the_version(self, kube: Kube) -> None:
        old = await kube.create(lease("versioned"))
        await kube.merge("Lease", NAMESPACE, "versioned", {"spec": {"leaseTransitions": 1}})
        with pytest.raises(Conflict):
            await kube.replace({**old, "spec": {"leaseTransitions": 2}})
        now = await kube.get("Lease", NAMESPACE, "versioned")
        assert now is not None and now["spec"]["leaseTransitions"] == 1
        after = await kube.replace({**now, "spec": {"leaseTransitions": 2}})
        assert int(after["metadata"]["resourceVersion"]) > int(now["metadata"]["resourceVersion"])

    async def test_merging_is_conditional_on_the_uid(self, kube: Kube) -> None:
        made = await kube.create(lease("unique"))
        label = {"metadata": {"uid": made["metadata"]["uid"], "labels": {"x": "y"}}}
        assert (await kube.merge("Lease", NAMESPACE, "unique", label))["metadata"]["labels"] == {"x": "y"}
        with pytest.raises(Conflict):
            await kube.merge("Lease", NAMESPACE, "unique", {"metadata": {"uid": "another", "labels": {"x": None}}})

    async def test_merging_null_removes(self, kube: Kube) -> None:
        await kube.apply(service("labelled", more="x"))
        after = await kube.merge("Service", NAMESPACE, "labelled", {"metadata": {"labels": {"more": None}}})
        assert after["metadata"]["labels"] == {"kept": "yes"}

    async def test_deleting_what_is_not_there_does_nothing(self, kube: Kube) -> None:
        uid = (await kube.create(lease("deleted")))["metadata"]["uid"]
        await kube.delete("Lease", NAMESPACE, "deleted", uid)
        await kube.delete("Lease", NAMESPACE, "deleted", uid)
        assert await kube.get("Lease", NAMESPACE, "deleted") is None

    async def test_deleting_is_conditional_on_the_uid(self, kube: Kube) -> None:
        await kube.create(lease("another"))
        with pytest.raises(Conflict):
            await kube.delete("Lease", NAMESPACE, "another", "uid-of-an-earlier-one")
        assert await kube.get("Lease", NAMESPACE, "another") is not None

    async def test_applying_with_a_version_is_conditional_on_it(self, kube: Kube) -> None:
        old = await kube.apply(service("late"))
        now = await kube.apply(service("late", more="1"))
        with pytest.raises(Conflict):
            await kube.apply(versioned(service("late", more="2"), old))
        after = await kube.apply(versioned(service("late", more="3"), now))
        assert after["metadata"]["labels"]["more"] == "3"
        assert ours(after) == ours(now)

    async def test_applying_with_a_version_makes_nothing_that_is_gone(self, kube: Kube) -> None:
        old = await kube.apply(service("gone"))
        await kube.delete("Service", NAMESPACE, "gone", old["metadata"]["uid"])
        with pytest.raises(Conflict):
            await kube.apply(versioned(service("gone"), old))
        assert await kube.get("Service", NAMESPACE, "gone") is None

    async def test_a_list_has_what_the_labels_choose(self, kube: Kube) -> None:
        one = await kube.apply(service("listed-1", list="here"))
        await kube.apply(service("listed-2", list="there"))
        for namespace in (NAMESPACE, None):
            found = await list_all(kube, "Service", namespace, "list=here")
            assert [(o["kind"], o["metadata"]["name"]) for o in found] == [("Service", "listed-1")]
            version = [page.version async for page in kube.pages("Service", namespace, "list=here")][-1]
            assert version >= int(one["metadata"]["resourceVersion"])

    async def test_a_watch_tells_what_happened_after_a_list_and_what_happens(self, kube: Kube) -> None:
        def here(name: str) -> Object:
            return service(name, watched="here")

        there = await kube.apply(here("watched-1"))
        since = [page.version async for page in kube.pages("Service", NAMESPACE, "watched=here")][-1]
        await kube.apply(here("watched-2"))
        await kube.apply(service("watched-3", watched="elsewhere"))
        async with asyncio.timeout(10), kube.watch("Service", NAMESPACE, "watched=here", since) as changes:
            (change,) = [c for c in await anext(changes) if c.seen is not None]
            assert change.seen is not None and (change.seen.name, change.is_deleted) == ("watched-2", False)
            told = msgspec.json.decode(trimmed(change.seen))
            assert (told["kind"], told["apiVersion"], told["spec"]["selector"]) == ("Service", "v1", {"a": "b"})
            assert ours(told) == ours(there)
            await kube.delete("Service", NAMESPACE, "watched-1", there["metadata"]["uid"])
            (change,) = [c for c in await anext(changes) if c.seen is not None]
        assert change.seen is not None and (change.seen.name, change.is_deleted) == ("watched-1", True)
        assert change.version == change.seen.version > max(since, int(there["metadata"]["resourceVersion"]))

    async def test_a_status_is_written_apart_from_the_spec(self, kube: Kube) -> None:
        made = await kube.create(game_cluster("told"))
        status = {"leader": "told-0", "epoch": 1, "inSync": ["told-0"]}
        first = await kube.apply_status(status_of(made, status))
        assert first["status"] == status
        assert first["metadata"]["generation"] == made["metadata"]["generation"]
        again = await kube.apply_status(status_of(first, status))
        assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        less = await kube.apply_status(status_of(first, {"leader": ""}))
        assert less["status"] == {"leader": ""}

    async def test_a_status_of_an_earlier_version_is_a_conflict(self, kube: Kube) -> None:
        made = await kube.create(game_cluster("reborn"))
        await kube.merge("GameCluster", NAMESPACE, "reborn", {"spec": {"replicas": 2}})
        with pytest.raises(Conflict):
            await kube.apply_status(status_of(made, {"leader": "x"}))
