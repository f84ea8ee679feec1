"""``python -m bench.interest``: what a big world costs a pod that leads alone, with a Grid and without: every entity moves at every tick.

The core and the hub in one process, with frames as clients get them. ``into sockets``: each client has a real socket, into whose buffer
the kernel copies them; elsewhere they are only counted. CPU time, but for the time from a tick's begin to its last write.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import socket
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, cast

from gamecluster import Entity, Game, Grid, Player, Table
from gamecluster.core import events as happened
from gamecluster.core.effects import Answer, Deliver, DeliverPatch, Effect, WriteRecord
from gamecluster.core.messages import Fields, Op, Position, Record, Tables, incarnation
from gamecluster.core.node import Node, NodeConfig
from gamecluster.game import Runtime
from gamecluster.phoenix.codec import Vsn
from gamecluster.settings import Settings
from gamecluster.shell.clients import Hub
from gamecluster.shell.joins import Tokens
from gamecluster.shell.metrics import Metrics
from gamecluster.shell.resume import missed
from gamecluster.shell.serve import collect_seldom
from gamecluster.shell.views import Views
from gamecluster.state import Journal

HZ = 10
CELL = 100.0
FASTEST = 10.0
"""Of an entity, on each axis, in a tick."""
WARM_UP = 5


class Thing(Entity):
    x: float = 0.0
    y: float = 0.0
    dx: float = 0.0
    dy: float = 0.0


class Open(Game):
    """In a square of ``side``: one thing of each player, and ``others``."""

    others: ClassVar[int] = 0
    side: ClassVar[float] = 0.0
    tick_rate = HZ
    things: Table[Thing]

    def join(self, player: Player) -> None:
        self.things[player.id] = self._thing()

    def tick(self, seconds: float) -> None:
        for number in range(0 if self.things else self.others):
            self.things[f"thing-{number}"] = self._thing()
        for thing in self.things.values():
            if not 0 <= thing.x + thing.dx < self.side:
                thing.dx = -thing.dx
            if not 0 <= thing.y + thing.dy < self.side:
                thing.dy = -thing.dy
            thing.x = round(thing.x + thing.dx, 2)
            thing.y = round(thing.y + thing.dy, 2)

    def _thing(self) -> Thing:
        uniform, side = self.random.uniform, self.side
        speeds = [round(uniform(-FASTEST, FASTEST), 2) for _ in range(2)]
        return Thing(x=uniform(0, side), y=uniform(0, side), dx=speeds[0], dy=speeds[1])


class Near(Open):
    interest = Grid("things", CELL)


class Uncancelled:
    def cancel(self) -> None: ...


class Loop:
    """The event loop's part: what is called soon is called by ``turn``, what is called later halfway to the next tick."""

    def __init__(self) -> None:
        self.now = 0.0
        self._soon: list[Callable[[], None]] = []
        self._later: list[Callable[[], None]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def call_at(self, when: float, callback: Callable[[], None]) -> Any:
        """It is not cancelled here: who is called too often does nothing."""
        self._later.append(callback)
        return Uncancelled()

    def wait(self) -> None:
        """Until the next tick."""
        self.now += 0.5 / HZ
        later, self._later = self._later, []
        for call in later:
            call()
        self.turn()
        self.now += 0.5 / HZ

    def turn(self) -> None:
        while self._soon:
            soon, self._soon = self._soon, []
            for call in soon:
                call()


class CountingSocket:
    heard_at = 0.0

    def __init__(self, pod: Pod) -> None:
        self._pod = pod

    def write(self, data: bytes) -> None:
        self._pod.written += len(data)
        self._pod.writes += 1

    def read(self) -> None: ...

    def close(self, code: int, reason: str) -> None:
        raise AssertionError(f"a client was closed: {code} {reason}")

    def abort(self) -> None:
        raise AssertionError("a client was dropped")


class KernelSocket(CountingSocket):
    def __init__(self, pod: Pod) -> None:
        super().__init__(pod)
        self._near, self.far = socket.socketpair()
        self._near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.far.setblocking(False)

    def write(self, data: bytes) -> None:
        super().write(data)
        if self._near.send(data, socket.MSG_DONTWAIT) != len(data):
            raise AssertionError("the kernel's buffer is full: it is emptied after each tick")

    def read(self) -> None:
        while True:
            try:
                self.far.recv(1 << 20)
            except BlockingIOError:
                return


class Spent:
    """CPU seconds, by what they were spent on. ``watch`` takes what a part spends from the part that it is in."""

    def __init__(self) -> None:
        self.nanoseconds: Counter[str] = Counter()
        self._inside = [0.0]

    def on(self, what: str, call: Callable[..., Any], *args: Any) -> Any:
        began = time.process_time()
        self._inside.append(0.0)
        result = call(*args)
        taken = time.process_time() - began
        self.nanoseconds.update({what: round((taken - self._inside.pop()) * 1e9)})
        self._inside[-1] += taken
        return result

    def watch(self, owner: type, name: str, what: str) -> None:
        plain = getattr(owner, name)

        def watched(*args: Any) -> Any:
            return self.on(what, plain, *args)

        setattr(owner, name, watched)


spent = Spent()


class Pod:
    """Leads alone. ``delays``: seconds from a tick's begin to its last write."""

    def __init__(self, game: type[Open], make_socket: Callable[[Pod], CountingSocket]) -> None:
        self.delays: list[float] = []
        self.written = self.writes = 0
        self.loop = Loop()
        self.sockets: list[CountingSocket] = []
        self._now = 0.0
        self._make_socket = make_socket
        runtime = Runtime(game, random.Random(1))
        self._node = Node(incarnation("a-0", "uid", 1), NodeConfig(replicas=1), runtime, random.Random(1), 0.0)
        settings, backend = Settings(node="a-0", name="bench", limit_connections=100_000), cast(Any, self)
        tokens = Tokens(b"k" * 32, "bench")
        fields, grids = runtime.fields(), runtime.grids
        clock, rate = cast(Any, self.loop), runtime.patch_rate
        self.hub = Hub(settings, backend, [], tokens, Metrics(), clock, rate, fields, grids=grids)
        self.dispatch(happened.RecordRead(Record(1, None, 0, (), True)))

    # --- the backend of the hub

    def position(self) -> Position:
        return self._node.position()

    def visible_tables(self) -> Tables:
        return self._node.visible_tables()

    def missed(self, since: Position) -> list[Op] | None:
        return missed(self._node.log, since, self._node.visible_tables())

    def rows(self, table: str) -> Mapping[str, Fields]:
        return self._node.log.tables.get(table, {})

    def follow(self, follower: Callable[[list[Op] | None], None]) -> None: ...

    def dispatch(self, event: happened.Event) -> None:
        effects: list[Effect] = spent.on("log, commit and the rest of the core", self._node.handle, event, self._now)
        for effect in effects:
            match effect:
                case WriteRecord(request, record):
                    self.dispatch(happened.RecordWritten(request, record.version + 1))
                case Answer():
                    self.hub.answer(effect)
                case Deliver():
                    self.hub.deliver(effect)
                case DeliverPatch():
                    spent.on("encoding, framing, queueing", self.hub.deliver_patch, effect)

    # --- what is measured

    def join(self, player: str) -> None:
        client = self._make_socket(self)
        self.sockets.append(client)
        connection = self.hub.connect(client, Vsn.V2)
        frame = ["1", "1", "game", "phx_join", {"player": player}]
        self.hub.received(connection, json.dumps(frame).encode())
        self.loop.turn()

    def tick(self) -> None:
        self._now += 1 / HZ
        began = time.perf_counter()
        self.dispatch(happened.Ticked())
        spent.on("writing", self.loop.turn)
        self.delays.append(time.perf_counter() - began)

    def rest(self) -> None:
        """Until the next tick: clients read, and the clock of patches goes on."""
        self.loop.wait()
        for client in self.sockets:
            client.read()

    def begin(self) -> None:
        spent.nanoseconds.clear()
        self.delays.clear()
        self.written = self.writes = 0


def run(name: str, game: type[Open], make_socket: Callable[[Pod], CountingSocket], players: int, ticks: int) -> None:
    pod = Pod(game, make_socket)
    while not pod.visible_tables()["things"]:
        pod.tick()
        pod.rest()
    joining = time.process_time()
    for number in range(players):
        pod.join(f"player-{number}")
        pod.loop.wait()
    joining = time.process_time() - joining
    pod.rest()
    for tick in range(WARM_UP + ticks):
        if tick == WARM_UP:
            pod.begin()
        pod.tick()
        pod.rest()
    total = sum(spent.nanoseconds.values()) / ticks / 1e6
    print(
        f"\n{name}: {total:.0f} ms of CPU a tick, {total * HZ / 10:.0f} % of a core; a join {joining / players * 1e6:.0f} µs"
    )
    for what, nanoseconds in spent.nanoseconds.most_common():
        print(f"  {what}: {nanoseconds / ticks / 1e6:.1f} ms")
    delays = sorted(pod.delays)
    p50, p99 = statistics.median(delays), delays[min(len(delays) - 1, round(len(delays) * 0.99))]
    print(f"  from a tick's begin to its last write: p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms")
    sent = pod.written / ticks / players
    print(f"  {sent * HZ / 1024:,.1f} KiB a second to each client, {pod.writes / ticks:,.0f} writes a tick")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.interest", description=__doc__)
    parser.add_argument("--players", type=int, default=1_000)
    parser.add_argument("--entities", type=int, default=5_000)
    parser.add_argument("--side", type=float, default=2_000.0, help=f"of the world; a cell's is {CELL:.0f}")
    parser.add_argument("--ticks", type=int, default=100)
    parser.add_argument("--everything", action="store_true", help="into sockets without a Grid, too: 240 MB a tick")
    options = parser.parse_args(arguments)
    Open.others, Open.side = options.entities - options.players, options.side
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    collect_seldom()
    spent.watch(Open, "tick", "the rule")
    spent.watch(Journal, "commit", "what has changed")
    spent.watch(Views, "add", "cells")
    spent.watch(Views, "patches", "patches from fragments")
    seen = options.entities * min(1.0, (3 * CELL / options.side) ** 2)
    print(f"Python {sys.version.split()[0]}; load {os.getloadavg()[0]:.1f}; means of {options.ticks} ticks")
    print(
        f"{options.players:,} players; {options.entities:,} entities, each moves {HZ} times a second; about {seen:.0f} in sight"
    )
    run("with a Grid", Near, CountingSocket, options.players, options.ticks)
    run("with a Grid, into sockets", Near, KernelSocket, options.players, options.ticks)
    run("without a Grid", Open, CountingSocket, options.players, options.ticks)
    if options.everything:
        run("without a Grid, into sockets", Open, KernelSocket, options.players, options.ticks)
    return 0


if __name__ == "__main__":
    sys.exit(main())
