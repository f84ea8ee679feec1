"""The only calls to the Kubernetes API that are not watches (those are kopf's). JSON in, JSON out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import kopf
import msgspec

from .labels import FIELD_MANAGER, Object
from .spec import OperatorError
from .store import trim

TIMEOUT_SECONDS = 10.0
PAGE = 250
"""Objects of a list in one answer: more take more memory, for a moment."""
JSON, APPLY, MERGE = "application/json", "application/apply-patch+yaml", "application/merge-patch+json"


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


class NotLeading(KubeError):
    """This process is not, or no more, the one that may write. Nothing was sent."""


class Kube(Protocol):
    """Kinds are named as in ``KINDS``. Every method may raise Unavailable; writes Conflict and Refused besides."""

    async def get(self, kind: str, namespace: str, name: str) -> Object | None: ...

    async def list(self, kind: str, namespace: str | None, selector: str | None) -> tuple[list[Object], int]:
        """Everything of a kind (``namespace`` None: everywhere), at least as much of each as ``store.trim`` keeps; and the version of
        the list."""
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
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=self._found.trust_env)

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        try:
            return _complete(kind, await self._ask("GET", _path(kind, namespace, name)))
        except NotFound:
            return None

    async def list(self, kind: str, namespace: str | None, selector: str | None) -> tuple[list[Object], int]:
        query = {"limit": str(PAGE), **({"labelSelector": selector} if selector else {})}
        objects: list[Object] = []
        while True:
            page = await self._ask("GET", _path(kind, namespace), query=query)
            objects += (trim(_complete(kind, obj)) for obj in page["items"])
            more = page["metadata"].get("continue")
            if not more:
                return objects, int(page["metadata"]["resourceVersion"])
            query["continue"] = more

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
        try:
            answer = await self._send(method, path, data, content, query)
            if answer.status == 401 and self._has_new_token():
                answer = await self._send(method, path, data, content, query)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unavailable(_text(error)) from error
        if answer.status >= 300:
            raise answer.error()
        try:
            found: Object = msgspec.json.decode(answer.body)
        except msgspec.DecodeError as error:
            raise Unavailable(f"not JSON: {error}") from error
        return found

    async def _send(
        self, method: str, path: str, data: bytes | None, content: str, query: dict[str, str] | None
    ) -> _Answer:
        asked = self._session.request(
            method,
            f"{self._found.server.rstrip('/')}{path}",
            params=query,
            data=data,
            headers={**self._found.as_http_headers(), "Content-Type": content, "Accept": JSON},
            proxy=self._found.proxy_url,
            allow_redirects=False,
        )
        async with asked as answer:
            return _Answer(answer.status, answer.headers.get("Retry-After", ""), await answer.read())

    def _has_new_token(self) -> bool:
        """The kubelet replaces it within the hour that it is good for."""
        before, self._found = self._found.token, self._login()
        return self._found.token != before


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


@dataclass(frozen=True)
class _Answer:
    status: int
    retry_after: str
    body: bytes

    def error(self) -> KubeError:
        text = self._message().partition("\n")[0]
        match self.status:
            case 404:
                return NotFound(text)
            case 409:
                return Conflict(text)
            case 400 | 403 | 413 | 422:
                return Refused(text)
            case _:  # Kubernetes sends no dates in Retry-After
                return Unavailable(text, float(self.retry_after) if self.retry_after.isdigit() else 0.0)

    def _message(self) -> str:
        """Of the Status that the API server sends; proxies send other things."""
        try:
            said = msgspec.json.decode(self.body, type=_Status).message
        except msgspec.DecodeError:
            said = self.body[:200].decode(errors="replace")
        return said or f"HTTP status {self.status}"


class _Status(msgspec.Struct):
    message: str = ""


def _text(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_SECONDS:.0f} s"
    return str(error) or type(error).__name__


def _complete(kind: str, obj: Any) -> Object:
    """Items of a list come without their kind."""
    group, version, _ = KINDS[kind]
    return {**obj, "kind": kind, "apiVersion": f"{group}/{version}" if group else version}


def _path_of(obj: Object) -> str:
    return _path(obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"])


def _path(kind: str, namespace: str | None, name: str | None = None) -> str:
    group, version, plural = KINDS[kind]
    api = f"/apis/{group}/{version}" if group else f"/api/{version}"
    where = f"/namespaces/{namespace}" if namespace else ""
    return f"{api}{where}/{plural}/{name}" if name else f"{api}{where}/{plural}"
