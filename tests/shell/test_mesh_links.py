"""Which link stays, under every order of events: a simulation without sockets, each run of it from a seed."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from dataclasses import dataclass, field

from gamecluster.core.messages import Incarnation, incarnation
from gamecluster.shell.mesh_links import LinkTable


@dataclass(eq=False)
class Dial:
    """A connection in the simulation below: frames in flight, in order, each way."""

    number: int
    dialler: str
    acceptor: str
    frames: dict[str, deque[str]] = field(default_factory=lambda: defaultdict(deque))
    open: dict[str, bool] = field(default_factory=lambda: defaultdict(lambda: True))


class Simulation:
    """Nodes with LinkTables that dial each other at random; frames and closings are delivered at random times."""

    def __init__(self, seed: int, names: tuple[str, ...]) -> None:
        self.random = random.Random(seed)
        self.me = {name: incarnation(name, "uid", 1) for name in names}
        self.tables: dict[str, LinkTable[Dial]] = {name: LinkTable(me) for name, me in self.me.items()}
        self.dials: list[Dial] = []
        self.ups = self.downs = 0

    def dial(self, dialler: str, acceptor: str) -> None:
        dial = Dial(len(self.dials), dialler, acceptor)
        dial.frames[dialler].append("greeting")
        self.dials.append(dial)

    def step(self) -> bool:
        waiting = [(dial, at) for dial in self.dials for at in (dial.dialler, dial.acceptor) if dial.frames[at]]
        if not waiting:
            return False
        dial, at = self.random.choice(waiting)
        self._deliver(dial, at, dial.frames[at].popleft())
        return True

    def break_one(self) -> None:
        """A reset, which the two ends notice at different times."""
        live = [dial for dial in self.dials if dial.open[dial.dialler] and dial.open[dial.acceptor]]
        if live:
            dial = self.random.choice(live)
            for at in (dial.dialler, dial.acceptor):
                dial.frames[at].append("closed")

    def _deliver(self, dial: Dial, at: str, frame: str) -> None:
        if not dial.open[at]:
            return
        other = dial.acceptor if at == dial.dialler else dial.dialler
        peer, table = self.me[other], self.tables[at]
        match frame:
            case "greeting":
                self._say_or_close(dial, at, other, table.confirm(peer, dial), "confirm")
            case "confirm":
                refusal = table.accept(peer)
                self._say_or_close(dial, at, other, refusal, "accepted")
                if refusal is None:
                    self._up(dial, at, peer)
            case "accepted":
                self._up(dial, at, peer)
            case "closed":
                self._close(dial, at, other)

    def _say_or_close(self, dial: Dial, at: str, other: str, refusal: str | None, frame: str) -> None:
        if refusal is None:
            dial.frames[other].append(frame)
        else:
            self._close(dial, at, other)

    def _up(self, dial: Dial, at: str, peer: Incarnation) -> None:
        self.ups += 1
        replaced = self.tables[at].up(peer, dial, dialled=at == dial.dialler).replaced
        if replaced:
            self._close(replaced, at, replaced.acceptor if at == replaced.dialler else replaced.dialler)

    def _close(self, dial: Dial, at: str, other: str) -> None:
        dial.open[at] = False
        dial.frames[other].append("closed")
        self.downs += self.tables[at].down(self.me[other], dial)

    def link(self, at: str, other: str) -> Dial | None:
        return self.tables[at].get(self.me[other])


def pairs(names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(one, other) for one in names for other in names if one < other]


def test_crossing_dials_converge_without_a_flap_whatever_the_order() -> None:
    for seed in range(1500):
        names = ("a", "b", "c")
        simulation = Simulation(seed, names)
        for one, other in pairs(names) * simulation.random.randint(1, 3):
            simulation.dial(one, other)
            simulation.dial(other, one)
        while simulation.step():
            pass
        for one, other in pairs(names):
            link = simulation.link(one, other)
            assert link is not None and link is simulation.link(other, one), f"seed {seed}"
        assert simulation.downs == 0 and simulation.ups == 2 * len(pairs(names)), f"seed {seed}"


def test_broken_links_are_agreed_upon_again_after_redials() -> None:
    for seed in range(1500):
        names = ("a", "b", "c")
        simulation = Simulation(seed, names)
        for _ in range(simulation.random.randint(5, 80)):
            one, other = simulation.random.sample(names, 2)
            match simulation.random.randrange(8):
                case 0:
                    simulation.dial(one, other)
                case 1:
                    simulation.break_one()
                case _:
                    simulation.step()
        while simulation.step():
            pass
        for one, other in pairs(names):
            assert simulation.link(one, other) is simulation.link(other, one), f"seed {seed}"
            if simulation.link(one, other) is None:
                simulation.dial(*simulation.random.sample((one, other), 2))
        while simulation.step():
            pass
        for one, other in pairs(names):
            link = simulation.link(one, other)
            assert link is not None and link is simulation.link(other, one), f"seed {seed}"


def test_a_late_older_life_is_refused_and_a_newer_one_replaces() -> None:
    table: LinkTable[str] = LinkTable(incarnation("a", "uid", 1))
    first, second = incarnation("b", "uid", 1), incarnation("b", "uid", 2)
    assert table.confirm(first, "one") is None
    assert table.up(first, "one", dialled=True).ended is None
    assert table.accept(second) is None
    before = table.up(second, "two", dialled=False)
    assert (before.replaced, before.ended) == ("one", first)
    assert "older life" in (table.accept(first) or "")
    assert "older life" in (table.confirm(first, "three") or "")
    assert table.get(second) == "two" and table.get(first) is None
    assert "own pod" in (table.accept(incarnation("a", "uid", 2)) or "")
