"""The leader's look at the rooms: those of silent pods go on elsewhere, declared ones are there, each pod has its share."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping

import pytest

from gamecluster.core.messages import Fields, Incarnation, Op, Placement
from gamecluster.placing import Limits
from gamecluster.rules import Rejected
from gamecluster.services import Services
from gamecluster.services.placements import TABLE
from gamecluster.services.rooms import placement_of
from gamecluster.shell import placing
from gamecluster.shell.placing import PLAYERS_SECONDS, QUESTION, Placing
from gamecluster.shell.questions import Then

A, B, C, D = (Incarnation(f"arena-{n}_u{n}_1") for n in range(4))


class Kinds:
    def __init__(self) -> None:
        self.zones: dict[str, str] = {}

    def copies(self, kind: str) -> int:
        return 3 if kind == "Zone" else 2

    def declared(self) -> Mapping[str, str]:
        return self.zones


class Pod:
    """The leader's, with what is committed. ``asked``: verbs, in order; ``refuses``: the next call of this verb is."""

    is_leader = True
    me = A

    def __init__(self) -> None:
        self.services = Services(lambda: 0.0, random.Random(1))
        self.peers: list[Incarnation] = [B, C]
        self.going: set[Incarnation] = set()
        self.asked: list[str] = []
        self.refuses: str | None = None
        self._followers: list[Callable[[list[Op] | None], None]] = []

    def reachable(self) -> list[Incarnation]:
        return list(self.peers)

    def staying(self) -> list[Incarnation]:
        return [pod for pod in [self.me, *self.peers] if pod not in self.going]

    async def ask(self, service: str, verb: str, args: Fields) -> Fields:
        assert service == "rooms"
        self.asked.append(verb)
        if verb == self.refuses:
            self.refuses = None
            raise Rejected("no leader")
        return self.call(self.me, verb, args)

    def call(self, origin: Incarnation, verb: str, args: Fields) -> Fields:
        outcome = self.services.call("rooms", verb, args, origin)
        assert outcome.error is None, outcome.error
        for follow in self._followers:
            follow(outcome.ops)
        if not outcome.ok:
            raise Rejected(outcome.response["reason"])
        return outcome.response

    def rows(self, table: str) -> Mapping[str, Fields]:
        return self.services.ledger.rows(table)

    def follow(self, follower: Callable[[list[Op] | None], None]) -> None:
        self._followers.append(follower)

    def open(self, id: str, *pods: Incarnation) -> None:
        self.call(A, "open", {"id": id, "kind": "Duel", "pods": list(pods), "copies": 2})

    def at(self, id: str) -> Placement:
        return placement_of(self.rows(TABLE)[id])

    def obey(self) -> None:
        for id, row in list(self.rows(TABLE).items()):
            version = {"id": id, "version": row["version"]}
            if row["joining"]:
                self.call(row["holder"], "caught_up", {**version, "pod": row["joining"][0]})
            elif row["to"] is not None:
                self.call(row["holder"], "hand_over", {**version, "to": row["to"]})


class Peers:
    """``players``: what pods answer; one that has none does not."""

    def __init__(self) -> None:
        self.players: dict[Incarnation, Fields] = {B: {}, C: {}}
        self.asked: list[Incarnation] = []
        self.open: list[Then] = []
        self.handler: Callable[[Fields, Then], None]

    def answer(self, to: str, handler: Callable[[Fields, Then], None]) -> None:
        assert to == QUESTION
        self.handler = handler

    def ask(self, peer: Incarnation, to: str, body: Fields, seconds: float, then: Then) -> None:
        assert to == QUESTION and seconds == PLAYERS_SECONDS
        self.asked.append(peer)
        if peer in self.players:
            then(True, {"players": self.players[peer]})
        else:
            self.open.append(then)


class Stage:
    def __init__(self) -> None:
        self.pod, self.peers, self.kinds = Pod(), Peers(), Kinds()
        self.now = 100.0
        self.own: dict[str, int] = {}
        self.job = self.make()

    def make(self) -> Placing:
        return Placing(self.pod, self.peers, self.kinds, lambda: self.own, lambda: self.now, Limits(joins=4))

    async def look(self, times: int = 1) -> list[str]:
        """What was asked."""
        self.pod.asked.clear()
        for _ in range(times):
            self.now += 0.1
            await self.job.look()
            self.pod.obey()
        return self.pod.asked


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_where_nothing_is_to_be_done_nothing_is_asked(stage: Stage) -> None:
    for n in range(9):
        stage.pod.open(f"r{n}", A, B, C)
    assert await stage.look(20) == []


async def test_rooms_of_a_pod_that_falls_silent_go_on_and_get_new_copies(stage: Stage) -> None:
    for n in range(6):
        stage.pod.open(f"r{n}", A, B, C)
    await stage.look(2)
    stage.pod.peers = [C]
    assert await stage.look() == ["lose", "place"]
    await stage.look(5)
    for n in range(6):
        placement = stage.pod.at(f"r{n}")
        assert {placement.holder, *placement.backups} == {A, C}


