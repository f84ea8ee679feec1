"""The API server hangs, and then is stopped, while players play; in the second outage the leader's process crashes.

Two minutes each with E2E_FULL=1, else as long as it takes to see it."""

from __future__ import annotations

import os
import time

from .game import Game
from .nodes import api_server_hung, api_server_stopped, kill_container

IS_FULL = bool(os.environ.get("E2E_FULL"))


def test_players_notice_nothing_while_it_hangs(spread_game: Game) -> None:
    game = spread_game
    epoch, leader = game.epoch(), game.leader()
    with game.play(prefix="hung") as play:
        with api_server_hung():
            play.goes_on_for(60 if IS_FULL else 20)  # the kubelet restarts an API server that has hung for longer
        play.goes_on()
        game.wait_ready(3)
    verdict = play.nothing_lost()
    assert (game.epoch(), game.leader()) == (epoch, leader)
    assert verdict.reconnects == 0
    assert verdict.blackout_max_ms < 1000


def test_a_leader_that_crashes_meanwhile_takes_nothing_along(spread_game: Game) -> None:
    game = spread_game
    leader = game.leader()
    node, epoch = game.node_of(leader), game.epoch()
    with game.play(prefix="stopped") as play:
        with api_server_stopped():
            play.goes_on_for(60 if IS_FULL else 10)
            kill_container(game.namespace, leader, node)
            crashed = time.monotonic()
            resumed = play.resumes_within(rest := 60 if IS_FULL else 20)
            play.goes_on_for(rest - resumed if resumed else 0)
        back_again = time.monotonic()
        play.goes_on(seconds=60)
        game.wait_for_another_leader(epoch, seconds=60)
        game.wait_ready(3)
        game.wait_in_sync(3)
        play.goes_on()
    verdict = play.nothing_lost()
    assert resumed is not None, (
        "the others promise, and the dead one's next life certifies its death: one of them leads"
    )
    print(
        f"  play went on {resumed:.1f} s after the crash; pods reached the API server after {back_again - crashed:.1f} s"
    )
    assert verdict.blackout_max_ms < 1000 * (back_again - crashed)
