"""One PostgreSQL for all pods: a row per cluster with the position, the writer's epoch and the snapshot, and a row per entry since.

A write is one transaction that locks the cluster's row: it refuses an older writer, a write that is older than what is there, and
entries that do not follow it. The tables are made at the first write if they are not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg  # type: ignore[import-untyped]

from ...core.durability import Kept
from ...core.effects import Store
from ...core.messages import Position
from . import Loaded, StorageBroken, StorageError, encode_snapshot, encoder, replay

ANSWER_SECONDS = 3.0

TABLES = """
CREATE TABLE IF NOT EXISTS gamecluster_state (
  cluster text PRIMARY KEY, writer bigint NOT NULL, epoch bigint NOT NULL, seq bigint NOT NULL, snapshot bytea NOT NULL
);
CREATE TABLE IF NOT EXISTS gamecluster_journal (
  cluster text NOT NULL, seq bigint NOT NULL, entry bytea NOT NULL, PRIMARY KEY (cluster, seq)
);
"""
LOCK = 0x67616D65
"""Of the advisory lock under which the tables are made: CREATE TABLE IF NOT EXISTS may fail when two do it at once."""


class PostgresqlStorage:
    kept = Kept.shared

    def __init__(self, url: str, cluster: str, answer_seconds: float = ANSWER_SECONDS) -> None:
        """``cluster``: its name among all that share this database. Connects when first needed, and again when it was cut off."""
        self._url = url
        self._cluster = cluster
        self._answer_seconds = answer_seconds
        self._connection: Any = None
        self._is_prepared = False
        self._lock = asyncio.Lock()

    async def position(self) -> Position | None:
        async with self._connected() as connection:
            row = await connection.fetchrow(
                "SELECT epoch, seq FROM gamecluster_state WHERE cluster = $1", self._cluster
            )
        return Position(row["epoch"], row["seq"]) if row else None

    async def write(self, store: Store) -> None:
        async with self._connected() as connection, connection.transaction():
            row = await connection.fetchrow(
                "SELECT writer, epoch, seq FROM gamecluster_state WHERE cluster = $1 FOR UPDATE", self._cluster
            )
            _check(store, row)
            if store.tables is not None:
                await self._put_snapshot(connection, store)
            else:
                await connection.execute(
                    "UPDATE gamecluster_state SET writer = $2, epoch = $3, seq = $4 WHERE cluster = $1",
                    self._cluster,
                    store.writer,
                    store.last.epoch,
                    store.last.seq,
                )
            if store.entries:
                rows = [(self._cluster, entry.seq, encoder.encode(entry)) for entry in store.entries]
                await connection.copy_records_to_table("gamecluster_journal", records=rows)

    async def load(self) -> Loaded | None:
        async with self._connected() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            row = await connection.fetchrow(
                "SELECT epoch, seq, snapshot FROM gamecluster_state WHERE cluster = $1", self._cluster
            )
            found = await connection.fetch(
                "SELECT entry FROM gamecluster_journal WHERE cluster = $1 ORDER BY seq", self._cluster
            )
        if row is None:
            return None
        loaded = replay(row["snapshot"], [entry["entry"] for entry in found])
        if loaded.position != (position := Position(row["epoch"], row["seq"])):
            raise StorageBroken(f"PostgreSQL: the journal ends at {loaded.position}, and should at {position}")
        return loaded

    async def close(self) -> None:
        if self._connection is not None:
            with suppress(Exception):
                await self._connection.close(timeout=1)
            self._connection = None

    async def _put_snapshot(self, connection: Any, store: Store) -> None:
        await connection.execute(
            "INSERT INTO gamecluster_state (cluster, writer, epoch, seq, snapshot) VALUES ($1, $2, $3, $4, $5) "
            "ON CONFLICT (cluster) DO UPDATE SET writer = $2, epoch = $3, seq = $4, snapshot = $5",
            self._cluster,
            store.writer,
            store.last.epoch,
            store.last.seq,
            await asyncio.to_thread(encode_snapshot, store.base, store.tables or {}),
        )
        await connection.execute("DELETE FROM gamecluster_journal WHERE cluster = $1", self._cluster)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        """The one connection, within the deadline. Whatever goes wrong on it, it is not used again."""
        try:
            async with asyncio.timeout(self._answer_seconds), self._lock:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await asyncpg.connect(self._url, timeout=self._answer_seconds)
                if not self._is_prepared:
                    await self._prepare(self._connection)
                yield self._connection
        except StorageError:
            raise
        except TimeoutError:
            self._drop()
            raise StorageError(f"PostgreSQL: no answer within {self._answer_seconds:g} s") from None
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            self._drop()
            raise StorageError(f"PostgreSQL: {error or type(error).__name__}") from error

    async def _prepare(self, connection: Any) -> None:
        async with connection.transaction():
            await connection.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
            await connection.execute(TABLES)
        self._is_prepared = True

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
        self._is_prepared = False


def _check(store: Store, row: Any) -> None:
    there = Position(row["epoch"], row["seq"]) if row else None
    if row and store.writer < row["writer"]:
        raise StorageError(f"PostgreSQL: fenced off: epoch {row['writer']} has written")
    if store.tables is None and store.base != there:
        raise StorageError(f"PostgreSQL: does not follow {there}")
    if store.tables is not None and row and store.writer == row["writer"] and there and store.last < there:
        raise StorageError("PostgreSQL: older than what is there")
