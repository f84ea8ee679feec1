"""The simulator's own parts: a network, a Lease and a world that did not do what they say would prove nothing."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any

import pytest

from gamecluster.core.durability import Kept
from gamecluster.core.effects import Answer, Effect, SendPeer, Store, WriteRecord
from gamecluster.core.events import (
    Event,
    LinkDown,
    LinkUp,
    PeerSaid,
    PlayerMoved,
    RecordConflicted,
    RecordRead,
    RecordUnanswered,
    RecordWritten,
    Stored,
    StoreFailed,
    Ticked,
)
from gamecluster.core.messages import Append, Entry, HandOffTo, Incarnation, Position, Record, incarnation
from gamecluster.core.replication import Replication

from .invariants import Violated
from .lease import VACANT, Fate, LeaseApi
from .lease import Store as LeaseStore
from .life import Life
from .network import Network, Weather
from .schedule import Family, Plan, plan
from .storage import Storage
from .world import World

A, B, C = (incarnation(name, "1", 1) for name in "abc")


class Heap:
    """Virtual time, and what every process heard."""

    def __init__(self) -> None:
        self.now = 0.0
        self.heard: list[tuple[Incarnation, Event]] = []
        self.dead: set[Incarnation] = set()
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = 0

    def at(self, when: float, do: Callable[..., None], *args: Any) -> None:
        self._order += 1
        heappush(self._heap, (when, self._order, do, args))

    def give(self, to: Incarnation, do: Callable[..., None], *args: Any) -> None:
        if to not in self.dead:
            do(*args)

    def hear(self, to: Incarnation, event: Event) -> None:
        self.heard.append((to, event))

    def is_reachable(self, who: Incarnation) -> bool:
        return who not in self.dead

    def revision_of(self, who: Incarnation) -> str:
        return ""

    def run_until(self, end: float) -> None:
        while self._heap and self._heap[0][0] <= end:
            self.now, _, do, args = heappop(self._heap)
            do(*args)
        self.now = end

    def of(self, who: Incarnation, kind: type) -> list[Any]:
        return [event for to, event in self.heard if to == who and isinstance(event, kind)]


def two_linked(weather: Weather) -> tuple[Heap, Network]:
    heap = Heap()
    network = Network(heap, Random(1), weather)
    network.add(A)
    network.add(B)
    heap.run_until(1.0)
    assert len(heap.of(A, LinkUp)) == len(heap.of(B, LinkUp)) == 1
    return heap, network


def said(heap: Heap, who: Incarnation) -> list[str]:
    return [event.message.to for event in heap.of(who, PeerSaid)]


# --- network


def test_an_ordered_link_keeps_order_and_loses_nothing() -> None:
    heap, network = two_linked(Weather(slow_share=0.5))
    for number in range(200):
        network.send(A, B, HandOffTo(str(number)))
    heap.run_until(3.0)
    assert said(heap, B) == [str(n) for n in range(200)]


def test_an_unordered_link_loses_doubles_and_reorders() -> None:
    heap, network = two_linked(Weather(slow_share=0.5, loss=0.2, doubling=0.2, ordered=False))
    for number in range(200):
        network.send(A, B, HandOffTo(str(number)))
    heap.run_until(3.0)
    got = [int(n) for n in said(heap, B)]
    assert got != sorted(got)
    assert len(set(got)) < 200
    assert len(got) > len(set(got))


def test_a_cut_link_tells_both_ends_and_comes_back() -> None:
    heap, network = two_linked(Weather())
    network.cut(A, B)
    network.send(A, B, HandOffTo("lost"))
    heap.run_until(6.0)
    assert len(heap.of(A, LinkUp)) == len(heap.of(B, LinkUp)) == 2
    assert said(heap, B) == []
    network.send(A, B, HandOffTo("arrives"))
    heap.run_until(7.0)
    assert said(heap, B) == ["arrives"]


def test_a_blocked_direction_holds_messages_back_until_it_opens() -> None:
    heap, network = two_linked(Weather())
    network.block([(A, B)])
    network.send(A, B, HandOffTo("late"))
    network.send(B, A, HandOffTo("other way"))
    heap.run_until(2.0)
    assert said(heap, B) == []
    assert said(heap, A) == ["other way"]
    network.unblock([(A, B)])
    heap.run_until(2.2)
    assert said(heap, B) == ["late"]


def test_a_direction_that_stays_blocked_ends_the_connection() -> None:
    heap, network = two_linked(Weather())
    network.block([(A, B), (B, A)])
    heap.run_until(10.0)
    assert heap.of(A, LinkDown) and heap.of(B, LinkDown)
    network.unblock([(A, B), (B, A)])
    heap.run_until(12.0)
    assert len(heap.of(A, LinkUp)) == 2


@pytest.mark.parametrize(("loudly", "soon"), [(True, True), (False, False)])
def test_a_death_is_loud_or_silent(loudly: bool, soon: bool) -> None:
    heap, network = two_linked(Weather())
    heap.dead.add(A)
    network.remove(A, loudly)
    heap.run_until(2.0)
    assert bool(heap.of(B, LinkDown)) is soon
    heap.run_until(12.0)
    assert heap.of(B, LinkDown)


# --- Lease


def test_the_store_takes_one_write_of_a_version() -> None:
    store = LeaseStore()
    first = store.write(Record(1, A, 1, (A,)), 3)
    assert first == 4
    assert store.write(Record(1, B, 1, (B,))) is None
    assert store.record == Record(4, A, 1, (A,))


class Fixed(Random):
    """Decides every fate as told."""

    fate: Any = Fate.fine

    def choice(self, seq: Any) -> Any:
        return self.fate


def written(fate: Fate, record: Record = VACANT) -> tuple[list[Any], list[float], LeaseApi]:
    heap, answers, landings = Heap(), [], []
    chance = Fixed(1)
    chance.fate = fate
    api = LeaseApi(heap, chance, lambda *_: landings.append(heap.now), flaky=1.0)
    api.store.record = record
    api.write(A, 7, Record(1, A, 1, (A,)), lambda answer: answers.append((heap.now, answer)))
    assert api.possible_sets() == ([(A,)] if record.version == 1 else [record.in_sync])
    heap.run_until(5.0)
    return answers, landings, api


def test_a_write_is_answered_with_its_version() -> None:
    answers, landings, api = written(Fate.fine)
    assert [answer for _, answer in answers] == [RecordWritten(7, api.record.version)]
    assert len(landings) == 1


def test_a_write_on_an_old_version_conflicts() -> None:
    answers, landings, _ = written(Fate.fine, Record(5, B, 1, (B,)))
    assert [answer for _, answer in answers] == [RecordConflicted(7)]
    assert not landings


def test_a_write_may_land_after_its_time_out() -> None:
    answers, landings, api = written(Fate.late)
    assert [type(answer) for _, answer in answers] == [RecordUnanswered]
    assert answers[0][0] < landings[0]
    assert api.record.holder == A


def test_a_write_may_land_and_be_told_to_conflict() -> None:
    answers, landings, _ = written(Fate.repeated)
    assert [answer for _, answer in answers] == [RecordConflicted(7)]
    assert landings[0] < answers[0][0]


def test_a_write_may_fail_without_landing() -> None:
    answers, landings, api = written(Fate.refused)
    assert [type(answer) for _, answer in answers] == [RecordUnanswered]
    assert not landings and api.record == VACANT


def test_reads_may_overtake_each_other_but_are_of_their_moment() -> None:
    heap, read = Heap(), []
    api = LeaseApi(heap, Random(1), lambda *_: None, flaky=0.0)
    api.slow = 1.0
    for turn in range(50):
        api.store.record = Record(turn + 1, A, 1, (A,))
        api.read(
            A,
            lambda answer: read.append(
                answer.record.version if isinstance(answer, RecordRead) and answer.record else 0
            ),
        )
        heap.run_until(heap.now + 0.05)
    heap.run_until(10.0)
    assert len(read) == 50
    assert read != sorted(read)


# --- storage

ENTRIES = [Entry(1, seq, [("totals", "ann", {"value": seq})], [], []) for seq in range(1, 5)]


def stored_by(kept: Kept, *stores: tuple[Life, Store], failing: int = 0) -> tuple[Storage, list[Event]]:
    """Each write is made when the one before it has been answered."""
    heap, told = Heap(), list[Event]()
    storage = Storage(heap, Random(1), kept, lambda at: ENTRIES[: at.seq], lambda life, event: told.append(event))
    storage.failing = failing
    for life, store in stores:
        storage.write(life, store)
        heap.run_until(heap.now + 3.0)
    return storage, told


def life(name: str) -> Life:
    return Life(incarnation(name, "1", 1), name, "", 0.0, 1.0)


def snapshot(writer: int, at: int, value: int | None = None) -> Store:
    tables = {"totals": {"ann": {"value": at if value is None else value}}}
    return Store(writer, Position(1, at), tables, [])


def test_a_storage_keeps_what_follows_what_it_has() -> None:
    one = life("a")
    journal, gap = Store(1, Position(1, 2), None, ENTRIES[2:3]), Store(1, Position(1, 2), None, ENTRIES[2:4])
    storage, told = stored_by(Kept.own, (one, snapshot(1, 2)), (one, journal), (one, gap))
    assert [type(event) for event in told] == [Stored, Stored, StoreFailed]
    assert storage.content(one).end == Position(1, 3)
    assert storage.content(life("b")).end is None


def test_a_shared_storage_refuses_older_leaders() -> None:
    old, new = life("a"), life("b")
    storage, told = stored_by(Kept.shared, (new, snapshot(2, 3)), (old, snapshot(1, 4)))
    assert [type(event) for event in told] == [Stored, StoreFailed]
    assert storage.content(old).end == Position(1, 3)


def test_a_storage_that_fails_says_so_though_it_may_have_written() -> None:
    one = life("a")
    ends = {stored_by(Kept.own, *[(one, snapshot(1, 2))] * n, failing=1)[0].content(one).end for n in range(1, 6)}
    _, told = stored_by(Kept.own, *[(one, snapshot(1, 2))] * 5, failing=1)
    assert {type(event) for event in told} == {StoreFailed}
    assert Position(1, 2) in ends


def test_a_snapshot_of_what_was_never_committed_is_noticed() -> None:
    with pytest.raises(Violated, match="not what was committed"):
        stored_by(Kept.own, (life("a"), snapshot(1, 2, value=7)))


# --- world


class Lonely:
    """A trivial node: claims a vacant record and answers every move by itself, whatever others do."""

    def __init__(self, me: Incarnation) -> None:
        self.me = me
        self.replication = Replication(1.0)
        self.asked = 0

    def handle(self, event: Event, now: float) -> list[Effect]:
        match event:
            case RecordRead(record) if record is not None and record.never_held:
                return [WriteRecord(1, Record(record.version, self.me, 1, (self.me,)))]
            case PlayerMoved(request):
                return [Answer(request, True, {"epoch": 1, "seq": 1})]
            case LinkUp(peer):
                return [SendPeer(peer, Append(1, Position(0, 0), [], 0))]
        return []

    def position(self) -> Position:
        return self.replication.log.committed

    def visible_tables(self) -> dict[str, Any]:
        return {}


def lonely(me: Incarnation, plan: Plan, random: Random, now: float, revision: str) -> Lonely:
    return Lonely(me)


def calm(seed: int = 1) -> Plan:
    from dataclasses import replace

    return replace(plan(seed, Family.kills), pods=3, ordered=True, slow_share=0.0, faults=())


def test_a_vacant_lease_is_held_by_one_of_those_who_claim_it() -> None:
    world = World(calm(), make_node=lonely)
    world.network.weather.loss = 1.0
    with pytest.raises(Violated, match="I1"):  # they all append in epoch 1
        world.run_until(1.0)
    assert world.lease.record.holder in world.lives
    assert world.counts["landed"] <= 1


def test_an_answer_before_its_commit_is_noticed() -> None:
    world = World(calm(), make_node=lonely)
    life = world.start("x")
    life.requests += 1
    life.asked[1] = (None, lambda ok, response: None)  # type: ignore[assignment]
    with pytest.raises(Violated, match="not committed"):
        world.hear(life.incarnation, PlayerMoved(1, 1, "p", "add", {}, None))


def test_a_second_answer_is_noticed() -> None:
    world = World(calm(), make_node=lonely)
    life = world.start("x")
    with pytest.raises(Violated, match="twice"):
        world.hear(life.incarnation, PlayerMoved(1, 1, "p", "add", {}, None))


def test_a_paused_process_hears_everything_in_order_when_it_goes_on() -> None:
    world = World(calm(), make_node=lonely)
    life = world.start("x")
    heard: list[Event] = []

    def hear(event: Event, now: float) -> list[Effect]:
        heard.append(event)
        return []

    life.node.handle = hear
    world.pause(life)
    for number in range(5):
        world.tell(life.incarnation, RecordUnanswered(number, ""))
    assert heard == []
    world.resume(life)
    assert [e.request for e in heard if isinstance(e, RecordUnanswered)] == list(range(5))
    assert sum(isinstance(e, Ticked) for e in heard) <= 1


def test_the_last_living_member_of_a_possible_set_is_spared() -> None:
    world = World(calm())
    world.run_until(3.0)
    members = set(world.lease.record.in_sync)
    assert len(members) == world.plan.replicas or len(members) == 3
    assert not world.may_lose(members)
    for spared in members:
        assert world.may_lose(members - {spared})


def test_a_dead_process_comes_back_as_a_later_life_or_as_another_pod() -> None:
    world = World(calm(), make_node=lonely)
    first = world.start("x")
    world.end(first, "test")
    second = world.start("x")
    world.end(second, "test")
    third = world.start("x", same_pod=False)
    assert [life.incarnation for life in (first, second, third)] == ["x_1_1", "x_1_2", "x_2_1"]


def test_clocks_of_machines_differ_in_start_and_speed() -> None:
    world = World(calm(), make_node=lonely)
    one, other = world.start("x"), world.start("y")
    assert one.clock(0.0) != other.clock(0.0)
    assert one.clock(1.0) - one.clock(0.0) != other.clock(1.0) - other.clock(0.0)
