"""An annotation → a check of values: what fields of entities and payloads of events may hold, with errors that name the place.

Every value is one that JSON and MessagePack both carry: None, bool, int of 64 bits, finite float, str, list, dict with str keys.
"""

from __future__ import annotations

import inspect
import math
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .errors import GameClusterError

Check = Callable[[Any], Any]
"""Gives the value back as plain data (containers copied), or raises Mismatch."""

DEEPEST = 32
"""Levels of nesting that a value without a declared shape may have."""


class DefinitionError(GameClusterError, TypeError):
    """A Game, Entity or Channel is declared in a way that can't work; raised when its class is defined."""


class Mismatch(GameClusterError, TypeError):
    """A value is not what was declared. The text: ``dx: expected int, got str``."""

    def __init__(self, expected: str, got: str, where: str = "") -> None:
        super().__init__(f"{where}: expected {expected}, got {got}" if where else f"expected {expected}, got {got}")
        self.expected, self.got, self.where = expected, got, where

    def inside(self, where: str) -> Mismatch:
        return Mismatch(self.expected, self.got, where + self.where)


@dataclass(frozen=True, slots=True)
class Kind:
    """What one annotation allows. ``name`` is how errors and the schema call it; ``nests``: a list or dict may be in it."""

    name: str
    check: Check
    nests: bool = False


def kind_of(annotation: Any, who: str) -> Kind:
    """Raises DefinitionError, which names ``who`` has it, if values of this type could not be stored or sent."""
    try:
        return _kind(annotation)
    except DefinitionError as error:
        raise DefinitionError(f"{who}: {error}") from None


def _kind(annotation: Any) -> Kind:
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _either([_kind(a) for a in arguments])
    if origin is Literal and all(type(a) in (str, int, bool, type(None)) for a in arguments):
        return _one_of(arguments)
    if origin is list:
        return _list_of(_kind(arguments[0]))
    if origin is dict and arguments[0] is str:
        return _dict_of(_kind(arguments[1]))
    shown = annotation.__name__ if isinstance(annotation, type) and not arguments else str(annotation)
    raise DefinitionError(
        f"{shown} can't be stored or sent; "
        "there are int, float, str, bool, None, list[…], dict[str, …], Literal[…], Any and unions of these"
    )


def json_value(value: Any) -> Any:
    """A plain copy of anything that JSON can carry."""
    return _json(value, DEEPEST)


def json_object(value: Any) -> dict[str, Any]:
    """A plain copy of a dict that JSON can carry."""
    if not isinstance(value, dict):
        raise Mismatch("dict", got(value))
    return _json(value, DEEPEST)  # type: ignore[no-any-return]


def text(value: Any) -> str:
    """A str that UTF-8 can carry (a lone surrogate, which JSON can smuggle in, is not)."""
    if not isinstance(value, str):
        raise Mismatch("str", got(value))
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Mismatch("str", "a str with half a surrogate pair") from None
    return value if type(value) is str else str.__str__(value)


def got(value: Any) -> str:
    """How an error shows a value: its type, or what is odd about it."""
    if value is None:
        return "None"
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return "an int beyond 64 bits"
    if isinstance(value, float) and not math.isfinite(value):
        return repr(float(value))
    return type(value).__name__


def names_around() -> dict[str, Any]:
    """The names that the class statement sees whose ``__init_subclass__`` asks: annotations may use those of a function."""
    frame = sys._getframe(2)
    return {**frame.f_globals, **frame.f_locals}


def inherited(cls: type, attribute: str, own: dict[str, Any]) -> dict[str, Any]:
    """This dict of all the bases and, last, the class's own."""
    merged: dict[str, Any] = {}
    for base in reversed(cls.__mro__[1:]):
        merged.update(vars(base).get(attribute, {}))
    return merged | own


def own_annotations(cls: type, names: dict[str, Any]) -> dict[str, Any]:
    """The annotations of this class alone, resolved; ``names`` are those of the place where it is defined."""
    own = inspect.get_annotations(cls)
    holder = type(cls.__name__, (), {"__annotations__": own, "__module__": cls.__module__})
    return resolved(holder, names, cls.__name__)


