"""The leader's pod vanishes: another pod leads within a second, and every acknowledged move is there."""

from __future__ import annotations

from .game import Game


def test_another_pod_leads_and_nothing_is_lost(game: Game) -> None:
    epoch, leader = game.epoch(), game.leader()
    with game.play() as play:
        game.namespace.kubectl("delete", "pod", leader, "--force", "--grace-period=0")
        successor = game.wait_for_another_leader(epoch)
        play.goes_on()
        game.wait_ready(3)
        play.goes_on()
    play.nothing_lost()
    assert successor in game.status()["inSync"]
    last = game.status()["lastFailover"]
    assert (last["from"], last["epoch"]) == (leader, game.epoch())


def test_describe_tells_it(game: Game) -> None:
    game.wait_for_event("Failover", "HandedOver")
