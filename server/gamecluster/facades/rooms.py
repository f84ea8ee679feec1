"""``self.cluster`` of a room: what its rules have the cluster do, once, after what they changed is safe. The guide is docs/rooms.md."""

from __future__ import annotations

from typing import Any

from ..checks import json_object, json_value, text
from ..core.messages import Fields
from ..services.boards import checked_name, checked_player, checked_score
from ..services.caches import MOST_ENTRIES
from ..services.notices import checked_body
from ..services.outbox import Outbox
from ..services.streams import DAY_SECONDS, check_line


class RoomCluster:
    """In a room's rule: everything is done once, in the order of the rules, and nothing if the rule raises. A room does not wait for the
    cluster, so nothing is returned, and what the cluster refuses is logged on the room's node. All raise Rejected,
    ``overloaded``, if a thousand letters and calls of the room are under way."""

    __slots__ = ("_outbox",)

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    @property
    def names(self) -> RoomNames:
        return RoomNames(self._outbox)

    def singleton(self, name: str) -> RoomSingleton:
        """What there is one of in the cluster."""
        return RoomSingleton(self._outbox, name)

    def cache(self, name: str) -> RoomCache:
        """Keys and values that every pod has."""
        return RoomCache(self._outbox, name)

    def stream(self, topic: str) -> RoomStream:
        """Numbered lines that are broadcast on ``topic`` and kept for a while."""
        return RoomStream(self._outbox, topic)

    def leaderboard(self, name: str) -> RoomLeaderboard:
        """Of this name (letters, digits and _ . : -); it begins with the first score."""
        return RoomLeaderboard(self._outbox, name)

    def notify(self, player: str, body: Any) -> None:
        """Tells a player, wherever connected, and keeps it for one who is not, for a week: 100 of them, then the oldest go.
        ``body``: JSON, up to 8 KiB."""
        args = {"player": checked_player(player), "body": checked_body(body)}
        self._outbox.call("notices", "notify", args)


class RoomNames:
    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def send(self, name: str, event: str, payload: Fields | None = None) -> None:
        """Has the ``@on(event)`` of whoever holds the name then run, at most once."""
        args = {"name": text(name), "event": text(event), "payload": json_object(payload or {})}
        self._outbox.call("names", "tell", args)


class RoomSingleton:
    def __init__(self, outbox: Outbox, name: str) -> None:
        self._outbox, self._name = outbox, text(name)

    def call(self, event: str, payload: Fields | None = None) -> None:
        """Has its ``@on(event)`` run once. What it should answer it sends itself: a broadcast."""
        args = {"name": self._name, "event": text(event), "payload": json_object(payload or {})}
        self._outbox.call("singletons", "call", args)

    def stop(self) -> None:
        """It ends; the next call makes a new one."""
        self._outbox.call("singletons", "stop", {"name": self._name})


class RoomCache:
    def __init__(self, outbox: Outbox, name: str) -> None:
        self._outbox, self._name = outbox, text(name)

    def put(self, key: str, value: Any) -> None:
        self._outbox.call("caches", "put", {"cache": self._name, "key": text(key), "value": json_value(value)})

    def delete(self, key: str) -> None:
        self._outbox.call("caches", "delete", {"cache": self._name, "key": text(key)})

    def clear(self) -> None:
        self._outbox.call("caches", "clear", {"cache": self._name, "most": MOST_ENTRIES})


class RoomStream:
    def __init__(self, outbox: Outbox, topic: str) -> None:
        self._outbox, self._topic = outbox, text(topic)

    def append(
        self,
        event: str,
        payload: Fields,
        *,
        keep: int = 100,
        nonce: str | None = None,
        expire_seconds: float | None = DAY_SECONDS,
    ) -> None:
        """Adds a line and broadcasts it on the topic; nothing, if ``nonce`` is a kept line's."""
        args: Fields = {
            "topic": self._topic,
            "lines": [[event, check_line(event, payload)]],
            "keep": keep,
            "nonce": nonce,
            "expires": expire_seconds,
        }
        self._outbox.call("streams", "append", args)


class RoomLeaderboard:
    """Scores are ints or finite floats from -2**53 to 2**53; one who has none has 0."""

    def __init__(self, outbox: Outbox, name: str) -> None:
        self._outbox, self._name = outbox, checked_name(name)

    def add(self, player: str, amount: float) -> None:
        self._call("add", player=checked_player(player), amount=checked_score(amount, "amount"))

    def set(self, player: str, score: float) -> None:
        self._call("set", player=checked_player(player), score=checked_score(score))

    def best(self, player: str, score: float) -> None:
        """Keeps the better of this and the player's score."""
        self._call("best", player=checked_player(player), score=checked_score(score))

    def remove(self, player: str) -> None:
        self._call("remove", player=checked_player(player))

    def new_season(self) -> None:
        """It begins empty; the last three can still be read, older ones are deleted bit by bit."""
        self._call("new_season")

    def _call(self, verb: str, **args: Any) -> None:
        self._outbox.call("boards", verb, {"name": self._name, **args})
