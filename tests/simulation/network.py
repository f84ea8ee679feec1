"""The mesh between processes: connections that come up, break and are replaced, and what happens to messages on them.

``ordered``: as TCP gives it. Messages of one connection arrive in order, late at worst; they are lost only with the
connection, of which each end learns in its own time. A blocked direction holds messages back until it is opened again.
Not ``ordered``: messages are lost, doubled and overtake each other too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from gamecluster.core.events import Event, LinkDown, LinkUp, PeerSaid
from gamecluster.core.messages import Incarnation, Message, name_of

Pair = tuple[Incarnation, Incarnation]

MEND_SECONDS = 0.3


class Host(Protocol):
    """What the network needs of the world."""

    now: float

    def at(self, when: float, do: Callable[..., None], *args: Any) -> None: ...

    def give(self, to: Incarnation, do: Callable[..., None], *args: Any) -> None:
        """Does it now, or when ``to`` is no longer paused, or never if it is dead."""

    def hear(self, to: Incarnation, event: Event) -> None: ...

    def is_reachable(self, who: Incarnation) -> bool:
        """Alive and not paused."""

    def revision_of(self, who: Incarnation) -> str: ...


@dataclass
class Weather:
    typical: float = 0.001
    slow_share: float = 0.01
    slow: float = 0.1
    loss: float = 0.0
    doubling: float = 0.0
    ordered: bool = True

    def delay(self, random: Random) -> float:
        if self.slow_share and random.random() < self.slow_share:
            return random.random() * self.slow
        return self.typical * (0.5 + random.random())


@dataclass
class End:
    """One end's sight of the connection to its peer. ``up``: number of the connection it uses, 0 for none."""

    up: int = 0
    floor: float = 0.0  # nothing arrives here before that (order)
    held: list[tuple[int, Message]] = field(default_factory=list)


