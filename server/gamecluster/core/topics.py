"""PubSub: a broadcast crosses each link once and is fanned out by the pod that gets it (Phoenix.PubSub.PG2's way)."""

from __future__ import annotations

from collections.abc import Iterable

from .effects import Deliver, Effect, SendPeer
from .messages import Incarnation, Publish


def publish(topic: str, event: str, payload: bytes, linked: Iterable[Incarnation]) -> list[Effect]:
    message = Publish(topic, event, payload)
    return [Deliver(topic, event, payload), *(SendPeer(peer, message) for peer in linked)]


def published(message: Publish) -> list[Effect]:
    return [Deliver(message.topic, message.event, message.payload)]
