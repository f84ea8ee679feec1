"""PubSub: a broadcast crosses each link once and is fanned out by the pod that gets it (Phoenix.PubSub.PG2's way)."""

from __future__ import annotations

from collections.abc import Iterable

from .effects import Deliver, Effect, SendPeer
from .messages import Incarnation, Publish


def publish(topic: str, event: str, payload: bytes, binary: bool, linked: Iterable[Incarnation]) -> list[Effect]:
    message = Publish(topic, event, payload, binary)
    return [*published(message), *(SendPeer(peer, message) for peer in linked)]


def published(message: Publish) -> list[Effect]:
    return [Deliver(message.topic, message.event, message.payload, message.binary)]
