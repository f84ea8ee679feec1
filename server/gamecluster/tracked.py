"""Lists and dicts in the fields of entities: as the plain ones, but they tell their entity before they change."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from .entity import Entity


def tracked(value: Any, owner: Entity, field: str) -> Any:
    """A copy of plain data in which every list and dict, however deep, tells ``owner`` that ``field`` is about to change."""
    if isinstance(value, list):
        return _own(TrackedList(tracked(v, owner, field) for v in value), owner, field)
    if isinstance(value, dict):
        return _own(TrackedDict((k, tracked(v, owner, field)) for k, v in value.items()), owner, field)
    return value


class TrackedList(list[Any]):
    __slots__ = ("_field", "_owner")
    _field: str
    _owner: Entity

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)  # a copy is nobody's


class TrackedDict(dict[str, Any]):
    __slots__ = ("_field", "_owner")
    _field: str
    _owner: Entity

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


def _own(container: TrackedList | TrackedDict, owner: Entity, field: str) -> TrackedList | TrackedDict:
    container._owner, container._field = owner, field
    return container


def _telling(plain: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(plain)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        self._owner._will_change(self._field)
        return plain(self, *args, **kwargs)

    return method


_SHARED = ("__setitem__", "__delitem__", "pop", "clear")
for _name in (*_SHARED, "append", "extend", "insert", "remove", "sort", "reverse", "__iadd__", "__imul__"):
    setattr(TrackedList, _name, _telling(getattr(list, _name)))
for _name in (*_SHARED, "popitem", "update", "setdefault", "__ior__"):
    setattr(TrackedDict, _name, _telling(getattr(dict, _name)))
