"""The two workers don't hear each other, while all of their pods see the API server: one side plays on, the other joins it again."""

from __future__ import annotations

from .cluster import wait_until
from .game import Game
from .nodes import parted, workers


def test_one_side_plays_on_and_the_other_comes_back(spread_game: Game) -> None:
    game = spread_game
    epoch = game.epoch()
    one, other = workers()[:2]
    with game.play(prefix="parted") as play:
        with parted(one, other):
            wait_until("one side is out of the in-sync set", lambda: len(game.status()["inSync"]) < 3)
            play.goes_on()
            sides = {game.node_of(pod) for pod in game.status()["inSync"]}
            assert sides == {game.node_of(game.leader())}, "only the leader's side is in sync"
            play.goes_on()
            assert {game.node_of(pod) for pod in game.status()["inSync"]} == sides, "and stays so"
        game.wait_in_sync(3)
        play.goes_on()
    play.nothing_lost()
    assert game.epoch() <= epoch + 1
