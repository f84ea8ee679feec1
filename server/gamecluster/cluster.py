"""``self.cluster``: what a cluster offers to a Game's rules (RuleCluster) and to Channels (Cluster). The guide is docs/cluster.md."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from .checks import json_object
from .core import tracker
from .core.effects import Presences
from .core.events import Event
from .core.messages import Broadcast, Fields, Incarnation
from .core.roster import Groups as Members
from .facades.boards import BoardBackend, Leaderboard, RuleLeaderboard
from .facades.caches import ChannelCache, RuleCache
from .facades.memory import MemoryNames
from .facades.names import ChannelNames, Enter, NamesBackend, RuleNames
from .facades.notices import Notifications
from .facades.open_rooms import OpenRooms
from .facades.singletons import ChannelSingleton, RuleSingleton
from .facades.tickets import Tickets
from .rules import rejected
from .services import Services
from .services.standings import Standings
from .services.stream_view import ChannelStream, RuleStream
from .tracking import Groups, TrackerBackend

ORIGIN = Incarnation("test-0_memory_1")


class Backend(TrackerBackend, BoardBackend, Protocol):
    """A pod, as far as its Channels need it."""

    @property
    def node(self) -> str:
        """Its name."""
        ...

    def ask(self, service: str, verb: str, args: Fields) -> Awaitable[Fields]:
        """Calls a service on the leader. Its response has the position of the call's entry, ``epoch`` and ``seq``.

        Raises Rejected with what the service refuses it for, or ``no leader`` (it was not called), ``unknown`` (it may have been,
        or may yet be) or ``overloaded``. Ends within ten seconds.
        """
        ...

    def ask_once(self, service: str, verb: str, args: Fields) -> Awaitable[Fields]:
        """The same for a call that must not run twice: should it have to be repeated, it is answered as the first time."""
        ...

    def everywhere(self, epoch: int, seq: int) -> Awaitable[Fields]:
        """Ends when every pod that this one hears has come that far, within about a second: see ``facades.caches``."""
        ...

    @property
    def names(self) -> NamesBackend: ...

    def rows(self, table: str) -> Mapping[str, Fields]:
        """This pod's copy of a service's table: what is committed, as far as this pod knows. Not to be changed."""
        ...

    def how_to_open(self, room: str) -> Fields | None:
        """``{"kind", "pods", "copies"}``; None: no class of rooms is for this id."""
        ...


class RuleCluster:
    """In a rule: reads see what earlier rules did, and what this one did so far; if the rule raises, nothing was done."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.names = RuleNames(services.names, services.ledger.rows)

    def singleton(self, name: str) -> RuleSingleton:
        """What there is one of in the cluster."""
        return RuleSingleton(self._services.singletons, self._services.ledger.rows, name)

    def cache(self, name: str) -> RuleCache:
        """Keys and values that every pod has."""
        return RuleCache(self._services.caches, self._services.ledger.rows, name)

    def stream(self, topic: str) -> RuleStream:
        """Numbered lines that are broadcast on ``topic`` and kept for a while."""
        return RuleStream(self._services.streams, self._services.ledger.rows, topic)

    def leaderboard(self, name: str) -> RuleLeaderboard:
        """Of this name (letters, digits and _ . : -); it begins with the first score."""
        return RuleLeaderboard(self._services.boards, name)

    def notify(self, player: str, body: Any) -> str:
        """Tells a player, wherever connected, and keeps it for one who is not, for a week: 100 of them, then the oldest go.
        ``body``: JSON, up to 8 KiB. Returns its id."""
        return self._services.notices.tell(player, body)


class Cluster:
    """In a Channel: what the leader must do is awaited, and raises Rejected if it can't be done; reads are of this pod's copy."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._endings: list[Callable[[], None]] = []
        self.enter: Enter | None = None
        self.groups = Groups(backend, self.at_end)
        self.notifications = Notifications(backend)
        self.matchmaker = Tickets(backend)
        self.rooms = OpenRooms(backend)
        self.names = ChannelNames(backend, self)

    def singleton(self, name: str) -> ChannelSingleton:
        """What there is one of in the cluster."""
        return ChannelSingleton(self._backend, name)

    def cache(self, name: str) -> ChannelCache:
        """Keys and values that every pod has."""
        return ChannelCache(self._backend, name)

    def presences(self, topic: str) -> Presences:
        """Who is tracked on ``topic``, on all pods: ``{key: {"metas": [{"phx_ref": …, **meta}]}}``."""
        return self._backend.presences(topic)

    def stream(self, topic: str) -> ChannelStream:
        """Numbered lines that are broadcast on ``topic`` and kept for a while."""
        return ChannelStream(self._backend.ask, self._backend.rows, topic)

    def leaderboard(self, name: str) -> Leaderboard:
        """Of this name (letters, digits and _ . : -); it begins with the first score."""
        return Leaderboard(self._backend, name)

    async def notify(self, player: str, body: Any) -> str:
        """Tells a player, wherever connected, and keeps it for one who is not, for a week: 100 of them, then the oldest go.
        ``body``: JSON, up to 8 KiB. Returns its id."""
        return await self.notifications.notify(player, body)

    def at_end(self, then: Callable[[], None]) -> None:
        """Has it called when the client has left the topic, or is gone, after the Channel's own ``leave``."""
        self._endings.append(then)

    def ended(self) -> None:
        endings, self._endings = self._endings, []
        for then in endings:
            then()


class MemoryBackend:
    """A cluster of one, for tests of Channels: calls are done at once."""

    node = "test-0"

    def __init__(self, services: Services) -> None:
        self._services = services
        self.names: NamesBackend = MemoryNames(self.node, self.ask, self.rows)
        self.said: list[Broadcast] = []
        """What services have broadcast, on any topic, oldest first."""
        self._tracker = tracker.Tracker(ORIGIN, grace=0.0)

    def dispatch(self, event: Event) -> None:
        if isinstance(event, tracker.Told):
            self._tracker.told(event, 0.0)
            self._tracker.turn_ended((), 0.0)

    def presences(self, topic: str) -> Presences:
        return self._tracker.roster.presences(topic)

    def groups(self) -> Members:
        return self._tracker.roster.groups()

    async def ask(self, service: str, verb: str, args: Fields) -> Fields:
        outcome = self._services.call(service, verb, json_object(args), ORIGIN)
        if not outcome.ok:
            raise rejected(outcome.response)
        self.said += outcome.broadcasts
        return {**outcome.response, "epoch": 1, "seq": 1}

    async def ask_once(self, service: str, verb: str, args: Fields) -> Fields:
        return await self.ask(service, verb, args)

    async def everywhere(self, epoch: int, seq: int) -> Fields:
        return {"pods": 1}

    def how_to_open(self, room: str) -> Fields | None:
        return {"kind": "Room", "pods": [ORIGIN], "copies": 1}

    def rows(self, table: str) -> Mapping[str, Fields]:
        return self._services.ledger.rows(table)

    @property
    def standings(self) -> Standings:
        return Standings(self.rows, at_once=sys.maxsize)
