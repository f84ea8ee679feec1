"""The leader's process is killed at once (SIGKILL), as by a crash or for lack of memory."""

from __future__ import annotations

from .cluster import wait_until
from .game import Game
from .nodes import kill_container


def test_another_pod_leads_and_nothing_is_lost(game: Game) -> None:
    epoch, leader = game.epoch(), game.leader()
    with game.play() as play:
        kill_container(game.namespace, leader)
        successor = game.wait_for_another_leader(epoch)
        play.goes_on()
        assert successor != leader
        wait_until("the container runs again", lambda: game.restarts(leader) == 1)
        game.wait_ready(3)
        wait_until("the restarted pod is in sync again", lambda: leader in game.status()["inSync"])
        play.goes_on()
    play.nothing_lost()
    game.wait_for_event("Failover")


def test_the_same_once_more_at_the_new_leader(game: Game) -> None:
    game.wait_in_sync()
    epoch, leader = game.epoch(), game.leader()
    with game.play(prefix="again") as play:
        kill_container(game.namespace, leader)
        assert game.wait_for_another_leader(epoch) != leader
        game.wait_ready(3)
        play.goes_on()
    play.nothing_lost()


def test_a_killed_replica_costs_no_epoch(game: Game) -> None:
    game.wait_in_sync()
    epoch, leader = game.epoch(), game.leader()
    replica = game.a_replica()
    restarts = game.restarts(replica)
    with game.play(prefix="replica") as play:
        kill_container(game.namespace, replica)
        play.goes_on()
        wait_until("the container runs again", lambda: game.restarts(replica) == restarts + 1)
        wait_until("the restarted pod is in sync again", lambda: replica in game.status()["inSync"])
        play.goes_on()
    play.nothing_lost()
    assert (game.epoch(), game.leader()) == (epoch, leader)
