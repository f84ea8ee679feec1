"""Play a game, or rooms, or talk on a channel, without a cluster: for the tests of your game."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, overload

from .channel import Channel, ChannelRuntime, Publish, Push, Reaction, Running, Track, Untrack
from .checks import json_object
from .cluster import Cluster, MemoryBackend
from .core.effects import Presences
from .core.events import Joined, Tracked, TrackerEnded, Untracked
from .core.messages import Fields, Space, Tables
from .facades.names import Said
from .game import Game
from .played import Letter, Play, PlayedRoom, World, accepted, as_received
from .room import Room
from .services import Services
from .singleton import Singleton

__all__ = ["Letter", "Play", "PlayedRoom", "RoomPlay", "World", "play", "room", "world"]

Singletons = Sequence[type[Singleton]]


@overload
def play(
    game_class: type[Room],
    *,
    room: str,
    players: Sequence[str] = ...,
    seed: int = ...,
    tables: Tables | None = ...,
    singletons: Singletons = ...,
) -> PlayedRoom: ...


@overload
def play(
    game_class: type[Game], *, seed: int = ..., tables: Tables | None = ..., singletons: Singletons = ...
) -> Play: ...


def play(
    game_class: type[Any],
    *,
    room: str | None = None,
    players: Sequence[str] = (),
    seed: int = 0,
    tables: Tables | None = None,
    singletons: Singletons = (),
) -> Play:
    """A game without a cluster::

        arena = play(Arena)
        arena.join("p1")
        arena.move("p1", "move", dx=1, dy=0)
        assert arena.tables["ships"]["p1"]["x"] > 0

    ``seed`` is that of ``self.random``; ``tables`` is a state to begin from; ``singletons``: the classes that ``self.cluster`` has.

    One room, if ``room`` is its id: ``players`` are those whom it is made for. Its letters are kept in ``letters``.
    """
    if room is None:
        return Play(game_class, seed, tables or {}, singletons)
    return PlayedRoom(game_class, room, players, seed, tables or {}, singletons)


def world(*rooms: type[Room], seed: int = 0, singletons: Singletons = ()) -> World:
    """Rooms that write to each other, without a cluster. The declared ones are there, others are with the first who joins::

    mud = world(Zone)
    mud.join("zone-town", "ann")
    mud["zone-town"].move("ann", "walk", to="zone-forest")
    assert "ann" in mud["zone-forest"].tables["people"]
    """
    return World(rooms, seed, singletons)


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
        reaction = _now(runtime.join(as_received(payload)))
        if not reaction.ok:
            runtime.ended()
        response = accepted(reaction)
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
        reaction = _now(self._client(client).push(event, as_received(payload) if data is None else data))
        response = accepted(reaction)
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
