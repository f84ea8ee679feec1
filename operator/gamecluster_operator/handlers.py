"""kopf's watches → the store and the work queue. Event handlers only: kopf then writes nothing to any object.

Lists once a minute fill in what a watch may have missed, and the kinds that are not watched.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import kopf

from . import labels as names
from .kube import KINDS, Conflict, Kube, KubeError
from .labels import IN_SYNC, NEVER_HELD, Object
from .queue import WorkQueue
from .reconciler import Reconciler
from .settings import Settings
from .store import Key, Store, key_of

log = logging.getLogger(__name__)

CONFLICT_SECONDS = 0.3
WATCHED = ("GameCluster", "StatefulSet", "Pod", "Lease", "Secret", "Service")
LISTED = (*WATCHED, "ServiceAccount", "Role", "RoleBinding", "PodDisruptionBudget")


def registry(store: Store, queue: WorkQueue) -> kopf.OperatorRegistry:
    """One event handler for each watched kind."""
    handlers = kopf.OperatorRegistry()

    def on_event(event: Any, **_: Any) -> None:
        obj: Object = event["object"]
        key = key_of(obj)
        deleted = event["type"] == "DELETED"
        before = store.get(obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"])
        news = store.drop(obj) if deleted else store.put(obj)
        if news and key is not None and not (is_renewal(before, obj) and not deleted):
            queue.add(key)

    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    kopf.on.login(registry=handlers)(login)
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
    ours.watching.server_timeout = 240
    ours.watching.client_timeout = 250
    ours.queueing.worker_limit = 50
    ours.process.ultimate_exiting_timeout = None
    for kind in WATCHED:
        if kind != "GameCluster":
            group, version, plural = KINDS[kind]
            ours.watching.label_selectors[group, version, plural] = names.SELECT_MANAGED
    return ours


class Loop:
    """The workers, the resync and the lists. ``beat``: when it was last seen alive."""

    def __init__(self, settings: Settings, kube: Kube, store: Store, queue: WorkQueue, reconciler: Reconciler) -> None:
        self.settings, self.kube, self.store, self.queue, self.reconciler = settings, kube, store, queue, reconciler
        self.beat = time.monotonic()
        self.reconciled = 0
        self.failed = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._resync())
            tasks.create_task(self._relist())
            for _ in range(self.settings.workers):
                tasks.create_task(self._work())

    async def list_all(self) -> None:
        """Raises KubeError."""
        for namespace in self.settings.namespaces or (None,):
            for kind in LISTED:
                selector = None if kind == "GameCluster" else names.SELECT_MANAGED
                objects, version = await self.kube.list(kind, namespace, selector)
                for obj in self.store.listed(kind, namespace, objects, version):
                    if (key := key_of(obj)) is not None:
                        self.queue.add(key)

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
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
            self._failed(key, f"{type(error).__name__}: {error}", trace=False)
        except Exception as error:
            self._failed(key, f"{type(error).__name__}: {error}", trace=True)
        else:
            self.reconciled += 1
            self.queue.done(key, seconds)
        log.debug("%s/%s reconciled in %.0f ms", *key, (time.monotonic() - started) * 1000)

    def _failed(self, key: Key, text: str, *, trace: bool) -> None:
        self.failed += 1
        seconds = self.queue.failed(key)
        log.warning("%s/%s again in %.1f s: %s", *key, seconds, text, exc_info=trace)

    async def _resync(self) -> None:
        while True:
            self.beat = time.monotonic()
            for key in self.store.clusters():
                self.queue.add(key)
            await asyncio.sleep(self.settings.resync_seconds)

    async def _relist(self) -> None:
        while True:
            await asyncio.sleep(self.settings.relist_seconds)
            try:
                await self.list_all()
            except KubeError as error:
                log.warning("could not list: %s", error)
