"""What this pod's clients are told of who is on their topics: ``presence_state`` first, then each ``presence_diff``, as Phoenix does.

========================================== ======================================================================
what happened                              who is told what
========================================== ======================================================================
a client joins, and somebody is tracked    at the turn's end ``presence_state``, its own entry in it
somebody comes or goes                     everyone else on the topic the diff
somebody is tracked for the first time     everyone on the topic ``presence_state``: now the topic has presence
========================================== ======================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from msgspec import Raw

from ..core.effects import PresenceChanged
from ..core.events import PresenceWatched
from ..core.messages import Fields
from ..phoenix.codec import encode_json
from .connection import Backend, Connection, Perform
from .topics import Topics

STATE, DIFF = "presence_state", "presence_diff"


class Presence:
    """``count`` is told how many messages were fanned out."""

    def __init__(self, backend: Backend, topics: Topics, perform: Perform, count: Callable[[int], None]) -> None:
        self._backend = backend
        self._topics = topics
        self._perform = perform
        self._count = count
        self._live: set[str] = set()  # topics whose clients have been told the state
        self._newcomers: dict[str, dict[int, tuple[Connection, int]]] = {}

    def joined(self, topic: str, connection: Connection, channel: int) -> None:
        """After its join was answered, and what it tracks told to the node."""
        if topic in self._live or self._backend.presences(topic):
            self._newcomers.setdefault(topic, {})[connection.number] = connection, channel
            self._backend.dispatch(PresenceWatched(topic))

    def left(self, topic: str, connection: Connection) -> None:
        self._newcomers.get(topic, {}).pop(connection.number, None)
        if not self._topics.has(topic):
            self._newcomers.pop(topic, None)
            self._live.discard(topic)

    def changed(self, effect: PresenceChanged) -> None:
        topic = effect.topic
        newcomers = self._newcomers.pop(topic, {})
        if not self._topics.has(topic):
            return
        if topic not in self._live:
            self._live.add(topic)
            self._fan_out(topic, STATE, self._backend.presences(topic), newcomers)
        elif effect.joins or effect.leaves:
            self._fan_out(topic, DIFF, {"joins": effect.joins, "leaves": effect.leaves}, newcomers)
        if newcomers:
            state = Raw(encode_json(self._backend.presences(topic)))
            for connection, channel in newcomers.values():
                self._perform(connection, connection.session.push(channel, STATE, state))

    def _fan_out(self, topic: str, event: str, payload: Fields, without: Collection[int]) -> None:
        self._count(self._topics.fan_out(topic, event, encode_json(payload), without=without))
