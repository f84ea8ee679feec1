"""``GET /livez`` (503 when the operator hangs) and ``GET /metrics``."""

from __future__ import annotations

import time
from collections.abc import Iterator

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .handlers import Loop

SILENCE_SECONDS = 90.0


class _Figures(Collector):
    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily("gamecluster_operator_reconciled", "Looks at a cluster.", value=self._loop.reconciled)
        yield CounterMetricFamily(
            "gamecluster_operator_failed", "Looks at a cluster that have to be repeated.", value=self._loop.failed
        )
        yield GaugeMetricFamily(
            "gamecluster_operator_waiting", "Clusters waiting for a worker.", value=len(self._loop.queue)
        )


async def serve(loop: Loop, host: str, port: int) -> web.AppRunner:
    """Until ``cleanup()`` of what it returns."""
    metrics = CollectorRegistry()
    metrics.register(_Figures(loop))

    async def livez(_: web.Request) -> web.Response:
        silent = time.monotonic() - loop.beat
        if silent > SILENCE_SECONDS:
            return web.Response(status=503, text=f"no resync for {silent:.0f} s\n")
        return web.Response(text="ok\n")

    async def figures(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics), headers={"Content-Type": "text/plain; version=0.0.4"})

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/metrics", figures)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
