"""A spec that cannot be done: the API server or a condition says what to change, and nobody else is disturbed."""

from __future__ import annotations

from typing import Any

import pytest

from .cluster import CommandFailed, wait_until
from .game import Game

IMPOSSIBLE = {"spec": {"containers": [{"name": "server", "ports": [{"containerPort": 99999999}]}]}}
"""A template that only the API server can judge."""


def changed(game: Game, name: str, **spec: Any) -> dict[str, Any]:
    return {**game.manifest, "metadata": {"name": name}, "spec": {**game.manifest["spec"], **spec}}


def test_the_api_server_refuses_what_the_schema_excludes(game: Game) -> None:
    with pytest.raises(CommandFailed, match=r"spec\.replicas"):
        game.namespace.apply(changed(game, "wrong", replicas=-1))
    with pytest.raises(CommandFailed, match=r"spec\.pubsub\.secretRef"):
        game.namespace.apply(changed(game, "wrong", pubsub={"type": "Redis"}))


def test_a_condition_says_what_to_change_and_others_play_on(game: Game) -> None:
    wrong = Game(game.namespace, changed(game, "wrong", template=IMPOSSIBLE), game.namespace)
    with game.play() as play:
        wrong.namespace.apply(wrong.manifest)
        wait_until("the condition Stalled", lambda: wrong.condition("Stalled") == "True")
        text = wrong.described()
        assert "containerPort" in text and "99999999" in text, text
        play.goes_on()
        assert not game.namespace.exists("statefulset", "wrong")
    verdict = play.nothing_lost()
    assert verdict.reconnects == 0


def test_a_changed_spec_of_a_running_game_does_not_stop_it(game: Game) -> None:
    uids = game.pod_uids()
    with game.play(prefix="running") as play:
        game.namespace.apply(changed(game, game.name, template=IMPOSSIBLE))
        wait_until("the condition Stalled", lambda: game.condition("Stalled") == "True")
        play.goes_on()
        game.namespace.apply(game.manifest)
        wait_until("it goes on", lambda: game.condition("Stalled") == "False")
        play.goes_on()
    verdict = play.nothing_lost()
    assert verdict.reconnects == 0
    assert game.pod_uids() == uids
