"""When each watch last gave a sign of life. kopf tells nobody of bookmarks, or that it lists anew: so this listens on its connections."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import kopf


class Watches:
    """Of each watch, by its path: when it was opened, and when it last brought an event or a bookmark.

    The API server sends a bookmark about once a minute to a watch without events, and one that brought nothing for 70 s is opened
    anew. So one that was neither opened nor brought anything for longer has nobody who looks after it.

    ``gap`` is called when kopf lists a kind, for the first time or again, as after a 410: it tells of what is there then, but not of
    what was deleted since others listed it, or since the watch ended.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, gap: Callable[[], None] = lambda: None) -> None:
        self._monotonic, self._gap = monotonic, gap
        self._alive: dict[str, float] = {}
        self._kopfs: set[str] = set()
        self._closed: dict[str, float] = {}
        self._brought = monotonic()

    def started(self) -> None:
        """kopf begins, or begins anew."""
        self._brought = self._monotonic()
        self._alive |= dict.fromkeys(self._kopfs, self._brought)
        self._closed = dict.fromkeys(self._kopfs, self._brought)

    def opened(self, path: str) -> None:
        self._alive[path] = self._monotonic()

    def opened_by_kopf(self, path: str) -> None:
        self.opened(path)
        self._kopfs.add(path)
        self._closed.pop(path, None)

    def closed_by_kopf(self, path: str) -> None:
        self._closed[path] = self._monotonic()

    @property
    def closed_seconds(self) -> float:
        """For how long one of kopf's has not been open."""
        return max((self._monotonic() - since for since in self._closed.values()), default=0.0)

    def listed(self) -> None:
        self._gap()

    def brought(self, path: str) -> None:
        self._alive[path] = self._brought = self._monotonic()

    @property
    def silent_seconds(self) -> float:
        """Since any of them brought something, or since one was last seen alive, whichever is longer."""
        return self._monotonic() - min([self._brought, *self._alive.values()])

    def session(self, info: kopf.ConnectionInfo) -> kopf.AiohttpSession:
        """What kopf would make of ``info`` itself, but listened to. kopf closes it."""
        watches = self

        class Response(aiohttp.ClientResponse):
            async def start(self, connection: Any) -> aiohttp.ClientResponse:
                response = await super().start(connection)
                if self.status != 200:
                    return response
                if self.url.query.get("watch") != "true":
                    watches.listed()
                    return response
                watches.opened_by_kopf(self.url.path)
                self.content = _Heard(self.content, watches, self.url.path)  # type: ignore[assignment]
                return response

        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
            headers=info.as_http_headers(),
            proxy=info.proxy_url,
            trust_env=info.trust_env,
            response_class=Response,
        )
        return kopf.AiohttpSession(
            server=info.server,
            priority=info.priority,
            default_namespace=info.default_namespace,
            expiration=info.expiration,
            aiohttp_session=session,
        )


class _Heard:
    """A response's content, of which every piece is a sign of life."""

    def __init__(self, content: aiohttp.StreamReader, watches: Watches, path: str) -> None:
        self._content, self._watches, self._path = content, watches, path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        try:
            async for piece in self._content.iter_chunked(size):
                self._watches.brought(self._path)
                yield piece
        finally:
            self._watches.closed_by_kopf(self._path)
