"""kopf's watch of GameClusters, and ours of what they own → the store and the work queue. An event handler only: kopf then writes nothing.

kopf makes a task and four copies of each event's object, and keeps something of each object: too much for the fifteen that a game owns.

Lists once a minute fill in what a watch may have missed, and the kinds that are not watched. Each cluster has one worker at most, and
one that takes long (the API server is slow for it alone) leaves its place to another: so no cluster waits for another's trouble.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import sys
import time
from typing import Any

import kopf

from . import labels as names
from .feed import Feed
from .indifferent import NoDiff, NoProgress
from .kinds import KINDS, OPTIONAL
from .kube import Change, Conflict, Kube, KubeError, NotFound, Refused, Unavailable
from .queue import WorkQueue
from .reconciler import Reconciler
from .rest import PAGE, SILENT_SECONDS, WATCH_SECONDS, login
from .settings import Settings
from .sighting import sighting_of
from .store import Key, News, Store
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
WATCHED = ("StatefulSet", "Pod", "Lease", "Secret", "Service")
OTHERS = ("ServiceAccount", "Role", "RoleBinding", "PodDisruptionBudget", "NetworkPolicy", "Ingress")
LISTED = ("GameCluster", *WATCHED, *OTHERS, *OPTIONAL)


def registry(store: Store, queue: WorkQueue, watches: Watches) -> kopf.OperatorRegistry:
    """One event handler. It is a coroutine: kopf runs others in threads, where the queue is not safe."""
    handlers = kopf.OperatorRegistry()

    async def on_event(event: Any, **_: Any) -> None:
        seen = sighting_of(event["object"])
        see(store, queue, Change(seen.version, seen, event["type"] == "DELETED"))

    async def log_in(**kwargs: Any) -> kopf.AiohttpSession:
        return watches.session(login(**kwargs))

    kopf.on.login(registry=handlers)(log_in)
    kopf.on.event(*KINDS["GameCluster"], id="see-gameclusters", registry=handlers)(on_event)
    return handlers


def see(store: Store, queue: WorkQueue, change: Change) -> None:
    """A Lease's renewal reaches the store, but wakes nobody."""
    if change.seen is None:
        return
    is_news = store.see_end(change.seen) if change.is_deleted else store.see(change.seen) is News.NEW
    if is_news and change.seen.cluster is not None:
        queue.add(change.seen.cluster)


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
    ours.watching.server_timeout = WATCH_SECONDS
    ours.watching.client_timeout = WATCH_SECONDS + 10
    ours.watching.inactivity_timeout = SILENT_SECONDS
    ours.watching.chunk_size = PAGE
    ours.queueing.worker_limit = 50
    ours.queueing.idle_timeout = IDLE_SECONDS
    ours.persistence.diffbase_storage, ours.persistence.progress_storage = NoDiff(), NoProgress()
    ours.process.ultimate_exiting_timeout = None
    return ours


class Loop:
    """The workers, the resync, the lists, and our watches. ``beat``: when it was last seen alive; ``listed``: once all is known;
    ``gap``: set when kopf may have missed something."""

    def __init__(self, settings: Settings, kube: Kube, store: Store, queue: WorkQueue, reconciler: Reconciler) -> None:
        self.settings, self.kube, self.store, self.queue, self.reconciler = settings, kube, store, queue, reconciler
        self.beat = time.monotonic()
        self.listed = asyncio.Event()
        self.gap = asyncio.Event()
        self.watches = Watches(gap=self.gap.set)
        self.reconciled = 0
        self.failed = 0
        self._places = asyncio.Semaphore(settings.workers)
        self._versions: dict[tuple[str, str | None], int] = {}

    async def run(self) -> None:
        """Until it is cancelled. Raises what ended a part of it, or RuntimeError if that was cancelled by somebody else."""
        watched = [self._follow(kind, namespace) for namespace in self._namespaces for kind in WATCHED]
        workers = [self._work() for _ in range(self.settings.workers * MOST_SLOW)]
        parts = [self._resync(), self._relist(), self._list_after_gaps(), *watched, *workers]
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

    @property
    def _namespaces(self) -> tuple[str | None, ...]:
        return self.settings.namespaces or (None,)

    async def list_all(self) -> None:
        """Raises KubeError."""
        for namespace in self._namespaces:
            for kind in LISTED:
                await self._list(kind, namespace)

    async def _list(self, kind: str, namespace: str | None) -> int:
        """What the watches had not told is looked at. Returns the list's version. Raises KubeError."""
        listing, version = self.store.listing(kind, namespace), 0
        try:
            async for page in self.kube.pages(kind, namespace, _selector(kind)):
                version = page.version
                for key in listing.page(page.sightings):
                    self.queue.add(key)
        except (NotFound, Refused):
            if kind not in OPTIONAL:
                raise
            version = sys.maxsize
        for key in listing.end(version):
            self.queue.add(key)
        self._versions[kind, namespace] = version
        return version

    async def _follow(self, kind: str, namespace: str | None) -> None:
        await self.listed.wait()

        def on_change(change: Change) -> None:
            see(self.store, self.queue, change)

        again = functools.partial(self._list, kind, namespace)
        feed = Feed(self.kube, kind, namespace, _selector(kind), self.watches, on_change, again)
        await feed.run(self._versions[kind, namespace])

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
            await asyncio.sleep(seconds)

    async def _list_after_gaps(self) -> None:
        """What kopf watches."""
        await self.listed.wait()
        while True:
            await self.gap.wait()
            await asyncio.sleep(GAP_SECONDS)  # kopf's list has more pages
            self.gap.clear()
            try:
                for namespace in self._namespaces:
                    await self._list("GameCluster", namespace)
            except KubeError as error:
                log.debug("could not list after a gap: %s", error)
                self.gap.set()


def _selector(kind: str) -> str | None:
    return None if kind == "GameCluster" else names.SELECT_MANAGED


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
