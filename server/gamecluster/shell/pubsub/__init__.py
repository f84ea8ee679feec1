"""What carries channels' broadcasts from pod to pod: the pods' own mesh, or a broker that they share. docs/pubsub.md.

Only what a Channel broadcasts goes this way. What the GameState says (topic ``game``, chats, notifications) rides on its log.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

from ...core.effects import Deliver
from ...core.events import Published
from ...core.messages import Incarnation
from ...settings import Settings
from ..interests import Interests
from ..metrics import Metrics
from ..storage import cluster_key


class PubSub(Protocol):
    """Made and used within one event loop."""

    def publish(self, broadcast: Published) -> None:
        """To this pod's subscribers at once, and to other pods' as soon as may be. At most once, never waits, never raises."""

    def want(self, topic: str, then: Callable[[], None]) -> None:
        """Calls ``then`` when no broadcast on ``topic`` can pass this pod by any more, or when that takes too long."""

    def want_no_more(self, topic: str) -> None:
        """This pod's last client has left ``topic``."""

    async def run(self) -> None:
        """Until cancelled."""

    async def flush(self) -> None:
        """What was published goes out before this returns, if that takes no longer than a second."""


class Mesh(Protocol):
    """``mesh.Mesh``"""

    @property
    def interests(self) -> Interests: ...


def open_pubsub(
    settings: Settings,
    me: Incarnation,
    mesh: Mesh,
    decide: Callable[[Published], None],
    deliver: Callable[[Deliver], None],
    metrics: Metrics,
) -> PubSub:
    """What GAMECLUSTER_PUBSUB names. ``decide``: the node's, which delivers here and sends over the mesh; ``deliver``: to this
    pod's clients. A broker need not be there yet."""
    kind = settings.pubsub.partition(":")[0]
    if kind == "mesh":
        from .mesh import MeshPubSub

        metrics.pubsub_up.set(1)
        return MeshPubSub(mesh, decide)
    from .broker import BrokerPubSub
    from .link import Heard, Link

    def link(heard: Heard) -> Link:
        if kind in ("redis", "rediss"):
            from .redis import RedisLink  # loads a client, which other nodes do without

            return RedisLink(settings.pubsub, cluster_key(settings), settings.node, heard)
        from .postgresql import PostgresqlLink

        return PostgresqlLink(settings.pubsub, cluster_key(settings), settings.node, heard)

    return BrokerPubSub(link, me, deliver, metrics, random.Random())
