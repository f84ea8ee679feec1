"""``GET /livez`` (503 when the operator hangs, or hears nothing), ``GET /readyz`` and ``GET /metrics``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .handlers import Loop
from .watches import Watches

SILENCE_SECONDS = 90.0


@dataclass(frozen=True)
class Health:
    """What is asked for it. ``leads``: this process works, rather than wait until it may; ``has_looked``: the API server has
    answered it."""

    loop: Loop
    watches: Watches
    leads: Callable[[], bool]
    has_looked: Callable[[], bool]
    monotonic: Callable[[], float] = time.monotonic

    def trouble(self) -> str | None:
        """Why a restart would help. A standby answers: that is all that it has to do."""
        if not self.leads() or not self.loop.listed.is_set():
            return None
        silent = self.monotonic() - self.loop.beat
        if silent > SILENCE_SECONDS:
            return f"no resync for {silent:.0f} s"
        if self.watches.silent_seconds > SILENCE_SECONDS:
            return f"a watch has been silent for {self.watches.silent_seconds:.0f} s"
        return None


class _Figures(Collector):
    def __init__(self, health: Health) -> None:
        self._health = health

    def collect(self) -> Iterator[Metric]:
        loop, leads = self._health.loop, self._health.leads()
        yield GaugeMetricFamily("gamecluster_operator_leading", "1: works; 0: waits to take over.", value=int(leads))
        yield CounterMetricFamily("gamecluster_operator_reconciled", "Looks at a cluster.", value=loop.reconciled)
        yield CounterMetricFamily(
            "gamecluster_operator_failed", "Looks at a cluster that have to be repeated.", value=loop.failed
        )
        yield GaugeMetricFamily("gamecluster_operator_waiting", "Clusters waiting for a worker.", value=len(loop.queue))
        if leads and loop.listed.is_set():
            silent = self._health.watches.silent_seconds
            yield GaugeMetricFamily(
                "gamecluster_operator_watch_silence_seconds", "Since the watches brought something.", value=silent
            )


async def serve(health: Health, host: str, port: int) -> web.AppRunner:
    """Until ``cleanup()`` of what it returns."""
    metrics = CollectorRegistry()
    metrics.register(_Figures(health))

    async def livez(_: web.Request) -> web.Response:
        trouble = health.trouble()
        return web.Response(status=503, text=f"{trouble}\n") if trouble else web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        if not health.has_looked():
            return web.Response(status=503, text="the API server has not answered yet\n")
        return web.Response(text="ok\n")

    async def figures(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics), headers={"Content-Type": "text/plain; version=0.0.4"})

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", figures)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
