"""Leaderboards on the leader: scores, ties, seasons, repeated calls, and reads in the middle of what is not committed."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gamecluster.core.messages import Fields, Incarnation, Op, Tables
from gamecluster.core.replication import apply
from gamecluster.facades.boards import RuleLeaderboard
from gamecluster.rules import Rejected
from gamecluster.services import Services
from gamecluster.services import boards as module
from gamecluster.services.ranking import CHUNK, Ranking, View
from gamecluster.services.standings import AT_ONCE, KEEP_SEASONS, MANY, Standings

POD = Incarnation("a-0_uid_1")


class Pod:
    """A leader: its services, the log's copy that follows when ``commit`` is called, and the index of that."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.services = Services(lambda: self.seconds, random.Random(0))
        self.tables: Tables = {}
        self.standings = Standings(lambda table: self.tables.get(table, {}))
        self.services.boards.standings = self.standings
        self.tail: list[list[Op]] = []
        self.wins = RuleLeaderboard(self.services.boards, "wins")

    def call(self, verb: str, /, **args: Any) -> Fields:
        given = {"name": "wins"} | args
        outcome = self.services.call("boards", verb, {} if verb == "sweep" else given, POD)
        self.tail.append(outcome.ops)
        if not outcome.ok:
            raise Rejected(outcome.response.pop("reason"), **outcome.response)
        return outcome.response

    def rule(self, *changes: tuple[str, float], fails: bool = False) -> None:
        def run() -> None:
            for player, amount in changes:
                self.wins.add(player, amount)
            if fails:
                raise Rejected("no")

        self.tail.append(self.services.run(run).ops)

    def commit(self, entries: int = 1000) -> None:
        done, self.tail = self.tail[:entries], self.tail[entries:]
        ops = [op for entry in done for op in entry]
        apply(self.tables, ops)
        self.standings.changed(ops)
        self.services.boards.committed(ops)


@pytest.fixture
def pod() -> Pod:
    return Pod()


def names(entries: list[Fields]) -> list[str]:
    return [entry["player"] for entry in entries]


def test_scores_are_added_set_and_kept_if_better(pod: Pod) -> None:
    assert pod.call("add", player="ann", amount=2) == {"score": 2}
    assert pod.call("add", player="ann", amount=0.5) == {"score": 2.5}
    assert pod.call("best", player="ann", score=2) == {"score": 2.5}
    assert pod.call("best", player="bob", score=-7) == {"score": -7}
    assert pod.call("set", player="cem", score=9) == {"score": 9}
    assert pod.wins.top(2) == [{"rank": 1, "player": "cem", "score": 9}, {"rank": 2, "player": "ann", "score": 2.5}]
    pod.call("remove", player="cem")
    pod.call("remove", player="nobody")
    assert pod.wins.rank("cem") is None and pod.wins.rank("bob") == 2 and pod.wins.count() == 2


def test_of_equal_scores_the_first_is_ahead_and_then_the_name(pod: Pod) -> None:
    for player in ("zoe", "bob", "ann"):
        pod.call("set", player=player, score=5)
    assert names(pod.wins.top(3)) == ["ann", "bob", "zoe"], "the same millisecond: by name"
    pod.seconds += 1
    pod.call("set", player="ann", score=4)
    pod.call("add", player="ann", amount=1)
    pod.call("set", player="bob", score=5)
    pod.call("best", player="zoe", score=5)
    assert names(pod.wins.top(3)) == ["bob", "zoe", "ann"], "who stays at a score keeps its time"


def test_a_call_that_is_made_again_does_nothing_the_second_time(pod: Pod) -> None:
    pod.services.call("once", "open", {"session": "s"}, POD)

    def once(slot: int, n: int, verb: str, **args: Any) -> Fields:
        asked = {
            "session": "s",
            "slot": slot,
            "n": n,
            "service": "boards",
            "verb": verb,
            "args": {"name": "wins", **args},
        }
        return pod.services.call("once", "call", asked, POD).response

    for _ in range(2):
        assert once(0, 1, "add", player="ann", amount=3) == {"score": 3}
    once(1, 1, "set", player="bob", score=1)
    once(2, 1, "set", player="bob", score=8)
    assert once(1, 1, "set", player="bob", score=1) == {"score": 1}
    assert pod.wins.score("bob") == 8
    assert [once(0, 2, "new_season")["season"] for _ in range(2)] == [2, 2]


