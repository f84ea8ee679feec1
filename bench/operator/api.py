"""The bench's own way to the API server: plain JSON, as the cluster's administrator."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import yaml

Object = dict[str, Any]
MERGE = "application/merge-patch+json"
CHUNK = 500
LINE_BYTES = 1 << 20


class ApiError(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text[:300]}")
        self.code = code


class Api:
    """``kubeconfig``: with a client certificate in it, as ``apiserver-up`` writes."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        self._server = config["clusters"][0]["cluster"]["server"]
        connector = aiohttp.TCPConnector(limit=64, ssl=_tls(config))
        watching = aiohttp.TCPConnector(limit=0, ssl=_tls(config))
        self._session = aiohttp.ClientSession(connector=connector)
        self._watching = aiohttp.ClientSession(connector=watching, timeout=_NO_LIMIT, read_bufsize=LINE_BYTES)

    async def __aenter__(self) -> Api:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self._watching.close()

    async def ask(self, method: str, path: str, body: Object | None = None, kind: str = "application/json") -> Object:
        """Raises ApiError."""
        data = json.dumps(body).encode() if body is not None else None
        async with self._session.request(
            method, f"{self._server}{path}", data=data, headers={"Content-Type": kind}
        ) as r:
            text = await r.text()
            if r.status >= 400:
                raise ApiError(r.status, text)
            found: Object = json.loads(text)
            return found

    async def list(self, path: str) -> tuple[list[Object], str]:
        """The objects, and the version of the list."""
        objects: list[Object] = []
        more = ""
        while True:
            page = await self.ask("GET", f"{path}{'&' if '?' in path else '?'}limit={CHUNK}&continue={more}")
            objects += page["items"]
            more = page["metadata"].get("continue", "")
            if not more:
                return objects, page["metadata"]["resourceVersion"]

    async def follow(self, path: str, see: Callable[[str, Object], None]) -> None:
        """Tells of every object that is there, and then of every change, until it is cancelled: ADDED, MODIFIED, DELETED."""
        objects, version = await self.list(path)
        for obj in objects:
            see("ADDED", obj)
        while True:
            async for event in self._watch(path, version):
                obj = event["object"]
                if event["type"] == "ERROR":
                    raise ApiError(obj.get("code", 0), obj.get("message", ""))
                version = obj["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    see(event["type"], obj)

    async def _watch(self, path: str, version: str) -> AsyncIterator[Object]:
        query = f"{'&' if '?' in path else '?'}watch=true&allowWatchBookmarks=true&resourceVersion={version}"
        async with self._watching.get(f"{self._server}{path}{query}") as answer:
            if answer.status >= 400:
                raise ApiError(answer.status, await answer.text())
            async for line in answer.content:
                event: Object = json.loads(line)
                yield event


async def at_once(count: int, calls: list[Callable[[], Any]]) -> None:
    """So many at a time."""
    places = asyncio.Semaphore(count)

    async def one(call: Callable[[], Any]) -> None:
        async with places:
            await call()

    async with asyncio.TaskGroup() as tasks:
        for call in calls:
            tasks.create_task(one(call))


_NO_LIMIT = aiohttp.ClientTimeout(total=None)


def _tls(config: Object) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=_pem(config["clusters"][0]["cluster"]["certificate-authority-data"]))
    user = config["users"][0]["user"]
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = Path(folder, "crt"), Path(folder, "key")
        certificate.write_text(_pem(user["client-certificate-data"]))
        key.write_text(_pem(user["client-key-data"]))
        context.load_cert_chain(certificate, key)
    return context


def _pem(data: str) -> str:
    return base64.b64decode(data).decode()
