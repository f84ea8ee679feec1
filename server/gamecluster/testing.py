"""Play a game, or talk on a channel, without a cluster: for the tests of your game."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from .channel import Channel, ChannelRuntime, Publish, Push, Reaction, Running, Track, Untrack
from .checks import json_object
from .cluster import Cluster, MemoryBackend
from .core.effects import Presences
from .core.events import Joined, Tracked, TrackerEnded, Untracked
from .core.messages import Broadcast, Fields, Op, Space, Tables
from .facades.names import Said
from .game import Game, Outcome, Rejected, Runtime
from .services import Services
from .singleton import Singleton

__all__ = ["Play", "RoomPlay", "play", "room"]


def play(
    game_class: type[Game],
    *,
    seed: int = 0,
    tables: Tables | None = None,
    singletons: Sequence[type[Singleton]] = (),
) -> Play:
    """A game without a cluster::

        arena = play(Arena)
        arena.join("p1")
        arena.move("p1", "move", dx=1, dy=0)
        assert arena.tables["ships"]["p1"]["x"] > 0

    ``seed`` is that of ``self.random``; ``tables`` is a state to begin from; ``singletons``: the classes that ``self.cluster`` has.
    """
    return Play(game_class, seed, tables or {}, singletons)


def room(
    channel_class: type[Channel], topic: str, *, players: bool = False, singletons: Sequence[type[Singleton]] = ()
) -> RoomPlay:
    """One topic of a channel, without a cluster::

        chat = room(Room, "room:1")
        chat.join("ann")
        chat.join("bob")
        chat.push("ann", "shout", body="hello")
        assert chat.received["bob"] == [("shout", {"body": "hello"})]

    The names of the clients are yours to choose. ``players``: they are ``self.player``, as if everyone had a token.
    ``singletons``: the classes that ``self.cluster`` has.
    """
    return RoomPlay(channel_class, topic, players, singletons)


class Play:
    """One game being played. A refusal raises Rejected, a failing rule its own exception; neither changes anything."""

    def __init__(
        self, game_class: type[Game], seed: int, tables: Tables, singletons: Sequence[type[Singleton]] = ()
    ) -> None:
        self.services = Services(time.time, random.Random(seed), singletons)
        """What ``self.cluster`` works on."""
        self._runtime = Runtime(game_class, random.Random(seed), services=self.services, raise_errors=True)
        self._runtime.load(tables)
        self.players: set[str] = set()
        self.patches: list[list[Op]] = []
        """What each call changed, oldest first; calls that changed nothing are not in it."""
        self.broadcasts: list[Broadcast] = []

    @property
    def tables(self) -> Tables:
        """A copy of the state: ``{table: {key: {field: value}}}``."""
        return self._runtime.tables()

    def join(self, player: str) -> Fields:
        if player in self.players:
            raise ValueError(f"{player} has joined already")
        response = self._take(self._runtime.join(player))
        self.players.add(player)
        return response

    def leave(self, player: str) -> None:
        self._must_be_here(player)
        self._take(self._runtime.leave(player))
        self.players.discard(player)

    def move(self, player: str, event: str, /, **payload: Any) -> Fields:
        """Gives the response."""
        self._must_be_here(player)
        return self._take(self._runtime.move(player, event, _as_received(payload)))

    def tick(self, seconds: float | None = None, times: int = 1) -> None:
        """``seconds`` is what one tick of the game's ``tick_rate`` lasts if not given."""
        lasts = 1 / (self._runtime.tick_rate or 1) if seconds is None else seconds
        for _ in range(times):
            self._take(self._runtime.tick(lasts))

    def _must_be_here(self, player: str) -> None:
        if player not in self.players:
            raise ValueError(f"{player} has not joined")

    def _take(self, outcome: Outcome) -> Fields:
        response: Fields = _accepted(outcome)
        if outcome.ops:
            self.patches.append(outcome.ops)
        self.broadcasts += outcome.broadcasts
        return response


