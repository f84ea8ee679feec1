"""Stand-ins for the neighbours of the hub: sockets that record, a backend that is told what to answer, a clock by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from gamecluster.core.effects import Answer, Presences
from gamecluster.core.events import Event, PlayerJoined, PlayerMoved, Published
from gamecluster.core.messages import Fields, Op, Position, Tables
from gamecluster.core.view import ClusterView, NodeView, Status
from gamecluster.shell.clients import Hub
from gamecluster.shell.connection import Connection


class FakeTimer:
    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when, self.callback, self.is_cancelled = when, callback, False

    def cancel(self) -> None:
        self.is_cancelled = True


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0
        self._soon: list[Callable[[], None]] = []
        self._timers: list[FakeTimer] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def call_at(self, when: float, callback: Callable[[], None]) -> FakeTimer:
        self._timers.append(FakeTimer(when, callback))
        return self._timers[-1]

    @property
    def timers(self) -> list[FakeTimer]:
        """Those that are yet to go off, the next one first."""
        return sorted((t for t in self._timers if not t.is_cancelled), key=lambda timer: timer.when)

    def wait(self, seconds: float) -> None:
        """Time passes, and every timer goes off when it is due."""
        end = self.now + seconds
        while self.timers and (timer := self.timers[0]).when <= end:
            self._timers.remove(timer)
            self.now = max(self.now, timer.when)
            timer.callback()
        self.now = end

    def turn(self) -> None:
        """One turn of the event loop."""
        callbacks, self._soon = self._soon, []
        for callback in callbacks:
            callback()


class FakeSocket:
    def __init__(self, clock: FakeClock) -> None:
        self.heard_at = clock.now
        self.writes: list[list[bytes]] = []
        self.closed: tuple[int, str] | None = None
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.writes.append(list(frames_of(data)))

    def close(self, code: int, reason: str) -> None:
        self.closed = self.closed or (code, reason)

    def abort(self) -> None:
        self.aborted = True


class FakeGame:
    """The state of the game, or of a room. ``known``: what was missed since a position."""

    def __init__(self) -> None:
        self.at = Position(1, 10)
        self.tables: Tables = {"ships": {}}
        self.known: dict[Position, list[Op]] = {}

    def position(self) -> Position:
        return self.at

    def visible_tables(self) -> Tables:
        return self.tables

    def missed(self, since: Position) -> list[Op] | None:
        return self.known.get(since)


class FakeBackend(FakeGame):
    """Records events; answers nothing by itself, but fans ``Published`` out as the node does."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []
        self.games: dict[str, FakeGame] = {}
        self.is_alive = True
        self.wanted: list[str] = []
        self.followers: list[Callable[[list[Op] | None], None]] = []
        self.node = "arena-0"
        self.held: list[Callable[[], None]] | None = None
        self.present: dict[str, Presences] = {}
        self.asked: list[tuple[tuple[str, str, Fields], asyncio.Future[Fields]]] = []

    def dispatch(self, event: Event) -> None:
        self.events.append(event)

    def room(self, room: str) -> FakeGame:
        return self.games.setdefault(room, FakeGame())

    def rows(self, table: str) -> Mapping[str, Fields]:
        return self.tables.get(table, {})

    def presences(self, topic: str) -> Presences:
        return self.present.get(topic, {})

    def groups(self) -> dict[str, list[tuple[str, str]]]:
        return {}

    def ask(self, service: str, verb: str, args: Fields) -> asyncio.Future[Fields]:
        answer: asyncio.Future[Fields] = asyncio.get_running_loop().create_future()
        self.asked.append(((service, verb, args), answer))
        return answer

    def follow(self, follower: Callable[[list[Op] | None], None]) -> None:
        self.followers.append(follower)

    def want(self, topic: str, then: Callable[[], None]) -> None:
        self.wanted.append(topic)
        if self.held is None:
            then()
        else:
            self.held.append(then)

    def want_no_more(self, topic: str) -> None:
        self.wanted.append(f"no more {topic}")

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def last_request(self) -> int:
        last = [e for e in self.events if isinstance(e, (PlayerJoined, PlayerMoved))][-1]
        return last.request

    @property
    def published(self) -> list[Published]:
        return self.of(Published)


def frames_of(data: bytes) -> Iterator[bytes]:
    """Unmasked frames, as they follow each other."""
    at = 0
    while at < len(data):
        size, start = data[at + 1], at + 2
        if size == 126:
            size, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
        elif size == 127:
            size, start = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
        assert start + size <= len(data), "a frame is cut off"
        yield data[at : start + size]
        at = start + size


def payload_of(frame: bytes) -> Any:
    """The JSON in an unmasked text frame, which is one frame."""
    assert list(frames_of(frame)) == [frame] and frame[0] == 0x81
    return json.loads(frame[{126: 4, 127: 10}.get(frame[1], 2) :])


class FakeClient:
    """A client of a hub: says V2 frames, hears what it was written since it last listened."""

    def __init__(self, hub: Hub, clock: FakeClock, connection: Connection, socket: FakeSocket) -> None:
        self.hub = hub
        self.clock = clock
        self.connection = connection
        self.socket = socket

    def say(self, *frame: Any) -> list[Any]:
        self.hub.received(self.connection, json.dumps(list(frame)).encode())
        return self.hear()

    def hear(self) -> list[Any]:
        self.clock.turn()
        heard = [payload_of(frame) for frames in self.socket.writes for frame in frames]
        self.socket.writes.clear()
        return heard

    def ask(self, topic: str, ref: str, player: str | None, **more: Any) -> None:
        self.say(ref, ref, topic, "phx_join", ({"player": player} if player else {}) | more)

    def ask_game(self, player: str | None = "p1", **more: Any) -> None:
        self.ask("game", "g", player, **more)

    def ask_room(self, room: str, player: str | None = "p1", **more: Any) -> None:
        """The join's ref is the room's id."""
        self.ask(f"game:{room}", room, player, **more)

    def join_game(self, backend: FakeBackend, player: str | None = "p1", **more: Any) -> Any:
        self.ask_game(player, **more)
        return self._let_in(backend, player)

    def join_room(self, backend: FakeBackend, room: str, player: str | None = "p1", **more: Any) -> Any:
        self.ask_room(room, player, **more)
        return self._let_in(backend, player, "epoch" in more)

    def _let_in(self, backend: FakeBackend, player: str | None, resumed: bool = False) -> Any:
        welcome = {"player": player, "stay": "s1", "n": 0, "resumed": resumed, "epoch": 0, "seq": 0}
        self.hub.answer(Answer(backend.last_request, True, welcome, join=True))
        [reply] = self.hear()
        return reply


def node_view(name: str, **changes: Any) -> NodeView:
    view = NodeView(
        name=name,
        incarnation=f"{name}_u_1",
        role="replica",
        state="alive",
        ready=True,
        connections=3,
        revision="r1",
        url=f"ws://{name}:4000/socket",
        draining=False,
        pid=4711,
    )
    return msgspec.structs.replace(view, **changes)


VIEW = ClusterView(
    self="arena-2",
    leader="arena-0",
    epoch=7,
    seq=40,
    in_sync=["arena-0", "arena-2"],
    status=Status.serving,
    reason="following arena-0",
    ready=True,
    players=5,
    nodes=[node_view("arena-0", role="leader"), node_view("arena-2")],
    last_failover=None,
)