@pytest.mark.parametrize(
    ("verb", "args", "reason"),
    [
        ("add", {"player": "ann", "amount": 2**53 + 1}, "bad amount"),
        ("add", {"player": "ann", "amount": True}, "bad amount"),
        ("add", {"player": "ann", "amount": "1"}, "bad amount"),
        ("set", {"player": "ann", "score": float("nan")}, "bad score"),
        ("set", {"player": "", "score": 1}, "bad player"),
        ("set", {"player": "a" * 201, "score": 1}, "bad player"),
        ("set", {"name": "a/b", "player": "ann", "score": 1}, "bad name"),
        ("set", {"name": "", "player": "ann", "score": 1}, "bad name"),
        ("new_season", {"name": "x" * 65}, "bad name"),
    ],
)
def test_what_can_not_be_a_score_is_refused_and_changes_nothing(pod: Pod, verb: str, args: Fields, reason: str) -> None:
    with pytest.raises(Rejected) as refused:
        pod.call(verb, **args)
    assert refused.value.reason == reason
    assert "expected a number from" in str(refused.value) or "has 1 to" in str(refused.value)
    assert not pod.tail[-1] and not pod.services.ledger.rows("$boards")


def test_a_sum_may_not_leave_what_is_exact(pod: Pod) -> None:
    pod.call("set", player="ann", score=2**53)
    with pytest.raises(Rejected, match="bad score"):
        pod.call("add", player="ann", amount=1)
    assert pod.wins.score("ann") == 2**53


def test_a_new_season_touches_one_row_and_old_ones_can_be_read(pod: Pod) -> None:
    for number in range(100):
        pod.call("add", player=f"p{number}", amount=number)
    pod.commit()
    assert pod.call("new_season") == {"season": 2}
    assert len(pod.tail[-1]) == 1
    assert pod.wins.top() == [] and pod.wins.season == 2
    pod.call("add", player="p3", amount=1)
    pod.commit()
    assert names(pod.wins.top(season=1))[:2] == ["p99", "p98"] and pod.wins.rank("p0", season=1) == 100
    assert names(pod.wins.top()) == ["p3"]
    for season in (0, 3, True):
        with pytest.raises(Rejected, match="unknown season"):
            pod.wins.top(season=season)


def test_seasons_that_are_too_old_are_deleted_bit_by_bit(pod: Pod) -> None:
    seasons = KEEP_SEASONS + 2
    for season in range(seasons):
        pod.rule(*((f"p{number}", season) for number in range(module.ROWS_AT_A_TIME + 1)))
        if season < seasons - 1:
            pod.call("new_season")
    pod.commit()
    with pytest.raises(Rejected, match="there are 2 to 5"):
        pod.wins.top(season=1)
    calls = 0
    while module.is_due(pod.tables["$boards"]["wins"]):
        pod.call("sweep")
        assert len(pod.tail[-1]) <= module.ROWS_AT_A_TIME + 1
        pod.commit()
        calls += 1
    assert calls == 2
    assert sorted(table for table in pod.tables if ":" in table) == [f"$board:wins:{n}" for n in range(2, 6)]
    pod.call("sweep")
    assert pod.tail[-1] == []


def test_a_rule_sees_what_is_not_committed_and_nothing_of_what_was_undone(pod: Pod) -> None:
    pod.rule(("ann", 3), ("bob", 2))
    pod.commit()
    pod.rule(("bob", 2))
    pod.rule(("cem", 50), ("ann", 9), fails=True)
    assert names(pod.wins.top()) == ["bob", "ann"], "the index has ann ahead still"
    assert names(View(pod.standings.ready("$board:wins:1")).top(9)) == ["ann", "bob"]
    pod.commit()
    assert names(View(pod.standings.ready("$board:wins:1")).top(9)) == ["bob", "ann"]
    assert pod.wins.around("ann", 1) == [{"rank": 2, "player": "ann", "score": 3}]


