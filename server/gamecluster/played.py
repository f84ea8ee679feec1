"""Games and rooms that are played in one process, for ``gamecluster.testing``."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from .channel import Reaction
from .checks import json_object
from .cluster import ORIGIN, RuleCluster
from .core.messages import Broadcast, Fields, Op, Tables
from .game import Game, Outcome, Rejected, Runtime
from .interest import seen
from .room import Room, class_for, make_room
from .services import Services
from .services.outbox import OUT
from .singleton import Singleton

MOST_LETTERS = 10_000
"""That one call leads to: more go round in a circle."""


class Play:
    """One game being played. A refusal raises Rejected, a failing rule its own exception; neither changes anything."""

    def __init__(
        self, game_class: type[Game], seed: int, tables: Tables, singletons: Sequence[type[Singleton]] = ()
    ) -> None:
        self.services = Services(time.time, random.Random(seed), singletons)
        """What ``self.cluster`` works on."""
        runtime = Runtime(game_class, random.Random(seed), services=self.services, raise_errors=True)
        self._begin(runtime, tables)

    def _begin(self, runtime: Runtime, tables: Tables) -> None:
        self._runtime = runtime
        self._runtime.load(tables)
        self.players: set[str] = set()
        self.patches: list[list[Op]] = []
        """What each call changed, oldest first; calls that changed nothing are not in it."""
        self.broadcasts: list[Broadcast] = []

    @property
    def tables(self) -> Tables:
        """A copy of the state: ``{table: {key: {field: value}}}``."""
        return self._runtime.tables()

    def seen_by(self, player: str) -> Tables:
        """What of the state this player's clients are sent: all of it, if the game has no Grid."""
        return seen(self._runtime.grids, self.tables, player)

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
        return self._take(self._runtime.move(player, event, as_received(payload)))

    def tick(self, seconds: float | None = None, times: int = 1) -> None:
        """``seconds`` is what one tick of the game's ``tick_rate`` lasts if not given."""
        lasts = 1 / (self._runtime.tick_rate or 1) if seconds is None else seconds
        for _ in range(times):
            self._take(self._runtime.tick(lasts))

    def _must_be_here(self, player: str) -> None:
        if player not in self.players:
            raise ValueError(f"{player} has not joined")

    def _take(self, outcome: Outcome) -> Fields:
        response: Fields = accepted(outcome)
        if outcome.ops:
            self.patches.append(outcome.ops)
        self.broadcasts += outcome.broadcasts
        return response


class Letter(Struct, frozen=True):
    to: str
    event: str
    payload: Fields


class PlayedRoom(Play):
    """One room being played. What it has the cluster do is done at once; its letters go nowhere, unless it is in a World."""

    def __init__(
        self,
        room_class: type[Room],
        id: str,
        players: Sequence[str] = (),
        seed: int = 0,
        tables: Tables | None = None,
        singletons: Sequence[type[Singleton]] = (),
        services: Services | None = None,
        sent: Callable[[], None] = lambda: None,
    ) -> None:
        """``sent``: called when there may be letters to deliver."""
        self.id = id
        self.invited = tuple(players)
        self.services = services or Services(time.time, random.Random(seed), singletons)
        self.letters: list[Letter] = []
        """What it has sent, oldest first."""
        self.calls: list[tuple[str, str, Fields]] = []
        """What it had the cluster do, oldest first: service, verb, arguments."""
        self.refusals: list[Fields] = []
        """Of what it had the cluster do."""
        self._sent = sent
        self._received = 0
        runtime, self._room = make_room(room_class, id, players, random.Random(seed), raise_errors=True)
        self._begin(runtime, tables or {})

    @property
    def cluster(self) -> RuleCluster:
        """To read what became of calls: ``duel.cluster.leaderboard("wins").top()``."""
        return RuleCluster(self.services)

    @property
    def has_ended(self) -> bool:
        return self._room.is_ended

    def join(self, player: str) -> Fields:
        if self.invited and player not in self.invited:
            raise Rejected("not invited")
        return super().join(player)

    def receive(self, sender: str, event: str, /, **payload: Any) -> None:
        """A letter of another room comes. A refusal raises Rejected; its sender would have it returned."""
        self._received += 1
        args = {"from_": sender, "life": "test", "n": self._received, "event": event, "payload": as_received(payload)}
        response = self._take(self._room.call("letters", "deliver", args, ORIGIN))
        if "refused" in response:
            accepted(Outcome(False, response["refused"], [], []))

    def give_back(self, letter: Letter) -> None:
        """It could not be delivered: ``returned`` runs."""
        number = next(n for n, row in self.undelivered.items() if _letter(row) == letter)
        self.answered(number, False, {"reason": "unknown room"})

    @property
    def undelivered(self) -> dict[int, Fields]:
        """Rows of its outbox, the oldest first."""
        return {int(n): row for n, row in self._room.ledger.rows(OUT).items()}

    def deliver(self, args: Fields) -> Fields:
        """A letter as its sender's outbox has it."""
        return self._take(self._room.call("letters", "deliver", args, ORIGIN))

    def answered(self, number: int, ok: bool, response: Fields) -> None:
        self._take(self._room.call("outbox", "sent", {"n": number, "ok": ok, "response": response}, ORIGIN))

    def _take(self, outcome: Outcome) -> Fields:
        response = super()._take(outcome)
        for table, number, row in outcome.ops:
            if table == OUT and row is not None:
                self._post(int(number), row)
        self._sent()
        return response

    def _post(self, number: int, row: Fields) -> None:
        if row["to"]:
            self.letters.append(_letter(row))
            return
        self.calls.append((row["service"], row["verb"], row["args"]))
        done = self.services.call(row["service"], row["verb"], row["args"], ORIGIN)
        self.broadcasts += done.broadcasts
        if not done.ok:
            self.refusals.append(done.response)
        super()._take(self._room.call("outbox", "sent", {"n": number, "ok": True, "response": {}}, ORIGIN))


