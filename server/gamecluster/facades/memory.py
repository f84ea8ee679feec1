"""Names in a cluster of one, for tests of Channels: calls are done at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from ..core.messages import Fields
from ..rules import Rejected, rejected
from ..services.names import TABLE
from .names import Said, Target

Ask = Callable[[str, str, Fields], Awaitable[Fields]]


class MemoryNames:
    def __init__(self, node: str, ask: Ask, rows: Callable[[str], Mapping[str, Fields]]) -> None:
        self._node, self._ask, self._rows = node, ask, rows
        self._targets: dict[str, Target] = {}

    async def register(self, name: str, target: Target) -> None:
        if name in self._targets:
            raise Rejected("name taken", node=self._node)
        await self._ask("names", "register", {"name": name, "id": "1"})
        self._targets[name] = target

    async def unregister(self, name: str, target: Target) -> None:
        if self._targets.get(name) is target:
            del self._targets[name]
            await self._ask("names", "unregister", {"name": name, "id": "1"})

    def give_back(self, name: str, target: Target) -> None:
        try:
            self.unregister(name, target).send(None)
        except StopIteration:
            return

    async def call(self, name: str, event: str, payload: Fields) -> Fields:
        if name not in self._rows(TABLE):
            raise Rejected("unknown name")
        target = self._targets[name]
        said: list[Said] = []
        if target.enter is not None:
            target.enter(event, payload, said.append)
        else:
            reaction = target.handler.push(event, payload)
            said.append(reaction if isinstance(reaction, Said) else await reaction)
        if not said[0].ok:
            raise rejected(said[0].response)
        return said[0].response
