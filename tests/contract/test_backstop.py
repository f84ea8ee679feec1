"""The operator and ``gamecluster up`` play the same part (rule 9). Whatever both can see, they decide alike.

A node that does not run is certainly dead to ``up``, which has reaped it. To the operator it is so when the kubelet says that its
container has ended, or its pod has been gone for long enough: situations in which it is less sure are not among these.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """``boot``: of its newest life. Not running: it ended, or its pod is gone (``is_gone``)."""

    index: int
    boot: int
    is_running: bool
    is_gone: bool

    def life(self, boot: int) -> messages.Incarnation:
        return messages.incarnation(f"arena-{self.index}", f"uid{self.index}", boot)

    def pod(self, epoch: int) -> ObservedPod | None:
        if self.is_gone and not self.is_running:
            return None
        told = Telling(Incarnation(self.life(self.boot)), epoch=epoch) if self.is_running else None
        return ObservedPod(
            f"arena-{self.index}",
            f"uid{self.index}",
            "10.0.0.1",
            running=self.is_running,
            ended=not self.is_running,
            restarts=self.boot - 1,
            told=told,
        )


Written = tuple[int, str | None, int, tuple[str, ...], bool, bool] | None
"""A record, whichever side's."""


def written(record: messages.Record | Record | None) -> Written:
    if record is None:
        return None
    restore = bool(getattr(record, "restore", False))
    return record.version, record.holder, record.epoch, record.in_sync, record.never_held, restore


@dataclass(frozen=True)
class Situation:
    nodes: tuple[Node, ...]
    record: messages.Record
    leaderless_since: float | None
    told_epoch: int

    def by_up(self) -> Written:
        live = {f"arena-{node.index}": node.life(node.boot) for node in self.nodes if node.is_running}
        return written(local.backstop(self.record, live, self.leaderless_since, NOW))

    def by_operator(self) -> Written:
        pods = [pod for node in self.nodes if (pod := node.pod(self.told_epoch))]
        present = {pod.uid for pod in pods}
        gone = {f"uid{n}": NOW - operator.GONE_SECONDS for n in range(NODES) if f"uid{n}" not in present}
        was = self.record
        in_sync = tuple(Incarnation(who) for who in was.in_sync)
        holder = Incarnation(was.holder) if was.holder else None
        record = Record(was.version, holder, was.epoch, in_sync, was.never_held)
        decided = operator.backstop(record, pods, NOW, self.leaderless_since, gone)
        if isinstance(decided, operator.TotalLoss):
            assert decided.lost == self.record.in_sync
            decided = decided.record
        return written(decided)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    boots = st.integers(1, 3)
    nodes = tuple(Node(n, draw(boots), draw(st.booleans()), draw(st.booleans())) for n in range(NODES))
    lives = [node.life(boot) for node in nodes for boot in range(1, node.boot + 1)]
    in_sync = tuple(draw(st.lists(st.sampled_from(lives), unique=True, max_size=4)))
    holder = draw(st.sampled_from([None, *in_sync]))
    never_held = holder is None and not in_sync  # else somebody is to look into the storage first
    epoch = draw(st.integers(0, 50))
    record = messages.Record(draw(st.integers(1, 99)), holder, epoch, in_sync, never_held)
    since = draw(st.sampled_from([None, NOW, NOW - 9.9, NOW - 10.0, NOW - 60.0]))
    return Situation(nodes, record, since, draw(st.integers(0, epoch)))


@given(situations())
def test_both_write_the_same(situation: Situation) -> None:
    assert situation.by_up() == situation.by_operator()


def test_the_situations_have_every_outcome_in_them() -> None:
    """So that the test above compares more than nothing with nothing."""
    node = [Node(n, 1, n > 0, False) for n in range(NODES)]
    a, b, c, _ = (n.life(1) for n in node)
    dead = tuple(Node(n, 1, False, n % 2 == 0) for n in range(NODES))
    held = messages.Record(7, a, 4, (a, b, c))
    named = Situation(tuple(node), held, NOW - 10, 4)
    assert named.by_up() == named.by_operator() == (7, b, 5, (b, c), False, False)
    lost = Situation(dead, held, NOW - 10, 0)
    assert lost.by_up() == lost.by_operator() == (7, None, 1004, (), True, False)
    vacant = messages.Record(7, None, 4, (a, b))
    survivor = Situation(tuple(node), vacant, NOW - 10, 4)
    assert survivor.by_up() == survivor.by_operator() == (7, b, 1004, (b,), False, False)
    several = Situation(tuple(node), messages.Record(7, None, 4, (a, b, c)), NOW - 10, 4)
    assert several.by_up() is several.by_operator() is None


def test_both_wait_and_leap_as_long() -> None:
    assert (local.GRACE_SECONDS, local.EPOCH_LEAP) == (operator.GRACE_SECONDS, operator.EPOCH_LEAP)