def test_a_new_leader_sees_the_tail_that_it_took_over(pod: Pod) -> None:
    pod.rule(("ann", 3), ("bob", 2))
    pod.commit()
    pod.rule(("bob", 2))
    head: Tables = {name: dict(rows) for name, rows in pod.tables.items()}
    ahead = pod.tail[0]
    apply(head, ahead)
    pod.services.load(head, ahead)
    assert names(pod.wins.top()) == ["bob", "ann"]
    pod.commit()
    assert names(pod.wins.top()) == ["bob", "ann"] and not pod.services.boards._ahead["$board:wins:1"]


Step = tuple[str, str, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "set", "remove", "undone", "commit", "season"]),
        st.sampled_from("abcdef"),
        st.integers(-3, 3),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(steps)
def test_rules_and_channels_read_what_a_sorted_list_says(done: list[Step]) -> None:
    pod = Pod()
    for what, player, amount in done:
        pod.seconds += 0.001
        match what:
            case "add" | "set":
                pod.call(what, player=player, **{"amount" if what == "add" else "score": amount})
            case "remove":
                pod.call("remove", player=player)
            case "undone":
                pod.rule((player, amount), ("z", 1), fails=True)
            case "commit":
                pod.commit(entries=2)
            case "season":
                pod.call("new_season")
        season = pod.services.boards.season("wins") or 1
        head = pod.services.ledger.rows(f"$board:wins:{season}")
        assert pod.wins.top(100) == View(Ranking(dict(head))).top(100)
        there = pod.tables.get(f"$board:wins:{season}", {})
        assert View(pod.standings.ready(f"$board:wins:{season}")).top(100) == View(Ranking(there)).top(100)


def test_a_long_board_is_put_in_order_bit_by_bit_while_it_changes(pod: Pod) -> None:
    rows: dict[str, Fields] = {f"p{number}": {"score": number % 977, "at": number} for number in range(AT_ONCE * 3)}
    pod.tables = {"$boards": {"wins": {"season": 1, "oldest": 1}}, "$board:wins:1": rows}
    pod.services.load({name: dict(of) for name, of in pod.tables.items()})
    pod.standings.changed(None)
    assert pod.standings.is_building
    with pytest.raises(Rejected, match="not ready"):
        pod.wins.top()
    pod.standings.build(100)
    for player in ("p0", "p5999", "p50", "new"):
        pod.call("set", player=player, score=5000)
    pod.call("remove", player="p5998")
    pod.commit()
    while pod.standings.is_building:
        pod.standings.build(100)
    assert names(pod.wins.top(4)) == ["new", "p0", "p50", "p5999"] and pod.wins.count() == AT_ONCE * 3
    assert pod.wins.top(1000) == View(Ranking(pod.tables["$board:wins:1"])).top(1000)


def test_a_pod_that_catches_up_with_very_much_makes_its_index_anew(pod: Pod) -> None:
    changes = [(f"p{number % 5000}", float(number % 769 + 1)) for number in range(MANY + 200)]
    pod.rule(*changes[:100])
    pod.commit()
    pod.rule(*changes[100:])
    pod.call("remove", player="p7")
    pod.commit()
    assert pod.standings.is_building and len(pod.standings._rankings["$board:wins:1"]) == 0
    pod.call("add", player="new", amount=10**6)
    pod.commit()
    while pod.standings.is_building:
        pod.standings.build(500)
    assert names(pod.wins.top(1)) == ["new"] and pod.wins.rank("p7") is None
    assert pod.wins.top(1000) == View(Ranking(pod.tables["$board:wins:1"])).top(1000)


def test_the_index_of_a_season_that_is_too_old_is_let_go_bit_by_bit(pod: Pod) -> None:
    pod.rule(*((f"p{number}", float(number)) for number in range(AT_ONCE * 3)))
    pod.commit()
    while pod.standings.is_building:
        pod.standings.build(1000)
    index = pod.standings.ready("$board:wins:1")
    for _ in range(KEEP_SEASONS + 1):
        pod.call("new_season")
    pod.commit()
    assert pod.standings.is_building and pod.wins.top() == []
    while pod.standings.is_building:
        before = len(index)
        pod.standings.build(1)
        assert before - len(index) <= CHUNK
    assert len(index) == 0
