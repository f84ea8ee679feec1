"""The only calls to the Kubernetes API that are not watches (those are kopf's). JSON in, JSON out."""

from __future__ import annotations

import functools
from typing import Any, Protocol

import httpx2
from lightkube import ApiError, AsyncClient
from lightkube.generic_resource import GenericNamespacedResource, create_api_info, create_namespaced_resource
from lightkube.types import PatchType

from .labels import FIELD_MANAGER, Object
from .spec import OperatorError

TIMEOUT_SECONDS = 10.0


class KubeError(OperatorError):
    """The API server's answer is no, or there is none."""


class Conflict(KubeError):
    """409: somebody was faster, or it is there already. Read again, decide again."""


class Refused(KubeError):
    """400, 403, 413, 422: this request will never be accepted as it is."""


class Unavailable(KubeError):
    """No answer, or one that may be different next time. A write may have landed."""


class Kube(Protocol):
    """Kinds are named as in ``KINDS``. Every method may raise Unavailable; writes Conflict and Refused besides."""

    async def get(self, kind: str, namespace: str, name: str) -> Object | None: ...

    async def list(self, kind: str, namespace: str | None, selector: str | None) -> tuple[list[Object], int]:
        """Everything of a kind (``namespace`` None: everywhere), and the version of the list."""
        ...

    async def create(self, obj: Object) -> Object: ...

    async def apply(self, obj: Object) -> Object:
        """Server-side apply: the fields of ``obj`` become ours and as given; those that we gave before and don't now go."""
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

    async def delete(self, kind: str, namespace: str, name: str, grace_seconds: int | None = None) -> None:
        """Nothing happens if it is not there."""
        ...


KINDS: dict[str, tuple[str, str, str]] = {
    "GameCluster": ("gamecluster.dev", "v1alpha1", "gameclusters"),
    "StatefulSet": ("apps", "v1", "statefulsets"),
    "Pod": ("", "v1", "pods"),
    "Service": ("", "v1", "services"),
    "Secret": ("", "v1", "secrets"),
    "ServiceAccount": ("", "v1", "serviceaccounts"),
    "Event": ("", "v1", "events"),
    "Lease": ("coordination.k8s.io", "v1", "leases"),
    "Role": ("rbac.authorization.k8s.io", "v1", "roles"),
    "RoleBinding": ("rbac.authorization.k8s.io", "v1", "rolebindings"),
    "PodDisruptionBudget": ("policy", "v1", "poddisruptionbudgets"),
    "NetworkPolicy": ("networking.k8s.io", "v1", "networkpolicies"),
}
"""Kind → group, version, plural."""


class LightKube:
    """Kube over lightkube. Its configuration: in the cluster the pod's own, else ``KUBECONFIG``, else ``~/.kube/config``."""

    def __init__(self, client: AsyncClient | None = None) -> None:
        timeout = httpx2.Timeout(TIMEOUT_SECONDS)
        self._client = client or AsyncClient(field_manager=FIELD_MANAGER, timeout=timeout)

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        try:
            return await self._call(kind, self._client.get(_resource(kind), name, namespace=namespace))
        except _NotFound:
            return None

    async def list(self, kind: str, namespace: str | None, selector: str | None) -> tuple[list[Object], int]:
        labels: Any = dict(part.split("=", 1) for part in selector.split(",")) if selector else None
        found = self._client.list(_resource(kind), namespace=namespace or "*", labels=labels, chunk_size=500)
        try:
            objects = [_complete(kind, obj) async for obj in found]
            return objects, int(found.resourceVersion)
        except httpx2.HTTPError as error:
            raise _translated(error) from error

    async def create(self, obj: Object) -> Object:
        client: Any = self._client
        made = client.create(_resource(obj["kind"])(obj), namespace=obj["metadata"]["namespace"])
        return await self._call(obj["kind"], made)

    async def apply(self, obj: Object) -> Object:
        return await self._apply(_resource(obj["kind"]), obj)

    async def apply_status(self, obj: Object) -> Object:
        return await self._apply(_resource(obj["kind"]).Status, obj)

    async def replace(self, obj: Object) -> Object:
        resource, meta = _resource(obj["kind"]), obj["metadata"]
        return await self._call(
            obj["kind"], self._client.replace(resource(obj), meta["name"], namespace=meta["namespace"])
        )

    async def merge(self, kind: str, namespace: str, name: str, patch: Object) -> Object:
        call = self._client.patch(_resource(kind), name, patch, namespace=namespace, patch_type=PatchType.MERGE)
        try:
            return await self._call(kind, call)
        except Refused as error:
            if "metadata.uid" in str(error):  # to the API server another UID is not a conflict but a wrong field
                raise Conflict(str(error)) from error
            raise

    async def delete(self, kind: str, namespace: str, name: str, grace_seconds: int | None = None) -> None:
        try:
            await self._client.delete(_resource(kind), name, namespace=namespace, grace_period=grace_seconds)
        except httpx2.HTTPError as error:
            translated = _translated(error)
            if not isinstance(translated, _NotFound):
                raise translated from error

    async def close(self) -> None:
        await self._client.close()

    async def _apply(self, resource: Any, obj: Object) -> Object:
        meta = obj["metadata"]
        call = self._client.apply(
            resource(obj), meta["name"], namespace=meta["namespace"], field_manager=FIELD_MANAGER, force=True
        )
        return await self._call(obj["kind"], call)

    async def _call(self, kind: str, call: Any) -> Object:
        try:
            return _complete(kind, await call)
        except httpx2.HTTPError as error:
            raise _translated(error) from error


class _NotFound(Unavailable):
    """404 of a write: the object, or its namespace, is gone; the next look will show it."""


def _translated(error: httpx2.HTTPError) -> KubeError:
    code = error.response.status_code if isinstance(error, httpx2.HTTPStatusError) and error.response is not None else 0
    text = (error.status.message if isinstance(error, ApiError) else None) or str(error) or type(error).__name__
    match code:
        case 404:
            return _NotFound(text)
        case 409:
            return Conflict(text)
        case 400 | 403 | 413 | 422:
            return Refused(text)
        case _:
            return Unavailable(text)


def _complete(kind: str, obj: Any) -> Object:
    """Items of a list come without their kind."""
    group, version, _ = KINDS[kind]
    return {**obj, "kind": kind, "apiVersion": f"{group}/{version}" if group else version}


@functools.cache
def _resource(kind: str) -> Any:
    """lightkube's class for a kind, as plain JSON. Its registry has the core kinds as typed classes, so those are made by hand."""
    group, version, plural = KINDS[kind]
    if kind == "GameCluster":
        return create_namespaced_resource(group, version, kind, plural)
    return type(kind, (GenericNamespacedResource,), {"_api_info": create_api_info(group, version, kind, plural)})
