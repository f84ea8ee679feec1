"""A proxy before the API server that does what API servers do on bad days."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from .server import wait_for


@dataclass
class Fault:
    """What is done to requests of that method and path. ``times``: to how many; ``code``: answered instead of asking;
    ``seconds``: waited before."""

    method: str
    path: str
    times: float = float("inf")
    code: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def takes(self, request: web.Request) -> bool:
        matches = re.fullmatch(self.method, request.method) and re.search(self.path, request.path)
        if not matches or request.query.get("watch") == "true" or self.times <= 0:
            return False
        self.times -= 1
        return True


class Proxy:
    """``kubeconfig``: of an account, with ``server`` through here. Runs in a thread; ``asked``: (method, path, monotonic time)."""

    def __init__(self, kubeconfig: Path) -> None:
        self.config = yaml.safe_load(kubeconfig.read_text())
        cluster = self.config["clusters"][0]["cluster"]
        self._server, self._ca = cluster["server"], cluster["certificate-authority-data"]
        self.faults: list[Fault] = []
        self.asked: list[tuple[str, str, float]] = []
        self.deaf = threading.Event()
        self.lost = 0
        self._watches: set[asyncio.Queue[bytes | None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._runner, port = self._do(self._start())
        self.kubeconfig = kubeconfig.with_name("proxy.kubeconfig")
        self.config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{port}"}
        self.kubeconfig.write_text(yaml.safe_dump(self.config))

    def close(self) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def end_watches(self, code: int) -> None:
        """An ERROR event on each, and its end."""
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "by the test"}
        line = json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"
        self._loop.call_soon_threadsafe(lambda: [q.put_nowait(piece) for q in self._watches for piece in (line, None)])

    def close_watches(self, but: int) -> None:
        """All but so many of them end, without an error."""
        self._loop.call_soon_threadsafe(lambda: [q.put_nowait(None) for q in list(self._watches)[but:]])

    def times(self, method: str, path: str, since: float = 0.0) -> list[float]:
        return [at for m, p, at in list(self.asked) if m == method and re.search(path, p) and at >= since]

    @property
    def watching(self) -> int:
        return len(self._watches)

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _start(self) -> tuple[web.AppRunner, int]:
        context = ssl.create_default_context(cadata=_pem(self._ca))
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, ssl=context))
        app = web.Application(client_max_size=16 << 20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return runner, site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def _stop(self) -> None:
        for queue in self._watches:
            queue.put_nowait(None)
        await self._runner.cleanup()
        await self._session.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.path, time.monotonic()))
        for fault in self.faults:
            if fault.takes(request):
                await asyncio.sleep(fault.seconds)
                if fault.code is not None:
                    status = {"kind": "Status", "apiVersion": "v1", "code": fault.code, "message": "by the test"}
                    return web.json_response(status, status=fault.code, headers=fault.headers)
        headers = {k: v for k, v in request.headers.items() if k.lower() in ("authorization", "content-type", "accept")}
        body = await request.read()
        asked = self._session.request(
            request.method, f"{self._server}{request.path_qs}", headers=headers, data=body or None, timeout=_NO_LIMIT
        )
        async with asked as answer:
            if request.query.get("watch") == "true" and answer.status == 200:
                return await self._pass_on(request, answer)
            kept = {k: v for k, v in answer.headers.items() if k.lower() in ("content-type", "retry-after")}
            return web.Response(body=await answer.read(), status=answer.status, headers=kept)

    async def _pass_on(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        """Line by line; what comes while ``deaf`` is lost."""
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._watches.add(queue)
        reading = asyncio.create_task(self._read(answer, queue))
        try:
            while (piece := await queue.get()) is not None:
                await response.write(piece)
        except ConnectionError:
            pass
        finally:
            reading.cancel()
            self._watches.discard(queue)
        return response

    async def _read(self, answer: aiohttp.ClientResponse, queue: asyncio.Queue[bytes | None]) -> None:
        async for piece in answer.content.iter_any():
            if self.deaf.is_set():
                self.lost += 1
            else:
                queue.put_nowait(piece)
        queue.put_nowait(None)


_NO_LIMIT = aiohttp.ClientTimeout(total=None)


def _pem(data: str) -> str:
    return base64.b64decode(data).decode()


def seconds_until(look: Callable[[], Any], what: str, limit: float) -> float:
    began = time.monotonic()
    wait_for(look, what, limit)
    return time.monotonic() - began
