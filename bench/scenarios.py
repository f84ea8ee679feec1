"""What is measured. Each scenario is one call of the load generator for each server and round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from .servers import GAMECLUSTER, LIMIT, LIMIT_COALESCING, ONE_NODE, THREE_NODES, Server

Value = int | float


class Kind(Enum):
    """What its table shows."""

    fan_out = "deliveries per CPU-second of the server"
    paced = "latency at a given rate"
    idle = "what a connection costs"
    unread = "what sockets that never read cost the others"
    moves = "moves of a replicated Game"


@dataclass(frozen=True)
class Scenario:
    """``load``: the generator's arguments. The first of ``servers`` is what the others are compared with.

    ``rehearsal``: so many sockets come and go before, so that what is loaded on first use is there. ``stall_milliseconds``: for so long
    one node stands still every two seconds. ``by_default``: measured if nothing is named.
    """

    name: str
    text: str
    kind: Kind
    load: Mapping[str, Value] = field(default_factory=dict)
    servers: tuple[Server, ...] = (LIMIT, GAMECLUSTER)
    with_peers: bool = True
    rehearsal: int = 0
    pinned: bool = True
    stall_milliseconds: int = 0
    by_default: bool = True

    def lasting(self, seconds: float) -> Scenario:
        """The same, measured for so long, if it is one that is measured over time."""
        return replace(self, load={**self.load, "seconds": seconds}) if self.load.get("senders") else self

    def with_players(self, players: int) -> Scenario:
        """The same with so many players; for moves only."""
        return replace(
            self,
            name=f"{self.name} × {players}",
            text=f"{players} players instead: {self.text}",
            load={**self.load, "sockets": players, "senders": players},
        )


def _fan_out(sockets: int) -> dict[str, Value]:
    return {"sockets": sockets, "senders": 1, "in-flight": 1, "size": 200, "warm-up": 0.5, "seconds": 2}


def _moves(players: int, rate: float) -> dict[str, Value]:
    return {"sockets": players, "senders": players, "rate": rate, "size": 0, "warm-up": 1, "seconds": 3, "patience": 10}


SCENARIOS = (
    Scenario(
        "fanout-1000", "200 bytes to 1,000 sockets of one topic, one message at a time", Kind.fan_out, _fan_out(1000)
    ),
    Scenario(
        "fanout-5000", "200 bytes to 5,000 sockets of one topic, one message at a time", Kind.fan_out, _fan_out(5000)
    ),
    Scenario(
        "burst-1000",
        "200 bytes to 1,000 sockets of one topic, 16 messages in flight",
        Kind.fan_out,
        {**_fan_out(1000), "in-flight": 16},
        (LIMIT_COALESCING, LIMIT, GAMECLUSTER),
    ),
    Scenario(
        "rooms",
        "100 rooms of 10, all 1,000 publish 200 bytes, each one message at a time",
        Kind.fan_out,
        {**_fan_out(1000), "rooms": 100, "senders": 10},
        (LIMIT_COALESCING, LIMIT, GAMECLUSTER),
    ),
    Scenario(
        "state-4k",
        "4 KB to 1,000 sockets of one topic, 30 times a second",
        Kind.paced,
        {"sockets": 1000, "senders": 1, "rate": 30, "size": 4096, "warm-up": 0.5, "seconds": 3},
    ),
    Scenario(
        "idle",
        "5,000 sockets connect and join, 64 at once, and then say nothing",
        Kind.idle,
        {"sockets": 5000, "senders": 0},
        rehearsal=200,
    ),
    Scenario(
        "unread",
        "8 KB to 300 sockets of one topic, 60 times a second; 20 of them never read",
        Kind.unread,
        {"sockets": 300, "senders": 1, "unread": 20, "rate": 60, "size": 8192, "warm-up": 0.5, "seconds": 8},
        (GAMECLUSTER,),
    ),
    Scenario(
        "moves-1",
        "60 players of one node, each moving 5 times a second: 18,000 deliveries/s",
        Kind.moves,
        _moves(60, 5),
        (ONE_NODE,),
        with_peers=False,
    ),
    Scenario(
        "moves-3",
        "60 players of three nodes on one core, each moving 5 times a second: 18,000 deliveries/s",
        Kind.moves,
        _moves(60, 5),
        (THREE_NODES,),
        with_peers=False,
    ),
    Scenario(
        "players",
        "300 players of three nodes on all cores, each moving 10 times a second: 900,000 deliveries/s, unless coalesced",
        Kind.moves,
        _moves(300, 10),
        (THREE_NODES,),
        with_peers=False,
        pinned=False,
    ),
    *(
        Scenario(
            f"stall-{milliseconds}",
            f"as moves-3, and one node that does not lead stands still for {milliseconds} ms every two seconds",
            Kind.moves,
            {**_moves(60, 5), "seconds": 10},
            (THREE_NODES,),
            with_peers=False,
            stall_milliseconds=milliseconds,
            by_default=False,
        )
        for milliseconds in (100, 300)
    ),
)
NAMED = {scenario.name: scenario for scenario in SCENARIOS}
