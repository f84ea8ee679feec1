"""Where the GameState is kept beyond the pods' memory: a snapshot, and the entries since (the journal). docs/storage.md.

============== ======================================================================================================
StorageError   The storage said no, or nothing in time: the write may have landed, or land later. What is written next
               is a snapshot, which needs no knowledge of what is there.
StorageBroken  What is stored can't be read back. Somebody has to look; it is never taken for "nothing is stored".
============== ======================================================================================================
"""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct

from ...core.durability import Kept
from ...core.effects import Store
from ...core.messages import Entry, Position, Tables
from ...core.replication import apply
from ...errors import GameClusterError
from ...settings import Settings


class StorageError(GameClusterError):
    """The storage's fault, or the way's to it."""


class StorageBroken(StorageError):
    """What is stored can't be understood."""


class Loaded(Struct, frozen=True):
    """What is stored: the state at ``position``, all entries applied."""

    position: Position
    tables: Tables


class Storage(Protocol):
    """Made and used within one event loop; one ``write`` at a time. Every call ends within about five seconds."""

    kept: Kept

    async def position(self) -> Position | None:
        """Where what is stored ends; None: nothing is stored. Raises StorageError."""
        ...

    async def write(self, store: Store) -> None:
        """All of it, or nothing. Raises StorageError, also if ``store`` does not follow what is there, or is fenced off."""
        ...

    async def load(self) -> Loaded | None:
        """All that is stored. Raises StorageError."""
        ...

    async def close(self) -> None: ...


class Snapshot(Struct, frozen=True, array_like=True):
    """The first thing that is stored. ``tables`` at ``position``."""

    position: Position
    tables: Tables


class SnapshotHead(Struct, frozen=True, array_like=True):
    """The same, with the state left as it is."""

    position: Position
    tables: msgspec.Raw


encoder = msgspec.msgpack.Encoder()
ROWS_AT_A_TIME = 1_000
_snapshots = msgspec.msgpack.Decoder(Snapshot)
_entries = msgspec.msgpack.Decoder(Entry)


def encode_snapshot(position: Position, tables: Tables) -> bytes:
    """A Snapshot's bytes, for a thread of its own: it lets the event loop run after every thousand rows, so that nobody waits for
    hundreds of milliseconds while a million is encoded. ``tables`` is a copy that nobody changes."""
    parts = [b"\x92", encoder.encode(position), _map_header(len(tables))]  # an array of two (MessagePack)
    for name, rows in tables.items():
        parts += [encoder.encode(name), _map_header(len(rows))]
        items = iter(rows.items())
        while some := dict(islice(items, ROWS_AT_A_TIME)):
            parts.append(encoder.encode(some)[1 if len(some) < 16 else 3 :])
            time.sleep(0)  # the interpreter's lock is free for a moment
    return b"".join(parts)


def _map_header(count: int) -> bytes:
    """A map 32."""
    return b"\xdf" + count.to_bytes(4, "big")


def replay(snapshot: bytes, journal: list[bytes]) -> Loaded:
    """The state that a snapshot and the entries after it make. Raises StorageBroken."""
    try:
        first = _snapshots.decode(snapshot)
        position, tables = first.position, first.tables
        for raw in journal:
            entry = _entries.decode(raw)
            if entry.seq != position.seq + 1:
                raise StorageBroken(f"entry {entry.seq} follows {position.seq} in the journal")
            apply(tables, entry.ops)
            position = entry.position
    except msgspec.DecodeError as error:
        raise StorageBroken(f"what is stored can't be decoded: {error}") from None
    return Loaded(position, tables)


def kept_by(settings: Settings) -> Kept:
    kind = settings.storage.partition(":")[0]
    return {"memory": Kept.nowhere, "volume": Kept.own}.get(kind, Kept.shared)


def open_storage(settings: Settings) -> Storage:
    """The storage that GAMECLUSTER_STORAGE names. Reaching it may take until later. Raises ConfigurationError."""
    kind, _, place = settings.storage.partition(":")
    match kind:
        case "volume":
            from .volume import VolumeStorage

            folder = Path(place) if place else settings.data_dir / "storage"
            return VolumeStorage(folder, syncs=settings.durability == "storage")
        case "redis" | "rediss":
            from .redis import RedisStorage  # loads a client, which other nodes do without

            return RedisStorage(settings.storage, cluster_key(settings))
        case "postgresql" | "postgres":
            from .postgresql import PostgresqlStorage

            return PostgresqlStorage(settings.storage, cluster_key(settings))
        case _:
            from .memory import MemoryStorage

            return MemoryStorage()


def cluster_key(settings: Settings) -> str:
    """What tells clusters that share a storage apart: on Kubernetes the namespace too."""
    kind, _, place = settings.lease.partition(":")
    return f"{place.partition('/')[0]}/{settings.name}" if kind == "kubernetes" else settings.name
