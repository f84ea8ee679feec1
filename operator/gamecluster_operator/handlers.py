"""kopf's watches → the store and the work queue. Event handlers only: kopf then writes nothing to any object.

Lists once a minute fill in what a watch may have missed, and the kinds that are not watched. Each cluster has one worker at most, and
one that takes long (the API server is slow for it alone) leaves its place to another: so no cluster waits for another's trouble.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import Any

import kopf

from . import labels as names
from .indifferent import NoDiff, NoProgress
from .kube import KINDS, OPTIONAL, PAGE, Conflict, Kube, KubeError, NotFound, Refused, Unavailable, login
from .labels import IN_SYNC, NEVER_HELD, Object
from .queue import WorkQueue
from .reconciler import Reconciler
from .settings import Settings
from .store import Key, Store, key_of
from .watches import Watches

log = logging.getLogger(__name__)

CONFLICT_SECONDS = 0.3
SLOW_SECONDS = 2.0
MOST_SLOW = 8
"""For each worker there may be so many that take longer than SLOW_SECONDS."""
LIST_AGAIN_SECONDS = 2.0
GAP_SECONDS = 0.5
IDLE_SECONDS = 0.05
"""After the last event of an object another one gets its place in kopf; by default 5 s: so 50 places let 10 objects a second through."""
WATCHED = ("GameCluster", "StatefulSet", "Pod", "Lease", "Secret", "Service")
OTHERS = ("ServiceAccount", "Role", "RoleBinding", "PodDisruptionBudget", "NetworkPolicy", "Ingress")
LISTED = (*WATCHED, *OTHERS, *OPTIONAL)


def registry(store: Store, queue: WorkQueue, watches: Watches) -> kopf.OperatorRegistry:
    """One event handler for each watched kind. They are coroutines: kopf runs others in threads, where the queue is not safe."""
    handlers = kopf.OperatorRegistry()

    async def on_event(event: Any, **_: Any) -> None:
        obj: Object = event["object"]
        key = key_of(obj)
        deleted = event["type"] == "DELETED"
        meta = obj["metadata"]
        before = store.get("Lease", meta["namespace"], meta["name"]) if obj["kind"] == "Lease" else None
        news = store.drop(obj) if deleted else store.put(obj)
        if news and key is not None and not (is_renewal(before, obj) and not deleted):
            queue.add(key)

    async def log_in(**kwargs: Any) -> kopf.AiohttpSession:
        return watches.session(login(**kwargs))

    kopf.on.login(registry=handlers)(log_in)
    for kind in WATCHED:
        group, version, plural = KINDS[kind]
        kopf.on.event(group, version, plural, id=f"see-{plural}", registry=handlers)(on_event)
    return handlers


def is_renewal(before: Object | None, now: Object) -> bool:
    """A Lease that says what it said before, but for its times."""
    if before is None or now["kind"] != "Lease":
        return False
    return _said(before) == _said(now)


def _said(lease: Object) -> tuple[object, ...]:
    meta, said = lease["metadata"], lease.get("spec") or {}
    notes = meta.get("annotations") or {}
    what = (said.get("holderIdentity"), said.get("leaseTransitions"), notes.get(IN_SYNC), notes.get(NEVER_HELD))
    return (meta["uid"], *what)


def kopf_settings(settings: Settings) -> kopf.OperatorSettings:
    """Watches that can't fall silent, and nothing of kopf's own on any object."""
    ours = kopf.OperatorSettings()
    ours.peering.standalone = True
    ours.scanning.disabled = True
    ours.posting.enabled = False
    ours.networking.request_timeout = 10
    ours.networking.connect_timeout = 3
    ours.networking.error_backoffs = (
        0.5,
        1,
        2,
        4,
        *[5] * 60,
    )  # by default up to four minutes, in which nothing is seen
    ours.watching.server_timeout = 240
    ours.watching.client_timeout = 250
    ours.watching.inactivity_timeout = 70
    ours.watching.chunk_size = PAGE
    ours.queueing.worker_limit = 50
    ours.queueing.idle_timeout = IDLE_SECONDS
    ours.persistence.diffbase_storage, ours.persistence.progress_storage = NoDiff(), NoProgress()
    ours.process.ultimate_exiting_timeout = None
    for kind in WATCHED:
        if kind != "GameCluster":
            group, version, plural = KINDS[kind]
            ours.watching.label_selectors[group, version, plural] = names.SELECT_MANAGED
    return ours


class Loop:
    """The workers, the resync and the lists. ``beat``: when it was last seen alive; ``listed``: once all is known; ``gap``: set by
    who knows that the watches may have missed something."""

    def __init__(self, settings: Settings, kube: Kube, store: Store, queue: WorkQueue, reconciler: Reconciler) -> None:
        self.settings, self.kube, self.store, self.queue, self.reconciler = settings, kube, store, queue, reconciler
        self.beat = time.monotonic()
        self.listed = asyncio.Event()
        self.gap = asyncio.Event()
        self.reconciled = 0
        self.failed = 0
        self._places = asyncio.Semaphore(settings.workers)

    async def run(self) -> None:
        """Until it is cancelled. Raises what ended a part of it, or RuntimeError if that was cancelled by somebody else."""
        parts = [self._resync(), self._relist(), *(self._work() for _ in range(self.settings.workers * MOST_SLOW))]
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            ended = next(iter(done))
            if ended.cancelled():
                raise RuntimeError("a part of the operator was cancelled")
            ended.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def list_all(self) -> None:
        """Raises KubeError."""
        for namespace in self.settings.namespaces or (None,):
            for kind in LISTED:  # one after another: all of them at once are what takes the most memory
                for obj in self.store.listed(kind, namespace, *await self._list(kind, namespace)):
                    if (key := key_of(obj)) is not None:
                        self.queue.add(key)

    async def _list(self, kind: str, namespace: str | None) -> tuple[list[Object], int]:
        try:
            return await self.kube.list(kind, namespace, None if kind == "GameCluster" else names.SELECT_MANAGED)
        except (NotFound, Refused):
            if kind not in OPTIONAL:
                raise
            return [], sys.maxsize

    async def _work(self) -> None:
        await self.listed.wait()
        while True:
            place = _Place(self._places)
            async with place:
                key = await self.queue.get()
                place.leave_after(SLOW_SECONDS)
                await self._reconcile(key)

    async def _reconcile(self, key: Key) -> None:
        started = time.monotonic()
        try:
            async with asyncio.timeout(60):
                seconds = await self.reconciler.reconcile(key)
        except Conflict as error:  # somebody was faster: what they wrote is on its way here
            log.debug("%s/%s again at once: %s", *key, error)
            self.queue.done(key, CONFLICT_SECONDS)
        except (KubeError, TimeoutError) as error:
            self._failed(key, error, trace=False)
        except Exception as error:
            self._failed(key, error, trace=True)
        else:
            self.reconciled += 1
            self.queue.done(key, seconds)
        log.debug("%s/%s reconciled in %.0f ms", *key, (time.monotonic() - started) * 1000)

    def _failed(self, key: Key, error: Exception, *, trace: bool) -> None:
        self.failed += 1
        seconds = self.queue.failed(key, error.retry_after_seconds if isinstance(error, Unavailable) else 0)
        log.warning("%s/%s again in %.1f s: %s: %s", *key, seconds, type(error).__name__, error, exc_info=trace)

    async def _resync(self) -> None:
        while True:
            self.beat = time.monotonic()
            for key in self.store.clusters():
                self.queue.nudge(key)
            await asyncio.sleep(self.settings.resync_seconds)

    async def _relist(self) -> None:
        while True:
            seconds = self.settings.relist_seconds
            try:
                await self.list_all()
                self.listed.set()
            except KubeError as error:
                hint = (
                    "" if self.listed.is_set() else " (is crds/gameclusters.yaml applied, and may this account list?)"
                )
                log.warning("could not list%s: %s", hint, error)
                seconds = LIST_AGAIN_SECONDS if hint else seconds
            await self._until_a_gap(seconds)

    async def _until_a_gap(self, seconds: float) -> None:
        timer = asyncio.get_running_loop().call_later(seconds, self.gap.set)
        try:
            await self.gap.wait()
        finally:
            timer.cancel()
        await asyncio.sleep(GAP_SECONDS)  # of other kinds too, most likely
        self.gap.clear()


class _Place:
    """A worker's place, which it leaves early when it takes long."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places = places
        self._is_left = False
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> None:
        await self._places.acquire()

    def leave_after(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._leave)

    async def __aexit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._leave()

    def _leave(self) -> None:
        if not self._is_left:
            self._is_left = True
            self._places.release()
