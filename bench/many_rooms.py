"""``python -m bench.many_rooms``: what many rooms cost their pods: idle, at play, and when one pod of three is lost.

The core of all pods in one process, in virtual time; the messages between them are encoded and decoded as on the mesh.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import platform
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from gamecluster.core import effects as do
from gamecluster.core import events as happened
from gamecluster.core.effects import RoomEffect
from gamecluster.core.events import Placed, RoomEvent, SaidInRoom, ServiceAnswered
from gamecluster.core.messages import Fields, Incarnation, InRoom, Message, Placement, incarnation
from gamecluster.core.room import HISTORY
from gamecluster.core.rooms import Rooms
from gamecluster.game import Entity, Player, Table, on
from gamecluster.placing import Placer
from gamecluster.room import Room, make_room
from gamecluster.services import Services
from gamecluster.services.placements import TABLE
from gamecluster.services.rooms import placement_of
from gamecluster.services.tenure import Tenure
from gamecluster.shell.placing import LOOK_SECONDS

from .run import processor
from .table import KIB

TURN_SECONDS = 0.0005
"""Of virtual time: what one turn sends arrives in the next."""
TICK_TURNS = 40
COLLECT_AFTER = (10_000, 20, 50)
IDLE_SECONDS = 5.0


class Fighter(Entity):
    x: int = 0
    y: int = 0


class Duel(Room):
    rooms = "duel-*"
    empty_seconds = 1e6
    fighters: Table[Fighter]

    def join(self, player: Player) -> None:
        self.fighters[player.id] = Fighter()

    @on("move")
    def move(self, player: Player, x: int, y: int) -> None:
        fighter = self.fighters[player.id]
        fighter.x, fighter.y = x, y


class Kinds:
    """``core.rooms.Kinds``."""

    def __init__(self, copies: int) -> None:
        self._copies = copies
        self._random = random.Random(1)

    def kind_of(self, room: str) -> str | None:
        return "Duel"

    def make(self, room: str, placement: Placement) -> Any:
        return make_room(Duel, room, placement.players, self._random)

    def copies(self, kind: str) -> int:
        return self._copies

    def on_demand(self, kind: str) -> bool:
        return True

    def is_declared(self, room: str) -> bool:
        return False


class Pod:
    """``cpu``: seconds of deciding, encoding and decoding. ``answers``: of its clients, by request."""

    def __init__(self, cluster: Cluster, name: str, copies: int) -> None:
        self.me = incarnation(name, "uid", 1)
        self._cluster = cluster
        self.rooms = Rooms(self.me, Kinds(copies), random.Random(name), self, Tenure(), 0.0, suspect_after=0.5)
        self.is_alive = True
        self.cpu = 0.0
        self.answers: dict[int, do.Answer] = {}
        self._inbox: list[RoomEvent | tuple[Incarnation, bytes]] = []
        self._is_flush_due = False
        self._decoder = msgspec.msgpack.Decoder(Message)
        self._encoder = msgspec.msgpack.Encoder()

    def staying(self, now: float) -> list[Incarnation]:
        return [pod.me for pod in self._cluster.pods if pod.is_alive]

    def gone_for(self, peer: Incarnation, now: float) -> float:
        return 0.0 if self._cluster.by_name[peer].is_alive else 60.0

    def take(self, event: RoomEvent | tuple[Incarnation, bytes]) -> None:
        """What happens, or the bytes that a peer has sent."""
        self._inbox.append(event)

    def turn(self, now: float) -> None:
        inbox, self._inbox = self._inbox, []
        if not self.is_alive or not (inbox or self._is_flush_due):
            return
        began = time.process_time()
        sent: list[tuple[Incarnation, InRoom]] = []
        for event in inbox:
            self._do(self.rooms.handle(self._read(event), now), sent)
        if self._is_flush_due:
            self._is_flush_due = False
            self._do(self.rooms.handle(happened.TurnEnded(), now), sent)
        encoded: dict[int, bytes] = {}
        for peer, message in sent:
            if (data := encoded.get(id(message))) is None:
                data = encoded[id(message)] = self._encoder.encode(message)
            self._cluster.send(self.me, peer, data)
        self.cpu += time.process_time() - began

    def _read(self, event: RoomEvent | tuple[Incarnation, bytes]) -> RoomEvent:
        if not isinstance(event, tuple):
            return event
        message = self._decoder.decode(event[1])
        assert isinstance(message, InRoom)
        return SaidInRoom(event[0], message)

    def _do(self, effects: list[RoomEffect], sent: list[tuple[Incarnation, InRoom]]) -> None:
        for effect in effects:
            match effect:
                case do.SendPeer(peer, InRoom() as message):
                    sent.append((peer, message))
                case do.FlushSoon():
                    self._is_flush_due = True
                case do.Answer():
                    self.answers[effect.request] = effect
                case do.CallService():
                    self._cluster.calls.append((self, effect))


class Cluster:
    """``master_cpu``: of the calls of the service of rooms, without the log that they are in."""

    def __init__(self, pods: int, copies: int) -> None:
        self.now = 0.0
        self._turns = 0
        self.services = Services(lambda: self.now, random.Random(1))
        self.calls: list[tuple[Pod, do.CallService]] = []
        self.pods = [Pod(self, f"pod-{index}", copies) for index in range(pods)]
        self.by_name = {pod.me: pod for pod in self.pods}
        self.master_cpu = 0.0
        self.sent: Counter[str] = Counter()
        self._arriving: list[tuple[Pod, tuple[Incarnation, bytes]]] = []
        for pod in self.pods:
            for other in self.pods:
                if other is not pod:
                    pod.take(happened.LinkUp(other.me, None, ""))

    def rows(self) -> Any:
        return self.services.ledger.rows(TABLE)

    def send(self, source: Incarnation, target: Incarnation, data: bytes) -> None:
        self.sent["messages"] += 1
        self.sent["bytes"] += len(data)
        self._arriving.append((self.by_name[target], (source, data)))

    def call(self, verb: str, args: Fields, origin: Incarnation) -> tuple[bool, Fields]:
        began = time.process_time()
        outcome = self.services.call("rooms", verb, args, origin)
        self.master_cpu += time.process_time() - began
        assert outcome.error is None, outcome.error
        for room in {key: None for table, key, _ in outcome.ops if table == TABLE}:
            row = self.rows().get(room)
            placed = Placed(room, placement_of(row) if row is not None else None)
            for pod in self.pods:
                pod.take(placed)
        return outcome.ok, outcome.response

    def turn(self) -> None:
        self._turns += 1
        self.now = self._turns * TURN_SECONDS
        arriving, self._arriving = self._arriving, []
        for pod, said in arriving:
            pod.take(said)
        calls, self.calls = self.calls, []
        for pod, call in calls:
            ok, response = self.call(call.verb, call.args, pod.me)
            pod.take(ServiceAnswered(call.request, ok, response))
        for index, pod in enumerate(self.pods):
            if (self._turns + index * 13) % TICK_TURNS == 0:
                pod.take(happened.Ticked())
            pod.turn(self.now)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / TURN_SECONDS)):
            self.turn()

    def cpu(self) -> list[float]:
        return [pod.cpu for pod in self.pods]


class Stage:
    """Rooms with players, who are connected to the pods that hold their rooms."""

    def __init__(self, rooms: int, players: int, copies: int) -> None:
        self.cluster = Cluster(3, copies)
        self.rooms = [f"duel-{index}" for index in range(rooms)]
        self._players = players
        self._asked: list[tuple[Pod, int]] = []
        self._requests = 0
        self.cluster.run(0.1)
        pods = [pod.me for pod in self.cluster.pods]
        for index, room in enumerate(self.rooms):
            turned = pods[index % 3 :] + pods[: index % 3]
            self.cluster.call("open", {"id": room, "kind": "Duel", "pods": turned, "copies": copies}, pods[0])
            if index % 200 == 199:
                self.cluster.turn()
        self.cluster.run(1.0)
        for index, room in enumerate(self.rooms):
            for player in range(players):
                self._join(room, f"{room}/{player}", 1 + index * players + player)
            if index % 10 == 9:
                self.cluster.turn()
        self._wait(1.0)

    def move(self, count: int, a_turn: int = 10) -> None:
        """``a_turn`` moves in each turn, in another room each."""
        for number in range(count):
            index, player = number % len(self.rooms), number // len(self.rooms) % self._players
            room, connection = self.rooms[index], 1 + index * self._players + player
            payload = {"x": number, "y": number}
            self._requests += 1
            self._ask(
                room,
                happened.PlayerMoved(self._requests, connection, f"{room}/{player}", "move", payload, None, room),
            )
            if number % a_turn == a_turn - 1:
                self.cluster.turn()
        self._wait(0.1)

    def lose_a_pod(self) -> Lost:
        """Its rooms go to their backups; then somebody joins each of them."""
        cluster, victim = self.cluster, self.cluster.pods[-1]
        moved = [room for room in self.rooms if self._holder(room) is victim]
        victim.is_alive = False
        before, master = cluster.cpu(), cluster.master_cpu
        cluster.call("lose", {"pods": [victim.me]}, cluster.pods[0].me)
        master = cluster.master_cpu - master
        for pod in cluster.pods[:-1]:
            pod.take(happened.LinkDown(victim.me, "reset"))
        for index, room in enumerate(moved):
            self._join(room, f"{room}/new", 10**9 + index)
        while not all(request in pod.answers for pod, request in self._asked):
            cluster.turn()
        self._wait(0)
        return Lost(len(moved), master, _most(cluster, before), *self._copy_again())

    def _copy_again(self) -> tuple[float, float]:
        """As ``shell.placing`` has it done."""
        cluster, planner = self.cluster, Placer(lambda kind: 2)
        live = [pod.me for pod in cluster.pods if pod.is_alive]
        began, before = cluster.now, cluster.cpu()
        while any(not row["backups"] for row in cluster.rows().values()):
            planner.load({room: placement_of(row) for room, row in cluster.rows().items()})
            planner.see(live, live)
            if changes := planner.plan(cluster.now):
                cluster.call("place", {"changes": changes}, live[0])
            cluster.run(LOOK_SECONDS)
            assert cluster.now - began < 120, "not all rooms are copied again"
        return cluster.now - began, _most(cluster, before)

    def _holder(self, room: str) -> Pod:
        return self.cluster.by_name[self.cluster.rows()[room]["holder"]]

    def _join(self, room: str, player: str, connection: int) -> None:
        self._requests += 1
        self._ask(room, happened.PlayerJoined(self._requests, connection, player, None, None, room))

    def _ask(self, room: str, event: happened.PlayerJoined | happened.PlayerMoved) -> None:
        pod = self._holder(room)
        pod.take(event)
        self._asked.append((pod, event.request))

    def _wait(self, seconds: float) -> None:
        """Until all that was asked must be answered."""
        self.cluster.run(seconds)
        asked, self._asked = self._asked, []
        for pod, request in asked:
            answer = pod.answers.pop(request, None)
            assert answer is not None and answer.ok, f"{request} was answered {answer}"


@dataclass(frozen=True)
class Lost:
    """CPU seconds: of the call; of the busier pod until somebody new is in each of the rooms; of the busier one until all have two copies
    again, which takes ``copied_seconds``, virtual ones."""

    rooms: int
    master_cpu: float
    cpu: float
    copied_seconds: float
    copied_cpu: float


@dataclass(frozen=True)
class Figures:
    """CPU seconds, of all pods together; ``idle``: for each room and second. ``messages`` and their ``bytes``: between pods."""

    idle: float
    move: float
    messages: float
    bytes: float
    lost: Lost


def measured(rooms: int, players: int, moves: int) -> Figures:
    stage = Stage(rooms, players, 2)
    gc.collect()
    gc.freeze()
    cluster = stage.cluster
    before = sum(cluster.cpu())
    cluster.run(IDLE_SECONDS)
    idle = (sum(cluster.cpu()) - before) / rooms / IDLE_SECONDS
    before, sent = sum(cluster.cpu()), Counter(cluster.sent)
    stage.move(moves)
    move = (sum(cluster.cpu()) - before) / moves
    sent = cluster.sent - sent
    lost = stage.lose_a_pod()
    gc.unfreeze()
    return Figures(idle, move, sent["messages"] / moves, sent["bytes"] / moves, lost)


def memory(rooms: int, players: int, copies: int, moves: int) -> float:
    """Bytes for each room, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_memory, (rooms, players, copies, moves))


