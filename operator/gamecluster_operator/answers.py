"""What the API server answers, and tells in a watch, as values. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import msgspec

from .kube import Change, Conflict, Expired, KubeError, NotFound, Page, Refused, Unavailable
from .sighting import Sighting, sighting

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
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
            case 410:
                return Expired(text)
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


class _ListMeta(msgspec.Struct):
    version: str = msgspec.field(name="resourceVersion")
    more: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Bookmark(msgspec.Struct):
    metadata: _ListMeta


def change(kind: str, line: bytes) -> Change:
    """Raises Expired."""
    event = decoded(line, _Event)
    if event.type == "BOOKMARK":
        return Change(int(decoded(event.object, _Bookmark).metadata.version))
    if event.type not in ("ADDED", "MODIFIED", "DELETED"):
        raise Expired(decoded(event.object, _Status).message or event.type)
    seen = _seen(kind, event.object)
    return Change(seen.version, seen, event.type == "DELETED")


def page(kind: str, body: bytes) -> tuple[Page, str]:
    """A part of a list, and how to ask for the next one: empty if it was the last. Raises Unavailable."""
    part = decoded(body, _List)
    return Page([_seen(kind, item) for item in part.items or []], int(part.metadata.version)), part.metadata.more


def _seen(kind: str, item: msgspec.Raw) -> Sighting:
    try:
        return sighting(kind, item)
    except (msgspec.MsgspecError, ValueError) as error:
        raise Unavailable(f"not a {kind}: {error}") from error


def decoded(body: bytes | msgspec.Raw, type: type[T]) -> T:
    """Raises Unavailable."""
    try:
        return msgspec.json.decode(body, type=type)
    except msgspec.MsgspecError as error:
        raise Unavailable(f"not JSON as the API server's: {error}") from error