async def test_what_only_a_silent_pod_has_waits_for_it_and_is_asked_for_once(stage: Stage) -> None:
    stage.pod.open("r", B)
    stage.pod.peers = [C]
    assert await stage.look(5) == ["lose"]
    assert stage.pod.at("r").holder == B
    stage.pod.open("s", B, C)
    assert await stage.look(1) == ["lose", "place"], "who does not know that it is silent has made one there"
    assert stage.pod.at("s").holder == C


async def test_a_call_that_was_refused_is_made_again(stage: Stage) -> None:
    stage.pod.open("r", B, C)
    stage.pod.peers, stage.pod.refuses = [C], "lose"
    with pytest.raises(Rejected):
        await stage.look()
    assert await stage.look() == ["lose", "place"] and stage.pod.at("r").holder == C


async def test_declared_rooms_are_always_there(stage: Stage) -> None:
    stage.kinds.zones = {"town": "Zone", "wood": "Zone"}
    stage.pod.refuses = "open"
    assert await stage.look() == ["open", "open"]
    assert list(stage.pod.rows(TABLE)) == ["wood"]
    assert await stage.look(5) == ["open"]
    town = stage.pod.at("town")
    assert town.kind == "Zone" and {town.holder, *town.backups} == {A, B, C}
    stage.pod.call(town.holder, "end", {"id": "town", "epoch": town.epoch})
    assert await stage.look(5) == ["open"] and stage.pod.at("town").epoch > town.epoch


async def test_they_are_not_made_on_pods_that_are_about_to_go_unless_all_are(stage: Stage) -> None:
    stage.kinds.zones = {"town": "Zone"}
    stage.pod.going = {A}
    await stage.look()
    town = stage.pod.at("town")
    assert {town.holder, *town.backups} == {B, C}
    stage.kinds.zones = {"wood": "Zone"}
    stage.pod.going = {A, B, C}
    await stage.look()
    assert stage.pod.at("wood").holder == A


async def test_a_pod_that_is_about_to_go_is_emptied(stage: Stage) -> None:
    for n in range(6):
        stage.pod.open(f"r{n}", A, B, C)
    stage.pod.going = {A}
    await stage.look(20)
    for n in range(6):
        placement = stage.pod.at(f"r{n}")
        assert {placement.holder, *placement.backups} == {B, C}
    assert await stage.look() == []


async def test_rooms_are_moved_by_how_many_play_in_them_once_all_pods_have_said_so(stage: Stage) -> None:
    for n in range(4):
        stage.pod.open(f"r{n}", A, B)
    stage.pod.peers = [B]
    stage.own = {id: 100 for id in ("r0", "r2")}
    stage.peers.players = {}
    assert await stage.look(10) == [] and stage.peers.asked == [B]
    stage.peers.open.pop()(True, {"players": {"r1": 7}})
    assert await stage.look() == ["place"] and stage.job.players == 207
    assert {stage.pod.at("r0").holder, stage.pod.at("r2").holder} == {A, B}
    stage.own = {}
    stage.now += PLAYERS_SECONDS
    await stage.look(3)
    assert stage.peers.asked == [B, B], "once a second"
    stage.pod.is_leader = False
    assert stage.job.players == 0, "it is the leader who knows"


async def test_pods_that_do_not_say_how_many_play_are_not_waited_for(stage: Stage) -> None:
    stage.pod.peers, stage.peers.players = [B], {}
    for n in range(4):
        stage.pod.open(f"r{n}", A)
    await stage.look(5)
    assert {stage.pod.at(f"r{n}").holder for n in range(4)} == {A}
    stage.now += PLAYERS_SECONDS
    await stage.look(5)
    assert [stage.pod.at(f"r{n}").holder for n in range(4)].count(B) == 2


async def test_it_says_how_many_play_here(stage: Stage) -> None:
    stage.own = {"r": 3}
    said: list[tuple[bool, Fields]] = []
    stage.peers.handler({}, lambda ok, response: said.append((ok, response)))
    assert said == [(True, {"players": {"r": 3}})]


async def test_only_the_leader_looks_and_a_new_one_sees_what_there_is(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "LOOK_SECONDS", 0.001)
    stage.kinds.zones = {"town": "Zone"}
    stage.pod.is_leader = False
    stage.pod.open("r", D, B)
    task = asyncio.create_task(stage.job.run())
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert stage.pod.asked == [] and stage.peers.asked == []
    stage.pod.refuses = "lose"
    stage.pod.is_leader = True
    async with asyncio.timeout(10):
        while "town" not in stage.pod.rows(TABLE):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    task.cancel()
    assert stage.pod.asked[:2] == ["lose", "lose"] and stage.pod.at("r").holder == B
