"""A Kubernetes API server that knows Leases: GET, merge PATCH, watch, over HTTP on 127.0.0.1. With faults on order."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]


class Fault(StrEnum):
    """What the next request of a verb meets."""

    conflict = "409, not applied"
    forbidden = "403, not applied"
    too_many = "429, not applied"
    error = "500 in plain text, not applied"
    error_applied = "504, though it was applied"
    silence = "never answered, not applied"
    silence_applied = "never answered, though it was applied"
    reset = "connection cut, not applied"
    reset_applied = "connection cut, though it was applied"
    rubbish = "200 with something that is no Lease"
    unauthorized = "401, not applied"


APPLIED = (Fault.error_applied, Fault.silence_applied, Fault.reset_applied)


class FakeKubernetes:
    """``requests`` has every (verb, bearer token) that came in. ``faults``: verb (get, patch, watch) → faults to come."""

    def __init__(self) -> None:
        self.leases: dict[str, Object] = {}
        self.version = 100
        self.faults: dict[str, deque[Fault]] = {"get": deque(), "patch": deque(), "watch": deque()}
        self.requests: list[tuple[str, str]] = []
        self.events: list[tuple[int, str, Object]] = []
        self.url = ""
        self._changed = asyncio.Condition()
        self._connections: set[asyncio.StreamWriter] = set()

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[FakeKubernetes]:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            self.drop_connections()

    def drop_connections(self) -> None:
        for writer in self._connections:
            writer.transport.abort()

    async def put(self, name: str, lease: Object) -> int:
        """Somebody else creates or replaces a Lease."""
        return await self._store(name, lease, "MODIFIED" if name in self.leases else "ADDED")

    async def delete(self, name: str) -> None:
        await self._store(name, self.leases.pop(name), "DELETED")

    async def _store(self, name: str, lease: Object, kind: str) -> int:
        self.version += 1
        lease = json.loads(json.dumps(lease))
        lease["metadata"] = {**lease["metadata"], "name": name, "resourceVersion": str(self.version)}
        if kind != "DELETED":
            self.leases[name] = lease
        self.events.append((self.version, kind, lease))
        async with self._changed:
            self._changed.notify_all()
        return self.version

    # --- HTTP

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._request(head.decode(), reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, _Cut):
            pass
        finally:
            self._connections.discard(writer)
            writer.transport.abort()

    async def _request(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, *rest = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (row.partition(":") for row in rest)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        method, target, _ = line.split(" ")
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        verb = "watch" if query.get("watch") == "true" else method.lower()
        self.requests.append((verb, headers.get("authorization", "").removeprefix("Bearer ")))
        fault = self.faults[verb].popleft() if self.faults[verb] else None
        if fault is None and verb == "watch":
            await self._watch(query, writer)
        else:
            await self._answer(verb, url.path.rsplit("/", 1)[-1], json.loads(body or b"null"), fault, writer)

    async def _answer(self, verb: str, name: str, body: Any, fault: Fault | None, writer: asyncio.StreamWriter) -> None:
        code, answer = 200, None
        if fault is None or fault in APPLIED:
            code, answer = await self._patch(name, body) if verb == "patch" else self._get(name)
        match fault:
            case Fault.silence | Fault.silence_applied:
                await asyncio.sleep(3600)
            case Fault.reset | Fault.reset_applied:
                raise _Cut
            case Fault.rubbish:
                answer = {"items": "none"}
            case Fault.conflict:
                code, answer = _status(409, "the object has been modified")
            case Fault.forbidden:
                code, answer = _status(403, "leases is forbidden")
            case Fault.too_many:
                code, answer = _status(429, "too many requests")
            case Fault.unauthorized:
                code, answer = _status(401, "Unauthorized")
            case Fault.error_applied:
                code, answer = _status(504, "request did not complete within the allotted time")
            case Fault.error:
                code, answer = 500, "etcdserver: leader changed"
            case None:
                pass
        await _send(writer, code, answer)

    def _get(self, name: str) -> tuple[int, Object]:
        return (200, self.leases[name]) if name in self.leases else _status(404, f'leases "{name}" not found')

    async def _patch(self, name: str, patch: Object) -> tuple[int, Object]:
        if name not in self.leases:
            return _status(404, f'leases "{name}" not found')
        now = self.leases[name]
        wanted = patch["metadata"].get("resourceVersion")
        if wanted is not None and wanted != now["metadata"]["resourceVersion"]:
            return _status(409, "the object has been modified; please apply your changes to the latest version")
        changed = _merged(now, patch)
        if changed["spec"].get("leaseDurationSeconds", 1) <= 0 or changed["spec"].get("holderIdentity") == "":
            return _status(422, "Lease is invalid")
        if changed != now:  # a request that changes nothing writes nothing
            await self._store(name, changed, "MODIFIED")
        return 200, self.leases[name]

    async def _watch(self, query: dict[str, str], writer: asyncio.StreamWriter) -> None:
        name = query["fieldSelector"].removeprefix("metadata.name=")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        if since := int(query.get("resourceVersion", 0)):
            told = sum(version <= since for version, _, _ in self.events)
        else:
            told = len(self.events)
            if name in self.leases:
                self._event(writer, "ADDED", self.leases[name])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(float(query.get("timeoutSeconds", 60))):
                while not writer.is_closing():
                    for _, kind, lease in self.events[told:]:
                        if lease["metadata"]["name"] == name:
                            self._event(writer, kind, lease)
                    told = len(self.events)
                    await writer.drain()
                    await self._more_than(told)
        writer.write(b"0\r\n\r\n")

    async def _more_than(self, told: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.events) > told)

    def _event(self, writer: asyncio.StreamWriter, kind: str, lease: Object) -> None:
        line = json.dumps({"type": kind, "object": lease}).encode() + b"\n"
        writer.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")


class _Cut(Exception):
    """The connection is to be cut without an answer."""


def _merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    kept = {name: value for name, value in (target or {}).items() if patch.get(name, 0) is not None}
    return kept | {name: _merged(kept.get(name), value) for name, value in patch.items() if value is not None}


def _status(code: int, message: str) -> tuple[int, Object]:
    return code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}


async def _send(writer: asyncio.StreamWriter, code: int, answer: Any) -> None:
    is_text = isinstance(answer, str)
    body = (answer if is_text else json.dumps(answer)).encode()
    kind = "text/plain" if is_text else "application/json"
    writer.write(f"HTTP/1.1 {code} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()
