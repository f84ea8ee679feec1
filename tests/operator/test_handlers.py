from __future__ import annotations

import asyncio
import inspect
from typing import Any

import kopf
import pytest

from gamecluster_operator import handlers
from gamecluster_operator import labels as names
from gamecluster_operator.handlers import SLOW_SECONDS, Loop, is_renewal
from gamecluster_operator.kube import Unavailable
from gamecluster_operator.labels import Object
from gamecluster_operator.queue import WorkQueue
from gamecluster_operator.settings import Settings
from gamecluster_operator.store import Key, Store
from gamecluster_operator.watches import Watches

from .fakes import FakeKube
from .virtual import now, run
from .world import game_cluster


def lease(version: int, **spec: Any) -> Object:
    said = {"holderIdentity": "arena-0_x_1", "leaseTransitions": 4, "renewTime": str(version), **spec}
    labels = names.labels("arena", "gamestate")
    meta = {
        "name": "arena-gamestate",
        "namespace": "games",
        "uid": "u",
        "labels": labels,
        "resourceVersion": str(version),
    }
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": said}


def test_a_renewal_is_one_and_a_new_holder_is_not() -> None:
    assert is_renewal(lease(1), lease(2))
    assert not is_renewal(None, lease(1))
    assert not is_renewal(lease(1), lease(2, holderIdentity="arena-1_x_1"))
    assert not is_renewal(lease(1), lease(2, leaseTransitions=5))
    changed = lease(2)
    changed["metadata"]["annotations"] = {names.IN_SYNC: "arena-0_x_1"}
    assert not is_renewal(lease(1), changed)


async def see(store: Store, queue: WorkQueue, type: str | None, obj: Object) -> None:
    registry = handlers.registry(store, queue, Watches())
    (handler,) = [h for h in registry._watching.get_all_handlers() if h.id == f"see-{handlers.KINDS[obj['kind']][2]}"]
    assert inspect.iscoroutinefunction(handler.fn), "kopf runs others in threads"
    await handler.fn(event={"type": type, "object": obj})  # type: ignore[call-arg]


async def test_a_renewal_reaches_the_store_but_wakes_nobody() -> None:
    store, queue = Store(), WorkQueue()
    await see(store, queue, None, lease(1))
    assert len(queue) == 1
    await queue.get()
    queue.done(("games", "arena"))
    await see(store, queue, "MODIFIED", lease(2))
    assert len(queue) == 0
    kept = store.get("Lease", "games", "arena-gamestate")
    assert kept is not None and kept["spec"]["renewTime"] == "2"
    await see(store, queue, "DELETED", lease(3))
    assert len(queue) == 1


def test_kopf_is_told_to_write_nothing_and_to_watch_only_what_is_ours() -> None:
    settings = handlers.kopf_settings(Settings())
    assert settings.peering.standalone and settings.scanning.disabled and not settings.posting.enabled
    registry = handlers.registry(Store(), WorkQueue(), Watches())
    for part in (registry._changing, registry._spawning, registry._indexing, registry._webhooks):
        assert list(part.get_all_handlers()) == [], "only event handlers write nothing"
    pods = kopf.Resource(group="", version="v1", plural="pods")  # type: ignore[attr-defined]
    assert list(settings.watching.label_selectors.collect(pods)) == [names.SELECT_MANAGED]


class Looks:
    """Stands in for the reconciler: one cluster always fails."""

    def __init__(self) -> None:
        self.seen: asyncio.Queue[Key] = asyncio.Queue()

    async def reconcile(self, key: Key) -> float | None:
        self.seen.put_nowait(key)
        if key[1] == "broken":
            raise ZeroDivisionError("a bug")
        if key[1] == "away":
            raise Unavailable("no answer")
        return None


class Stuck:
    """Stands in for the reconciler: all but one cluster take for ever."""

    def __init__(self) -> None:
        self.fine = asyncio.Event()

    async def reconcile(self, key: Key) -> float | None:
        if key[1] == "fine":
            self.fine.set()
            return None
        await asyncio.sleep(1_000)
        return None


def test_clusters_that_take_for_ever_keep_no_other_from_its_turn() -> None:
    async def story() -> None:
        kube, looks = FakeKube(), Stuck()
        for name in (*(f"stuck-{number}" for number in range(8)), "fine"):
            kube.put(game_cluster(name))
        loop = Loop(Settings(workers=2), kube, Store(), WorkQueue(), looks)  # type: ignore[arg-type]
        task = asyncio.create_task(loop.run())
        began = now()
        await asyncio.wait_for(looks.fine.wait(), 60)
        assert now() - began <= 5 * SLOW_SECONDS
        task.cancel()
        await asyncio.wait([task])

    run(story())


def test_after_a_gap_in_the_watches_all_is_listed_anew_at_once() -> None:
    async def story() -> None:
        kube, store = FakeKube(), Store()
        loop = Loop(Settings(), kube, store, WorkQueue(), Looks())  # type: ignore[arg-type]
        task = asyncio.create_task(loop.run())
        await loop.listed.wait()
        kube.put(game_cluster("missed"))
        loop.gap.set()
        began = now()
        while store.get("GameCluster", "games", "missed") is None:
            assert now() - began < 2.0
            await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task])

    run(story())


async def test_a_part_that_somebody_cancels_ends_all() -> None:
    loop = Loop(Settings(), FakeKube(), Store(), WorkQueue(), Looks())  # type: ignore[arg-type]
    before = asyncio.all_tasks()
    task = asyncio.create_task(loop.run())
    await loop.listed.wait()
    next(other for other in asyncio.all_tasks() - before if other is not task).cancel()
    with pytest.raises(RuntimeError, match="cancelled"):
        await asyncio.wait_for(task, 5)


async def test_a_cluster_that_fails_keeps_no_other_from_its_turn() -> None:
    kube, store, queue, looks = FakeKube(), Store(), WorkQueue(), Looks()
    for name in ("broken", "away", "fine"):
        kube.put(game_cluster(name))
    loop = Loop(Settings(workers=1), kube, store, queue, looks)  # type: ignore[arg-type]
    await loop.list_all()
    task = asyncio.create_task(loop.run())
    try:
        seen = [(await asyncio.wait_for(looks.seen.get(), 5))[1] for _ in range(5)]
    finally:
        task.cancel()
    assert {"broken", "away", "fine"} <= set(seen)
    assert seen.count("broken") + seen.count("away") >= 3, "they come again"
    assert loop.failed >= 2
