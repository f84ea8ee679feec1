"""@on: which method answers which event, and how a payload becomes its arguments."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from msgspec import Struct

from .checks import DefinitionError, Kind, Mismatch, got, json_object, kind_of, resolved, text
from .core.messages import Broadcast, Fields, Op
from .errors import GameClusterError

F = TypeVar("F", bound=Callable[..., Any])


class Player(Struct, frozen=True):
    """Who joined, moves or leaves."""

    id: str


class Rejected(GameClusterError):
    """Raised by a rule that refuses: the player gets ``{"reason": reason, **details}``, and nothing has changed."""

    def __init__(self, reason: str = "rejected", /, **details: Any) -> None:
        super().__init__(reason)
        self.reason = text(reason)
        self.response: Fields = json_object({"reason": reason, **details})

    def __str__(self) -> str:
        return ", ".join([self.reason, *(f"{k}: {v}" for k, v in self.response.items() if k != "reason")])


class Outcome(Struct, frozen=True):
    """What one call of a rule led to. Not ``ok``: no ops, no broadcasts, ``response["reason"]`` says why.
    ``error`` is the traceback if the rule failed instead of refusing."""

    ok: bool
    response: Fields
    ops: list[Op]
    broadcasts: list[Broadcast]
    error: str | None = None


def rejected(response: Fields) -> Rejected:
    """A refusal as it came, to be raised."""
    details = dict(response)
    return Rejected(details.pop("reason"), **details)


def refused(response: Fields, error: str | None = None) -> Outcome:
    return Outcome(False, response, [], [], error)


@dataclass(frozen=True)
class Marker:
    """A decorator of methods that answer events: ``events`` is where a method keeps which, ``rules`` where a class keeps its rules."""

    name: str
    events: str
    rules: str

    def mark(self, event: str) -> Callable[[F], F]:
        if not isinstance(event, str) or not event:
            raise DefinitionError(f'{self.name} needs the name of an event: {self.name}("move")')

        def mark(function: F) -> F:
            if not inspect.isfunction(function):
                raise DefinitionError(f'{self.name}("{event}") belongs directly on a method')
            earlier = sys._getframe(1).f_locals.get(function.__name__)
            if earlier is not None and event in self.of(earlier):
                raise DefinitionError(f"{function.__qualname__}: two rules for {event!r}")
            vars(function).setdefault(self.events, []).append(event)
            return function

        return mark

    def of(self, function: Any) -> list[str]:
        """The events that this method is marked with."""
        return getattr(function, self.events, [])


ON = Marker("@on", "_events", "_rules")
PLAYER: Mapping[str, type] = {"player": Player}
"""What a Game's rules are given before the fields of the payload."""


def on(event: str) -> Callable[[F], F]:
    """Marks the method that answers ``event``. Its parameters are the payload's fields, checked against their types;
    a parameter called ``payload``, as the only one, is the whole payload as it came: in a Channel, ``payload: bytes`` is binary."""
    return ON.mark(event)


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    kind: Kind
    required: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """One method that answers an event. ``parameters`` is None if it takes the whole payload; ``is_binary``: which is bytes."""

    function: Callable[..., Any]
    parameters: tuple[Parameter, ...] | None
    is_binary: bool = False

    def arguments(self, payload: Fields | bytes) -> dict[str, Any]:
        """Raises Mismatch if the payload is not what the method declares. The player's count ``n`` is nobody's argument."""
        if self.is_binary:
            if not isinstance(payload, bytes):
                raise Mismatch("bytes", got(payload))
            return {"payload": payload}
        if self.parameters is None:
            return {"payload": json_object(payload)}
        if not isinstance(payload, dict):
            raise Mismatch("an object", type(payload).__name__, "payload")
        arguments = {}
        for parameter in self.parameters:
            if parameter.name in payload:
                try:
                    arguments[parameter.name] = parameter.kind.check(payload[parameter.name])
                except Mismatch as error:
                    raise error.inside(parameter.name) from None
            elif parameter.required:
                raise Mismatch(parameter.kind.name, "nothing", parameter.name)
        if len(arguments) < len(payload):
            self._refuse_unknown(payload)
        return arguments

    def _refuse_unknown(self, payload: Fields) -> None:
        known = [p.name for p in self.parameters or ()]
        for name in payload:
            if name not in known and name != "n":
                only = f"no such field, only {', '.join(known)}" if known else "no fields"
                raise Mismatch(only, got(payload[name]), ascii(name)[1:-1][:40])

    def schema(self) -> Fields:
        if self.parameters is None:
            return {"payload": {"type": "bytes" if self.is_binary else "dict", "required": True}}
        return {p.name: {"type": p.kind.name, "required": p.required} for p in self.parameters}


