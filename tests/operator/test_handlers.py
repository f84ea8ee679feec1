from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

import kopf
import pytest

from gamecluster_operator import handlers
from gamecluster_operator import labels as names
from gamecluster_operator.handlers import SLOW_SECONDS, Loop
from gamecluster_operator.health import SILENCE_SECONDS
from gamecluster_operator.kube import Change, Expired, Unavailable
from gamecluster_operator.labels import Object
from gamecluster_operator.queue import WorkQueue
from gamecluster_operator.settings import Settings
from gamecluster_operator.sighting import sighting_of
from gamecluster_operator.store import Key, News, Store
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
    def is_renewal(before: Object | None, now: Object) -> bool:
        store = Store()
        if before is not None:
            store.put(before)
        return store.see(sighting_of(now)) is News.RENEWED

    assert is_renewal(lease(1), lease(2))
    assert not is_renewal(None, lease(1))
    assert not is_renewal(lease(1), lease(2, holderIdentity="arena-1_x_1"))
    assert not is_renewal(lease(1), lease(2, leaseTransitions=5))
    for note in (names.IN_SYNC, names.NEVER_HELD):
        changed = lease(2)
        changed["metadata"]["annotations"] = {note: "arena-0_x_1"}
        assert not is_renewal(lease(1), changed)
    another = lease(2)
    another["metadata"]["uid"] = "v"
    assert not is_renewal(lease(1), another)


async def see(store: Store, queue: WorkQueue, type: str | None, obj: Object) -> None:
    seen = sighting_of(obj)
    handlers.see(store, queue, Change(seen.version, seen, type == "DELETED"))


async def test_what_kopf_tells_of_game_clusters_reaches_store_and_queue() -> None:
    store, queue = Store(), WorkQueue()
    registry = handlers.registry(store, queue, Watches())
    (handler,) = registry._watching.get_all_handlers()
    assert inspect.iscoroutinefunction(handler.fn), "kopf runs others in threads"
    for type in (None, "DELETED"):
        await handler.fn(event={"type": type, "object": game_cluster()})  # type: ignore[call-arg,typeddict-item]
        assert await queue.get() == ("games", "arena")
        queue.done(("games", "arena"))
        assert (store.get("GameCluster", "games", "arena") is None) == (type == "DELETED")


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


def test_kopf_is_told_to_write_nothing_and_to_watch_only_game_clusters() -> None:
    settings = handlers.kopf_settings(Settings())
    assert settings.peering.standalone and settings.scanning.disabled and not settings.posting.enabled
    registry = handlers.registry(Store(), WorkQueue(), Watches())
    for part in (registry._changing, registry._spawning, registry._indexing, registry._webhooks):
        assert list(part.get_all_handlers()) == [], "only event handlers write nothing"
    (handler,) = registry._watching.get_all_handlers()
    ours = kopf.Resource(group="gamecluster.dev", version="v1alpha1", plural="gameclusters")
    pods = kopf.Resource(group="", version="v1", plural="pods")
    assert handler.selector is not None and handler.selector.check(ours) and not handler.selector.check(pods)


def drifts(name: str, **labels: str) -> Object:
    meta = {"name": name, "namespace": "games", "uid": name, "labels": names.labels("arena") | labels}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta}


class Following:
    """A loop that has listed and is watching, in virtual time; ``looks``: at the cluster."""

    def __init__(self, **settings: Any) -> None:
        self.kube, self.store, self.looks = FakeKube(), Store(), Looks()
        self.kube.put(game_cluster())
        self.kube.put(drifts("there"))
        self.loop = Loop(Settings(**settings), self.kube, self.store, WorkQueue(), self.looks)  # type: ignore[arg-type]

    async def __aenter__(self) -> Following:
        self._task = asyncio.create_task(self.loop.run())
        await self.until(lambda: len(self.kube.watches) == 5)
        await self.looked()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def until(self, holds: Callable[[], bool], seconds: float = 5.0) -> None:
        began = now()
        while not holds():
            assert now() - began < seconds
            await asyncio.sleep(0.01)

    async def looked(self) -> None:
        """At all that there was until now."""
        async with asyncio.timeout(5):
            await self.looks.seen.get()
        while not self.looks.seen.empty():
            self.looks.seen.get_nowait()

    def has(self, name: str) -> bool:
        return self.store.get("Service", "games", name) is not None


def test_a_change_of_what_a_game_owns_is_looked_at_and_what_is_not_ours_is_not() -> None:
    async def story() -> None:
        async with Following() as world:
            world.kube.put(drifts("strange", **{names.MANAGED_BY: "helm"}))
            world.kube.remove("Service", "there")
            await world.looked()
            assert not world.has("there") and not world.has("strange")
            assert world.kube.lists.count("Service") == 1

    run(story())


@pytest.mark.parametrize("error", [None, Unavailable("the connection broke")])
def test_a_watch_that_ends_is_opened_anew_where_it_was(error: Exception | None) -> None:
    async def story() -> None:
        async with Following() as world:
            for watch in list(world.kube.watches):
                watch.end(error)
            await world.until(lambda: not world.kube.watches)
            world.kube.remove("Service", "there")
            await world.looked()
            assert not world.has("there")
            assert world.kube.lists.count("Service") == 1, "nothing was listed for it"

    run(story())


@pytest.mark.parametrize("while_away", [False, True])
def test_what_was_deleted_in_a_gap_is_seen_by_the_list_after_it(while_away: bool) -> None:
    """The watch tells of the gap itself, or the API server when it is asked for the next one."""

    async def story() -> None:
        async with Following() as world:
            open_watches = list(world.kube.watches)
            world.kube.watches.clear()  # nothing reaches them any more
            world.kube.remove("Service", "there")
            world.kube.forget()
            world.kube.watches += open_watches
            for watch in open_watches:
                watch.end(None if while_away else Expired("410"))
            await world.until(lambda: not world.has("there"), 1.5)
            await world.looked()

    run(story())


def test_a_watch_that_can_never_be_opened_is_asked_for_ever_more_seldom_and_fails_liveness() -> None:
    async def story() -> None:
        async with Following() as world:
            world.kube.fail["watch"] = Expired("410")
            began = now()
            for watch in list(world.kube.watches):
                watch.end()
            await asyncio.sleep(60)
            assert now() - began >= 60
            assert 10 <= world.kube.lists.count("Secret") <= 20
            world.loop.watches._monotonic = lambda: time.monotonic() + SILENCE_SECONDS
            assert world.loop.watches.silent_seconds >= SILENCE_SECONDS

    run(story())


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


def test_after_a_gap_in_kopfs_watch_game_clusters_are_listed_anew_at_once() -> None:
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