class Network:
    def __init__(self, host: Host, random: Random, weather: Weather) -> None:
        self._host = host
        self._random = random
        self.weather = weather
        self._ends: dict[Pair, End] = {}
        self._newest: dict[Pair, int] = {}  # by ordered pair of the two names
        self._closed: dict[Pair, int] = {}  # connections up to this number are dead
        self._blocked: dict[Pair, int] = {}
        self._living: list[Incarnation] = []
        host.at(MEND_SECONDS, self._mend)

    # --- processes

    def add(self, who: Incarnation) -> None:
        for other in self._living:
            self._host.at(self._host.now + self._random.uniform(0.005, 0.1), self._dial, who, other)
        self._living.append(who)

    def remove(self, who: Incarnation, loudly: bool) -> None:
        """``loudly``: a kernel is left that closes the sockets; else the others must find out."""
        self._living.remove(who)
        for me, peer in list(self._ends):
            if peer == who:
                pair = _sorted(me, peer)
                self._closed[pair] = self._newest[pair]
                wait = self.weather.delay(self._random) if loudly else self._random.uniform(3.0, 10.0)
                self._later_down(me, peer, self._newest[pair], wait, "reset" if loudly else "given up")

    # --- messages

    def send(self, source: Incarnation, target: Incarnation, message: Message) -> None:
        end = self._ends.get((source, target))
        if end is None or not end.up:
            return
        if not self.weather.ordered:
            self._send_loosely(source, target, end.up, message)
        elif end.up > self._closed.get(_sorted(source, target), 0):
            there = self._ends[target, source]
            there.floor = max(there.floor, self._host.now + self.weather.delay(self._random))
            self._host.at(there.floor, self._arrive, source, target, end.up, message)

    def _send_loosely(self, source: Incarnation, target: Incarnation, number: int, message: Message) -> None:
        random, weather = self._random, self.weather
        if random.random() >= weather.loss:
            self._host.at(self._host.now + weather.delay(random), self._arrive, source, target, number, message)
        if random.random() < weather.doubling:
            late = weather.delay(random) + random.random() * weather.slow
            self._host.at(self._host.now + late, self._arrive, source, target, number, message)

    def _arrive(self, source: Incarnation, target: Incarnation, number: int, message: Message) -> None:
        there = self._ends[target, source]
        if (source, target) in self._blocked or there.held:
            if self.weather.ordered:
                there.held.append((number, message))
            return
        self._host.give(target, self._said, source, target, number, message)

    def _said(self, source: Incarnation, target: Incarnation, number: int, message: Message) -> None:
        up = self._ends[target, source].up
        if up == number or (up and not self.weather.ordered):
            self._host.hear(target, PeerSaid(source, message))

    # --- connections

    def _mend(self) -> None:
        for index, one in enumerate(self._living):
            for other in self._living[:index]:
                pair = _sorted(one, other)
                if self._newest.get(pair, 0) <= self._closed.get(pair, 0):
                    self._dial(one, other)
        self._host.at(self._host.now + MEND_SECONDS * self._random.uniform(0.5, 1.5), self._mend)

    def _dial(self, one: Incarnation, other: Incarnation) -> None:
        reachable = self._host.is_reachable
        if not (reachable(one) and reachable(other)) or (one, other) in self._blocked or (other, one) in self._blocked:
            return
        pair = _sorted(one, other)
        number = self._newest[pair] = self._newest.get(pair, 0) + 1
        self._closed[pair] = number - 1
        for me, peer in ((one, other), (other, one)):
            end = self._ends.setdefault((me, peer), End())
            end.held.clear()
            end.floor = self._host.now + self.weather.delay(self._random) * 2
            self._host.at(end.floor, self._host.give, me, self._up, me, peer, number)

    def _up(self, me: Incarnation, peer: Incarnation, number: int) -> None:
        pair = _sorted(me, peer)
        end = self._ends[me, peer]
        if number > self._closed[pair]:
            end.up = number
            self._host.hear(me, LinkUp(peer, f"ws://{name_of(peer)}", self._host.revision_of(peer)))
        elif not end.up and self._random.random() < 0.3:  # a greeting that was on its way when the connection broke
            end.up = number
            self._host.hear(me, LinkUp(peer, None, self._host.revision_of(peer)))
            self._later_down(me, peer, number, 0.001, "reset")

    def _later_down(self, me: Incarnation, peer: Incarnation, number: int, wait: float, reason: str) -> None:
        self._host.at(self._host.now + wait, self._host.give, me, self._down, me, peer, number, reason)

    def _down(self, me: Incarnation, peer: Incarnation, number: int, reason: str) -> None:
        end = self._ends[me, peer]
        if end.up and end.up <= number:
            end.up = 0
            self._host.hear(me, LinkDown(peer, reason))

    def cut(self, one: Incarnation, other: Incarnation) -> None:
        """Resets the connection; now and then one end does not learn of it for long (half-open)."""
        pair = _sorted(one, other)
        number = self._newest.get(pair, 0)
        if number <= self._closed.get(pair, 0):
            return
        self._closed[pair] = number
        for me, peer in ((one, other), (other, one)):
            wait = self._random.uniform(0.5, 3.0) if self._random.random() < 0.2 else self.weather.delay(self._random)
            self._later_down(me, peer, number, wait, "reset")

    # --- partitions

    def block(self, directions: Iterable[Pair]) -> None:
        for source, target in directions:
            self._blocked[source, target] = self._blocked.get((source, target), 0) + 1
            self._host.at(self._host.now + self._random.uniform(1.5, 4.0), self._give_up, target, source)

    def unblock(self, directions: Iterable[Pair]) -> None:
        for source, target in directions:
            self._blocked[source, target] -= 1
            if not self._blocked[source, target]:
                del self._blocked[source, target]
                self._flush(source, target)

    def _flush(self, source: Incarnation, target: Incarnation) -> None:
        end = self._ends.get((target, source))
        if end is None:
            return
        held, end.held = end.held, []
        for number, message in held:
            end.floor = max(end.floor, self._host.now + self.weather.delay(self._random))
            self._host.at(end.floor, self._arrive, source, target, number, message)
        pair = _sorted(source, target)
        if self._closed.get(pair, 0) >= self._newest[pair]:  # the other end hears only now that this one gave up
            self._later_down(target, source, self._newest[pair], self.weather.delay(self._random), "reset")

    def _give_up(self, me: Incarnation, peer: Incarnation) -> None:
        """``me`` has heard nothing for so long that it closes the connection."""
        pair = _sorted(me, peer)
        if (peer, me) not in self._blocked or pair not in self._newest:
            return
        number = self._newest[pair]
        is_first = self._closed.get(pair, 0) < number
        self._closed[pair] = number
        self._later_down(me, peer, number, 0.0, "given up")
        if is_first and (me, peer) not in self._blocked:
            self._later_down(peer, me, number, self.weather.delay(self._random), "reset")


def _sorted(one: Incarnation, other: Incarnation) -> Pair:
    return (one, other) if one < other else (other, one)
