"""Pods that do not take over themselves: after ten seconds the operator names one of the in-sync set."""

from __future__ import annotations

from typing import Any

import pytest

from .game import Game
from .nodes import kill_container


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    server = {"name": "server", "env": [{"name": "GAMECLUSTER_TAKEOVER", "value": "off"}]}
    return {"template": {"spec": {"containers": [server]}}}


def test_the_operator_names_another_in_sync_pod(game: Game) -> None:
    epoch, leader, in_sync = game.epoch(), game.leader(), set(game.wait_in_sync())
    with game.play() as play:
        kill_container(game.namespace, leader)
        successor = game.wait_for_another_leader(epoch, seconds=40)
        assert successor in in_sync - {leader}
        play.goes_on()
    verdict = play.nothing_lost()
    assert verdict.blackout_max_ms > 5000, "the pods took over by themselves, so this showed nothing of the operator"
    game.wait_for_event("BackstopNamed")
