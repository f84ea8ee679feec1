"""Matches under play: a deployment replaces every pod and ends none of them; a pod that is killed takes none with it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .cluster import wait_until
from .game import Game

ROOMS = 6


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    return {"targets": ["gamecluster.demo:Counter", "gamecluster.demo:Match"]}


def rooms(game: Game, prefix: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = game.call(game.leader(), "/rooms")["rooms"]
    return {id: room for id, room in found.items() if id.startswith(f"match-{prefix}-")}


def test_a_deployment_ends_no_match(game: Game) -> None:
    game.wait_in_sync(3)
    uids = game.pod_uids()
    template = {"metadata": {"annotations": {"example.com/revision": "matches"}}}
    with game.play(prefix="deployed", players=12, rooms=ROOMS) as play:
        before = rooms(game, "deployed")
        assert len(before) == ROOMS and len({room["node"] for room in before.values()}) > 1, "spread over the pods"
        game.namespace.kubectl(
            "patch", "gc", game.name, "--type=merge", "-p", json.dumps({"spec": {"template": template}})
        )
        wait_until("every pod is another", lambda: not game.pod_uids() & uids, seconds=180)
        game.wait_ready(3)
        game.wait_in_sync(3)
        play.goes_on()
        after = rooms(game, "deployed")
    verdict = play.nothing_lost()
    assert after.keys() == before.keys()
    assert all(after[id]["epoch"] > room["epoch"] for id, room in before.items()), "each was handed over"
    assert verdict.blackout_max_ms < 3000


def test_a_pod_that_is_killed_takes_no_match_with_it(game: Game) -> None:
    game.wait_in_sync(3)
    with game.play(prefix="killed", players=12, rooms=ROOMS) as play:
        before = rooms(game, "killed")
        node = next(iter(before.values()))["node"]
        game.namespace.kubectl("delete", "pod", node, "--grace-period=0", "--force")
        wait_until("the rooms of the pod are elsewhere", lambda: _are_elsewhere(game, before, node))
        play.goes_on()
        assert rooms(game, "killed").keys() == before.keys()
    play.nothing_lost()


def _are_elsewhere(game: Game, before: dict[str, dict[str, Any]], node: str) -> bool:
    """Held by others, or by the pod that came in its place."""
    now = rooms(game, "killed")
    return all(now[id]["epoch"] > room["epoch"] for id, room in before.items() if room["node"] == node)
