"""kubectl drain of the leader's node: the leader hands over, and the disruption budget lets one pod go at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .cluster import run, wait_until
from .game import Game


@contextlib.contextmanager
def drained(node: str, game: Game) -> Iterator[None]:
    pods = f"--pod-selector=app.kubernetes.io/instance={game.name}"
    run("kubectl", "drain", node, pods, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=90s", seconds=100)
    try:
        yield
    finally:
        run("kubectl", "uncordon", node)


def test_the_leader_hands_over_and_every_pod_moves(spread_game: Game) -> None:
    game = spread_game
    epoch, leader, told = game.epoch(), game.leader(), game.told()
    node = game.node_of(leader)
    with game.play(prefix="drained") as play:
        with drained(node, game):
            game.wait_for_another_leader(epoch)
            game.wait_pods(3)
            assert node not in {game.node_of(pod) for pod in game.wait_in_sync(3)}
            play.goes_on()
        play.goes_on()
    verdict = play.nothing_lost()
    assert game.told()["Failover"] == told["Failover"], "the leader handed over; nobody had to find out"
    assert verdict.blackout_max_ms < 3000


def test_a_single_pod_does_not_stand_in_the_way(game: Game) -> None:
    game.namespace.kubectl("scale", "gc", game.name, "--replicas=1")
    game.wait_pods(1)
    game.wait_in_sync(1)
    node = game.node_of(game.leader())
    with drained(node, game):
        wait_until("a pod on another node", lambda: game.node_of(f"{game.name}-0") != node)
