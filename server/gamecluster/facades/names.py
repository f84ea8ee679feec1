"""``self.cluster.names``: names that one holder has at a time, called wherever it lives."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from msgspec import Struct

from ..checks import DefinitionError, json_object, text
from ..core.messages import Fields, Incarnation, name_of
from ..rules import Rejected, Rule, called, rules_of
from ..services.names import TABLE
from ..services.names import Names as NamesService


class Said(Struct, frozen=True):
    """What one call of a handler led to. Not ``ok``: ``response["reason"]`` says why; ``error`` is the traceback if it failed."""

    ok: bool
    response: Fields
    error: str | None = None


Running = Coroutine[Any, Any, Said]
Then = Callable[[Said], None]
Enter = Callable[[str, Fields, Then], None]
"""A call of a channel by its name, event and payload: in its turn among what its own client pushes."""
LOST = ""
"""No event: the channel's name, ``{"name"}``, was taken away."""


class Handler:
    """An object with ``@on`` methods that answers for a name; calls in, what it says out. They may be ``async def``."""

    def __init__(self, handler: object) -> None:
        """Raises DefinitionError if no method answers anything."""
        cls: Any = type(handler)
        self._handler = handler
        self._rules = _rules_of(cls)

    def push(self, event: str, payload: Fields) -> Said | Running:
        try:
            rule, arguments = called(self._rules, event, payload)
        except Rejected as refusal:
            return _refused(refusal.response)
        return _reaction(lambda: rule.function(self._handler, **arguments))

    def lost(self, name: str) -> Said | Running:
        """Tells the object, if it has a method ``lost``."""
        lost: Callable[[str], Any] = getattr(self._handler, "lost", lambda name: None)
        return _reaction(lambda: lost(name))


@dataclass(frozen=True)
class Target:
    """What answers for a name. ``enter``: it is the channel itself."""

    handler: Handler
    enter: Enter | None


class NamesBackend(Protocol):
    """A pod, as far as it holds names and calls them. All raise Rejected, and end within ten seconds."""

    async def register(self, name: str, target: Target) -> None: ...

    async def unregister(self, name: str, target: Target) -> None:
        """If ``target`` holds it (still)."""
        ...

    def give_back(self, name: str, target: Target) -> None:
        """The same, without waiting."""
        ...

    async def call(self, name: str, event: str, payload: Fields) -> Fields: ...


class Seated(Protocol):
    """``cluster.Cluster``, of one Channel."""

    enter: Enter | None

    def at_end(self, then: Callable[[], None]) -> None: ...


class Backend(Protocol):
    @property
    def names(self) -> NamesBackend: ...

    def rows(self, table: str) -> Mapping[str, Fields]: ...


class RuleNames:
    """In a rule."""

    def __init__(self, service: NamesService, rows: Callable[[str], Mapping[str, Fields]]) -> None:
        self._service, self._rows = service, rows

    def whereis(self, name: str) -> str | None:
        """The node that holds it."""
        return _node(self._rows(TABLE), name)

    def send(self, name: str, event: str, payload: Fields | None = None) -> bool:
        """Has its holder's ``@on(event)`` run once what this rule changed is safe: at most once, in the order of the rules that sent.

        Nobody is told what becomes of it. False: nobody holds the name.
        """
        return self._service.send(name, text(event), json_object(payload or {}))


class ChannelNames:
    """In a Channel."""

    def __init__(self, backend: Backend, cluster: Seated) -> None:
        self._backend, self._cluster = backend, cluster
        self._held: dict[str, Target] | None = None

    async def register(self, name: str, handler: object) -> None:
        """From now on ``handler`` answers for the name, until this channel ends, its pod goes, or it is unregistered.

        ``handler``: ``self``, or an object with ``@on`` methods; its calls run one at a time. If it has a method ``lost(name)``, that is
        called when the name was taken from it: its pod had been out of touch with the leader.

        Raises Rejected: ``name taken`` with ``node``; ``no leader``.
        """
        target = Target(Handler(handler), self._cluster.enter if self._is_own(handler) else None)
        await self._backend.names.register(name, target)
        if self._held is None:
            self._held = {}
            self._cluster.at_end(self._give_back)
        self._held[name] = target

    async def unregister(self, name: str) -> None:
        """Harmless for a name that this channel has not registered."""
        target = (self._held or {}).pop(name, None)
        if target is not None:
            await self._backend.names.unregister(name, target)

    def whereis(self, name: str) -> str | None:
        """The node that holds it, as far as this pod knows."""
        return _node(self._backend.rows(TABLE), name)

    def all(self) -> dict[str, str]:
        """The nodes by the names that they hold."""
        return held_by(self._backend.rows(TABLE))

    async def call(self, name: str, event: str, payload: Fields | None = None) -> Fields:
        """The response of its holder's ``@on(event)``, wherever it lives. Ends within three seconds.

        Raises Rejected with what the holder refuses it for, or: ``unknown name``; ``unreachable`` with ``node`` (it did not run: there is
        no link to that node, or that node has none to the leader); ``timed out`` or ``unknown`` with ``node`` (it may have run);
        ``overloaded``.
        """
        return await self._backend.names.call(name, text(event), json_object(payload or {}))

    def _give_back(self) -> None:
        for name, target in (self._held or {}).items():
            self._backend.names.give_back(name, target)

    def _is_own(self, handler: object) -> bool:
        """It is the channel itself."""
        other = getattr(handler, "cluster", None)
        if isinstance(other, type(self._cluster)) and other is not self._cluster:
            raise DefinitionError("a channel registers itself, or an object that is no channel")
        return other is self._cluster


def held_by(rows: Mapping[str, Fields]) -> dict[str, str]:
    return {name: name_of(Incarnation(row["pod"])) for name, row in rows.items()}


def _node(rows: Mapping[str, Fields], name: str) -> str | None:
    row = rows.get(name)
    return name_of(Incarnation(row["pod"])) if row else None


@functools.cache
def _rules_of(cls: Any) -> dict[str, Rule]:
    rules: dict[str, Rule] | None = getattr(cls, "_rules", None)  # of a channel
    if rules is None:
        rules = rules_of(cls, object, {}, {}, lambda event: False, may_wait=True)
    if not rules:
        raise DefinitionError(f"{cls.__name__} answers nothing: mark a method with @on")
    return rules


def _reaction(call: Callable[[], Any]) -> Said | Running:
    try:
        returned = call()
        return _awaited(returned) if isinstance(returned, Coroutine) else _settled(returned)
    except Exception as error:
        return failed(error)


async def _awaited(running: Awaitable[Any]) -> Said:
    try:
        return _settled(await running)
    except Exception as error:
        return failed(error)


def _settled(returned: Any) -> Said:
    if returned is not None and not isinstance(returned, dict):
        raise TypeError(
            f"what answers for a name returns None, or a dict that is the response; this returned {type(returned).__name__}"
        )
    return Said(True, json_object(returned) if returned else {})


def failed(error: Exception) -> Said:
    if isinstance(error, Rejected):
        return _refused(error.response)
    return _refused({"reason": "internal error"}, "".join(traceback.format_exception(error)))


def _refused(response: Fields, error: str | None = None) -> Said:
    return Said(False, response, error)