def _memory(rooms: int, players: int, copies: int, moves: int) -> float:
    gc.set_threshold(*COLLECT_AFTER)
    Stage(10, players, copies)
    gc.collect()
    before = _resident()
    stage = Stage(rooms, players, copies)
    stage.move(moves * rooms)
    gc.collect()
    return (_resident() - before) / rooms


def _most(cluster: Cluster, before: Sequence[float]) -> float:
    return max(cpu - earlier for cpu, earlier in zip(cluster.cpu(), before, strict=True))


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


# --- the table


def conditions(rooms: int, players: int, rounds: int) -> str:
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, Python {platform.python_version()}, {os.cpu_count()} cores ({processor()}), "
        f"load average {os.getloadavg()[0]:.1f}. {rooms:,} rooms of {players} players on three pods, two copies of each; the cores of "
        f"all pods in one process and thread, virtual time in turns of {1000 * TURN_SECONDS:g} ms, one turn one way. Players are "
        "connected to the pods that hold their rooms; ten moves a turn, each in another room. CPU time is of deciding, rules, encoding "
        "and decoding, of all pods together unless it says otherwise. Not counted: sockets, patches, the GameState's own log, clients. "
        f"Medians of {rounds} rounds (lowest–highest); memory is the process's, of a tenth of the rooms, in a process of its own."
    )


