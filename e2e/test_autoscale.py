"""spec.autoscaling under real players: more pods when more of them play, fewer when they leave, and nothing is lost."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

import pytest

from .cluster import wait_until
from .game import Game
from .play import Play

FEW, MANY = 2, 4
WINDOWS = {"scaleUpStabilizationSeconds": 0, "scaleDownStabilizationSeconds": 0}
"""The operator looks every ten seconds, and does at once what it sees then."""


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    bounds = {"minReplicas": FEW, "maxReplicas": MANY}
    targets = {"targetPlayersPerPod": 3, "targetConnectionsPerPod": 3}
    return {"replicas": FEW, "autoscaling": bounds | targets | WINDOWS}


def test_pods_come_with_the_players_and_go_with_them(game: Game) -> None:
    pods, failovers = game.pod_uids(), game.told()["Failover"]
    with ExitStack() as staying:
        early = staying.enter_context(play(game, 2, "early"))
        with play(game, 8, "crowd", leaves=True) as crowd:
            begun = time.monotonic()
            game.wait_pods(MANY)
            up = time.monotonic() - begun
            assert pods < game.pod_uids(), "those that were there are left alone"
            late = staying.enter_context(play(game, 4, "late"))  # one on each pod: too many now
            wait_until("ScalingLimited", lambda: game.condition("ScalingLimited") == "True")
            leader = max(game.wait_in_sync(3))
            game.call(game.leader(), "/handoff", {"to": leader})
            wait_until("a pod that will go leads", lambda: game.leader() == leader)
            crowd.goes_on()
        begun = time.monotonic()
        game.wait_pods(FEW)
        down = time.monotonic() - begun
        game.wait_in_sync(FEW)
        early.goes_on()
        late.goes_on()
    verdicts = [one.nothing_lost() for one in (early, crowd, late)]
    print(f"  {FEW} to {MANY} pods {up:.1f} s after the players came, {FEW} again {down:.1f} s after they had left")
    assert verdicts[2].reconnects >= 1, "those on the pods that went"
    told = game.told()
    assert told["ScaledUp"] in (1, 2) and told["ScaledDown"] in (1, 2), (
        "two if looked at while they were coming or going"
    )
    assert told["Failover"] == failovers
    assert game.leader() in {f"{game.name}-{i}" for i in range(FEW)}
    assert game.resource()["spec"]["replicas"] == FEW and game.pod_uids() == pods


def play(game: Game, players: int, prefix: str, leaves: bool = False) -> Play:
    return game.play(pods=MANY, players=players, moves_per_second=5, prefix=prefix, leaves=leaves)
