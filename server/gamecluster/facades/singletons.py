"""``self.cluster.singleton(name)``: one instance in the whole cluster."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from ..checks import json_object, text
from ..core.messages import Fields
from ..services.singletons import TABLE
from ..services.singletons import Singletons as SingletonsService


class Backend(Protocol):
    def ask_once(self, service: str, verb: str, args: Fields) -> Awaitable[Fields]: ...

    def rows(self, table: str) -> Mapping[str, Fields]: ...


class RuleSingleton:
    """In a rule: what is done is part of what the rule changes."""

    def __init__(self, service: SingletonsService, rows: Callable[[str], Mapping[str, Fields]], name: str) -> None:
        self._service, self._rows, self._name = service, rows, text(name)

    def call(self, event: str, payload: Fields | None = None) -> Fields:
        """Runs its ``@on(event)`` now; raises Rejected, with nothing of it done, if it refuses."""
        return self._service.run(self._name, event, json_object(payload or {}))

    def read(self) -> Fields | None:
        """Its fields; None if it was never called."""
        return _fields(self._rows(TABLE), self._name)

    def stop(self) -> None:
        """It ends; the next call makes a new one."""
        self._service.end(self._name)


class ChannelSingleton:
    """In a Channel."""

    def __init__(self, backend: Backend, name: str) -> None:
        self._backend, self._name = backend, text(name)

    async def call(self, event: str, payload: Fields | None = None) -> Fields:
        """The response of its ``@on(event)``, which ran once, on the leader. Raises Rejected with what it refuses, ``unknown singleton``,
        ``no leader`` (it did not run), or ``unknown`` (it may have)."""
        args = {"name": self._name, "event": text(event), "payload": json_object(payload or {})}
        answer = await self._backend.ask_once("singletons", "call", args)
        response: Fields = answer["response"]
        return response

    def read(self) -> Fields | None:
        """Its fields, as far as this pod knows; None if it was never called."""
        return _fields(self._backend.rows(TABLE), self._name)

    async def stop(self) -> None:
        """It ends; the next call makes a new one."""
        await self._backend.ask_once("singletons", "stop", {"name": self._name})


def _fields(rows: Mapping[str, Fields], name: str) -> Fields | None:
    row = rows.get(name)
    return None if row is None else json_object(row)
