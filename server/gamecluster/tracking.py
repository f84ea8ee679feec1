"""Who is where, for game code: what may be tracked on a topic, and groups of members that live on pods."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Protocol

import msgspec

from .checks import Mismatch, json_object
from .core.effects import Presences
from .core.events import Event, Joined, Tracked, TrackerEnded, Untracked
from .core.messages import Fields, Space
from .rules import Rejected

NAME_BYTES_AT_MOST = 255
META_BYTES_AT_MOST = 4096
KEYS_AT_MOST = 100
"""Of one client on one topic."""

_PROCESS: Joined = (0, 0)
_numbers = itertools.count(1)


class TrackerBackend(Protocol):
    """A pod, as far as it says who is where."""

    @property
    def node(self) -> str: ...

    def dispatch(self, event: Event) -> None: ...

    def presences(self, topic: str) -> Presences: ...

    def groups(self) -> dict[str, list[tuple[str, str]]]: ...


class Groups:
    """``self.cluster.groups``: members of groups, wherever they are. A member goes with the Channel that joined it, and with its pod.

    Every pod has its own copy; a change is at the others within milliseconds. Members of a pod whose link is lost are not shown until
    the link is back. Names have 1 to 255 bytes; what does not fit is ``Rejected("bad name")``.
    """

    def __init__(self, backend: TrackerBackend, at_end: Callable[[Callable[[], None]], None]) -> None:
        self._backend = backend
        self._at_end = at_end
        self._by: Joined | None = None

    def join(self, group: str, member: str) -> None:
        """Until ``leave``, or until this Channel's client is gone. Joining again changes nothing."""
        checked_name(group, "group"), checked_name(member, "member")
        if self._by is None:
            self._by = by = (0, next(_numbers))
            self._at_end(lambda: self._backend.dispatch(TrackerEnded(by, wanted=True)))
        self._backend.dispatch(Tracked(Space.group, group, member, self._by, {}))

    def leave(self, group: str, member: str) -> None:
        """Takes back this Channel's ``join``; if there was none, nothing happens."""
        if self._by is not None:
            self._backend.dispatch(Untracked(Space.group, group, member, self._by))

    def create(self, group: str) -> None:
        """The group is there without members, too, until it is deleted here or this pod goes."""
        self._backend.dispatch(Tracked(Space.group, checked_name(group, "group"), "", _PROCESS, {}))

    def delete(self, group: str) -> None:
        """Takes back ``create``. The group is there for as long as it has members."""
        self._backend.dispatch(Untracked(Space.group, group, "", _PROCESS))

    def members(self, group: str) -> list[tuple[str, str]]:
        """(node, member) of all, each once, sorted."""
        return self._backend.groups().get(group, [])

    def local_members(self, group: str) -> list[str]:
        """Of this pod."""
        return [member for node, member in self.members(group) if node == self._backend.node]

    def all(self) -> list[str]:
        """The groups that there are."""
        return sorted(self._backend.groups())


def checked_name(name: object, what: str, reason: str = "bad name") -> str:
    """Raises Rejected: most names come from clients."""
    if not isinstance(name, str):
        raise Rejected(reason, detail=f"{what}: expected a text, got {type(name).__name__}")
    if not 1 <= len(name.encode(errors="replace")) <= NAME_BYTES_AT_MOST:
        length = len(name.encode(errors="replace"))
        raise Rejected(reason, detail=f"{what}: expected 1 to {NAME_BYTES_AT_MOST} bytes, got {length}")
    if not name.isprintable() or name == "__proto__":
        raise Rejected(reason, detail=f"{what}: expected printable characters, got {ascii(name)[:80]}")
    return name


def checked_meta(meta: object) -> Fields:
    """A copy of what goes with a presence. Raises Rejected."""
    try:
        checked = json_object({} if meta is None else meta)
    except Mismatch as error:
        raise Rejected("bad presence", detail=f"meta: {error}") from None
    if taken := sorted({"phx_ref", "phx_ref_prev"} & checked.keys()):
        raise Rejected("bad presence", detail=f"meta: {taken[0]} is the cluster's own")
    if (length := len(msgspec.json.encode(checked))) > META_BYTES_AT_MOST:
        raise Rejected(
            "bad presence", detail=f"meta: expected {META_BYTES_AT_MOST} bytes of JSON at most, got {length}"
        )
    return checked
