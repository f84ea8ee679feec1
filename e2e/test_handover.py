"""Planned moves: the leader hands over before it goes, or when it is asked to."""

from __future__ import annotations

from .game import Game


def test_a_deleted_leader_hands_over_before_it_goes(game: Game) -> None:
    game.wait_in_sync()
    epoch, leader = game.epoch(), game.leader()
    with game.play() as play:
        game.namespace.kubectl("delete", "pod", leader, "--wait=false")  # SIGTERM, and time to go
        game.wait_for_another_leader(epoch)
        play.goes_on()
        game.wait_ready(3)
        play.goes_on()
    verdict = play.nothing_lost()
    assert verdict.blackout_max_ms < 2000, "nobody had to find out that the leader was gone"
    game.wait_for_event("HandedOver")


def test_an_asked_leader_hands_over_and_nobody_reconnects(game: Game) -> None:
    game.wait_in_sync()
    epoch, leader = game.epoch(), game.leader()
    successor = game.a_replica()
    with game.play(prefix="asked") as play:
        game.call(leader, "/handoff", {"to": successor})
        assert game.wait_for_another_leader(epoch) == successor
        play.goes_on()
    verdict = play.nothing_lost()
    assert verdict.reconnects == 0
    assert verdict.blackout_max_ms < 1000


def test_any_pod_passes_the_wish_on(game: Game) -> None:
    game.wait_in_sync()
    epoch, leader = game.epoch(), game.leader()
    game.call(game.a_replica(), "/handoff", {})
    assert game.wait_for_another_leader(epoch) != leader
