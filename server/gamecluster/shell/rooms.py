"""The rooms of this pod: what ``core.rooms`` needs of the application and of the node, and what others need of the rooms."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from ..core.effects import CallService, Effect, EndRoom, FlushSoon, RoomEffect
from ..core.events import (
    DrainRequested,
    Event,
    LinkDown,
    LinkUp,
    PeerSaid,
    Placed,
    PlayerJoined,
    PlayerLeft,
    PlayerMoved,
    RoomEvent,
    SaidInRoom,
    ServiceAnswered,
    Ticked,
    TurnEnded,
)
from ..core.messages import Fields, Incarnation, InRoom, Op, Placement, Position, Tables
from ..core.rooms import Rooms
from ..room import Room, RoomServices, class_for, make_room
from ..rules import Rejected
from ..runtime import RoomRuntime
from ..services.placements import TABLE
from ..services.rooms import KEPT, placement_of
from ..services.tenure import Tenure
from .resume import missed

KEEP_SECONDS = 2.0


class RoomKinds:
    """The classes of rooms among the targets; a room is of the first that matches. Fulfils ``core.rooms.Kinds``."""

    def __init__(self, classes: Sequence[type[Room]], randomness: random.Random) -> None:
        self._classes = classes
        self._by_name = {found.__name__: found for found in reversed(classes)}
        self._random = randomness

    @property
    def tick_rate(self) -> int:
        """The highest."""
        return max((found.tick_rate for found in self._classes), default=0)

    def kind_of(self, room: str) -> str | None:
        found = self._class_for(room)
        return found.__name__ if found is not None else None

    def make(self, room: str, placement: Placement) -> tuple[RoomRuntime, RoomServices] | None:
        found = self._class_for(room)
        return make_room(found, room, placement.players, self._random) if found is not None else None

    def copies(self, kind: str) -> int:
        found = self._by_name.get(kind)
        return found.copies if found is not None else Room.copies

    def on_demand(self, kind: str) -> bool:
        return self._by_name[kind].on_demand

    def is_declared(self, room: str) -> bool:
        found = self._class_for(room)
        return found is not None and room in found.declared

    def declared(self) -> Mapping[str, str]:
        """The rooms that there always are, with their kinds."""
        return {room: found.__name__ for found in self._classes for room in found.declared}

    def tables(self, room: str) -> Tables:
        """Those of its class, empty."""
        found = self._class_for(room)
        return {name: {} for name in found._tables} if found is not None else {}

    def _class_for(self, room: str) -> type[Room] | None:
        return class_for(self._classes, room)


class Node(Protocol):
    """``core.node.Node``."""

    me: Incarnation

    @property
    def suspect_after(self) -> float: ...

    def gone_for(self, peer: Incarnation, now: float) -> float: ...

    def staying(self, now: float) -> list[Incarnation]: ...


class Pod(Protocol):
    """``driver.Driver``."""

    def carry_out(self, effects: Iterable[Effect]) -> None: ...

    def end_room(self, effect: EndRoom) -> None: ...

    def before_turn_ends(self, then: Callable[[], None]) -> None: ...

    def fail(self, machine: str, event: object, error: Exception) -> None: ...

    def ask(self, service: str, verb: str, args: Fields) -> asyncio.Future[Fields]: ...

    def rows(self, table: str) -> Mapping[str, Fields]: ...

    def time(self) -> float: ...


class RoomHost:
    """Runs ``core.rooms.Rooms`` beside the node: events go in, effects are carried out."""

    def __init__(self, node: Node, kinds: RoomKinds, pod: Pod) -> None:
        self._kinds, self._pod = kinds, pod
        self._events: deque[RoomEvent] = deque()
        self._is_handling = False
        self.machine = Rooms(
            node.me, kinds, random.SystemRandom(), node, Tenure(), pod.time(), node.suspect_after, kept=self._kept
        )

    def takes(self, event: Event) -> bool:
        """Has the rooms decide on what is theirs; what they share with the node is still to be given to that."""
        match event:
            case PlayerMoved() | PlayerJoined() | PlayerLeft():
                if not event.room:
                    return False
                self.decide(event)
                return True
            case PeerSaid(peer, InRoom() as message):
                self.decide(SaidInRoom(peer, message))
                return True
            case Ticked() | LinkUp() | LinkDown():
                self.decide(event)
        return False

    def decide(self, event: RoomEvent) -> None:
        """From within an effect, the event waits for its turn."""
        self._events.append(event)
        if self._is_handling:
            return
        self._is_handling = True
        try:
            while self._events:
                event = self._events.popleft()
                try:
                    effects = self.machine.handle(event, self._pod.time())
                except Exception as error:
                    self._pod.fail("a room", event, error)
                    return
                for effect in effects:
                    self._do(effect)
        finally:
            self._is_handling = False

    def _do(self, effect: RoomEffect) -> None:
        match effect:
            case CallService(request, service, verb, args):
                self._call(request, service, verb, args)
            case EndRoom():
                self._pod.end_room(effect)
            case FlushSoon():
                self._pod.before_turn_ends(self._end_turn)
            case _:
                self._pod.carry_out((effect,))

    def followed(self, ops: list[Op] | None) -> None:
        """Rows of the services' tables have changed; None: all of them may have."""
        rows, placements = self._pod.rows(TABLE), self.machine.placements
        changed = [*placements, *rows] if ops is None else [key for table, key, _ in ops if table == TABLE]
        for room in dict.fromkeys(changed):
            row = rows.get(room)
            placement = placement_of(row) if row is not None else None
            if placement != placements.get(room):
                self.decide(Placed(room, placement))

    def how_to_open(self, room: str) -> Fields | None:
        """``{"kind", "pods", "copies"}``; None: no class is for this id."""
        kind = self._kinds.kind_of(room)
        return self.machine.how_to_open(kind, self._pod.time()) if kind is not None else None

    async def keep(self) -> None:
        """This pod is about to go: what is to be kept of its rooms is, while somebody leads. Within two seconds."""
        self.decide(DrainRequested())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KEEP_SECONDS):
                while self.machine.keeps:  # noqa: ASYNC110 (what is looked at is no event)
                    await asyncio.sleep(0.01)

    def state(self, room: str) -> RoomState:
        return RoomState(room, self.machine, self._kinds)

    def _kept(self, room: str) -> Tables | None:
        row = self._pod.rows(KEPT).get(room)
        return row["tables"] if row is not None else None

    def _end_turn(self) -> None:
        self.decide(TurnEnded())

    def _call(self, request: int, service: str, verb: str, args: Fields) -> None:
        def answered(answer: asyncio.Future[Fields]) -> None:
            if answer.cancelled():
                return
            match answer.exception():
                case None:
                    self.decide(ServiceAnswered(request, True, answer.result()))
                case Rejected() as refusal:
                    self.decide(ServiceAnswered(request, False, refusal.response))
                case error:
                    self.decide(ServiceAnswered(request, False, {"reason": "bad payload", "detail": f"{error}"}))

        self._pod.ask(service, verb, args).add_done_callback(answered)


class RoomState:
    """A room's committed state as this pod has it. Fulfils ``resume.Game``."""

    def __init__(self, room: str, rooms: Rooms, kinds: RoomKinds) -> None:
        self._room, self._rooms = room, rooms
        self._empty = kinds.tables(room)

    def position(self) -> Position:
        return self._rooms.position(self._room)

    def visible_tables(self) -> Tables:
        return self._empty | self._rooms.visible_tables(self._room)

    def missed(self, since: Position) -> list[Op] | None:
        log = self._rooms.log(self._room)
        return missed(log, since, self.visible_tables()) if log is not None else None
