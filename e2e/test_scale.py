"""kubectl scale, up and down, to a single pod and back, with moves flowing."""

from __future__ import annotations

from .game import Game


def test_from_three_to_five_to_three_to_one_to_three(game: Game) -> None:
    with game.play(pods=5) as play:
        for pods in (5, 3, 1, 3):
            game.namespace.kubectl("scale", "gc", game.name, f"--replicas={pods}")
            game.wait_pods(pods)
            game.wait_in_sync(min(pods, 3))
            play.goes_on()
    play.nothing_lost()


def test_the_selector_of_the_scale_subresource_finds_the_pods(game: Game) -> None:
    selector = game.status()["selector"]
    assert len(game.namespace.get("pods", "--selector", selector)["items"]) == 3
