"""Rule 13: a player's moves, each at most once, answered again as the first time."""

from __future__ import annotations

from gamecluster.core import effects as do
from gamecluster.core import events as happened

from .cluster import Cluster


def response(cluster: Cluster, name: str, **move: object) -> dict[str, object]:
    answer = cluster.answer(name, cluster.ask(name, **move))  # type: ignore[arg-type]
    assert answer is not None
    return answer.response


def test_a_repeat_is_answered_as_the_first_time_and_not_applied() -> None:
    cluster = Cluster()
    cluster.join("a-1")
    first = response(cluster, "a-1", n=1)
    assert response(cluster, "a-1", n=1) == first
    assert cluster.total("a-0") == 1


def test_a_repeat_is_answered_by_the_next_leader_too() -> None:
    cluster = Cluster()
    cluster.join("a-1")
    first = response(cluster, "a-1", n=1)
    cluster.kill("a-0")
    assert response(cluster, "a-1", n=1) == first
    assert cluster.total("a-1") == 1


def test_a_gap_is_refused_and_says_what_is_expected() -> None:
    cluster = Cluster()
    cluster.join("a-1")
    assert response(cluster, "a-1", n=3) == {"reason": "gap", "expected": 1}


def test_a_move_that_its_rule_refused_consumes_its_number() -> None:
    cluster = Cluster()
    cluster.join("a-1")
    assert response(cluster, "a-1", event="refuse", n=1) == {"reason": "as asked"}
    assert response(cluster, "a-1", event="refuse", n=1) == {"reason": "as asked"}
    assert response(cluster, "a-1", n=2)["value"] == 1


def test_the_last_32_answers_are_kept_and_older_repeats_are_told_so() -> None:
    cluster = Cluster()
    cluster.join("a-1")
    first = response(cluster, "a-1", n=1)
    for n in range(2, 33):
        response(cluster, "a-1", n=n)
    assert response(cluster, "a-1", n=1) == first
    response(cluster, "a-1", n=33)
    assert response(cluster, "a-1", n=1) == {"reason": "forgotten", "last": 33}
    assert cluster.total("a-0") == 33


def test_a_move_without_a_number_that_the_dead_leader_may_have_run_is_answered_unknown() -> None:
    cluster = Cluster()
    cluster.join("a-1")
    cluster.cut = {("a-1", "a-0")}
    request = cluster.ask("a-1")
    cluster.kill("a-0")
    cluster.cut = set()
    cluster.run(0.2)
    answer = cluster.answer("a-1", request)
    assert answer is not None and answer.response == {"reason": "unknown"}
    assert cluster.total("a-2") == 0


def test_a_present_player_is_taken_unless_the_stay_is_proved() -> None:
    cluster = Cluster()
    first = cluster.join("a-1", connection=5)
    assert first is not None and first.ok and not first.response["resumed"]
    refused = cluster.join("a-2", connection=6)
    assert refused is not None and refused.response == {"reason": "player taken"}
    again = cluster.join("a-2", stay=first.response["stay"], connection=7)
    assert again is not None and again.ok and again.response["resumed"]
    assert do.Replace(5, "bob") in cluster.effects["a-1"]


def test_a_player_is_kept_for_the_grace_and_then_leaves() -> None:
    cluster = Cluster()
    cluster.join("a-1", connection=5)
    cluster.tell("a-1", happened.PlayerLeft(5, "bob", False))
    cluster.run(29)
    assert cluster.total("a-0") == 0
    cluster.run(2)
    assert "bob" not in cluster.nodes["a-0"].visible_tables()["totals"]


def test_a_player_who_leaves_on_purpose_is_gone_at_once() -> None:
    cluster = Cluster()
    cluster.join("a-1", connection=5)
    cluster.tell("a-1", happened.PlayerLeft(5, "bob", True))
    assert cluster.nodes["a-2"].visible_tables()["totals"] == {}
    assert "$answers" not in cluster.nodes["a-2"].visible_tables()


def test_players_of_a_dead_pod_get_their_grace() -> None:
    cluster = Cluster()
    cluster.join("a-2", connection=5)
    cluster.kill("a-2")
    cluster.run(20)
    assert cluster.total("a-1") == 0
    cluster.run(15)
    assert "bob" not in cluster.nodes["a-1"].visible_tables()["totals"]


def test_a_player_whose_pod_was_cut_off_for_a_while_does_not_leave() -> None:
    cluster = Cluster()
    cluster.join("a-2")
    cluster.cut = {("a-0", "a-2"), ("a-2", "a-0")}
    cluster.run(5)
    cluster.cut = set()
    cluster.run(40)
    assert cluster.total("a-1") == 0
    answer = cluster.answer("a-2", cluster.ask("a-2", n=1))
    assert answer is not None and answer.ok


def test_a_snapshot_carries_everything_to_a_pod_that_comes_late() -> None:
    cluster = Cluster(size=2)
    cluster.join("a-1")
    for n in range(1, 5000):
        cluster.ask("a-1", n=n)
    cluster.add("a-2")
    cluster.run(0.3)
    assert cluster.total("a-2") == 4999
    assert len(cluster.lease.in_sync) == 3
    assert any(isinstance(e, do.DeliverState) for e in cluster.effects["a-2"])
