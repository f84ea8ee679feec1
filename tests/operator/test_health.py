"""Liveness, with kopf's connections to an API server that falls silent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import kopf
import pytest
from aiohttp import web

from gamecluster_operator.handlers import Loop
from gamecluster_operator.health import SILENCE_SECONDS, Health, serve
from gamecluster_operator.queue import WorkQueue
from gamecluster_operator.settings import Settings
from gamecluster_operator.store import Store
from gamecluster_operator.watches import Watches

from .fakes import Clock, FakeKube

POD = {"type": "ADDED", "object": {"kind": "Pod", "metadata": {"name": "a"}}}
BOOKMARK = {"type": "BOOKMARK", "object": {"kind": "Pod", "metadata": {"resourceVersion": "7"}}}


class Api:
    """Opens every watch, and says nothing on it by itself."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.open: dict[str, web.StreamResponse] = {}
        self.over = asyncio.Event()

    async def say(self, path: str, event: object) -> None:
        await self.open[path].write(json.dumps(event).encode() + b"\n")


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async def watch(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        api.open[request.path] = response
        await api.over.wait()
        return response

    app = web.Application()
    app.router.add_get("/{path:.*}", watch)
    runner = web.AppRunner(app, shutdown_timeout=5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    api = Api(f"http://127.0.0.1:{port}")
    yield api
    api.over.set()
    await runner.cleanup()


class World:
    def __init__(self, *, leads: bool = True) -> None:
        self.clock = Clock()
        self.watches = Watches(self.clock)
        self.loop = Loop(Settings(), FakeKube(), Store(), WorkQueue(), None)  # type: ignore[arg-type]
        self.loop.listed.set()
        self.health = Health(self.loop, self.watches, lambda: leads, lambda: True, self.clock)
        self.loop.beat = self.clock()

    def passes(self, seconds: float) -> None:
        self.clock.seconds += seconds
        self.loop.beat = self.clock()


async def heard(stream: AsyncIterator[bytes], event: object) -> None:
    assert json.loads(await asyncio.wait_for(anext(stream), 5)) == event


async def test_a_watch_that_falls_silent_fails_liveness_and_a_bookmark_is_a_sign_of_life(api: Api) -> None:
    world = World()
    session = world.watches.session(kopf.ConnectionInfo(server=api.url)).aiohttp_session
    async with session, session.get(f"{api.url}/api/v1/pods", params={"watch": "true"}) as response:
        stream = response.content.iter_chunked(1_000)
        for event in (POD, BOOKMARK):
            world.passes(SILENCE_SECONDS - 1)
            await api.say("/api/v1/pods", event)
            await heard(stream, event)
            assert world.watches.silent_seconds == 0 and world.health.trouble() is None
        world.passes(SILENCE_SECONDS + 1)
        assert "silent for 91 s" in str(world.health.trouble())


async def test_one_watch_that_nobody_looks_after_is_not_hidden_by_others(api: Api) -> None:
    world = World()
    session = world.watches.session(kopf.ConnectionInfo(server=api.url)).aiohttp_session
    async with (
        session,
        session.get(f"{api.url}/api/v1/pods", params={"watch": "true"}),
        session.get(f"{api.url}/api/v1/services", params={"watch": "true"}) as busy,
    ):
        stream = busy.content.iter_chunked(1_000)
        world.passes(SILENCE_SECONDS + 1)
        await api.say("/api/v1/services", BOOKMARK)
        await heard(stream, BOOKMARK)
        assert world.health.trouble() is not None
        world.watches.opened("/api/v1/pods")
        assert world.health.trouble() is None, "kopf has opened it anew"


async def test_a_standby_watches_nothing_and_is_alive() -> None:
    world = World(leads=False)
    world.clock.seconds += 10 * SILENCE_SECONDS
    assert world.health.trouble() is None


async def test_a_resync_that_hangs_fails_liveness() -> None:
    world = World()
    world.clock.seconds += SILENCE_SECONDS + 1
    world.watches.brought("/api/v1/pods")
    assert "no resync" in str(world.health.trouble())


@pytest.mark.parametrize("leads", [True, False])
async def test_what_is_asked_for_is_told(leads: bool, unused_tcp_port: int) -> None:
    world = World(leads=leads)
    runner = await serve(world.health, "127.0.0.1", unused_tcp_port)
    url = f"http://127.0.0.1:{unused_tcp_port}"
    try:
        async with aiohttp.ClientSession() as session:
            for path in ("/livez", "/readyz"):
                assert (await session.get(url + path)).status == 200
            text = await (await session.get(f"{url}/metrics")).text()
            assert f"gamecluster_operator_leading {float(leads)}" in text
            world.clock.seconds += SILENCE_SECONDS + 1
            assert (await session.get(f"{url}/livez")).status == (503 if leads else 200)
    finally:
        await runner.cleanup()