def resolved(holder: Any, names: dict[str, Any], who: str) -> dict[str, Any]:
    """The type hints of a class or function. Raises DefinitionError that says whose can't be resolved."""
    try:
        return get_type_hints(holder, localns=names)
    except Exception as error:
        raise DefinitionError(f"{who}: an annotation can't be resolved: {error}") from error


def _integer(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value if type(value) is int else int.__int__(value)
    raise Mismatch("int", got(value))


def _number(value: Any) -> float:
    if type(value) is float and math.isfinite(value):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float.__float__(value)
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return float(value)
    raise Mismatch("float", got(value))


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise Mismatch("bool", got(value))


def _nothing(value: Any) -> None:
    if value is not None:
        raise Mismatch("None", got(value))


def _json(value: Any, levels: int) -> Any:
    """By the exact type first, since every message goes through here."""
    if (check := _SCALARS.get(type(value))) is not None:
        return check(value)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return _number(value)
    if not isinstance(value, list | dict):
        raise Mismatch("a JSON value", got(value))
    if not levels:
        raise Mismatch(f"at most {DEEPEST} levels of nesting", "more")
    return _copied(value, _json, levels - 1)


def _copied(value: Any, check: Callable[..., Any], *more: Any) -> Any:
    """A plain list or dict with every element checked, by ``check(element, *more)``; an error says which element."""
    place: Any = None
    try:
        if isinstance(value, dict):
            fresh = {}
            for place, element in value.items():
                fresh[_key(place)] = check(element, *more)
            return fresh
        items: list[Any] = []
        for element in value:
            place = len(items)
            items.append(check(element, *more))
        return items
    except Mismatch as error:
        raise error.inside(f"[{_shown(place)}]") from None


_SCALARS: dict[type, Check] = {str: text, int: _integer, float: _number, bool: _boolean, type(None): _nothing}


def _key(value: Any) -> str:
    if isinstance(value, str):
        return text(value)
    raise Mismatch("a str as key", got(value))


def _shown(value: Any) -> str:
    """``repr``, cut: a client's text must not make an error long."""
    shown = ascii(value) if not isinstance(value, int) or abs(value) < 2**63 else got(value)
    return shown if len(shown) <= 40 else shown[:37] + "…"


def _list_of(item: Kind) -> Kind:
    name = "list" if item is _ANY else f"list[{item.name}]"

    def check(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise Mismatch(name, got(value))
        return _copied(value, item.check)  # type: ignore[no-any-return]

    return Kind(name, check, nests=True)


def _dict_of(item: Kind) -> Kind:
    name = "dict" if item is _ANY else f"dict[str, {item.name}]"

    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Mismatch(name, got(value))
        return _copied(value, item.check)  # type: ignore[no-any-return]

    return Kind(name, check, nests=True)


def _either(kinds: list[Kind]) -> Kind:
    tried = sorted(kinds, key=lambda k: k is _PLAIN[float])  # an int stays one where both int and float are allowed
    name = " or ".join(k.name for k in kinds)

    def check(value: Any) -> Any:
        deeper = None
        for kind in tried:
            try:
                return kind.check(value)
            except Mismatch as error:
                deeper = deeper or (error if error.where else None)
        raise deeper or Mismatch(name, got(value))

    return Kind(name, check, nests=any(k.nests for k in kinds))


def _one_of(values: tuple[Any, ...]) -> Kind:
    name = " or ".join(map(repr, values))

    def check(value: Any) -> Any:
        for allowed in values:
            if type(value) is type(allowed) and value == allowed:
                return allowed
        raise Mismatch(name, _shown(value))

    return Kind(name, check)


_ANY = Kind("any value", json_value, nests=True)
_PLAIN: dict[Any, Kind] = {
    int: Kind("int", _integer),
    float: Kind("float", _number),
    str: Kind("str", text),
    bool: Kind("bool", _boolean),
    None: Kind("None", _nothing),
    type(None): Kind("None", _nothing),
    Any: _ANY,
}
_PLAIN[list] = _list_of(_ANY)
_PLAIN[dict] = _dict_of(_ANY)
