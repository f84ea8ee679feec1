"""The operator and ``gamecluster up`` play the same part (rule 9). Whatever both can see, they decide alike.

A node that does not run is certainly dead to ``up``, which has reaped it. To the operator it is so when the kubelet says that its
container has ended, or its pod has been gone for long enough: situations in which it is less sure are not among these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gamecluster.core import messages
from gamecluster.local import backstop as local
from gamecluster_operator import backstop as operator
from gamecluster_operator.observed import ObservedPod, Telling
from gamecluster_operator.record import Incarnation, Record

NODES = 4
NOW = 1000.0


@dataclass(frozen=True)
class Node:
    """``boot``: of its newest life. Not running: it ended, or its pod is gone (``is_gone``). ``says`` None: it does not answer."""

    index: int
    boot: int
    is_running: bool
    is_gone: bool
    says: local.Told | None = local.Told()

    def life(self, boot: int) -> messages.Incarnation:
        return messages.incarnation(f"arena-{self.index}", f"uid{self.index}", boot)

    @property
    def told(self) -> local.Told | None:
        return self.says if self.is_running else None

    def pod(self) -> ObservedPod | None:
        if self.is_gone and not self.is_running:
            return None
        return ObservedPod(
            f"arena-{self.index}",
            f"uid{self.index}",
            "10.0.0.1",
            running=self.is_running,
            ended=not self.is_running,
            restarts=self.boot - 1,
            told=self._telling() if self.told else None,
        )

    def _telling(self) -> Telling:
        assert self.says is not None
        return Telling(
            Incarnation(self.life(self.boot)),
            leader=f"arena-{self.index}" if self.says.leads else None,
            epoch=self.says.epoch,
            held=by_operator(self.says.held) if self.says.held else None,
            last=(self.says.last.epoch, self.says.last.seq),
            bound=tuple(Incarnation(who) for who in self.says.bound),
        )


def by_operator(record: messages.Record) -> Record:
    """The same record, in its words."""
    in_sync, dead = (tuple(Incarnation(who) for who in members) for members in (record.in_sync, record.dead))
    holder = Incarnation(record.holder) if record.holder else None
    return Record(record.version, holder, record.epoch, in_sync, record.never_held, dead=dead)


Written = tuple[int, str | None, int, tuple[str, ...], bool, bool, frozenset[str]] | None
"""A record, whichever side's."""


def written(record: messages.Record | Record | None) -> Written:
    if record is None:
        return None
    marks = record.never_held, record.restore, frozenset(record.dead)
    return record.version, record.holder, record.epoch, record.in_sync, *marks


@dataclass(frozen=True)
class Situation:
    nodes: tuple[Node, ...]
    record: messages.Record
    leaderless_since: float | None
    known: messages.Record | None = None

    def by_up(self) -> Written:
        running = [node for node in self.nodes if node.is_running]
        live = {f"arena-{node.index}": node.life(node.boot) for node in running}
        told = {node.life(node.boot): node.told for node in running if node.told}
        return written(local.backstop(self.record, live, told, self.leaderless_since, NOW, self.known))

    def by_operator(self) -> Written:
        pods = [pod for node in self.nodes if (pod := node.pod())]
        present = {pod.uid for pod in pods}
        gone = {f"uid{n}": 0.0 for n in range(NODES) if f"uid{n}" not in present}
        known = by_operator(self.known) if self.known else None
        decided = operator.backstop(by_operator(self.record), pods, NOW, self.leaderless_since, gone, 0.0, known)
        return written(decided.record if isinstance(decided, operator.TotalLoss) else decided)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    boots, epochs = st.integers(1, 3), st.integers(0, 9)
    alive = [(draw(boots), draw(st.booleans()), draw(st.booleans())) for _ in range(NODES)]
    lives = [
        messages.incarnation(f"arena-{n}", f"uid{n}", b)
        for n, (boot, _, _) in enumerate(alive)
        for b in range(1, boot + 1)
    ]
    sets = st.lists(st.sampled_from(lives), unique=True, max_size=4).map(tuple)
    held = st.builds(messages.Record, st.integers(1, 99), st.sampled_from(lives), epochs, sets.filter(bool))
    position = st.builds(messages.Position, epochs, st.integers(0, 5))
    says = st.builds(local.Told, st.booleans(), epochs, st.none() | held, position, sets)
    silent = st.none() | says  # of an earlier life of one that is silent the operator knows less
    nodes = tuple(Node(n, *life, draw(silent if life[0] == 1 else says)) for n, life in enumerate(alive))
    in_sync = draw(sets)
    holder = draw(st.sampled_from([None, *in_sync]))
    never_held = holder is None and not in_sync  # else somebody is to look into the storage first
    dead = draw(sets)
    record = messages.Record(draw(st.integers(1, 99)), holder, draw(epochs), in_sync, never_held, dead=dead)
    since = draw(st.sampled_from([None, NOW, NOW - 9.9, NOW - 10.0, NOW - 60.0]))
    return Situation(nodes, record, since, draw(st.none() | held))


@given(situations())
def test_both_write_the_same(situation: Situation) -> None:
    assert situation.by_up() == situation.by_operator()


def test_the_situations_have_every_outcome_in_them() -> None:
    """So that the test above compares more than nothing with nothing."""
    a, b, c, _ = (Node(n, 1, True, False).life(1) for n in range(NODES))
    held = messages.Record(7, a, 4, (a, b, c))
    vacant = messages.Record(9, None, 4, (a, b, c))

    def decided(record: messages.Record, *nodes: Node) -> Written:
        situation = Situation(nodes, record, NOW - 10)
        assert situation.by_up() == situation.by_operator()
        return situation.by_up()

    def node(n: int, seq: int = 0, is_running: bool = True, **says: Any) -> Node:
        return Node(n, 1, is_running, n % 2 == 0, local.Told(held=held, last=messages.Position(4, seq), **says))

    gone = node(0, is_running=False)
    assert decided(held, gone, node(1), node(2)) == (7, b, 5, (b, c), False, False, {a})
    dead = (gone, node(1, is_running=False), node(2, is_running=False))
    assert decided(held, *dead) == (7, None, 1004, (), True, False, frozenset())
    assert decided(held, node(0, bound=(a, b, c)), *dead[1:]) == (7, a, 4, (a, b, c), False, False, {b, c})
    assert decided(vacant, gone, node(1, 10), node(2, 12)) == (9, c, 1004, (c, b), False, False, {a})
    assert decided(vacant, gone, node(1, 10), Node(2, 1, True, False, None)) is None
    lowered = messages.Record(9, a, 1, (a, b, c))
    assert decided(lowered, gone, node(1), node(2)) == (9, b, 1004, (b, c), False, False, {a})


def test_both_wait_and_leap_as_long() -> None:
    assert (local.GRACE_SECONDS, local.EPOCH_LEAP) == (operator.GRACE_SECONDS, operator.EPOCH_LEAP)
