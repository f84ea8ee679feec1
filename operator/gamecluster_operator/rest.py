"""Kube over HTTP. JSON in, JSON out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import kopf
import msgspec

from .answers import Answer, change, decoded, page
from .kinds import KINDS, api_version
from .kube import Changes, ConfigError, Conflict, Expired, NotFound, Page, Refused, Unavailable
from .labels import FIELD_MANAGER, Object

TIMEOUT_SECONDS = 10.0
CONNECT_SECONDS = 3.0
PAGE = 500
"""Objects of a list in one answer: more take more memory, for a moment."""
WATCH_SECONDS = 240
"""The API server ends a watch then."""
SILENT_SECONDS = 70.0
"""The API server sends a bookmark about once a minute to a watch that has no changes: with none, nobody is there."""
LONGEST_LINE = 16 << 20
"""Bytes. etcd takes objects of 1.5 MB."""
JSON, APPLY, MERGE = "application/json", "application/apply-patch+yaml", "application/merge-patch+json"
UNANSWERED = (aiohttp.ClientError, OSError, TimeoutError)


Login = kopf.ConnectionInfo


def login(**kwargs: Any) -> Login:
    """In the cluster the pod's own credentials, else ``KUBECONFIG``, else ``~/.kube/config``. Raises ConfigError."""
    kwargs = {"settings": kopf.OperatorSettings(), **kwargs}
    try:
        found = kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)
    except (kopf.LoginError, OSError, LookupError, ValueError) as error:
        raise ConfigError(str(error) or type(error).__name__) from error
    if found is None:
        raise ConfigError("there is neither a service account nor a kubeconfig")
    return found


