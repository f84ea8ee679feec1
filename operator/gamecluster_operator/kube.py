"""The only calls to the Kubernetes API that are not watches (those are kopf's). JSON in, JSON out."""

from __future__ import annotations

import functools
from collections.abc import Callable
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
    """No answer, or one that may be different next time. A write may have landed. ``retry_after_seconds``: as the API server asks."""

    def __init__(self, text: str = "", retry_after_seconds: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after_seconds = retry_after_seconds


class NotLeading(KubeError):
    """This process is not, or no more, the one that may write. Nothing was sent."""


class Kube(Protocol):
    """Kinds are named as in ``KINDS``. Every method may raise Unavailable; writes Conflict and Refused besides."""

    async def get(self, kind: str, namespace: str, name: str) -> Object | None: ...

    async def list(self, kind: str, namespace: str | None, selector: str | None) -> tuple[list[Object], int]:
        """Everything of a kind (``namespace`` None: everywhere), and the version of the list."""
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
    "Ingress": ("networking.k8s.io", "v1", "ingresses"),
    "HTTPRoute": ("gateway.networking.k8s.io", "v1", "httproutes"),
    "BackendConfig": ("cloud.google.com", "v1", "backendconfigs"),
}
"""Kind → group, version, plural."""
OPTIONAL = ("HTTPRoute", "BackendConfig")
"""Kinds that not every API server has."""


class LightKube:
    """Kube over lightkube. Its configuration: in the cluster the pod's own, else ``KUBECONFIG``, else ``~/.kube/config``."""

    def __init__(self, client: AsyncClient | None = None) -> None:
        timeout = httpx2.Timeout(TIMEOUT_SECONDS)
        self._client = client or AsyncClient(field_manager=FIELD_MANAGER, timeout=timeout)

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        try:
            return await self._call(kind, self._client.get(_resource(kind), name, namespace=namespace))
        except NotFound:
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

    async def delete(self, kind: str, namespace: str, name: str, uid: str, grace_seconds: int | None = None) -> None:
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        generic: Any = self._client._client  # the client's own delete() has no preconditions
        request = generic.prepare_request("delete", _resource(kind), None, name, namespace)
        request.data = options
        try:
            answer = await generic.send(generic.build_adapter_request(request))
            generic.handle_response("delete", answer, request)
        except httpx2.HTTPError as error:
            translated = _translated(error)
            if not isinstance(translated, NotFound):
                raise translated from error

    @property
    def namespace(self) -> str:
        """That of the pod's ServiceAccount, or of the kubeconfig's context."""
        return str(self._client.namespace)

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


class Fenced:
    """Passes on what a process asks that may write. Once it may not, its writes end here, whatever they were decided on."""

    def __init__(self, kube: Kube, may_write: Callable[[], bool]) -> None:
        self._kube, self._may_write = kube, may_write

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        return await self._kube.get(kind, namespace, name)

    async def list(self, kind: str, namespace: str | None, selector: str | None) -> tuple[list[Object], int]:
        return await self._kube.list(kind, namespace, selector)

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


class NotFound(Unavailable):
    """404 of a write: the object, or its namespace, is gone; the next look will show it. Of an optional kind: it is unknown."""


def _translated(error: httpx2.HTTPError) -> KubeError:
    code = error.response.status_code if isinstance(error, httpx2.HTTPStatusError) and error.response is not None else 0
    text = (error.status.message if isinstance(error, ApiError) else None) or str(error) or type(error).__name__
    text = text.partition("\n")[0]
    match code:
        case 404:
            return NotFound(text)
        case 409:
            return Conflict(text)
        case 400 | 403 | 413 | 422:
            return Refused(text)
        case _:
            return Unavailable(text, _retry_after(error))


def _retry_after(error: httpx2.HTTPError) -> float:
    """Seconds; Kubernetes sends no dates there."""
    if not isinstance(error, httpx2.HTTPStatusError):
        return 0.0
    text = error.response.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else 0.0


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
