"""Redis: a channel for each topic, so that a pod is sent only what its own clients hear. Nothing of it is kept anywhere.

Two connections: one that listens, one that publishes; messages sent together are one pipeline. Redis gives all of a channel's listeners its
messages in one order. Channels belong to the whole server, whatever the number of the database in the URL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from .link import BrokerError, Heard, place_of
from .outgoing import Letter

ANSWER_SECONDS = 3.0
CLOSE_SECONDS = 1.0


class RedisLink:
    """A ``Link``. ``cluster``: its name among all that share this Redis; ``node``: shown by CLIENT LIST."""

    def __init__(self, url: str, cluster: str, node: str, heard: Heard, answer_seconds: float = ANSWER_SECONDS) -> None:
        self.name = f"Redis at {place_of(url)}"
        self._url = url
        self._prefix = f"gamecluster:{cluster}:topic:".encode()
        self._node = node
        self._heard = heard
        self._answer_seconds = answer_seconds
        self._client: Redis | None = None
        self._unconfirmed: set[bytes] = set()
        self._confirmed = asyncio.Event()

    async def open(self) -> None:
        try:
            self._client = Redis.from_url(
                self._url,
                socket_connect_timeout=self._answer_seconds,
                max_connections=2,
                client_name=f"gamecluster-{self._node}",
                retry=Retry(NoBackoff(), 0),  # a broken link is not used again
            )
        except ValueError as error:
            raise BrokerError(f"its URL is wrong: {error}") from None
        self._pubsub = self._client.pubsub()
        await self._answer(self._pubsub.connect())  # type: ignore[no-untyped-call]

    async def listen(self) -> None:
        while True:
            try:
                message = await self._pubsub.get_message(timeout=None)
            except (RedisError, OSError) as error:
                raise _failed(error) from error
            match message:
                case {"type": "message", "data": bytes(body)}:
                    self._heard(body)
                case {"type": "subscribe" | "unsubscribe", "channel": bytes(channel)}:
                    self._unconfirmed.discard(channel)
                    if not self._unconfirmed:
                        self._confirmed.set()

    async def subscribe(self, topics: Sequence[str]) -> None:
        await self._confirm(topics, self._pubsub.subscribe)

    async def unsubscribe(self, topics: Sequence[str]) -> None:
        await self._confirm(topics, self._pubsub.unsubscribe)

    async def send(self, letters: Sequence[Letter]) -> None:
        assert self._client is not None
        pipe = self._client.pipeline(transaction=False)
        for topic, body in letters:
            pipe.publish(self._channel(topic), body)
        await self._answer(pipe.execute())

    async def tend(self) -> None:
        """Redis keeps nothing."""

    async def close(self) -> None:
        if self._client is not None:
            with suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._pubsub.aclose()  # type: ignore[no-untyped-call]
                    await self._client.aclose()

    async def _confirm(self, topics: Sequence[str], command: Any) -> None:
        channels = [self._channel(topic) for topic in topics]
        self._unconfirmed = set(channels)
        self._confirmed.clear()
        await self._answer(command(*channels))
        await self._answer(self._confirmed.wait())

    async def _answer(self, call: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(self._answer_seconds):
                return await call
        except TimeoutError:
            raise BrokerError(f"no answer within {self._answer_seconds:g} s") from None
        except (RedisError, OSError) as error:
            raise _failed(error) from error

    def _channel(self, topic: str) -> bytes:
        return self._prefix + topic.encode()


def _failed(error: Exception) -> BrokerError:
    return BrokerError(str(error) or type(error).__name__)