def called(rules: Mapping[str, Rule], event: str, payload: Fields | bytes) -> tuple[Rule, dict[str, Any]]:
    """The rule that answers ``event``, and its arguments. Raises Rejected: ``unknown event``, ``bad payload``."""
    rule = rules.get(event)
    if rule is None:
        raise Rejected("unknown event", known=sorted(rules))
    try:
        return rule, rule.arguments(payload)
    except Mismatch as error:
        raise Rejected("bad payload", detail=str(error)) from None


def rules_of(
    cls: type,
    base: type,
    names: dict[str, Any],
    given: Mapping[str, type],
    is_reserved: Callable[[str], bool],
    may_wait: bool = False,
    marker: Marker = ON,
) -> dict[str, Rule]:
    """All rules of a class by event, inherited ones too. ``given``: the leading arguments after self, with their types. ``may_wait``:
    they may be ``async def``."""
    methods: dict[str, str] = {}
    for owner in reversed(cls.__mro__):
        for name, function in vars(owner).items():
            for event in marker.of(function):
                who = f"{cls.__name__}.{name}"
                if methods.setdefault(event, name) != name:
                    raise DefinitionError(f"{who}: two rules for {event!r}, the other is {methods[event]}")
                if is_reserved(event):
                    raise DefinitionError(f"{who}: the event {event!r} is reserved")
                if hasattr(base, name):
                    raise DefinitionError(f"{who}: a rule can't be called {name}, which {base.__name__} itself has")
    inherited = {
        rule.function: rule for parent in cls.__mro__[1:] for rule in vars(parent).get(marker.rules, {}).values()
    }
    functions = {event: _plain_method(cls, name, may_wait) for event, name in methods.items()}
    return {event: inherited.get(f) or _rule(cls, f, names, given) for event, f in functions.items()}


def check_method(cls: type, name: str, count: int, shape: str, may_wait: bool = False) -> None:
    """Raises DefinitionError unless ``cls.name`` is a plain method that can be called with ``count`` arguments."""
    function, who = _plain_method(cls, name, may_wait), f"{cls.__name__}.{name}"
    try:
        inspect.signature(function).bind(None, *range(count))
    except TypeError:
        raise DefinitionError(f"{who} must take {shape}") from None


def _plain_method(cls: type, name: str, may_wait: bool) -> Callable[..., Any]:
    function: Any = inspect.getattr_static(cls, name)
    who = f"{cls.__name__}.{name}"
    if not inspect.isfunction(function):
        raise DefinitionError(f"{who} must be a plain method")
    if (
        (inspect.iscoroutinefunction(function) and not may_wait)
        or inspect.isgeneratorfunction(function)
        or inspect.isasyncgenfunction(function)
    ):
        raise DefinitionError(f"{who} must be an ordinary def: a rule runs at once, start to end")
    return function


def _rule(cls: type, function: Callable[..., Any], names: dict[str, Any], given: Mapping[str, type]) -> Rule:
    who = f"{cls.__name__}.{function.__name__}"
    hints = resolved(function, names, who)
    leading, rest = _split(who, list(inspect.signature(function).parameters.values())[1:], given)
    for parameter, (name, expected) in zip(leading, given.items(), strict=True):
        is_a_field = expected is str and parameter.name != name  # as fields may be str, too
        if is_a_field or hints.get(parameter.name, expected) is not expected:
            raise DefinitionError(f"{who}: its first parameter is the {name}, not a field of the payload")
    if [p.name for p in rest] == ["payload"]:
        is_binary = hints.get("payload") is bytes
        if is_binary and given:
            raise DefinitionError(
                f"{who}: a game's moves are JSON; binary data is for channels: payload: dict[str, Any]"
            )
        return Rule(function, None, is_binary)
    return Rule(function, tuple(_parameter(who, p, hints) for p in rest))


def _split(
    who: str, parameters: list[inspect.Parameter], given: Mapping[str, type]
) -> tuple[list[inspect.Parameter], list[inspect.Parameter]]:
    leading = parameters[: len(given)]
    if len(leading) < len(given) or any(p.kind not in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in leading):
        raise DefinitionError(f"{who} must take ({', '.join(['self', *given])}, …)")
    return leading, parameters[len(given) :]


def _parameter(who: str, parameter: inspect.Parameter, hints: dict[str, Any]) -> Parameter:
    name = parameter.name
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
        raise DefinitionError(
            f"{who}: {parameter} is not a field of a payload; for the whole payload, take one parameter called payload"
        )
    if name not in hints:
        raise DefinitionError(f"{who}: the parameter {name} has no type; write, for example, {name}: int")
    if name == "n":
        raise DefinitionError(f"{who}: the parameter n must be called otherwise: n is the player's count of moves")
    return Parameter(name, kind_of(hints[name], f"{who}: {name}"), parameter.default is parameter.empty)
