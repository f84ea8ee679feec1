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
from contextlib import suppress

import kopf
from lightkube import ConfigError

from . import handlers, health
from .kube import KubeError, LightKube
from .pods import AdminPods
from .queue import WorkQueue
from .reconciler import Reconciler
from .settings import Settings, parse
from .store import Store

log = logging.getLogger("gamecluster_operator")


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
    """Until SIGTERM or SIGINT (returns 0), or until something ends that should not (returns 1)."""
    store, queue, kube, pods = Store(), WorkQueue(), LightKube(), AdminPods()
    reconciler = Reconciler(kube, pods, store, settings, time.monotonic)
    loop = handlers.Loop(settings, kube, store, queue, reconciler)
    server = await health.serve(loop, settings.health_host, settings.health_port) if settings.health_port else None
    stop = asyncio.Event()
    _stop_on_signals(stop)
    try:
        if not await _first_list(loop, stop):
            return 0
        where = ", ".join(settings.namespaces) or "all namespaces"
        log.info("watching GameClusters in %s", where)
        return await _until_stopped(settings, loop, stop)
    finally:
        if server is not None:
            await server.cleanup()
        await pods.close()
        await kube.close()


async def _first_list(loop: handlers.Loop, stop: asyncio.Event) -> bool:
    """Waits for the API server and for the CRD. False: stopped meanwhile."""
    while not stop.is_set():
        loop.beat = time.monotonic()
        try:
            await loop.list_all()
            return True
        except KubeError as error:
            log.warning("can't list yet (is crds/gameclusters.yaml applied, and may this account list?): %s", error)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 2)
    return False


async def _until_stopped(settings: Settings, loop: handlers.Loop, stop: asyncio.Event) -> int:
    """kopf takes the signals to itself when it starts, and ends by itself then; once it is ready they are ours again."""
    os.environ.setdefault("POD_ID", socket.gethostname())  # else kopf asks for the user's name: a container's has none
    ready = asyncio.Event()
    watching = kopf.operator(
        registry=handlers.registry(loop.store, loop.queue),
        settings=handlers.kopf_settings(settings),
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
        stop_flag=stop,
        ready_flag=ready,
    )
    watch, work = asyncio.create_task(watching), asyncio.create_task(loop.run())
    signals = asyncio.create_task(_once(ready, stop))
    await asyncio.wait([watch, work], return_when=asyncio.FIRST_COMPLETED)
    failure = next((t.exception() for t in (watch, work) if t.done() and not t.cancelled() and t.exception()), None)
    if failure is not None:
        log.error("ended by an error", exc_info=failure)
    for task in (watch, work, signals):
        task.cancel()
    await asyncio.wait([watch, work, signals], timeout=10)
    return 1 if failure is not None else 0


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


if __name__ == "__main__":
    sys.exit(main())
