"""A hand-written chat client (Phoenix V1 JSON) at one pod is heard at another, and through the Service."""

from __future__ import annotations

from typing import Any

import pytest

from .cluster import Namespace
from .game import Game
from .play import chat


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    return {"targets": ["gamecluster.demo:Counter", "gamecluster.demo:Room"]}


def test_room_1_spans_two_pods(game: Game, players: Namespace) -> None:
    assert "heard at both pods" in chat(players, game.address(0), game.address(1))


def test_room_1_spans_the_service_and_a_pod(game: Game, players: Namespace) -> None:
    service = f"{game.name}.{game.namespace.name}.svc.cluster.local:4000"
    assert "heard at both pods" in chat(players, service, game.address(2))
