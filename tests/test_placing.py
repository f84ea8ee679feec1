"""The plan for rooms: every room gets its copies, every pod its share, with few moves, and then there is peace."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gamecluster.core.messages import Fields, Incarnation, Placement
from gamecluster.places import ROOM_COST, Step
from gamecluster.placing import JOIN_SECONDS, MOVE_SECONDS, SHUN_SECONDS, Limits, Placer
from gamecluster.services import Services
from gamecluster.services.placements import TABLE
from gamecluster.services.rooms import placement_of

PODS = [Incarnation(f"arena-{n}_u{n}_1") for n in range(8)]
A, B, C, D, *_ = PODS
ROUNDS = 1200
"""Four copies of 80 rooms one at a time, each in a few rounds."""


class Cluster:
    """The table, a placer that follows it, and holders who do what they are asked to. ``fails``: joins that never succeed."""

    def __init__(self, copies: int | Mapping[str, int] = 2, limits: Limits | None = None) -> None:
        copies_of: Callable[[str], int] = (lambda kind: copies) if isinstance(copies, int) else copies.__getitem__
        self.copies_of = copies_of
        self.services = Services(lambda: 0.0, random.Random(0))
        self.placer = Placer(copies_of, limits)
        self.limits = limits or Limits()
        self.live: list[Incarnation] = []
        self.draining: set[Incarnation] = set()
        self.players: dict[str, int] = {}
        self.moves = self.joins = 0
        self.now = 0.0

    def open(self, count: int, pods: Collection[Incarnation], kind: str = "Duel") -> None:
        for n in range(count):
            args = {"id": f"{kind}-{n}", "kind": kind, "pods": list(pods), "copies": self.copies_of(kind)}
            self.ask(A, "open", args)

    def ask(self, origin: Incarnation, verb: str, args: Fields) -> None:
        outcome = self.services.call("rooms", verb, args, origin)
        assert outcome.ok, (verb, args, outcome.response, outcome.error)
        for table, room, _ in outcome.ops:
            if table == TABLE:
                row = self.services.rooms.row(room)
                self.placer.change(room, placement_of(row) if row is not None else None)

    def forget(self, gone: set[Incarnation]) -> None:
        """Of rooms that only these had, nothing is left."""
        outcome = self.services.gone(gone)
        assert outcome.ok
        for table, room, fields in outcome.ops:
            if table == TABLE and fields is None:
                self.placer.change(room, None)

    @property
    def rooms(self) -> Mapping[str, Placement]:
        return self.placer.rooms

    def round(self) -> list[Fields]:
        """One look of the placer, after what it finds silent is lost."""
        self.now += 0.1
        self.placer.see(self.live, [pod for pod in self.live if pod not in self.draining])
        self.placer.weigh(self.players)
        if self.placer.steps[Step.lost]:
            self.ask(A, "lose", {"pods": sorted(self.placer.silent_but(self.live))})
        changes = self.placer.plan(self.now)
        self.check(changes)
        if changes:
            self.ask(A, "place", {"changes": changes})
        self.check_under_way()
        return changes

    def check(self, changes: list[Fields]) -> None:
        assert len({change["id"] for change in changes}) == len(changes) <= self.limits.changes
        handed = [self.rooms[change["id"]].holder for change in changes if change.get("to") is not None]
        by_choice = sum(holder not in self.draining for holder in handed)
        under_way = sum(placement.to is not None for placement in self.rooms.values())
        assert not by_choice or under_way + by_choice <= self.limits.hand_overs
        for change in changes:
            placement = self.rooms[change["id"]]
            assert change["version"] == placement.version and placement.holder in self.live
            assert change.get("to") is None or change["to"] in placement.backups, "only a backup has everything"
            assert set(change.get("joining", ())) <= set(self.live) - self.draining - {placement.holder}
            left = {placement.holder, *placement.backups} - set(change.get("drop", ()))
            has_enough = len(left) > 1 or self.copies_of(placement.kind) == 1 or self.few
            assert placement.holder in left and (has_enough or "drop" not in change)

    @property
    def few(self) -> bool:
        return len(set(self.live) - self.draining) < 2

    def check_under_way(self) -> None:
        assert sum(bool(p.joining) for p in self.rooms.values()) <= self.limits.joins
        most = max(self.limits.leaving, self.limits.hand_overs)
        assert sum(p.to is not None for p in self.rooms.values()) <= most

    def obey(self, randomness: random.Random | None = None) -> None:
        """Holders do what they are asked to; with ``randomness``, some of them."""
        for room, placement in list(self.rooms.items()):
            if randomness is not None and randomness.random() < 0.5:
                continue
            if placement.joining:
                args = {"id": room, "version": placement.version, "pod": placement.joining[0]}
                self.ask(placement.holder, "caught_up", args)
                self.joins += 1
            elif placement.to is not None:
                args = {"id": room, "version": placement.version, "to": placement.to}
                self.ask(placement.holder, "hand_over", args)
                self.moves += 1

    def settle(self, randomness: random.Random | None = None) -> int:
        """Until there is nothing to be done. How many rounds it took."""
        for count in range(ROUNDS):
            if not self.round() and not any(p.joining or p.to for p in self.rooms.values()):
                return count
            self.obey(randomness)
        raise AssertionError(f"no peace in {ROUNDS} rounds: {self.placer.plan(self.now)[:5]}")

    def held(self) -> dict[Incarnation, float]:
        """What pods that stay hold, in players."""
        load: Counter[Incarnation] = Counter({pod: 0 for pod in self.live if pod not in self.draining})
        for room, placement in self.rooms.items():
            load[placement.holder] += ROOM_COST + self.players.get(room, 0)
        return dict(load)

    def check_settled(self) -> None:
        staying = set(self.live) - self.draining
        for placement in self.rooms.values():
            copies = min(self.copies_of(placement.kind), len(staying))
            assert placement.holder in staying and set(placement.backups) <= staying, "who is about to go has none"
            assert 1 + len(placement.backups) == copies
        self.check_balance()

    def check_balance(self) -> None:
        """No room could be moved so that the two pods were more alike, and by more than the tolerance."""
        load = self.held()
        share = sum(load.values()) / len(load)
        slack = max(self.limits.tolerance * share, ROOM_COST / 2)
        least = min(load, key=lambda pod: load[pod])
        for room, placement in self.rooms.items():
            gap = load[placement.holder] - load[least]
            cost = ROOM_COST + self.players.get(room, 0)
            if load[placement.holder] > share + slack:
                assert cost > gap / 2, f"{room} should be moved from {load[placement.holder]} to {load[least]}"


def test_what_is_opened_is_at_rest() -> None:
    cluster = Cluster(copies=3)
    cluster.live = PODS[:4]
    cluster.open(100, cluster.live)
    assert cluster.round() == []
    cluster.check_settled()


@pytest.mark.parametrize(("pods", "rooms"), [(1, 4), (2, 9), (3, 9), (3, 300), (3, 1000), (5, 600), (7, 2000)])
def test_a_pod_that_comes_gets_its_share_and_no_more(pods: int, rooms: int) -> None:
    cluster = Cluster()
    cluster.live = PODS[:pods]
    cluster.open(rooms, cluster.live)
    if pods > 1:
        assert cluster.round() == []
    cluster.live = PODS[: pods + 1]
    cluster.settle()
    cluster.check_settled()
    share = rooms / (pods + 1)
    assert 0.85 * share - 1 <= cluster.moves <= 1.2 * share
    assert len(cluster.placer.held(PODS[pods])) == cluster.moves


def test_a_pod_that_goes_is_emptied_and_a_pod_that_was_lost_is_made_up_for() -> None:
    cluster = Cluster()
    cluster.live = PODS[:4]
    cluster.open(200, cluster.live)
    cluster.draining = {A}
    cluster.settle()
    cluster.check_settled()
    assert not cluster.placer.held(A) and not cluster.placer.kept(A)
    assert cluster.moves <= 60, "its rooms, 50, and hardly another"
    cluster.live = [C, D]
    cluster.draining = set()
    cluster.settle()
    cluster.check_settled()


def test_where_too_few_pods_are_rooms_have_fewer_copies_and_get_them_later() -> None:
    cluster = Cluster(copies=3)
    cluster.live = [A]
    cluster.open(10, [A])
    assert cluster.round() == []
    cluster.live = [A, B]
    cluster.settle()
    cluster.check_settled()
    cluster.draining = {A, B}
    assert cluster.round() == [], "they have nowhere to go"
    cluster.live = [A, B, C, D]
    cluster.settle()
    cluster.check_settled()


def test_rooms_are_weighed_by_their_players() -> None:
    cluster = Cluster()
    cluster.live = [A, B]
    cluster.open(20, cluster.live)
    cluster.players = {room: 100 for room, placement in cluster.rooms.items() if placement.holder == A}
    cluster.settle()
    cluster.check_settled()
    assert 4 <= cluster.moves <= 10
    moved = cluster.moves
    cluster.players = {room: count + n % 2 for n, (room, count) in enumerate(cluster.players.items())}
    assert cluster.round() == [] and cluster.moves == moved, "some come, some go"


def test_nothing_is_moved_for_balance_before_players_are_known() -> None:
    cluster = Cluster()
    cluster.live = [A, B]
    cluster.open(10, [A])
    cluster.placer.see([A, B], [A, B])
    assert all("joining" in change for change in cluster.placer.plan(0.0, balances=False)), "but copies are made"
    cluster.settle()
    assert cluster.moves == 5


def test_who_does_not_get_to_join_is_given_up_and_others_are_tried() -> None:
    cluster = Cluster()
    cluster.live = [A, B, C]
    cluster.open(1, [A])
    first = cluster.round()[0]["joining"]
    assert cluster.round() == []
    cluster.now += JOIN_SECONDS
    cluster.round()
    assert cluster.rooms["Duel-0"].joining == ()
    second = cluster.round()[0]["joining"]
    assert len(first) == len(second) == 1 and first != second
    cluster.obey()
    assert cluster.rooms["Duel-0"].backups == tuple(second)


def test_one_that_its_holder_can_not_reach_is_not_tried_at_once_again() -> None:
    cluster = Cluster()
    cluster.live = [A, B]
    cluster.open(1, [A])
    assert cluster.round()[0]["joining"] == [B]
    cluster.ask(A, "drop", {"id": "Duel-0", "version": cluster.rooms["Duel-0"].version, "pod": B})
    assert cluster.round() == []
    cluster.now += SHUN_SECONDS
    assert cluster.round()[0]["joining"] == [B]


def test_a_hand_over_that_does_not_come_about_is_given_up() -> None:
    cluster = Cluster(copies=3)
    cluster.live = [A, B, C, D]
    cluster.open(1, [A, B, C])
    cluster.draining = {A}
    [first] = [change["to"] for change in cluster.round()]
    cluster.round()
    cluster.now += MOVE_SECONDS
    cluster.round()
    assert cluster.rooms["Duel-0"].to is None
    cluster.round()
    assert cluster.rooms["Duel-0"].to not in (None, first)


clusters = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32),
        "pods": st.integers(1, 5),
        "rooms": st.integers(0, 40),
        "copies": st.fixed_dictionaries({"Duel": st.integers(1, 4), "Zone": st.integers(1, 4)}),
        "joins": st.integers(1, 8),
        "hand_overs": st.integers(1, 8),
        "leaving": st.integers(1, 16),
    }
)


@settings(deadline=None, max_examples=150)
@given(clusters)
def test_whatever_comes_and_goes_there_is_peace_soon(drawn: Fields) -> None:
    randomness = random.Random(drawn["seed"])
    limits = {name: drawn[name] for name in ("joins", "hand_overs", "leaving")}
    cluster = Cluster(drawn["copies"], Limits(**limits, changes=20))
    cluster.live = PODS[: drawn["pods"]]
    for kind in "Duel", "Zone":
        cluster.open(drawn["rooms"], cluster.live, kind)
    for _ in range(5):
        holders = {room: placement.holder for room, placement in cluster.rooms.items()}
        stays = randomness.choice(cluster.live)
        cluster.live = sorted({stays, *randomness.sample(PODS[:6], randomness.randint(0, 5))})
        others = [pod for pod in cluster.live if pod != stays]
        cluster.draining = set(randomness.sample(others, randomness.randint(0, len(others) // 2)))
        cluster.players = {room: randomness.choice([0, 0, 1, 10, 50]) for room in cluster.rooms}
        for _ in range(randomness.randint(0, 3)):
            cluster.round()
            cluster.obey(randomness)
        cluster.settle(randomness)
        if gone := cluster.placer.silent_but(cluster.live):
            cluster.forget(gone)
            cluster.settle(randomness)
        cluster.check_settled()
        assert cluster.rooms.keys() <= holders.keys()


def test_a_pod_that_comes_gets_of_each_kind_of_rooms_its_share() -> None:
    """Were the dearest moved first, those that are played in would gather where a pod began last."""
    cluster = Cluster()
    cluster.live = PODS[:3]
    cluster.open(300, cluster.live)
    cluster.players = {f"Duel-{n}": 10 for n in range(60)}
    cluster.settle()
    for n in range(3):
        cluster.live = [pod for pod in cluster.live if pod != PODS[n]]
        cluster.settle()
        cluster.live = [*cluster.live, PODS[n + 3]]
        cluster.settle()
    played = Counter(cluster.rooms[room].holder for room in cluster.players)
    assert all(played[pod] in range(12, 29) for pod in cluster.live), played


def test_ten_thousand_rooms_at_rest_cost_next_to_nothing() -> None:
    cluster = Cluster()
    cluster.live = PODS[:3]
    cluster.open(10_000, cluster.live)
    cluster.round()
    began = time.process_time()
    for _ in range(100):
        assert cluster.placer.plan(1.0) == []
    assert time.process_time() - began < 0.5, "seconds for a hundred looks"
    cluster.live = PODS[:4]
    began = time.process_time()
    assert cluster.round()
    assert time.process_time() - began < 0.5, "seconds for the one at which a pod has come"
