"""The leader's node does not reach the API server, and all else goes through: nobody has a reason to lead in its place.

Its pods are evicted meanwhile, and hear of it when they reach the API server again: then the leader hands over."""

from __future__ import annotations

from .cluster import wait_until
from .game import Game
from .nodes import cut_from_api, wait_not_ready


def test_the_leader_stays_until_it_hears_that_it_is_evicted(spread_game: Game) -> None:
    game = spread_game
    epoch, leader, told = game.epoch(), game.leader(), game.told()
    node = game.node_of(leader)
    uid = game.namespace.get("pod", leader)["metadata"]["uid"]
    with game.play(prefix="cut") as play:
        with cut_from_api(node):
            wait_not_ready(node)
            wait_until("the leader's pod is evicted", lambda: game.is_ending(leader))
            play.goes_on()
            assert (game.epoch(), game.leader()) == (epoch, leader)
        wait_until("the evicted pod is replaced", lambda: uid not in game.pod_uids())
        game.wait_pods(3)
        game.wait_in_sync(3)
        play.goes_on()
    verdict = play.nothing_lost()
    assert game.told()["Failover"] == told["Failover"], "the leader handed over; nobody had to find out"
    assert verdict.blackout_max_ms < 3000
