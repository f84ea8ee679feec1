"""One Redis for all pods: a hash with the position and the writer's epoch, the snapshot, and a list with the entries since.

A write is one script, which Redis runs as a whole: it refuses an older writer, a write that is older than what is there, and
entries that do not follow it. What Redis itself keeps across its own restart is its own setting (``appendonly``, ``appendfsync``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from ...core.durability import Kept
from ...core.effects import Store
from ...core.messages import Position
from . import Loaded, StorageBroken, StorageError, encode_snapshot, encoder, replay

ANSWER_SECONDS = 3.0

WRITE = """
local writer, base, last = tonumber(ARGV[1]), ARGV[2], ARGV[5]
local there = redis.call('HMGET', KEYS[1], 'writer', 'position', 'epoch', 'seq')
local before = tonumber(there[1] or '0')
if writer < before then return 'fenced off: epoch ' .. before .. ' has written' end
if ARGV[6] == 'snapshot' then
  local epoch, seq = tonumber(there[3] or '0'), tonumber(there[4] or '0')
  local newEpoch, newSeq = tonumber(ARGV[3]), tonumber(ARGV[4])
  if writer == before and (newEpoch < epoch or (newEpoch == epoch and newSeq < seq)) then
    return 'older than what is there'
  end
  redis.call('SET', KEYS[2], ARGV[7])
  redis.call('DEL', KEYS[3])
elseif base ~= there[2] then
  return 'does not follow ' .. (there[2] or 'anything')
end
for i = 8, #ARGV do redis.call('RPUSH', KEYS[3], ARGV[i]) end
redis.call('HSET', KEYS[1], 'writer', ARGV[1], 'position', last, 'epoch', ARGV[3], 'seq', ARGV[4])
return 'written'
"""


class RedisStorage:
    kept = Kept.shared

    def __init__(self, url: str, cluster: str, answer_seconds: float = ANSWER_SECONDS) -> None:
        """``cluster``: its name among all that share this Redis. Connects when first needed, and again when it was cut off."""
        self._answer_seconds = answer_seconds
        self._client: Redis = Redis.from_url(
            url,
            socket_timeout=answer_seconds,
            socket_connect_timeout=answer_seconds,
            max_connections=4,
            retry=Retry(NoBackoff(), 0),  # who asks, asks again: a write must not be sent twice behind its back
        )
        self._keys = [f"gamecluster:{{{cluster}}}:{part}" for part in ("position", "snapshot", "journal")]
        self._script = self._client.register_script(WRITE)

    async def position(self) -> Position | None:
        return _position(await self._answer(self._client.hmget(self._keys[0], ["epoch", "seq"])))

    async def write(self, store: Store) -> None:
        arguments: list[Any] = [store.writer, _text(store.base), store.last.epoch, store.last.seq, _text(store.last)]
        if store.tables is None:
            arguments += ["entries", b""]
        else:
            arguments += ["snapshot", await asyncio.to_thread(encode_snapshot, store.base, store.tables)]
        arguments += [encoder.encode(entry) for entry in store.entries]
        answer = await self._answer(self._script(keys=self._keys, args=arguments))
        if answer != b"written":
            raise StorageError(f"Redis: {answer.decode()}")

    async def load(self) -> Loaded | None:
        pipe = self._client.pipeline(transaction=True)
        pipe.hmget(self._keys[0], ["epoch", "seq"])
        pipe.get(self._keys[1])
        pipe.lrange(self._keys[2], 0, -1)
        found, snapshot, journal = await self._answer(pipe.execute())
        position = _position(found)
        if position is None:
            return None
        if snapshot is None:
            raise StorageBroken(f"Redis: {self._keys[1]} is gone, though {self._keys[0]} is there")
        loaded = replay(snapshot, journal)
        if loaded.position != position:
            raise StorageBroken(f"Redis: the journal ends at {loaded.position}, and should at {position}")
        return loaded

    async def close(self) -> None:
        await self._client.aclose()

    async def _answer(self, call: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(self._answer_seconds):
                return await call
        except TimeoutError:
            raise StorageError(f"Redis: no answer within {self._answer_seconds:g} s") from None
        except (RedisError, OSError) as error:
            raise StorageError(f"Redis: {error or type(error).__name__}") from error


def _text(position: Position) -> str:
    return f"{position.epoch}/{position.seq}"


def _position(found: list[bytes | None]) -> Position | None:
    epoch, seq = found
    return Position(int(epoch), int(seq)) if epoch is not None and seq is not None else None
