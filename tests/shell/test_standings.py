"""What a pod's clients are told of leaderboards and notifications, and what the leader sweeps."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from tests.shell.fakes import FakeClock

from gamecluster.core.effects import Deliver
from gamecluster.core.messages import Fields, Incarnation, Op, Tables
from gamecluster.core.replication import apply
from gamecluster.services import Services
from gamecluster.services.notices import TABLE
from gamecluster.services.standings import AT_ONCE, Standings
from gamecluster.shell import sweeper
from gamecluster.shell.leaderboards import add_leaderboards
from gamecluster.shell.standings import Order, follow

POD = Incarnation("arena-2_u_1")


class Pod:
    """The leader, alone: what is asked is committed at once."""

    def __init__(self, clock: FakeClock) -> None:
        self.seconds = 1000.0
        self.services = Services(lambda: self.seconds, random.Random(0))
        self.tables: Tables = {}
        self.standings = Standings(self.rows)
        self.followers: list[Callable[[list[Op] | None], None]] = []
        self.delivered: list[tuple[str, str, Any]] = []
        self.on: set[str] = set()
        self.calls = 0
        follow(self, self, self.services.boards, clock)

    def rows(self, table: str) -> Mapping[str, Fields]:
        return self.tables.get(table, {})

    def follow(self, follower: Callable[[list[Op] | None], None]) -> None:
        self.followers.append(follower)

    def has(self, topic: str) -> bool:
        return topic in self.on

    def topics(self, beginning: str) -> list[str]:
        return [topic for topic in self.on if topic.startswith(beginning)]

    def deliver(self, effect: Deliver) -> None:
        self.delivered.append((effect.topic, effect.event, msgspec.json.decode(effect.payload)))

    def ask(self, service: str, verb: str, args: Fields) -> asyncio.Future[Fields]:
        answer: asyncio.Future[Fields] = asyncio.get_running_loop().create_future()
        answer.set_result(self.do(service, verb, args))
        return answer

    def do(self, service: str, verb: str, args: Fields) -> Fields:
        self.calls += 1
        outcome = self.services.call(service, verb, args, POD)
        assert outcome.ok, outcome.response
        apply(self.tables, outcome.ops)
        if outcome.ops:
            self.tell(outcome.ops)
        return outcome.response

    def win(self, player: str, score: float, board: str = "wins") -> None:
        self.do("boards", "set", {"name": board, "player": player, "score": score})

    def notify(self, player: str, body: object) -> str:
        return str(self.do("notices", "notify", {"player": player, "body": body})["id"])

    def tell(self, ops: list[Op] | None) -> None:
        for follower in self.followers:
            follower(ops)

    @property
    def is_leader(self) -> bool:
        return True


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def pod(clock: FakeClock) -> Pod:
    return Pod(clock)


def test_who_looks_at_a_board_is_told_twice_a_second_and_only_of_another_top(pod: Pod, clock: FakeClock) -> None:
    pod.win("ann", 5)
    clock.wait(1)
    assert pod.delivered == [], "nobody looks"
    pod.on.add("leaderboard:wins")
    for score in range(6, 50):
        pod.win("ann", score)
        pod.win("bob", score, board="other")
    assert pod.delivered == []
    clock.wait(0.5)
    entries = [{"rank": 1, "player": "ann", "score": 49}]
    assert pod.delivered == [("leaderboard:wins", "top", {"season": 1, "entries": entries})]
    for number in range(12):
        pod.win(f"p{number}", 10 + number)
    clock.wait(0.5)
    pod.delivered.clear()
    pod.win("p0", 1)
    pod.win("ann", 48)
    pod.win("ann", 49)
    clock.wait(0.5)
    assert pod.delivered == []
    pod.do("boards", "new_season", {"name": "wins"})
    clock.wait(0.5)
    assert pod.delivered[-1][2] == {"season": 2, "entries": []}


def test_a_notification_reaches_its_player_and_the_rest_of_a_row_is_not_told_again(pod: Pod) -> None:
    pod.on |= {"player:ann", "player:bob"}
    ids = [pod.notify("ann", number) for number in range(230)]
    pod.notify("cem", "not here")
    assert [(topic, payload["id"]) for topic, _, payload in pod.delivered] == [("player:ann", id) for id in ids]
    assert pod.delivered[0][1:] == ("notification", {"id": ids[0], "body": 0, "at": 1_000_000})
    pod.do("notices", "ack", {"player": "ann", "id": ids[-1]})
    assert len(pod.delivered) == 230


def test_a_pod_that_was_far_behind_tells_what_it_has_missed_once(pod: Pod) -> None:
    pod.on.add("player:ann")
    pod.notify("ann", 1)
    other = Pod(FakeClock())
    other.services.load({name: dict(rows) for name, rows in pod.tables.items()})
    other.tables = {name: dict(rows) for name, rows in pod.tables.items()}
    other.seconds, other.calls = pod.seconds + 5, pod.calls
    other.notify("ann", 2)
    pod.tables = other.tables
    pod.tell(None)
    pod.tell(None)
    assert [payload["body"] for _, _, payload in pod.delivered] == [1, 2]


def test_a_long_board_is_put_in_order_over_turns_of_the_loop(clock: FakeClock, pod: Pod) -> None:
    rows: dict[str, Fields] = {f"p{number}": {"score": number, "at": 1} for number in range(AT_ONCE + 500)}
    pod.tables = {"$boards": {"wins": {"season": 1, "oldest": 1}}, "$board:wins:1": rows}
    pod.tell(None)
    assert pod.standings.is_building and len(clock.timers) == 1
    client = TestClient(api(pod))
    answer = client.get("/leaderboards/wins/top")
    assert (answer.status_code, answer.json()["reason"], answer.headers["retry-after"]) == (503, "not ready", "2")
    clock.time = lambda: clock.now + random.random()  # type: ignore[method-assign]  # a slice is soon over
    turns = 0
    while pod.standings.is_building:
        clock.wait(0.01)
        turns += 1
    assert turns > 1
    assert client.get("/leaderboards/wins/top?limit=1").json()["entries"][0]["player"] == f"p{AT_ONCE + 499}"


def test_a_season_that_is_over_is_put_in_order_when_it_is_asked_for(clock: FakeClock, pod: Pod) -> None:
    rows: dict[str, Fields] = {f"p{number}": {"score": number, "at": 1} for number in range(AT_ONCE + 1)}
    pod.tables = {"$boards": {"wins": {"season": 2, "oldest": 1}}, "$board:wins:1": rows}
    pod.tell(None)
    assert not pod.standings.is_building
    client = TestClient(api(pod))
    assert client.get("/leaderboards/wins/top?season=1").status_code == 503
    while pod.standings.is_building:
        clock.wait(0.01)
    assert client.get("/leaderboards/wins/rank/p0?season=1").json()["rank"] == AT_ONCE + 1


def test_order_does_nothing_while_there_is_nothing_to_do(clock: FakeClock, pod: Pod) -> None:
    order = Order(pod.standings, pod.services.boards, clock)
    order.changed([])
    assert clock.timers == []


def api(pod: Pod) -> FastAPI:
    app = FastAPI()
    add_leaderboards(app, pod, lambda request: {"Cache-Control": "no-store"})  # type: ignore[arg-type]
    return app


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/leaderboards/wins/top?limit=0", 400, "bad limit"),
        ("/leaderboards/wins/top?limit=1001", 400, "bad limit"),
        ("/leaderboards/wins/top?limit=ten", 400, "bad limit"),
        ("/leaderboards/wins/top?season=-1", 400, "bad season"),
        ("/leaderboards/wins/top?season=2", 404, "unknown season"),
        ("/leaderboards/wins/rank/nobody", 404, "no score"),
        ("/leaderboards/wins/around/nobody", 404, "no score"),
        ("/leaderboards/other/top", 404, "unknown leaderboard"),
        ("/leaderboards/%24x/top", 400, "bad name"),
        (f"/leaderboards/wins/rank/{'a' * 201}", 400, "bad player"),
    ],
)
def test_over_http_what_can_not_be_answered_says_why(pod: Pod, path: str, status: int, reason: str) -> None:
    pod.win("ann", 5)
    answer = TestClient(api(pod)).get(path)
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert answer.json()["detail"] and answer.headers["cache-control"] == "no-store"


def test_over_http_a_board_is_read(pod: Pod) -> None:
    for player, score in (("ann", 5), ("b/ob", 7.5), ("cem", 1)):
        pod.win(player, score)
    client = TestClient(api(pod))
    assert client.get("/leaderboards/wins/top?limit=1").json() == {
        "season": 1,
        "entries": [{"rank": 1, "player": "b/ob", "score": 7.5}],
    }
    around = client.get("/leaderboards/wins/around/ann?limit=2").json()["entries"]
    assert [entry["player"] for entry in around] == ["ann", "cem"]
    assert client.get("/leaderboards/wins/rank/b%2Fob").json() == {
        "season": 1,
        "rank": 1,
        "player": "b/ob",
        "score": 7.5,
    }
    pod.do("boards", "new_season", {"name": "wins"})
    assert client.get("/leaderboards/wins/top").json() == {"season": 2, "entries": []}
    assert client.get("/leaderboards/wins/rank/cem?season=1").json()["rank"] == 3


async def test_the_leader_drops_what_is_too_old_and_then_writes_nothing(pod: Pod) -> None:
    for season in range(6):
        pod.win("ann", season)
        pod.do("boards", "new_season", {"name": "wins"})
    pod.notify("ann", "old")
    pod.seconds += 8 * 86_400
    new = pod.notify("ann", "new")
    pod.seconds += 3600
    looks = 0

    def wall_clock() -> float:
        nonlocal looks
        looks += 1
        return pod.seconds if looks > 1 else 0.0

    task = asyncio.create_task(sweeper.sweep(pod, wall_clock, look_seconds=0.001))
    try:
        async with asyncio.timeout(10):
            while next(iter(pod.tables[TABLE]["ann"].values())) is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            calls, until = pod.calls, looks + 20
            while looks < until:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert pod.calls == calls
    finally:
        task.cancel()
    assert pod.tables["$boards"]["wins"] == {"season": 7, "oldest": 4}
    assert sorted(t for t in pod.tables if t.startswith("$board:")) == [f"$board:wins:{n}" for n in (4, 5, 6)]
    assert [id for id, notice in pod.tables[TABLE]["ann"].items() if notice] == [new]
