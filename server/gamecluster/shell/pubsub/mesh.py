"""Broadcasts over the pods' own mesh: nothing else to run. The node sends them, ``interests`` says to whom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ...core.events import Published
from . import Mesh


class MeshPubSub:
    """``decide``: has the node deliver a broadcast here, and send it over the mesh."""

    def __init__(self, mesh: Mesh, decide: Callable[[Published], None]) -> None:
        self._mesh = mesh
        self.publish = decide

    def want(self, topic: str, then: Callable[[], None]) -> None:
        self._mesh.interests.want(topic, then)

    def want_no_more(self, topic: str) -> None:
        self._mesh.interests.want_no_more(topic)

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def flush(self) -> None:
        """The mesh writes at the end of each turn."""
