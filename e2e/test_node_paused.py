"""The worker that holds the leader hangs, with all its pods, and comes back as if nothing had happened."""

from __future__ import annotations

from .game import Game
from .nodes import paused


def test_another_node_leads_and_the_woken_leader_follows(spread_game: Game) -> None:
    game = spread_game
    epoch, leader, uids = game.epoch(), game.leader(), game.pod_uids()
    node = game.node_of(leader)
    with game.play(prefix="paused") as play:
        with paused(node):
            successor = game.wait_for_another_leader(epoch)
            assert game.node_of(successor) != node
            play.goes_on()
        game.wait_in_sync(3)
        play.goes_on()
    play.nothing_lost()
    assert (game.leader(), game.epoch() > epoch, game.pod_uids()) == (successor, True, uids)
