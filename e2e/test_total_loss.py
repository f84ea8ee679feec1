"""All pods that hold the GameState die at the same moment, under moving players: what comes back, by the storage that there is.

The processes are killed (SIGKILL) and their pods stay. So the operator knows at once that nobody is left: in the same pod a later
boot answers. Of pods that are gone from the API it is certain only after 60 s, since they may still run somewhere; and they
could come back on another node, where these volumes are not."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .cluster import Namespace, wait_until
from .game import Game
from .nodes import CTR, SERVER, find_container, in_node

DURABLE = {"storage": {"type": "Volume", "size": "100Mi"}, "gameState": {"durability": "Storage"}}
FLEETING = {"storage": {"type": "Memory"}, "gameState": {"onTotalLoss": "Reset"}}


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    return DURABLE


def kill_all(game: Game) -> None:
    """SIGKILL to every pod's process, all at once."""
    nodes = {pod: game.node_of(pod) for pod in game.wait_in_sync()}
    kills = [
        (node, (*CTR, "tasks", "kill", "--signal", "SIGKILL", find_container(node, game.namespace.name, pod, SERVER)))
        for pod, node in nodes.items()
    ]
    with ThreadPoolExecutor(len(kills)) as threads:
        list(threads.map(lambda kill: in_node(kill[0], *kill[1]), kills))


def total_loss(game: Game, reason: str) -> str:
    """Waits until the game goes on, and the condition says of the loss what became of it; returns its message."""

    def look() -> str | bool:
        conditions = {c["type"]: c for c in game.status().get("conditions", [])}
        found = conditions.get("TotalLoss", {})
        is_over = (found.get("status"), found.get("reason")) == ("False", reason)
        return str(found["message"]) if is_over and conditions["Ready"]["status"] == "True" else False

    return str(wait_until(f"TotalLoss is over: {reason}", look, seconds=90))


def totals(game: Game) -> dict[str, int]:
    state = game.call(game.leader(), "/state")["state"]
    return {player: total["value"] for player, total in state["totals"].items()}


def test_everything_acknowledged_is_restored_from_the_volumes(game: Game) -> None:
    epoch, pods = game.epoch(), game.pod_uids()
    claims = game.namespace.get("persistentvolumeclaims")["items"]
    assert [claim["status"]["phase"] for claim in claims] == ["Bound"] * 3
    with game.play() as play:
        play.goes_on(20)
        kill_all(game)
        message = total_loss(game, "Restored")
        play.goes_on()
    verdict = play.nothing_lost()
    print(f"  {message}")
    assert (
        "all pods that held the GameState were lost" in message and "restored from the storage, up to entry" in message
    )
    assert game.epoch() >= epoch + 1000
    assert game.pod_uids() == pods, "they died where they were"
    assert verdict.blackout_max_ms > 5000, "nobody took over: it was a total loss"
    game.wait_for_event("Restored")
    assert message in game.described()
    game.wait_ready(3)
    assert len(game.wait_in_sync()) == 3


def test_without_a_storage_the_game_begins_anew_and_says_so(
    namespace: Namespace, game: Game, players: Namespace
) -> None:
    spec = {key: value for key, value in game.manifest["spec"].items() if key not in DURABLE} | FLEETING
    fleeting = Game(namespace, {**game.manifest, "metadata": {"name": "fleeting"}, "spec": spec}, players)
    fleeting.start()
    with fleeting.play(prefix="before") as play:
        play.goes_on(20)
    acknowledged = play.nothing_lost().acknowledged
    assert sum(totals(fleeting).values()) == acknowledged
    epoch, killed = fleeting.epoch(), time.monotonic()
    kill_all(fleeting)
    message = total_loss(fleeting, "BegunAnew")
    again = time.monotonic() - killed
    kept = totals(fleeting)
    print(
        f"  {acknowledged} moves acknowledged, {acknowledged - sum(kept.values())} lost, playable after {again:.1f} s: {message}"
    )
    assert kept == {}
    assert "storage is Memory, so the game begins anew" in message
    assert fleeting.epoch() >= epoch + 1000
    fleeting.wait_for_event("TotalLoss")
    assert message in fleeting.described()
    with fleeting.play(prefix="after") as play:
        play.goes_on(10)
    play.nothing_lost()
