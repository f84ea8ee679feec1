"""``self.cluster.cache(name)``: key and value, all of it on every pod."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Protocol

from ..checks import json_value, text
from ..core.messages import Fields, Incarnation
from ..services.caches import Caches as CachesService
from ..services.caches import table_of

NOBODY = Incarnation("")


class Backend(Protocol):
    def ask_once(self, service: str, verb: str, args: Fields) -> Awaitable[Fields]: ...

    def everywhere(self, epoch: int, seq: int) -> Awaitable[Fields]:
        """Ends when every pod that this one hears has come that far: ``{"pods": how many}``, with ``missing``, their names, if some have
        not within a second."""
        ...

    def rows(self, table: str) -> Mapping[str, Fields]: ...


class _Read:
    def __init__(self, rows: Callable[[str], Mapping[str, Fields]], name: str) -> None:
        self._rows_of, self._name = rows, text(name)

    @property
    def _rows(self) -> Mapping[str, Fields]:
        return self._rows_of(table_of(self._name))

    def get(self, key: str, default: Any = None) -> Any:
        """A copy of the value."""
        row = self._rows.get(key)
        return default if row is None else json_value(row["value"])

    def items(self) -> Iterator[tuple[str, Any]]:
        """Of what is there now."""
        return ((key, json_value(row["value"])) for key, row in list(self._rows.items()))

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __len__(self) -> int:
        return len(self._rows)


class RuleCache(_Read):
    """In a rule: what is done is part of what the rule changes."""

    def __init__(self, service: CachesService, rows: Callable[[str], Mapping[str, Fields]], name: str) -> None:
        super().__init__(rows, name)
        self._service = service

    def put(self, key: str, value: Any) -> None:
        """Raises Rejected: ``too long``, ``too large``, ``cache full``, ``too many caches``, with a ``detail``."""
        self._service.put(NOBODY, self._name, key, value)

    def delete(self, key: str) -> bool:
        """Whether it was there."""
        deleted: bool = self._service.delete(NOBODY, self._name, key)["deleted"]
        return deleted

    def clear(self) -> None:
        self._service.clear(NOBODY, self._name, most=len(self))


class ChannelCache(_Read):
    """In a Channel: reads are of this pod's copy."""

    def __init__(self, backend: Backend, name: str) -> None:
        super().__init__(backend.rows, name)
        self._backend = backend

    async def put(self, key: str, value: Any) -> Fields:
        """Ends when every pod that lives has it: ``{"pods": 3}``. With ``missing``, names of nodes that did not say so within a second:
        they have it before they serve their clients the next thing, if they are not lost.

        Raises Rejected: ``too long``, ``too large``, ``cache full``, ``too many caches``, with a ``detail``; ``no leader``, ``unknown``.
        """
        return await self._everywhere("put", {"key": key, "value": value})

    async def delete(self, key: str) -> Fields:
        """As ``put``; the answer has ``deleted`` as well."""
        return await self._everywhere("delete", {"key": key})

    async def clear(self) -> Fields:
        """As ``put``. A thousand entries at a time; who looks meanwhile may see a part."""
        while True:
            answer = await self._everywhere("clear", {})
            if not answer.pop("left"):
                return answer

    async def _everywhere(self, verb: str, args: Fields) -> Fields:
        answer = await self._backend.ask_once("caches", verb, {"cache": self._name, **args})
        at = answer.pop("epoch"), answer.pop("seq")
        return {**answer, **await self._backend.everywhere(*at)}
