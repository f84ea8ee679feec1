"""helm install, kubectl apply: a game that can be played, and that says of itself how it is."""

from __future__ import annotations

from .cluster import Namespace, wait_until
from .conftest import a_namespace
from .game import Game, example


def test_moves_through_two_pods_are_one_game(game: Game) -> None:
    with game.play(pods=2) as play:
        play.goes_on(20)
    verdict = play.nothing_lost()
    assert verdict.reconnects == 0, "nothing was broken, so no player had to go elsewhere"


def test_get_gc_shows_the_columns_that_people_look_for(game: Game) -> None:
    heading, row = game.namespace.kubectl("get", "gc").splitlines()
    for column in ("NAME", "READY", "LEADER", "AGE"):
        assert column in heading, heading
    assert game.leader() in row.split(), row


def test_describe_shows_the_conditions(game: Game) -> None:
    game.wait_in_sync()
    wait_until("FullyReplicated", lambda: game.condition("FullyReplicated") == "True")
    text = game.described()
    for word in ("Ready", "Reconciling", "Stalled", "LeaderElected", "FullyReplicated", game.leader()):
        assert word in text, text
    assert {kind: game.condition(kind) for kind in ("Ready", "Stalled")} == {"Ready": "True", "Stalled": "False"}


def test_the_lease_names_the_leader_and_the_in_sync_pods(game: Game) -> None:
    names = game.wait_in_sync()
    lease = game.namespace.get("lease", f"{game.name}-gamestate")
    in_sync = lease["metadata"]["annotations"]["gamecluster.dev/in-sync"].split(",")
    assert sorted(name.split("_")[0] for name in in_sync) == sorted(names)
    assert game.leader() in names


def test_a_pod_tells_the_cluster_as_it_is(game: Game) -> None:
    seen = game.call(f"{game.name}-1", "/cluster")
    assert (seen["self"], seen["leader"], seen["status"]) == (f"{game.name}-1", game.leader(), "Serving")
    assert sorted(node["name"] for node in seen["nodes"]) == [f"{game.name}-{i}" for i in range(3)]


def test_the_arena_of_the_examples_is_playable(operator: Namespace, players: Namespace, server_image: str) -> None:
    with a_namespace("test-arena") as namespace:
        arena = Game(namespace, example("arena", server_image), players)
        arena.start()
        with arena.play(players=3, event="move", payload={"dx": 1, "dy": 0}, totals=False) as play:
            play.goes_on(10)
        play.nothing_lost()
        assert "<canvas" in arena.page(f"{arena.name}-0")