class RestKube:
    """Kube over HTTP, with the credentials that ``login`` finds. Nothing is tried again but what was refused with an old token."""

    def __init__(self, login: Callable[[], Login] = login) -> None:
        """Within an event loop. Raises ConfigError."""
        self._login = login
        self._found = login()
        connector = aiohttp.TCPConnector(limit=0, ssl=self._found.as_ssl_context())
        self._session = aiohttp.ClientSession(connector=connector, trust_env=self._found.trust_env)

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        try:
            return _complete(kind, await self._ask("GET", _path(kind, namespace, name)))
        except NotFound:
            return None

    async def pages(self, kind: str, namespace: str | None, selector: str | None) -> AsyncIterator[Page]:
        query = {"limit": str(PAGE), **_chosen(selector)}
        while True:
            part, more = page(kind, await self._said(_Request("GET", _path(kind, namespace), query)))
            yield part
            if not more:
                return
            query["continue"] = more

    @contextlib.asynccontextmanager
    async def watch(self, kind: str, namespace: str | None, selector: str | None, since: int) -> AsyncIterator[Changes]:
        query = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(WATCH_SECONDS)}
        query |= {"resourceVersion": str(since), **_chosen(selector)}
        response = await self._opened(_Request("GET", _path(kind, namespace), query=query, limits=_WATCHED))
        try:
            if response.status >= 300:
                raise (await _answer(response)).error()
            yield _changes(kind, response.content)
        finally:
            response.close()

    async def create(self, obj: Object) -> Object:
        kind, query = obj["kind"], {"fieldManager": FIELD_MANAGER}
        path = _path(kind, obj["metadata"]["namespace"])
        return _complete(kind, await self._ask("POST", path, obj, query=query))

    async def apply(self, obj: Object) -> Object:
        return await self._apply(_path_of(obj), obj)

    async def apply_status(self, obj: Object) -> Object:
        return await self._apply(f"{_path_of(obj)}/status", obj)

    async def replace(self, obj: Object) -> Object:
        query = {"fieldManager": FIELD_MANAGER}
        return _complete(obj["kind"], await self._ask("PUT", _path_of(obj), obj, query=query))

    async def merge(self, kind: str, namespace: str, name: str, patch: Object) -> Object:
        query = {"fieldManager": FIELD_MANAGER}
        try:
            return _complete(kind, await self._ask("PATCH", _path(kind, namespace, name), patch, MERGE, query))
        except Refused as error:
            if "metadata.uid" in str(error):  # to the API server another UID is not a conflict but a wrong field
                raise Conflict(str(error)) from error
            raise

    async def delete(self, kind: str, namespace: str, name: str, uid: str, grace_seconds: int | None = None) -> None:
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        with contextlib.suppress(NotFound):
            await self._ask("DELETE", _path(kind, namespace, name), options)

    @property
    def namespace(self) -> str:
        """That of the pod's ServiceAccount, or of the kubeconfig's context."""
        return self._found.default_namespace or "default"

    async def close(self) -> None:
        await self._session.close()

    async def _apply(self, path: str, obj: Object) -> Object:
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return _complete(obj["kind"], await self._ask("PATCH", path, obj, APPLY, query))

    async def _ask(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        content: str = JSON,
        query: dict[str, str] | None = None,
    ) -> Object:
        """Raises KubeError."""
        data = msgspec.json.encode(body) if body is not None else None
        found: Object = decoded(await self._said(_Request(method, path, query or {}, data, content)), Object)
        return found

    async def _said(self, request: _Request) -> bytes:
        """Raises KubeError."""
        response = await self._opened(request)
        async with response:
            answer = await _answer(response)
        if answer.status >= 300:
            raise answer.error()
        return answer.body

    async def _opened(self, request: _Request) -> aiohttp.ClientResponse:
        """Whatever is answered; its body is yet to come. Raises Unavailable."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                response = await self._send(request)
                if response.status == 401 and self._has_new_token():
                    response.close()
                    response = await self._send(request)
                return response
        except UNANSWERED as error:
            raise Unavailable(_text(error)) from error

    async def _send(self, request: _Request) -> aiohttp.ClientResponse:
        return await self._session.request(
            request.method,
            f"{self._found.server.rstrip('/')}{request.path}",
            params=request.query,
            data=request.data,
            headers={**self._found.as_http_headers(), "Content-Type": request.content, "Accept": JSON},
            proxy=self._found.proxy_url,
            allow_redirects=False,
            timeout=request.limits,
        )

    def _has_new_token(self) -> bool:
        """The kubelet replaces it within the hour that it is good for."""
        before, self._found = self._found.token, self._login()
        return self._found.token != before


_USUAL = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
_WATCHED = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS)


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    query: dict[str, str]
    data: bytes | None = None
    content: str = JSON
    limits: aiohttp.ClientTimeout = _USUAL


async def _answer(response: aiohttp.ClientResponse) -> Answer:
    """Raises Unavailable."""
    try:
        return Answer(response.status, response.headers.get("Retry-After", ""), await response.read())
    except UNANSWERED as error:
        raise Unavailable(_text(error)) from error


async def _changes(kind: str, content: aiohttp.StreamReader) -> Changes:
    rest = b""
    try:
        async for piece in content.iter_any():
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > LONGEST_LINE:
                raise Expired(f"a watch of {kind} brought a line without an end")
            if lines:
                yield [change(kind, line) for line in lines if line]
    except UNANSWERED as error:
        raise Unavailable(_text(error)) from error


def _chosen(selector: str | None) -> dict[str, str]:
    return {"labelSelector": selector} if selector else {}


def _text(error: Exception) -> str:
    if isinstance(error, aiohttp.SocketTimeoutError):
        return f"nothing for {SILENT_SECONDS:.0f} s"
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_SECONDS:.0f} s"
    return str(error) or type(error).__name__


def _complete(kind: str, obj: Any) -> Object:
    """Items of a list come without their kind."""
    return {**obj, "kind": kind, "apiVersion": api_version(kind)}


def _path_of(obj: Object) -> str:
    return _path(obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"])


def _path(kind: str, namespace: str | None, name: str | None = None) -> str:
    group, version, plural = KINDS[kind]
    api = f"/apis/{group}/{version}" if group else f"/api/{version}"
    where = f"/namespaces/{namespace}" if namespace else ""
    return f"{api}{where}/{plural}/{name}" if name else f"{api}{where}/{plural}"
