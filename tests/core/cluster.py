"""A few nodes of the core around a Lease, with an instant network: enough to tell a rule's story step by step."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from gamecluster.core import effects as do
from gamecluster.core import events as happened
from gamecluster.core.messages import Broadcast, Fields, Incarnation, Message, Op, Record, Tables, incarnation, name_of
from gamecluster.core.node import Node, NodeConfig
from gamecluster.services import Services


@dataclass
class Outcome:
    ok: bool = True
    response: Fields = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)
    broadcasts: list[Broadcast] = field(default_factory=list)
    error: str | None = None


class Adding:
    """The smallest game: ``add`` adds to the player's own total; ``refuse`` is refused."""

    tick_rate = 0
    leave_after_seconds = 30.0

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}

    def load(self, tables: Tables) -> None:
        self.totals = {player: row["value"] for player, row in tables.get("totals", {}).items()}

    def tables(self) -> Tables:
        return {"totals": {player: {"value": value} for player, value in self.totals.items()}}

    def join(self, player_id: str) -> Outcome:
        return self._set(player_id, self.totals.get(player_id, 0))

    def leave(self, player_id: str) -> Outcome:
        del self.totals[player_id]
        return Outcome(ops=[("totals", player_id, None)])

    def move(self, player_id: str, event: str, payload: Fields) -> Outcome:
        if event == "refuse":
            return Outcome(ok=False, response={"reason": "as asked"})
        return self._set(player_id, self.totals[player_id] + payload["amount"])

    def tick(self, seconds: float) -> Outcome:
        return Outcome()

    def _set(self, player: str, value: int) -> Outcome:
        self.totals[player] = value
        return Outcome(response={"value": value}, ops=[("totals", player, {"value": value})])


class Cluster:
    """What goes over a link in ``cut`` is lost; without ``lease_answers`` writes land and their answers do not;
    with ``lease_away`` nothing reaches the Lease."""

    def __init__(self, size: int = 3, **config: Any) -> None:
        self.now = 0.0
        self.lease = Record(1, None, 0, (), True)
        self.lease_answers = True
        self.lease_away = False
        self.nodes: dict[str, Node] = {}
        self.effects: dict[str, list[do.Effect]] = {}
        self.cut: set[tuple[str, str]] = set()
        self._queue: list[tuple[str, happened.Event]] = []
        self._requests = 0
        self._calls = 0
        self._config = config
        for i in range(size):
            self.add(f"a-{i}")
        self.run(1.5)

    def add(self, name: str, boot: int = 1) -> Node:
        me = incarnation(name, "uid", boot)
        services = Services(lambda: self.now, random.Random(name))
        node = Node(me, NodeConfig(**self._config), Adding(), random.Random(name), self.now, services)
        others = list(self.nodes.values())
        self.nodes[name], self.effects[name] = node, []
        self.tell(name, happened.RecordRead(self.lease))
        for other in others:
            self.tell(name, happened.LinkUp(other.me, None, ""))
            self.tell(name_of(other.me), happened.LinkUp(me, None, ""))
        return node

    def kill(self, name: str) -> None:
        dead = self.nodes.pop(name)
        for other in self.nodes:
            self.tell(other, happened.LinkDown(dead.me, "link reset"))

    def tell(self, name: str, event: happened.Event) -> None:
        self._queue.append((name, event))
        self.pump()

    def pump(self) -> None:
        while self._queue:
            name, event = self._queue.pop(0)
            if name in self.nodes:
                self._carry_out(name, self.nodes[name].handle(event, self.now))

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.02)):
            self.now += 0.02
            for name in list(self.nodes):
                self.tell(name, happened.Ticked())
            if round(self.now / 0.02) % 50 == 0:
                for name in list(self.nodes):
                    self._carry_out(name, [do.ReadRecord()])
                self.pump()

    def ask(self, name: str, event: str = "add", n: int | None = None, player: str = "bob", **payload: Any) -> int:
        self._requests += 1
        self.tell(name, happened.PlayerMoved(self._requests, 1, player, event, payload or {"amount": 1}, n))
        return self._requests

    def call(self, pod: str, service: str, verb: str, /, **args: Any) -> int:
        self._calls -= 1
        self.tell(pod, happened.Called(self._calls, service, verb, args))
        return self._calls

    def join(self, name: str, player: str = "bob", stay: str | None = None, connection: int = 1) -> do.Answer | None:
        self._requests += 1
        self.tell(name, happened.PlayerJoined(self._requests, connection, player, stay, None))
        return self.answer(name, self._requests)

    def answer(self, name: str, request: int) -> do.Answer | None:
        found = [e for e in self.effects[name] if isinstance(e, do.Answer) and e.request == request]
        assert len(found) < 2, f"answered twice: {found}"
        return found[0] if found else None

    def said(self, name: str) -> list[str]:
        return [e.text for e in self.effects[name] if isinstance(e, do.Say)]

    def leader(self) -> str | None:
        leaders = [name for name, node in self.nodes.items() if node.is_leader]
        return leaders[0] if len(leaders) == 1 else None

    def total(self, name: str, player: str = "bob") -> int:
        value: int = self.nodes[name].visible_tables()["totals"][player]["value"]
        return value

    def _carry_out(self, name: str, effects: list[do.Effect]) -> None:
        for effect in effects:
            match effect:
                case do.SendPeer(peer, message):
                    self._send(name, peer, message)
                case do.FlushSoon():
                    self._queue.append((name, happened.TurnEnded()))
                case do.WriteRecord(request, record):
                    self._write(name, request, record)
                case do.ReadRecord():
                    read = happened.RecordReadFailed("refused") if self.lease_away else happened.RecordRead(self.lease)
                    self._queue.append((name, read))
                case _:
                    self.effects[name].append(effect)

    def _send(self, name: str, peer: Incarnation, message: Message) -> None:
        to = name_of(peer)
        if (name, to) not in self.cut and to in self.nodes and self.nodes[to].me == peer:
            self._queue.append((to, happened.PeerSaid(self.nodes[name].me, message)))

    def _write(self, name: str, request: int, record: Record) -> None:
        if self.lease_away:
            self._queue.append((name, happened.RecordUnanswered(request, "refused")))
            return
        if record.version != self.lease.version:
            self._queue.append((name, happened.RecordConflicted(request)))
            return
        self.lease = replace(record, version=self.lease.version + 1)
        if self.lease_answers:
            self._queue.append((name, happened.RecordWritten(request, self.lease.version)))
        else:
            self._queue.append((name, happened.RecordUnanswered(request, "timed out")))
