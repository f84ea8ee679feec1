"""The worker that holds the leader is gone: its pods are made anew on the other one, and nobody types a taint."""

from __future__ import annotations

from .game import Game
from .nodes import killed, wait_not_ready


def test_lost_pods_are_replaced_elsewhere_and_nothing_is_lost(spread_game: Game) -> None:
    game = spread_game
    epoch, leader = game.epoch(), game.leader()
    node = game.node_of(leader)
    with game.play(prefix="killed") as play:
        with killed(node):
            successor = game.wait_for_another_leader(epoch)
            assert game.node_of(successor) != node
            play.goes_on()
            wait_not_ready(node)
            game.wait_for_event("PodFreed")
            game.wait_ready(3, seconds=90)
            assert node not in {game.node_of(pod) for pod in game.wait_in_sync(3)}
            play.goes_on()
        play.goes_on()
    play.nothing_lost()
    assert game.leader() == successor