def told(runs: Sequence[Figures], of: Callable[[Figures], float], digits: int = 0) -> str:
    values = [of(run) for run in runs]
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.many_rooms", description=__doc__)
    parser.add_argument("--rooms", type=int, default=10_000)
    parser.add_argument("--players", type=int, default=10)
    parser.add_argument("--moves", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    gc.set_threshold(*COLLECT_AFTER)
    few = max(1, given.rooms // 10)
    alone, both, played = (
        memory(few, given.players, copies, moves) for copies, moves in ((1, 0), (2, 0), (2, HISTORY))
    )
    runs = [measured(given.rooms, given.players, given.moves) for _ in range(given.rounds)]
    print(conditions(given.rooms, given.players, given.rounds) + "\n")
    lines = {
        "memory of a room on its holder, KiB": f"{alone / KIB:,.0f}",
        "memory of its backup, KiB": f"{(both - alone) / KIB:,.0f}",
        f"memory of both after {HISTORY} moves, KiB": f"{played / KIB:,.0f}",
        "CPU of an idle room and its backup, µs a second": told(runs, lambda run: 1e6 * run.idle, 2),
        "CPU of a move, µs": told(runs, lambda run: 1e6 * run.move),
        "moves a CPU-second": told(runs, lambda run: 1 / run.move),
        "messages between pods for a move": told(runs, lambda run: run.messages, 1),
        "bytes of them": told(runs, lambda run: run.bytes),
        f"a pod is lost: rooms that go on elsewhere, of {given.rooms:,}": f"{runs[0].lost.rooms:,}",
        "CPU of the leader's call for that, ms": told(runs, lambda run: 1000 * run.lost.master_cpu),
        "CPU of the busier pod until a new player is in each of them, ms": told(runs, lambda run: 1000 * run.lost.cpu),
        "until all rooms have two copies again, virtual s": told(runs, lambda run: run.lost.copied_seconds, 1),
        "CPU of the busier pod for that, ms": told(runs, lambda run: 1000 * run.lost.copied_cpu),
    }
    print("| | |\n| --- | --- |")
    for title, value in lines.items():
        print(f"| {title} | {value} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
