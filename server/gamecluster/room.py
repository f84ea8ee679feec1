"""Rooms: many of a kind, by id, each with its own state and rules on the topic ``game:<id>``. The guide is docs/rooms.md."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, TypeVar

from .checks import DefinitionError, text
from .core.messages import Broadcast, Fields
from .facades.rooms import RoomCluster
from .game import Game, base_of, is_reserved
from .rules import Marker, Rule, check_method, rules_of
from .runtime import RoomRuntime
from .services.ledger import Ledger
from .services.outbox import ID, Outbox, RoomServices, checked_id

__all__ = ["Room", "RoomServices", "make_room", "received"]

F = TypeVar("F", bound=Callable[..., Any])

RECEIVED = Marker("@received", "_letters", "_received")
MOST_COPIES = 5


def received(event: str) -> Callable[[F], F]:
    """Marks the method of a Room that takes letters called ``event``: ``(self, sender, …)``, the id of the room that has sent it, then
    the payload's fields, checked against their types, or all of it as ``payload``."""
    return RECEIVED.mark(event)


def topic_of(room: str) -> str:
    return f"game:{room}"


class Room(Game):
    """One of many, by id::

        class Duel(Room):
            rooms = "duel-*"
            shots: Table[Shot]

    Rules and tables are as a Game's. Each room runs on one pod, its holder, and its backups have all that it has acknowledged: one
    of them goes on where a holder was lost.
    """

    rooms: ClassVar[str] = ""
    """The ids that it is for: one, or a beginning and ``*``."""
    declared: ClassVar[tuple[str, ...]] = ()
    """These there always are."""
    on_demand: ClassVar[bool] = True
    """The first who joins an id has its room made."""
    copies: ClassVar[int] = 2
    """Pods that hold it: one that runs it, and backups."""
    empty_seconds: ClassVar[float] = 30.0
    """After so long without a player a room ends; a declared one never."""
    ticks_when_empty: ClassVar[bool] = False
    """Whether ``tick`` runs in a room without a player."""
    keep_seconds: ClassVar[float | None] = None
    """So long after a change the GameState is given a copy, and with it the cluster's storage: a room whose pods were all lost, or put
    to sleep, goes on from there. None: it begins anew."""
    room: str
    """Its id."""
    invited: tuple[str, ...]
    """The players whom it was made for, who alone may join; nobody: everybody may."""
    cluster: RoomCluster  # type: ignore[assignment]  # a room does not wait for the cluster: nothing is returned
    """What the cluster does for it, once what a rule changed is safe."""

    _reserved: ClassVar[frozenset[str]] = Game._reserved | {"room", "invited", "send", "migrate", "end", "matches"}
    _received: ClassVar[dict[str, Rule]] = {}
    _outbox: Outbox

    @classmethod
    def _declare(cls, names: dict[str, Any]) -> None:
        if base_of(cls) is cls:
            return
        super()._declare(names)
        _check_class(cls)
        cls._received = rules_of(cls, Room, names, {"sender": str}, is_reserved, marker=RECEIVED)

    @classmethod
    def matches(cls, room: str) -> bool:
        """Whether this class is the one for the id: ``duel-*`` is for ``duel-1``, but not for ``duel-``."""
        if not ID.fullmatch(room):
            return False
        if cls.rooms.endswith("*"):
            return len(room) >= len(cls.rooms) and room.startswith(cls.rooms[:-1])
        return room == cls.rooms

    def returned(self, room: str, event: str, payload: Fields) -> None:
        """Runs for each letter that ``room`` has not taken: there is no such room, or it has refused it."""

    def send(self, room: str, event: str, payload: Fields | None = None) -> None:
        """A letter to another room, whose ``@received(event)`` runs once, wherever it is, after what this rule changed is safe; letters of
        one room to another arrive in their order. Raises Rejected, ``overloaded``, if a thousand are under way."""
        self._outbox.send(room, event, payload or {})

    def migrate(self, player: str, room: str) -> None:
        """Tells a player's clients to go on in another room: ``match.migrate`` ``{"player", "topic", "url"}``, on the player's own topic
        and on this room's."""
        told = {"player": text(player), "topic": topic_of(checked_id(room))}
        for topic in f"player:{player}", self._topic:
            self._broadcasts.append(Broadcast(topic, "match.migrate", told))

    def end(self) -> None:
        """The room is over once what this rule changed is safe, and what it has sent is delivered. Nobody moves in it any more."""
        self._outbox.end()

    @property
    def _topic(self) -> str:
        return topic_of(self.room)


def class_for(classes: Iterable[type[Room]], room: str) -> type[Room] | None:
    """The first that is for this id."""
    return next((found for found in classes if found.matches(room)), None)


def make_room(
    cls: type[Room], room_id: str, invited: Sequence[str], randomness: random.Random, *, raise_errors: bool = False
) -> tuple[RoomRuntime, RoomServices]:
    """What a room's holder runs: its rules, and its services, which share what a rule changes."""
    outbox = Outbox(checked_id(room_id), Ledger(), randomness)
    runtime = RoomRuntime(cls, outbox, invited, randomness, raise_errors=raise_errors)
    return runtime, RoomServices(outbox, runtime, raise_errors)


def _check_class(cls: type[Room]) -> None:
    who = cls.__name__
    _check_rooms(cls, who)
    _check_declared(cls, who)
    if type(cls.copies) is not int or not 1 <= cls.copies <= MOST_COPIES:
        raise DefinitionError(f"{who}.copies: expected an int from 1 to {MOST_COPIES} (pods), got {cls.copies!r}")
    if type(cls.empty_seconds) not in (int, float) or not 0 <= cls.empty_seconds < float("inf"):
        raise DefinitionError(f"{who}.empty_seconds: expected 0 or more seconds, got {cls.empty_seconds!r}")
    if cls.keep_seconds is not None and not (
        type(cls.keep_seconds) in (int, float) and 1 <= cls.keep_seconds < float("inf")
    ):
        raise DefinitionError(f"{who}.keep_seconds: expected 1 or more seconds, or None, got {cls.keep_seconds!r}")
    for name in "on_demand", "ticks_when_empty":
        if not isinstance(getattr(cls, name), bool):
            raise DefinitionError(f"{who}.{name}: expected True or False, got {getattr(cls, name)!r}")
    check_method(cls, "returned", 3, "(self, room, event, payload)")


def _check_rooms(cls: type[Room], who: str) -> None:
    """One without ``rooms`` is for others to derive from."""
    rooms: Any = cls.rooms
    if not isinstance(rooms, str) or (rooms and not ID.fullmatch(rooms[:-1] + "x" if rooms.endswith("*") else rooms)):
        raise DefinitionError(
            f'{who}.rooms: expected an id such as "lobby", or a beginning and * such as "duel-*", of letters, digits and _ . : -, '
            f"got {rooms!r}"
        )


def _check_declared(cls: type[Room], who: str) -> None:
    declared: Any = cls.declared
    if not isinstance(declared, tuple) or not all(isinstance(room, str) for room in declared):
        raise DefinitionError(f'{who}.declared: expected a tuple of ids such as ("zone-town",), got {declared!r}')
    for room in declared:
        if not cls.matches(room):
            raise DefinitionError(f"{who}.declared: {room!r} is not one of its rooms, {cls.rooms!r}")
