"""All rooms that this pod has to do with, beside its ``node.Node``. ``handle(event, now) -> effects``.

A move's way: PlayerMoved → the room's Forwarding → Forward to its holder → the rule runs once → Append to backups and to pods with clients
→ Ack → commit → Answer and DeliverPatch. A failover's way: the leader gives the room to a backup, Placed → it holds → Follow to all.
Rooms that nothing happens in cost nothing: only those that are busy are ticked.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Protocol

from . import effects as do
from . import events as happened
from .authority import Authority
from .authority import Services as GameServices
from .effects import Level, RoomEffect
from .events import RoomEvent
from .messages import Call, Fields, Incarnation, JoinGame, LeaveGame, Move, Placement, Position, Request, Tables
from .replication import Log
from .room import Room, Rules

OPEN_AGAIN_SECONDS = 0.25
SIGN_SECONDS = 0.4
WAIT_SECONDS = 0.2
"""Between two ticks of a room that nothing but time will change."""
SWEEP_SECONDS = 1.0
NOWHERE = Position(0, 0)
KEPT_NO_MORE = frozenset({"stale", "unknown room", "too large"})


class Kinds(Protocol):
    """The classes of rooms that there are."""

    def kind_of(self, room: str) -> str | None:
        """The name of the class that serves this id, if one does."""
        ...

    def make(self, room: str, placement: Placement) -> tuple[Rules, GameServices | None] | None:
        """None: this version of the application has no such class."""
        ...

    def copies(self, kind: str) -> int: ...
    def on_demand(self, kind: str) -> bool: ...
    def is_declared(self, room: str) -> bool: ...


class Members(Protocol):
    """Who is there."""

    def gone_for(self, peer: Incarnation, now: float) -> float:
        """Seconds since it was last heard."""
        ...

    def staying(self, now: float) -> list[Incarnation]:
        """Pods that are heard and are not about to go; this one first, if it stays."""
        ...


class Tenure(Protocol):
    """``services.tenure.Tenure``."""

    def confirmed(self, asked_at: float) -> None: ...
    def is_good(self, now: float) -> bool: ...


class Rooms:
    def __init__(
        self,
        me: Incarnation,
        kinds: Kinds,
        randomness: random.Random,
        members: Members,
        tenure: Tenure,
        now: float,
        suspect_after: float,
        kept: Callable[[str], Tables | None] = lambda room: None,
    ) -> None:
        """``suspect_after``: in seconds, as the node's. ``kept``: what the GameState has of a room, as far as this pod knows."""
        self.me = me
        self.kept = kept
        self.now = now
        self.suspect_after = suspect_after
        self.requests: Iterator[int] = count(1)
        self.placements: dict[str, Placement] = {}
        """Of all rooms of the cluster, as far as this pod knows."""
        self.keeps = 0
        """Copies for the GameState that are under way."""
        self._kinds = kinds
        self._random = randomness
        self._members = members
        self._tenure = tenure
        self._rooms: dict[str, Room] = {}
        self._linked: set[Incarnation] = set()
        self._busy: dict[str, Room] = {}
        self._waiting: dict[str, int] = {}  # those that are ticked now and then, by the number of their wake
        self._touched: dict[str, Room] = {}
        self._to_flush: dict[str, Room] = {}
        self._held: set[str] = set()
        self._wakes: list[tuple[float, int, Room]] = []
        self._count = 0
        self._calls: dict[int, Callable[[bool, Fields], None]] = {}
        self._posts: dict[int, Callable[[bool, Fields], None]] = {}
        self._opening: dict[str, float] = {}
        self._sign_at = self._sweep_at = -inf
        self._is_flush_due = False
        self._out: list[RoomEffect] = []

    # --- views

    def held(self) -> dict[str, int]:
        """The players of each room that is held here."""
        return {id: self._rooms[id].players for id in self._held if id in self._rooms}

    def here(self) -> list[str]:
        """Rooms that end, or lose a backup, with this pod."""
        placements = [(id, self.placements[id]) for id in self._rooms if id in self.placements]
        return [id for id, p in placements if self.me == p.holder or self.me in p.backups]

    def position(self, room: str) -> Position:
        return self._rooms[room].log.committed if room in self._rooms else NOWHERE

    def visible_tables(self, room: str) -> Tables:
        return self._rooms[room].visible_tables() if room in self._rooms else {}

    def log(self, room: str) -> Log | None:
        return self._rooms[room].log if room in self._rooms else None

    def players(self, room: str) -> int | None:
        """None: this pod has no copy."""
        found = self._rooms.get(room)
        return found.players if found is not None and found.log.committed != NOWHERE else None

    # --- events

    def handle(self, event: RoomEvent, now: float) -> list[RoomEffect]:
        """Decides. ``now``: monotonic seconds of this pod. The effects are to be carried out in their order."""
        self.now = now
        self._out = []
        match event:
            case happened.SaidInRoom(peer, message):
                self._touch(message.room).said(peer, message.body)
            case happened.PlayerMoved(request, connection, player, name, payload, n, room):
                self._ask(room, request, Move(player, connection, name, payload, n))
            case happened.PlayerJoined(request, connection, player, stay, nonce, room):
                nonce = nonce or f"{self._random.getrandbits(96):024x}"
                self._touch(room).joined(request, JoinGame(player, stay, nonce, connection))
                self._open_unless_there(room)
            case happened.PlayerLeft(connection, player, wanted, room):
                if room in self._rooms:
                    self._touch(room).left(LeaveGame(player, connection, wanted))
            case happened.Placed(room, placement):
                self._on_placed(room, placement)
            case happened.TurnEnded():
                self._on_turn_ended()
            case happened.Ticked():
                self._on_tick()
            case happened.LinkUp(peer):
                self._linked.add(peer)
                for id in list(self._rooms):
                    self._touch(id).link_up(peer)
            case happened.LinkDown(peer):
                self._linked.discard(peer)
                for id in list(self._rooms):
                    self._touch(id).link_down(peer)
            case happened.ServiceAnswered(request, ok, response):
                if (then := self._calls.pop(request, None)) is not None:
                    then(ok, response)
            case happened.DrainRequested():  # the leader sees to it that the rooms go elsewhere, if there is a pod
                for id in sorted(self._held & self._rooms.keys()):
                    self._touch(id).keep()
        self._settle()
        return self._out

    def _on_placed(self, id: str, placement: Placement | None) -> None:
        self._opening.pop(id, None)
        if placement is None:
            self.placements.pop(id, None)
        else:
            self.placements[id] = placement
        is_mine = placement is not None and self.me in (placement.holder, *placement.backups, *placement.joining)
        self._held.discard(id)
        if placement is not None and placement.holder == self.me:
            self._held.add(id)
            self._ask_for_sign()
        if id in self._rooms or is_mine:
            self._touch(id).placed(placement)

    def _on_turn_ended(self) -> None:
        self._is_flush_due = False
        rooms, self._to_flush = self._to_flush, {}
        for room in rooms.values():
            room.turn_ended()

    def _on_tick(self) -> None:
        if self._held:
            self._ask_for_sign()
        while self._wakes and self._wakes[0][0] <= self.now:
            _, number, room = heappop(self._wakes)
            waits = self._waiting.get(room.id) == number
            if waits:
                del self._waiting[room.id]
            if self._rooms.get(room.id) is room:
                self._touch(room.id)
                room.ticked() if waits else room.woken()
        for id in list(self._busy):
            self._touch(id).ticked()
            self._open_unless_there(id)
        if self.now >= self._sweep_at:
            self._sweep_at = self.now + SWEEP_SECONDS
            self._sweep()

    def _sweep(self) -> None:
        for room in [room for room in self._rooms.values() if room.unused()]:
            del self._rooms[room.id]
            self._busy.pop(room.id, None)
            self._to_flush.pop(room.id, None)

    def _touch(self, id: str) -> Room:
        room = self._rooms.get(id)
        if room is None:
            room = self._rooms[id] = Room(id, self)
            if (placement := self.placements.get(id)) is not None:
                room.placed(placement)
        self._touched[id] = room
        return room

    def _settle(self) -> None:
        for id, room in self._touched.items():
            if room.is_busy:
                self._busy[id] = room
                continue
            self._busy.pop(id, None)
            if id not in self._waiting and room.is_waiting:
                self.wake(room, self.now + WAIT_SECONDS)
                self._waiting[id] = self._count
        self._touched.clear()

    # --- rooms that are not there yet

    def _ask(self, id: str, request: int, body: Request) -> None:
        self._touch(id).ask(request, body)
        self._open_unless_there(id)

    def _open_unless_there(self, id: str) -> None:
        """Has it made, or refuses what is asked of it."""
        room = self._rooms.get(id)
        if id in self.placements or room is None or not room.is_used or self._opening.get(id, -inf) > self.now:
            return
        kind = self._kinds.kind_of(id)
        if kind is None or not (self._kinds.on_demand(kind) or self._kinds.is_declared(id)):
            room.refuse_all({"reason": "no such room"})
        elif self._kinds.on_demand(kind):
            self._opening[id] = self.now + OPEN_AGAIN_SECONDS
            args = {"id": id, **self.how_to_open(kind, self.now)}
            self._call("rooms", "open", args, lambda ok, response: self._opened(id, ok, response))

    def how_to_open(self, kind: str, now: float) -> Fields:
        """What ``rooms.open`` is to be told besides the id: ``{"kind", "pods", "copies"}``."""
        pods = self._members.staying(now) or [self.me]
        return {"kind": kind, "pods": pods, "copies": self._kinds.copies(kind)}

    def _opened(self, id: str, ok: bool, response: Fields) -> None:
        if not ok and response.get("reason") not in ("no leader", "unknown") and id in self._rooms:
            self._touch(id).refuse_all(response)

    # --- what rooms need of their pod

    def make(self, room: str, placement: Placement) -> tuple[Rules, GameServices | None] | None:
        return self._kinds.make(room, placement)

    def authority(self, rules: Rules | None, services: GameServices | None) -> Authority:
        return Authority(rules, self._random, services, adopts_stays=True)

    def do(self, effect: RoomEffect) -> None:
        self._out.append(effect)

    def flush_soon(self, room: Room) -> None:
        self._to_flush[room.id] = room
        if not self._is_flush_due:
            self._is_flush_due = True
            self._out.append(do.FlushSoon())

    def wake(self, room: Room, when: float) -> None:
        self._count += 1
        heappush(self._wakes, (when, self._count, room))

    def call(self, verb: str, args: Fields) -> None:
        self._call("rooms", verb, args, lambda ok, response: None)

    def keep(self, room: Room, epoch: int, then: Callable[[bool], None]) -> None:
        self.keeps += 1

        def answered(ok: bool, response: Fields) -> None:
            self.keeps -= 1
            reason = response.get("reason")
            if reason == "too large":
                self._out.append(do.Say(Level.warning, f"no copy of room {room.id} is kept: {response.get('detail')}"))
            then(ok or reason in KEPT_NO_MORE)

        copy = {"seq": room.log.committed.seq, "tables": room.log.snapshot()}
        self._call("rooms", "keep", {"id": room.id, "epoch": epoch, **copy}, answered)

    def post(self, room: Room, n: int, row: Fields) -> int:
        """A letter to another room, or a call of the cluster's services: both know one that came before by its number."""
        assert room.placement is not None
        id, to, epoch = room.id, row["to"], room.placement.epoch

        def then(ok: bool, response: Fields) -> None:
            if id in self._rooms:
                self._touch(id).posted(n, to, epoch, ok, response)

        if not to:
            inner = {"service": row["service"], "verb": row["verb"], "args": row["args"]}
            self._call("rooms", "deliver", {"id": id, "epoch": epoch, "n": n, **inner}, then)
            return 0
        self._count += 1
        request = -self._count
        self._posts[request] = then
        self._ask(to, request, Call(row["service"], row["verb"], row["args"]))
        return request

    def unpost(self, to: str, request: int) -> None:
        if self._posts.pop(request, None) is not None and to in self._rooms:
            self._touch(to).forget(request)

    def answer(self, request: int, ok: bool, response: Fields, is_join: bool = False) -> None:
        if request < 0:
            self._posts.pop(request)(ok, response)
        else:
            self._out.append(do.Answer(request, ok, response, join=is_join))

    def is_linked(self, peer: Incarnation) -> bool:
        return peer in self._linked

    def gone_for(self, peer: Incarnation) -> float:
        return 0.0 if peer == self.me else self._members.gone_for(peer, self.now)

    @property
    def has_sign(self) -> bool:
        return self._tenure.is_good(self.now)

    # --- calls of the cluster

    def _ask_for_sign(self) -> None:
        if self.now < self._sign_at:
            return
        self._sign_at = asked_at = self.now
        self._sign_at += SIGN_SECONDS

        def then(ok: bool, response: Fields) -> None:
            if ok:
                self._tenure.confirmed(asked_at)
                for id in sorted(self._held & self._busy.keys()):
                    self._touch(id).signed()

        self._call("rooms", "hold", {}, then)

    def _call(self, service: str, verb: str, args: Fields, then: Callable[[bool, Fields], None]) -> None:
        self._count += 1
        self._calls[self._count] = then
        self._out.append(do.CallService(self._count, service, verb, args))
