"""A whole node in this process, on free ports, and clients for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from websockets.asyncio.client import ClientConnection, connect

from gamecluster.demo import Counter, Room
from gamecluster.settings import Settings
from gamecluster.shell.serve import Stop, run_node
from gamecluster.targets import Targets


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 (conditions of any kind)
            await asyncio.sleep(0.01)


@dataclass
class Running:
    settings: Settings
    stop: Stop
    task: asyncio.Task[None]
    http: httpx2.AsyncClient = field(default_factory=lambda: httpx2.AsyncClient(trust_env=False, timeout=5))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.port}"

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.settings.admin_port}"

    def connect(self, query: str = "?vsn=2.0.0", **options: Any) -> connect:
        options = {"compression": None, "proxy": None, "open_timeout": 5} | options
        return connect(f"ws://127.0.0.1:{self.settings.port}/socket/websocket{query}", **options)

    async def is_ready(self) -> bool:
        if self.task.done():
            self.task.result()
        try:
            return (await self.http.get(f"{self.admin}/readyz")).status_code == 200
        except httpx2.HTTPError:
            return False


@contextlib.asynccontextmanager
async def running(folder: Path, **changes: Any) -> AsyncIterator[Running]:
    port, mesh, admin = free_ports(3)
    settings = Settings(
        node="arena-0", port=port, mesh_port=mesh, admin_port=admin, data_dir=folder / "data", **changes
    )
    stop = Stop()
    node = Running(settings, stop, asyncio.create_task(run_node(settings, Targets(Counter, (Room,)), stop)))
    async with node.http:
        try:
            await until(node.is_ready)
            yield node
        finally:
            stop.ask("the test is over")
            async with asyncio.timeout(15):
                await node.task


async def ask(socket: ClientConnection, topic: str, event: str, payload: Any = None, ref: str = "1") -> Any:
    """Says something on a V2 socket and waits for its answer; what comes between is dropped."""
    await socket.send(json.dumps(["1", ref, topic, event, payload or {}]))
    while True:
        frame = await hear(socket)
        if frame[3] == "phx_reply" and frame[1] == ref:
            return frame[4]


async def hear(socket: ClientConnection) -> Any:
    async with asyncio.timeout(5):
        return json.loads(await socket.recv())
