"""What the operator asks of the Kubernetes API: ``Kube``, which ``rest.py`` is over HTTP. (kopf asks for GameClusters by itself.)"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

import msgspec

from .labels import Object
from .sighting import Sighting, trimmed
from .spec import OperatorError


class ConfigError(OperatorError):
    """It is not known where the API server is, or who asks."""


class KubeError(OperatorError):
    """The API server's answer is no, or there is none."""


class Conflict(KubeError):
    """409: somebody was faster, or it is there already. Read again, decide again."""


class Refused(KubeError):
    """400, 403, 413, 422: this request will never be accepted as it is."""


class Unavailable(KubeError):
    """No answer, or one that may be different next time. A write may have landed. ``retry_after_seconds``: as the API server asks."""

    def __init__(self, text: str = "", retry_after_seconds: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after_seconds = retry_after_seconds


class Expired(KubeError):
    """410, or any error that is told in a watch: nobody knows what happened since, so that all has to be listed."""


class NotLeading(KubeError):
    """This process is not, or no more, the one that may write. Nothing was sent."""


class NotFound(Unavailable):
    """404 of a write: the object, or its namespace, is gone; the next look will show it. Of an optional kind: it is unknown."""


@dataclass(frozen=True)
class Page:
    """A part of a list. ``version``: of the whole list, the same in each of its pages."""

    sightings: list[Sighting]
    version: int


@dataclass(frozen=True)
class Change:
    """``seen`` None: a bookmark, which says only that there was nothing else up to that version."""

    version: int
    seen: Sighting | None = None
    is_deleted: bool = False


Changes = AsyncIterator[list[Change]]
"""As many at a time as have come. Raises Expired and Unavailable; ends when the API server ends it."""


class Kube(Protocol):
    """Kinds are named as in ``KINDS``. Every method may raise Unavailable; writes Conflict and Refused besides."""

    async def get(self, kind: str, namespace: str, name: str) -> Object | None: ...

    def pages(self, kind: str, namespace: str | None, selector: str | None) -> AsyncIterator[Page]:
        """Everything of a kind (``namespace`` None: everywhere): one page at least. Raises Expired if it takes too long."""
        ...

    def watch(
        self, kind: str, namespace: str | None, selector: str | None, since: int
    ) -> AbstractAsyncContextManager[Changes]:
        """What happened after that version, and what happens, for some minutes. Entering it waits until the API server has answered."""
        ...

    async def create(self, obj: Object) -> Object: ...

    async def apply(self, obj: Object) -> Object:
        """Server-side apply: the fields of ``obj`` become ours and as given; those that we gave before and don't now go. With
        ``metadata.uid`` and ``resourceVersion`` in it: on condition that they still are the object's."""
        ...

    async def apply_status(self, obj: Object) -> Object:
        """The same for a GameCluster's status; on condition that ``metadata.resourceVersion`` still is the object's, so that no status
        ends up at another object of the same name. (A UID is ignored there.)"""
        ...

    async def replace(self, obj: Object) -> Object:
        """On condition that ``metadata.resourceVersion`` still is the object's."""
        ...

    async def merge(self, kind: str, namespace: str, name: str, patch: Object) -> Object:
        """JSON merge patch. With ``metadata.uid`` in it: on condition that it is that very object."""
        ...

    async def delete(self, kind: str, namespace: str, name: str, uid: str, grace_seconds: int | None = None) -> None:
        """On condition that it is that very object. Nothing happens if none of that name is there."""
        ...


async def list_all(kube: Kube, kind: str, namespace: str | None, selector: str | None) -> list[Object]:
    """As much of each as is ever looked at."""
    pages = [page async for page in kube.pages(kind, namespace, selector)]
    return [msgspec.json.decode(trimmed(seen)) for page in pages for seen in page.sightings]


class Fenced:
    """Passes on what a process asks that may write. Once it may not, its writes end here, whatever they were decided on."""

    def __init__(self, kube: Kube, may_write: Callable[[], bool]) -> None:
        self._kube, self._may_write = kube, may_write

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        return await self._kube.get(kind, namespace, name)

    def pages(self, kind: str, namespace: str | None, selector: str | None) -> AsyncIterator[Page]:
        return self._kube.pages(kind, namespace, selector)

    def watch(
        self, kind: str, namespace: str | None, selector: str | None, since: int
    ) -> AbstractAsyncContextManager[Changes]:
        return self._kube.watch(kind, namespace, selector, since)

    async def create(self, obj: Object) -> Object:
        return await self._open.create(obj)

    async def apply(self, obj: Object) -> Object:
        return await self._open.apply(obj)

    async def apply_status(self, obj: Object) -> Object:
        return await self._open.apply_status(obj)

    async def replace(self, obj: Object) -> Object:
        return await self._open.replace(obj)

    async def merge(self, kind: str, namespace: str, name: str, patch: Object) -> Object:
        return await self._open.merge(kind, namespace, name, patch)

    async def delete(self, kind: str, namespace: str, name: str, uid: str, grace_seconds: int | None = None) -> None:
        await self._open.delete(kind, namespace, name, uid, grace_seconds)

    @property
    def _open(self) -> Kube:
        if not self._may_write():
            raise NotLeading("another replica of the operator may be leading")
        return self._kube
