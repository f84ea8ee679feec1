"""What a process holds for as long as it lives. For ``memory:`` nothing is ever given to it; tests use it as the simplest storage."""

from __future__ import annotations

from ...core.durability import Kept
from ...core.effects import Store
from ...core.messages import Position
from . import Loaded, Snapshot, StorageError, encoder, replay


class MemoryStorage:
    kept = Kept.nowhere

    def __init__(self) -> None:
        self._writer = 0
        self._snapshot = b""
        self._journal: list[bytes] = []
        self._position: Position | None = None

    async def position(self) -> Position | None:
        return self._position

    async def write(self, store: Store) -> None:
        if store.writer < self._writer:
            raise StorageError(f"fenced off: epoch {self._writer} has written")
        if store.tables is not None:
            if store.writer == self._writer and self._position is not None and store.last < self._position:
                raise StorageError("older than what is there")
            self._snapshot, self._journal = encoder.encode(Snapshot(store.base, store.tables)), []
        elif store.base != self._position:
            raise StorageError(f"does not follow {self._position}")
        self._journal += [encoder.encode(entry) for entry in store.entries]
        self._writer, self._position = store.writer, store.last

    async def load(self) -> Loaded | None:
        return replay(self._snapshot, self._journal) if self._position is not None else None

    async def close(self) -> None:
        return None