class World:
    """Rooms by id, whose letters are delivered before a call returns. All share what ``self.cluster`` has."""

    def __init__(self, rooms: Sequence[type[Room]], seed: int, singletons: Sequence[type[Singleton]] = ()) -> None:
        self._classes = tuple(rooms)
        self._seed = seed
        self.services = Services(time.time, random.Random(seed), singletons)
        self.rooms: dict[str, PlayedRoom] = {}
        """Those that are there."""
        self._is_delivering = False
        for id in (id for each in rooms for id in each.declared):
            self.open(id)

    def __getitem__(self, id: str) -> PlayedRoom:
        if id not in self.rooms:
            raise KeyError(f"there is no room {id!r}; there are {', '.join(self.rooms) or 'none'}")
        return self.rooms[id]

    def open(self, id: str, players: Sequence[str] = ()) -> PlayedRoom:
        """Makes the room, unless it is there. ``players``: those whom it is for; nobody: everybody."""
        if id not in self.rooms:
            found = class_for(self._classes, id)
            if found is None:
                raise Rejected("unknown room", room=id)
            self._seed += 1
            self.rooms[id] = PlayedRoom(found, id, players, self._seed, services=self.services, sent=self._deliver)
        return self.rooms[id]

    def join(self, id: str, player: str) -> Fields:
        """Makes the room first, if it is one that is made on demand."""
        found = class_for(self._classes, id)
        if id not in self.rooms and not (found and found.on_demand):
            raise Rejected("unknown room", room=id)
        return self.open(id).join(player)

    def _deliver(self) -> None:
        if self._is_delivering:
            return
        self._is_delivering = True
        try:
            for _ in range(MOST_LETTERS):
                if not any([self._deliver_one(room) for room in list(self.rooms.values())]):
                    break
            else:
                raise RuntimeError(f"{MOST_LETTERS} letters, and more: do rooms answer each other for ever?")
        finally:
            self._is_delivering = False
        self.rooms = {id: room for id, room in self.rooms.items() if not room.has_ended}

    def _deliver_one(self, sender: PlayedRoom) -> bool:
        number, row = next(iter(sender.undelivered.items()), (0, None))
        if row is None:
            return False
        to = self.rooms.get(row["to"])
        if to is None:
            sender.answered(number, False, {"reason": "unknown room", "room": row["to"]})
        else:
            sender.answered(number, True, to.deliver(row["args"]))
        return True


def _letter(row: Fields) -> Letter:
    return Letter(row["to"], row["args"]["event"], row["args"]["payload"])


def accepted(outcome: Outcome | Reaction) -> Any:
    response: Any = outcome.response
    if outcome.ok:
        return response
    details = dict(response)
    raise Rejected(details.pop("reason"), **details)


def as_received(payload: Mapping[str, Any]) -> Fields:
    """As it would come over the wire: a copy, of JSON values only."""
    return json_object(dict(payload))