class RoomPlay:
    """Several clients on one topic, each with a name. A refusal raises Rejected, a failing method its own exception."""

    def __init__(
        self, channel_class: type[Channel], topic: str, players: bool, singletons: Sequence[type[Singleton]] = ()
    ) -> None:
        self._class, self._topic, self._players = channel_class, topic, players
        self.services = Services(time.time, random.Random(0), singletons)
        """What ``self.cluster`` works on; shared by all clients."""
        self._backend = MemoryBackend(self.services)
        self._clients: dict[str, ChannelRuntime] = {}
        self._numbers = itertools.count(1)
        self._joins: dict[str, Joined] = {}
        self.received: dict[str, list[tuple[str, Any]]] = {}
        """What each client was sent since it joined, oldest first, also of those who left. Without presence: see ``presences``."""

    @property
    def presences(self) -> Presences:
        """Who is tracked on the topic, as its clients are told: ``{key: {"metas": [{"phx_ref": …, **meta}]}}``."""
        return self._backend.presences(self._topic)

    @property
    def groups(self) -> dict[str, list[str]]:
        """The members of each group."""
        return {group: [member for _, member in found] for group, found in self._backend.groups().items()}

    def join(self, client: str, /, **payload: Any) -> Any:
        """Gives the response: a dict, or bytes."""
        if client in self._clients:
            raise ValueError(f"{client} has joined already")
        cluster = Cluster(self._backend)
        runtime = ChannelRuntime(
            self._class,
            self._topic,
            cluster,
            player=client if self._players else None,
            raise_errors=True,
        )
        cluster.enter = partial(self._called_by_name, client, runtime)
        reaction = _now(runtime.join(_as_received(payload)))
        if not reaction.ok:
            runtime.ended()
        response = _accepted(reaction)
        self._deliver_said()
        self._clients[client] = runtime
        self._joins[client] = 1, next(self._numbers)
        self.received[client] = []
        if (let_in := runtime.let_in()) is not None:
            response = json_object(response | let_in.response)
            for event, data in let_in.following:
                self._receive([client], Push(event, data))
        self._deliver(client, reaction)
        self._deliver(client, runtime.entered())
        return response

    def push(self, client: str, event: str, data: bytes | None = None, /, **payload: Any) -> Any:
        """Gives the response: a dict, or bytes. With ``data``, the payload is binary."""
        reaction = _now(self._client(client).push(event, _as_received(payload) if data is None else data))
        response = _accepted(reaction)
        self._deliver(client, reaction)
        return response

    def _called_by_name(
        self, client: str, runtime: ChannelRuntime, event: str, payload: Fields, then: Callable[[Said], None]
    ) -> None:
        reaction = _now(runtime.push(event, payload))
        self._deliver(client, reaction)
        then(Said(reaction.ok, json_object(reaction.response)))

    def leave(self, client: str) -> None:
        runtime = self._client(client)
        reaction = _now(runtime.leave())
        runtime.ended()
        self._backend.dispatch(TrackerEnded(self._joins[client], wanted=True))
        del self._clients[client]
        self._deliver(client, reaction)

    def _client(self, client: str) -> ChannelRuntime:
        if client not in self._clients:
            raise ValueError(f"{client} has not joined")
        return self._clients[client]

    def _deliver_said(self) -> None:
        """What ``self.cluster`` has broadcast on this topic."""
        said, self._backend.said = self._backend.said, []
        for broadcast in said:
            if broadcast.topic == self._topic:
                self._receive(self._clients, Push(broadcast.event, broadcast.payload))

    def _deliver(self, client: str, reaction: Reaction) -> None:
        self._deliver_said()
        for output in reaction.outputs:
            match output:
                case Push() if client in self._clients:
                    self._receive([client], output)
                case Publish():
                    self._receive(self._clients, output)
                case Track(key, meta) if client in self._clients:
                    place = Space.presence, self._topic, key, self._joins[client]
                    self._backend.dispatch(Tracked(*place, meta))
                case Untrack(key):
                    self._backend.dispatch(Untracked(Space.presence, self._topic, key, self._joins[client]))

    def _receive(self, clients: Iterable[str], sent: Push | Publish) -> None:
        for name in clients:
            payload = sent.payload
            self.received[name].append((sent.event, payload if isinstance(payload, bytes) else json_object(payload)))


def _now(reaction: Reaction | Running) -> Reaction:
    """Of an ``async`` method: a cluster of one does all at once, so there is nothing to wait for."""
    if isinstance(reaction, Reaction):
        return reaction
    try:
        reaction.send(None)
    except StopIteration as end:
        settled: Reaction = end.value
        return settled
    reaction.close()
    raise RuntimeError("a channel's method awaits something else than self.cluster: that needs a real cluster")


def _accepted(outcome: Outcome | Reaction) -> Any:
    response: Any = outcome.response
    if outcome.ok:
        return response
    details = dict(response)
    raise Rejected(details.pop("reason"), **details)


def _as_received(payload: Mapping[str, Any]) -> Fields:
    """As it would come over the wire: a copy, of JSON values only."""
    return json_object(dict(payload))
