"""Without the operator the game goes on, failover too; when it is back it tells what happened."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .cluster import Namespace, wait_until
from .game import Game
from .nodes import kill_container


@pytest.fixture
def no_operator(operator: Namespace) -> Iterator[Namespace]:
    """No operator while the test runs."""
    found = operator.get("deployments")["items"][0]
    deployment, replicas = found["metadata"]["name"], found["spec"]["replicas"]
    operator.kubectl("scale", "deployment", deployment, "--replicas=0")
    wait_until("no operator", lambda: not operator.get("pods")["items"], seconds=60)
    yield operator
    operator.kubectl("scale", "deployment", deployment, f"--replicas={replicas}")
    operator.kubectl("rollout", "status", f"deployment/{deployment}", "--timeout=60s", seconds=70)


def test_play_and_failover_go_on(game: Game, no_operator: Namespace) -> None:
    epoch, leader = game.epoch(), game.leader()
    with game.play() as play:
        play.goes_on()
        kill_container(game.namespace, leader)
        wait_until("an epoch after it in the Lease", lambda: game.epoch() > epoch)
        assert game.leader() != leader
        play.goes_on()
    play.nothing_lost()
    assert game.status()["epoch"] == epoch, "nobody was there to write the status"


def test_the_operator_tells_afterwards(game: Game, operator: Namespace) -> None:
    wait_until("the status is of now", lambda: game.status()["epoch"] == game.epoch(), seconds=60)
    assert game.status()["leader"] == game.leader()
    game.wait_ready(3)


def test_an_operator_that_dies_disturbs_nobody(game: Game, operator: Namespace) -> None:
    epoch, uids = game.epoch(), game.pod_uids()
    with game.play(prefix="restart") as play:
        operator.kubectl("delete", "pods", "--all", "--wait=true")
        operator.kubectl("wait", "--for=condition=Available", "deployment", "--all", "--timeout=60s", seconds=70)
        play.goes_on()
    verdict = play.nothing_lost()
    assert verdict.reconnects == 0
    assert (game.epoch(), game.pod_uids()) == (epoch, uids)
