"""A game in memory only whose pods all go: one pod that is drained, or deleted; three that are deleted at once. Nothing is lost."""

from __future__ import annotations

import time
from typing import Any

import pytest

from .cluster import wait_until
from .game import Game
from .test_drain import drained


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    return {"replicas": 1}


def wait_settled(game: Game, pods: int = 1) -> None:
    game.wait_pods(pods)
    game.wait_in_sync(pods)


def test_its_node_is_drained(game: Game) -> None:
    wait_settled(game)
    epoch, pod, told = game.epoch(), game.leader(), game.told()
    node, uids = game.node_of(pod), game.pod_uids()
    with game.play(pods=2, prefix="drained") as play:
        with drained(node, game):
            wait_until("another pod in its place", lambda: not game.pod_uids() & uids)
            wait_settled(game)
            assert (game.leader(), game.node_of(pod) != node) == (pod, True)
            play.goes_on()
        play.goes_on()
    verdict = play.nothing_lost()
    assert game.epoch() == epoch + 2, "handed over to the second one, and back"
    assert verdict.blackout_max_ms < 3000
    assert game.told()["SecondPod"] == 1
    assert game.told()["Failover"] == told["Failover"]
    assert game.condition("TotalLoss") is None


def test_it_is_deleted(game: Game) -> None:
    wait_settled(game)
    epoch, pod, uids = game.epoch(), game.leader(), game.pod_uids()
    with game.play(pods=2, prefix="deleted") as play:
        game.namespace.kubectl("delete", "pod", pod)
        wait_until("another pod in its place", lambda: not game.pod_uids() & uids)
        wait_settled(game)
        play.goes_on()
    verdict = play.nothing_lost()
    assert (game.epoch(), game.leader()) == (epoch + 2, pod)
    assert verdict.blackout_max_ms < 3000


def test_all_pods_of_a_larger_game_are_deleted_at_once(game: Game) -> None:
    game.namespace.kubectl("scale", "gc", game.name, "--replicas=3")
    wait_settled(game, 3)
    uids = game.pod_uids()
    with game.play(prefix="all") as play:
        game.namespace.kubectl("delete", "pods", "-l", f"app.kubernetes.io/instance={game.name}", "--wait=false")
        wait_until("every pod is another", lambda: not game.pod_uids() & uids, seconds=60)
        wait_settled(game, 3)
        play.goes_on()
    verdict = play.nothing_lost()
    assert verdict.blackout_max_ms < 10_000, "the first of them is back long before"
    assert game.condition("TotalLoss") is None
    game.namespace.kubectl("scale", "gc", game.name, "--replicas=1")
    wait_settled(game)


@pytest.mark.parametrize("cascade", ["background", "foreground"])
def test_nobody_is_waited_for_when_the_game_is_deleted(game: Game, cascade: str) -> None:
    game.start()
    wait_settled(game)
    began = time.monotonic()
    game.namespace.kubectl("delete", "gc", game.name, f"--cascade={cascade}")
    wait_until("no pod is left", lambda: not game.pods(), every=0.1)
    seconds = time.monotonic() - began
    print(f"\n  deleted within {seconds:.1f} s")
    assert seconds < 15, "a pod that awaits another takes 20"
