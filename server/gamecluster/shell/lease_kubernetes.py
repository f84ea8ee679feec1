"""The Lease as a coordination.k8s.io/v1 object, over lightkube. ``docs/decisions/kubernetes-client.md`` has the reasons."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncGenerator, Awaitable
from pathlib import Path
from typing import TypeVar, cast

import httpx2
from lightkube import ApiError, AsyncClient, KubeConfig
from lightkube.core.exceptions import ConfigError
from lightkube.resources.coordination_v1 import Lease as LeaseObject
from lightkube.types import PatchType

from ..core.messages import Record
from ..errors import ConfigurationError
from .lease import LeaseConflict, LeaseError, LeaseUnanswered, LeaseUnreadable, OnRecord, parse_document, patch_of

log = logging.getLogger(__name__)

REQUEST_SECONDS = 2.0
WATCH_SECONDS = 30
"""The API server ends a watch after this long; one that lasts longer without an event has lost its server."""
STEADY_SECONDS = 10.0
"""A watch that lasted this long is tried again at once; others ever more slowly, up to 6 s."""

T = TypeVar("T")


class KubernetesLease:
    """One Lease by name. Needs the verbs get, patch and watch on that name; never creates it."""

    def __init__(
        self,
        namespace: str,
        name: str,
        duration_seconds: int = 15,
        kubeconfig: Path | KubeConfig | None = None,
        request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        """``kubeconfig`` None: the pod's service account; outside of a cluster KUBECONFIG. Raises ConfigurationError."""
        self._namespace, self._name = namespace, name
        self._duration_seconds = duration_seconds
        self._request_seconds = request_seconds
        self._last: Record | None = None
        timeout = httpx2.Timeout(request_seconds)
        try:
            self._client = AsyncClient(config=_config(kubeconfig), timeout=timeout, trust_env=False)
        except (ConfigError, OSError, LookupError, ValueError, AssertionError) as error:
            raise ConfigurationError(
                f"GAMECLUSTER_LEASE=kubernetes:{namespace}/{name}: no way to the API server, neither by a service account "
                f"nor by KUBECONFIG ({error})"
            ) from error

    async def read(self) -> Record | None:
        try:
            found = await self._answer(self._client.get(LeaseObject, self._name, namespace=self._namespace))
        except _NotFound:
            self._last = None
            return None
        except LeaseConflict as error:
            raise LeaseUnanswered(str(error)) from error
        return self._seen(found)

    async def write(self, record: Record) -> int:
        """A merge patch with the version in it: conditional as a PUT is, and it can't drop what others have put there."""
        last = self._last
        acquired = last is None or last.version != record.version or last.holder != record.holder
        patch = patch_of(record, self._duration_seconds, acquired)
        call = self._client.patch(LeaseObject, self._name, patch, namespace=self._namespace, patch_type=PatchType.MERGE)
        answer = await self._answer(call)
        try:
            return self._seen(answer).version
        except LeaseUnreadable as error:
            raise LeaseUnanswered(f"accepted, but {error}") from error

    async def watch(self, on_record: OnRecord) -> None:
        """Every change that the watch tells of is read from the store: a watch is served from a cache, and may be late."""
        loop = asyncio.get_running_loop()
        attempt, last_error = 0, ""
        while True:
            began = loop.time()
            try:
                await self._follow(on_record)
            except LeaseError as error:
                log.log(logging.DEBUG if str(error) == last_error else logging.INFO, "watch of the Lease: %s", error)
                last_error = str(error)
            attempt = 0 if loop.time() - began > STEADY_SECONDS else min(attempt + 1, 6)
            await asyncio.sleep(0.1 * 2.0**attempt * random.uniform(0.5, 1.0))

    async def close(self) -> None:
        await self._client.close()

    async def _follow(self, on_record: OnRecord) -> None:
        record = await self.read()
        on_record(record)
        found = self._client.watch(
            LeaseObject,
            namespace=self._namespace,
            fields={"metadata.name": self._name},
            server_timeout=WATCH_SECONDS,
        )
        async with contextlib.aclosing(cast("AsyncGenerator[tuple[str, LeaseObject], None]", found)) as events:
            while True:
                kind, lease = await self._translated(anext(events), WATCH_SECONDS + 2 * self._request_seconds)
                if kind == "DELETED" or record is None or _record(lease).version > record.version:
                    record = await self.read()
                    on_record(record)

    async def _answer(self, call: Awaitable[T]) -> T:
        return await self._translated(call, self._request_seconds)

    async def _translated(self, call: Awaitable[T], seconds: float) -> T:
        """Whatever goes wrong once a request has left leaves open what became of it, unless the API server says no."""
        try:
            async with asyncio.timeout(seconds):
                return await call
        except ApiError as error:
            match error.status.code:
                case 404:
                    raise _NotFound(f"there is no Lease {self._namespace}/{self._name}") from error
                case 409:
                    raise LeaseConflict(str(error)) from error
                case code:
                    raise LeaseUnanswered(f"{code} {error}") from error
        except TimeoutError as error:
            raise LeaseUnanswered(f"no answer within {seconds:g} s") from error
        except StopAsyncIteration as error:
            raise LeaseUnanswered("the watch has ended") from error
        except Exception as error:
            raise LeaseUnanswered(f"{type(error).__name__}: {error}") from error

    def _seen(self, found: LeaseObject) -> Record:
        record = _record(found)
        if self._last is None or record.version > self._last.version:
            self._last = record
        return record


class _NotFound(LeaseConflict):
    """404. To a write it is a no, as 409 is: this one did not land, an earlier one may have before the Lease was deleted."""


def _record(lease: LeaseObject) -> Record:
    return parse_document(lease.to_dict())


def _config(kubeconfig: Path | KubeConfig | None) -> KubeConfig:
    if isinstance(kubeconfig, KubeConfig):
        return kubeconfig
    return KubeConfig.from_file(kubeconfig) if kubeconfig else KubeConfig.from_env()
