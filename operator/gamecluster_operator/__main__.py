"""``python -m gamecluster_operator [-n NS…]``."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import CoroutineType
from typing import Any

import kopf

from . import handlers, health
from .candidate import Candidate, new_identity
from .kube import ConfigError, Fenced, Kube
from .pods import AdminPods, Pods
from .queue import WorkQueue
from .reconciler import Reconciler
from .rest import RestKube
from .settings import Settings, parse
from .store import Store
from .watches import Watches

log = logging.getLogger("gamecluster_operator")

CLOSED_SECONDS = 20.0
"""kopf opens a watch anew after 5 s at most, and a request may take 10."""
END_SECONDS = 10.0


def main() -> int:
    settings = parse()
    _log_to_stderr(settings)
    try:
        return asyncio.run(run(settings))
    except ConfigError as error:
        log.error("no Kubernetes configuration (in a pod, or by KUBECONFIG, or ~/.kube/config): %s", error)
    except KeyboardInterrupt:
        return 130
    return 1


async def run(settings: Settings) -> int:
    """Until SIGTERM or SIGINT (returns 0), or until something ends that should not, or another replica leads (returns 1)."""
    kube, pods, stop = RestKube(), AdminPods(), asyncio.Event()
    candidate = None
    if settings.leader_election:
        candidate = Candidate(kube, settings.lease_namespace or kube.namespace, new_identity())
    loop = _parts(settings, kube, pods, candidate)
    watches = loop.watches
    server = None
    if settings.health_port:
        server = await health.serve(_health(loop, watches, candidate), settings.health_host, settings.health_port)
    _stop_on_signals(stop)
    try:
        if candidate is not None and not await _wins(candidate, stop):
            return 0
        return await _lead(settings, loop, watches, candidate, stop)
    finally:
        if server is not None:
            await server.cleanup()
        await pods.close()
        await kube.close()


def _parts(settings: Settings, kube: Kube, pods: Pods, candidate: Candidate | None) -> handlers.Loop:
    store, queue = Store(), WorkQueue()
    fenced = Fenced(kube, candidate.leads) if candidate is not None else kube
    return handlers.Loop(settings, fenced, store, queue, Reconciler(fenced, pods, store, settings, time.monotonic))


def _health(loop: handlers.Loop, watches: Watches, candidate: Candidate | None) -> health.Health:
    if candidate is None:
        return health.Health(loop, watches, lambda: True, loop.listed.is_set)
    return health.Health(loop, watches, candidate.leads, lambda: candidate.has_looked)


async def _wins(candidate: Candidate, stop: asyncio.Event) -> bool:
    """Waits until this process leads. False: stopped meanwhile."""
    log.info("waiting to lead")
    winning, stopped = asyncio.create_task(candidate.win()), asyncio.create_task(stop.wait())
    await asyncio.wait([winning, stopped], return_when=asyncio.FIRST_COMPLETED)
    await _end(winning, stopped)
    return candidate.leads()


async def _lead(
    settings: Settings, loop: handlers.Loop, watches: Watches, candidate: Candidate | None, stop: asyncio.Event
) -> int:
    """Works. In the end the last write comes first, then the Lease is given back, and only then kopf takes its time to end."""
    work = asyncio.create_task(loop.run())
    watch = asyncio.create_task(_watch(settings, loop, watches, stop))
    stopped = asyncio.create_task(stop.wait())
    keep = asyncio.create_task(candidate.keep()) if candidate is not None else stopped
    await asyncio.wait([work, watch, keep, stopped], return_when=asyncio.FIRST_COMPLETED)
    code = 0 if stop.is_set() else _complain(work, watch, keep)
    await _end(work, keep)
    if candidate is not None:
        await candidate.give_back()
    stop.set()
    await _end(watch, stopped)
    return code


def _complain(*tasks: asyncio.Task[Any]) -> int:
    for task in tasks:
        if task.done() and (error := task.exception()) is not None:
            log.error("ended by an error", exc_info=error)
        elif task.done():
            log.error("ended: %s", task.result())
    return 1


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=END_SECONDS)


async def _watch(settings: Settings, loop: handlers.Loop, watches: Watches, stop: asyncio.Event) -> None:
    """kopf, again and again: an error that the API server sends on a watch ends it. Returns once it is told to stop.

    Before it there is the first list: without the CRD kopf would have nothing to watch. When kopf ends by an error, it cancels all
    tasks that were begun after it and still run 5 s later: there is nothing of ours that does.
    """
    os.environ.setdefault("POD_ID", socket.gethostname())  # else kopf asks for the user's name: a container's has none
    await loop.listed.wait()
    log.info("watching GameClusters in %s", ", ".join(settings.namespaces) or "all namespaces")
    for pause in _pauses():
        try:
            await _watch_once(settings, loop, watches, stop)
            stop.set()
            return
        except Exception as error:
            log.warning("watching anew in %.0f s: %s", pause, error)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause)
        if stop.is_set():
            return


async def _watch_once(settings: Settings, loop: handlers.Loop, watches: Watches, stop: asyncio.Event) -> None:
    """kopf takes the signals to itself when it starts, and ends by itself then; once it is ready they are ours again."""
    ready = asyncio.Event()
    signals = asyncio.create_task(_once(ready, stop))
    watches.started()
    closed = asyncio.create_task(_closed(watches))
    watching = asyncio.create_task(
        kopf.operator(
            registry=handlers.registry(loop.store, loop.queue, watches),
            settings=handlers.kopf_settings(settings),
            standalone=True,
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
            stop_flag=stop,
            ready_flag=ready,
        )
    )
    try:
        await asyncio.wait({watching, closed}, return_when=asyncio.FIRST_COMPLETED)
        if not watching.done():
            raise TimeoutError(f"a watch was not opened again for {CLOSED_SECONDS:.0f} s")
        await watching
    finally:
        signals.cancel()
        closed.cancel()
        if not watching.done():
            await _end(watching)
            await _end(*_of_kopf())


async def _closed(watches: Watches) -> None:
    """Until one has been closed for so long that nobody opens it again: when an API server fails while kopf ends by an error, one of
    its watchers may take no notice (1.45: ``stream`` swallows the cancellation of a request), and kopf waits for that for ever."""
    while True:
        if watches.closed_seconds >= CLOSED_SECONDS:
            return
        await asyncio.sleep(CLOSED_SECONDS / 20)


def _of_kopf() -> list[asyncio.Task[Any]]:
    """What it left behind."""
    tasks = [(task, task.get_coro()) for task in asyncio.all_tasks()]
    return [t for t, c in tasks if isinstance(c, CoroutineType) and "kopf" in Path(c.cr_code.co_filename).parts]


def _pauses() -> Iterator[float]:
    yield from (1.0, 2.0, 4.0)
    while True:
        yield 8.0


async def _once(ready: asyncio.Event, stop: asyncio.Event) -> None:
    await ready.wait()
    _stop_on_signals(stop)


def _stop_on_signals(stop: asyncio.Event) -> None:
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        line = {"time": at, "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _log_to_stderr(settings: Settings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(_Json() if settings.log_format == "json" else plain)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("gamecluster_operator").setLevel(settings.log_level.upper())
    if settings.log_level != "debug":  # each failed request, with a traceback; what it means is told here once
        for noisy in ("kopf._cogs.clients", "kopf._core.reactor"):
            logging.getLogger(noisy).setLevel(logging.CRITICAL)


if __name__ == "__main__":
    sys.exit(main())
