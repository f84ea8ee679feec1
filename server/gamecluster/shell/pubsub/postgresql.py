"""PostgreSQL: LISTEN and NOTIFY on one connection, a channel for each topic, so that a pod is sent only what its own clients hear.

A channel's name has 63 bytes at most: it is a hash of the cluster and the topic. A notification is text of less than 8,000 bytes: a
message is sent as base64 (which a database of any encoding takes), and one that is too long so goes into a table, of which the
notification names the row. Both are one transaction: the row is there when its name is heard. Any pod removes rows that have expired.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from hashlib import blake2b
from typing import Any
from uuid import uuid4

import asyncpg  # type: ignore[import-untyped]

from .link import BrokerError, Heard, place_of
from .outgoing import Letter

ANSWER_SECONDS = 3.0
CLOSE_SECONDS = 1.0
NOTIFICATION_BYTES = 7999
INCOMING_AT_MOST = 10_000
"""Notifications that wait, as while a row is fetched."""
ROWS_AT_ONCE = 50
KEPT_SECONDS = 30
"""Rows. Who needs one asks for it at once."""

INLINE, ROW = "=", "@"
"""What the rest of a notification is: the message, or the id of its row."""

LOCK = 0x67616D66
"""Of the advisory lock under which the table is made: CREATE TABLE IF NOT EXISTS may fail when two do it at once."""
TABLE = """
CREATE UNLOGGED TABLE IF NOT EXISTS gamecluster_pubsub (
  id text PRIMARY KEY, body bytea NOT NULL, expires_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS gamecluster_pubsub_expires_at ON gamecluster_pubsub (expires_at);
"""
NOTIFY = "SELECT pg_notify(channel, said) FROM unnest($1::text[], $2::text[]) AS n (channel, said)"
NOTIFY_WITH_ROWS = f"""
WITH rows AS (
  INSERT INTO gamecluster_pubsub (id, body, expires_at)
  SELECT id, body, now() + make_interval(secs => $5) FROM unnest($3::text[], $4::bytea[]) AS r (id, body)
)
{NOTIFY}
"""


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    """Hears every channel alike. asyncpg itself would ask the server for each channel by itself, twice, one after the other."""

    __slots__ = ("hears",)

    def _process_notification(self, pid: int, channel: str, payload: str) -> None:
        self.hears(payload)


class PostgresqlLink:
    """A ``Link``. ``cluster``: its name among all that share this database; ``node``: shown in pg_stat_activity."""

    def __init__(
        self,
        url: str,
        cluster: str,
        node: str,
        heard: Heard,
        answer_seconds: float = ANSWER_SECONDS,
        kept_seconds: float = KEPT_SECONDS,
    ) -> None:
        self.name = f"PostgreSQL at {place_of(url)}"
        self._url = url
        self._cluster = cluster
        self._node = node
        self._heard = heard
        self._answer_seconds = answer_seconds
        self._kept_seconds = kept_seconds
        self._connection: Any = None
        self._lock = asyncio.Lock()
        self._incoming: asyncio.Queue[str] = asyncio.Queue(INCOMING_AT_MOST)
        self._ended = asyncio.Event()
        self._has_overflown = False
        self._own_rows = f"{uuid4().hex}/"
        self._rows = 0

    async def open(self) -> None:
        async with self._asking():
            self._connection = await asyncpg.connect(
                self._url,
                timeout=self._answer_seconds,
                connection_class=_Connection,
                server_settings={"application_name": f"gamecluster pubsub {self._node}"},
            )
            self._connection.hears = self._take
            self._connection.add_termination_listener(lambda _: self._ended.set())
            if await self._connection.fetchval("SELECT to_regclass('gamecluster_pubsub')") is None:
                async with self._connection.transaction():
                    await self._connection.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
                    await self._connection.execute(TABLE)

    async def listen(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hand_on())
            await self._ended.wait()
            raise BrokerError(
                "it sends more than this node takes" if self._has_overflown else "the connection was closed"
            )

    async def subscribe(self, topics: Sequence[str]) -> None:
        async with self._asking():
            await self._connection.execute(";".join(f"LISTEN {self._channel(topic)}" for topic in topics))

    async def unsubscribe(self, topics: Sequence[str]) -> None:
        async with self._asking():
            await self._connection.execute(";".join(f"UNLISTEN {self._channel(topic)}" for topic in topics))

    async def send(self, letters: Sequence[Letter]) -> None:
        channels, said, ids, bodies = [], [], [], []
        for topic, body in letters:
            channels.append(self._channel(topic))
            text = INLINE + b64encode(body).decode()
            if len(text) > NOTIFICATION_BYTES:
                ids.append(self._new_row())
                bodies.append(body)
                text = ROW + ids[-1]
            said.append(text)
        async with self._asking():
            if ids:
                await self._connection.execute(NOTIFY_WITH_ROWS, channels, said, ids, bodies, self._kept_seconds)
            else:
                await self._connection.execute(NOTIFY, channels, said)

    async def tend(self) -> None:
        async with self._asking():
            await self._connection.execute("DELETE FROM gamecluster_pubsub WHERE expires_at < now()")

    async def close(self) -> None:
        if self._connection is not None:
            with suppress(Exception):
                await self._connection.close(timeout=CLOSE_SECONDS)

    def _take(self, said: str) -> None:
        """As in Redis, who does not keep up is cut off, and begins anew."""
        if said.startswith(ROW + self._own_rows):
            return
        try:
            self._incoming.put_nowait(said)
        except asyncio.QueueFull:
            self._has_overflown = True
            self._ended.set()

    async def _hand_on(self) -> None:
        """In the order of the notifications, rows too."""
        while True:
            batch = [await self._incoming.get()]
            while len(batch) < ROWS_AT_ONCE and not self._incoming.empty():
                batch.append(self._incoming.get_nowait())
            bodies = await self._fetch([said[1:] for said in batch if said.startswith(ROW)])
            for said in batch:
                body = bodies.get(said[1:]) if said.startswith(ROW) else _decoded(said)
                if body is not None:  # else the row has expired, or PostgreSQL has crashed since
                    self._heard(body)

    async def _fetch(self, ids: Sequence[str]) -> dict[str, bytes]:
        if not ids:
            return {}
        async with self._asking():
            rows = await self._connection.fetch(
                "SELECT id, body FROM gamecluster_pubsub WHERE id = ANY($1::text[])", ids
            )
        return {row["id"]: row["body"] for row in rows}

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        """The connection does one thing at a time."""
        try:
            async with asyncio.timeout(self._answer_seconds), self._lock:
                yield
        except TimeoutError:
            self._drop()
            raise BrokerError(f"no answer within {self._answer_seconds:g} s") from None
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
            raise BrokerError(str(error) or type(error).__name__) from error

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()

    def _channel(self, topic: str) -> str:
        name = f"{self._cluster}\0{topic}".encode()
        return f"gamecluster_{blake2b(name, digest_size=24).hexdigest()}"

    def _new_row(self) -> str:
        self._rows += 1
        return f"{self._own_rows}{self._rows}"


def _decoded(said: str) -> bytes:
    """What no node has sent is left to whoever reads it to complain of."""
    try:
        return b64decode(said.removeprefix(INLINE))
    except ValueError:
        return said.encode()
