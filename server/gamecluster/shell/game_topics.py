"""Topic ``game`` and the topics ``game:<id>`` of rooms, each of which is there as long as somebody here is on it or has asked to be.

| a join of a room                                          | is answered with                          |
| --------------------------------------------------------- | ----------------------------------------- |
| whose id no class serves, or is none                      | "unmatched topic", by the session         |
| by a name alone that is another's in the game             | "player taken"                            |
| whose row names ``players``, without a token              | "token needed"                            |
| the same, by a token of another stay than that in the game | "bad token"                               |
| the same, by somebody else                                | "not invited"                             |
| any other                                                 | what the room's holder says               |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

import msgspec
from msgspec import Struct

from ..core.authority import PLAYERS
from ..core.effects import Answer, Deliver, DeliverPatch, DeliverState, EndRoom, Replace
from ..core.messages import Fields
from ..entity import Entity
from ..interest import Grid
from ..phoenix.codec import encode_json
from ..phoenix.session import JoinRequested
from ..services.outbox import ID
from ..services.placements import TABLE as ROOMS
from .compact import Schema
from .connection import Connection
from .game_topic import GAME, GameTopic, Shared
from .grid_topic import make_topic
from .joins import GameJoin, Unwelcome

MIGRATE = "match.migrate"

_BEGINNING = GAME + ":"

UrlOf = Callable[[str], str | None]
"""Where clients reach the pod that holds a room; None: there is no such address."""


class RoomClass(Protocol):
    """``type[room.Room]``, as far as its clients' topics need it."""

    @property
    def patch_rate(self) -> int: ...

    @property
    def _tables(self) -> Mapping[str, type[Entity]]: ...

    @property
    def _grids(self) -> Sequence[Grid]: ...

    def matches(self, room: str, /) -> bool:
        """It serves this id."""
        ...


class Kind(Struct, frozen=True):
    """``schema``: of the class' tables."""

    room_class: RoomClass
    schema: Schema


class GameTopics:
    """A room is of the first of ``classes`` that matches. ``game``: of the GameState, which is always there."""

    def __init__(self, shared: Shared, game: GameTopic, classes: Sequence[RoomClass], url_of: UrlOf) -> None:
        self._shared = shared
        self._game = game
        self._kinds = [Kind(each, Schema(_fields(each))) for each in classes]
        self._url_of = url_of
        self._by_topic = {game.topic: game}

    @property
    def rooms(self) -> list[str]:
        """That somebody here is in, or has asked to join."""
        return [topic.removeprefix(_BEGINNING) for topic in self._by_topic if topic != GAME]

    # --- from clients

    def serves(self, topic: str) -> bool:
        return topic == GAME or self._kind_of(room_of(topic)) is not None

    def on(self, topic: str) -> GameTopic | None:
        """If there is somebody."""
        return self._by_topic.get(topic)

    def join(self, connection: Connection, asked: JoinRequested) -> None:
        game = self._by_topic.get(asked.topic) or self._begin(asked.topic)
        game.join(connection, asked)

    def blocked(self, connection: Connection) -> None:
        """It does not read: patches are kept from it until it does."""
        self._shared.blocked.setdefault(connection.number, {})

    def unblocked(self, connection: Connection) -> None:
        for topic, since in self._shared.blocked.pop(connection.number, {}).items():
            if (game := self._by_topic.get(topic)) is not None:
                game.catch_up(connection, since)

    def gone(self, connection: Connection) -> None:
        self._shared.blocked.pop(connection.number, None)

    # --- from the node

    def answer(self, effect: Answer) -> None:
        if (waiting := self._shared.requests.take(effect.request)) is not None:
            waiting.game.answer(waiting, effect)

    def deliver_patch(self, effect: DeliverPatch) -> None:
        if (game := self._of(effect.room)) is not None:
            game.deliver_patch(effect)

    def deliver_state(self, effect: DeliverState) -> None:
        if (game := self._of(effect.room)) is not None:
            game.deliver_state(effect)

    def replace(self, connection: Connection, effect: Replace) -> None:
        if (game := self._of(effect.room)) is not None:
            game.replace(connection, effect.player)

    def end(self, effect: EndRoom) -> None:
        """What was asked of the room has been answered."""
        if (game := self._of(effect.room)) is not None:
            game.end()

    def deliver(self, effect: Deliver) -> Deliver | None:
        """A broadcast is about to be told, as what is returned; None: it was for one client only, who has been told."""
        game = self._by_topic.get(effect.topic)
        if game is not None:
            game.flush_patches()
        if effect.event != MIGRATE or (told := self._migration(effect)) is None:
            return effect
        if game is None or "player" not in told:
            return Deliver(effect.topic, effect.event, encode_json(told))
        game.push_to(told["player"], effect.event, told)
        return None

    # --- private

    def _of(self, room: str) -> GameTopic | None:
        return self._by_topic.get(_BEGINNING + room) if room else self._game

    def _begin(self, topic: str) -> GameTopic:
        room = room_of(topic)
        kind = self._kind_of(room)
        assert room is not None and kind is not None, "the session asks for topics that are served only"
        game = make_topic(
            self._shared,
            room,
            self._shared.backend.room(room),
            kind.room_class.patch_rate,
            kind.schema,
            kind.room_class._grids,
            partial(self._admit, room),
            self._emptied,
        )
        self._by_topic[topic] = game
        return game

    def _emptied(self, topic: str) -> None:
        self._by_topic.pop(topic, None)

    def _kind_of(self, room: str | None) -> Kind | None:
        return None if room is None else next((k for k in self._kinds if k.room_class.matches(room)), None)

    def _admit(self, room: str, join: GameJoin) -> None:
        """Raises Unwelcome."""
        rows = self._shared.backend.rows
        player, placed = rows(PLAYERS).get(join.player, {}), rows(ROOMS).get(room, {})
        check_admitted(join, player.get("stay"), placed.get("players", ()))

    def _migration(self, effect: Deliver) -> Fields | None:
        """Its payload with the address; None if it names no room, which is for its topic's clients to make something of."""
        if effect.binary or not effect.topic.startswith((_BEGINNING, "player:")):
            return None
        try:
            payload = msgspec.json.decode(effect.payload, type=Fields)
        except msgspec.DecodeError:
            return None
        topic = payload.get("topic")
        room = room_of(topic) if isinstance(topic, str) else None
        return None if room is None else payload | {"url": self._url_of(room)}


def room_of(topic: str) -> str | None:
    """The id in ``game:<id>``."""
    room = topic.removeprefix(_BEGINNING)
    return room if room != topic and ID.fullmatch(room) else None


def check_admitted(join: GameJoin, stay: str | None, invited: Sequence[str]) -> None:
    """``stay``: of the player who is in the game; ``invited``: nobody: everybody is. Raises Unwelcome."""
    if join.stay is None and stay is not None:
        raise Unwelcome("player taken", "somebody in the game has this name; join with the token of the game's answer")
    if not invited:
        return
    if join.stay is None:
        raise Unwelcome("token needed", "only those who are invited may join: say who you are by your token")
    if stay not in (None, join.stay):
        raise Unwelcome(
            "bad token", "it is of an earlier stay of the player; take the one of the last join of the game"
        )
    if join.player not in invited:
        raise Unwelcome("not invited", f"this room is for others than {join.player!r}")


def _fields(room_class: RoomClass) -> dict[str, list[str]]:
    return {table: list(entity._fields) for table, entity in room_class._tables.items()}
