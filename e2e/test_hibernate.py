"""``kubectl scale --replicas=0``: the game sleeps in its storage, and its players come back to everything that was acknowledged."""

from __future__ import annotations

import time
from typing import Any

import pytest

from .cluster import CommandFailed, wait_until
from .game import Game
from .nodes import workers
from .play import Play


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    """With durability Memory: what was answered is not stored yet when the pods are told to go. All on one node: kind's volumes may be
    folders of a node, to which no pod is bound."""
    here = {"spec": {"nodeSelector": {"kubernetes.io/hostname": workers()[0]}}}
    return {"storage": {"type": "Volume", "size": "100Mi"}, "template": here}


def scale(game: Game, pods: int) -> None:
    game.namespace.kubectl("scale", "gc", game.name, f"--replicas={pods}")


def reason(game: Game, kind: str) -> str:
    found = next((c for c in game.status().get("conditions", []) if c["type"] == kind), None)
    return str(found["reason"]) if found else "absent"


def totals(game: Game) -> int:
    """Of all players, in the state of the pod that leads."""
    return sum(row["value"] for row in game.call(game.leader(), "/state")["state"]["totals"].values())


def sleep(game: Game) -> float:
    """Returns the seconds until it slept."""
    begun = time.monotonic()
    scale(game, 0)
    wait_until("it sleeps", lambda: reason(game, "Ready") == "Hibernated", seconds=90)
    return time.monotonic() - begun


def wake(game: Game, pods: int, play: Play | None = None) -> float:
    """Returns the seconds until it was played again."""
    begun = time.monotonic()
    scale(game, pods)
    if play is not None:
        play.goes_on(1, seconds=90)
    else:
        wait_until("it is awake", lambda: game.condition("Ready") == "True", seconds=60)
    return time.monotonic() - begun


def no_alarm(game: Game) -> None:
    assert game.condition("TotalLoss") is None
    events = game.described().partition("Events:")[2]
    assert not [alarm for alarm in ("TotalLoss", "Restored", "BackstopNamed", "Failover ") if alarm in events], events


def test_players_come_back_to_everything_that_was_acknowledged(game: Game) -> None:
    epoch, claims = game.epoch(), game.namespace.get("persistentvolumeclaims")["items"]
    with game.play() as play:
        play.goes_on(20)
        slept = sleep(game)
        assert game.pods() == []
        assert reason(game, "Reconciling") == reason(game, "LeaderElected") == "Hibernated"
        assert (game.status()["players"], game.status()["connections"], game.status()["leader"]) == (0, 0, "")
        assert "everything acknowledged is stored" in game.described()
        kept = game.namespace.get("persistentvolumeclaims")["items"]
        assert {claim["metadata"]["uid"] for claim in kept} == {claim["metadata"]["uid"] for claim in claims}
        woken = wake(game, 3, play)
        play.goes_on()
    verdict = play.nothing_lost()
    print(f"  asleep after {slept:.1f} s, played again {woken:.1f} s after it was woken; {verdict.acknowledged} moves")
    game.wait_pods(3)
    game.wait_in_sync(3)
    assert totals(game) >= verdict.acknowledged
    assert game.epoch() < epoch + 1000, "nobody had to leap over what may have been"
    for told in ("Hibernating", "Hibernated", "Woken"):
        game.wait_for_event(told)
    no_alarm(game)


def test_it_may_be_woken_while_it_goes(game: Game) -> None:
    game.wait_pods(3)
    with game.play(prefix="twice") as play:
        play.goes_on(10)
        scale(game, 0)
        wait_until("pods are going", lambda: len(game.pods()) < 3 or game.is_any_pod_ending(), seconds=60)
        woken = wake(game, 3, play)
        play.goes_on()
    play.nothing_lost()
    print(f"  played again {woken:.1f} s after it was woken on its way")
    game.wait_pods(3)
    no_alarm(game)


def test_it_sleeps_without_a_write_and_wakes_as_one_pod(game: Game) -> None:
    game.wait_pods(3)
    before = totals(game)
    sleep(game)
    kinds = "gamecluster,statefulset,lease,service,secret"
    versions = objects(game, kinds)
    begun = time.monotonic()
    wait_until("half a minute passes", lambda: time.monotonic() - begun > 30, seconds=40)
    assert objects(game, kinds) == versions
    wake(game, 1)
    wait_until("one pod", lambda: len(game.pods()) == 1, seconds=60)
    assert totals(game) == before
    no_alarm(game)


def test_without_a_storage_it_is_refused(game: Game) -> None:
    manifest = {**game.manifest, "metadata": {"name": "fleeting"}}
    manifest["spec"] = {**game.manifest["spec"], "storage": {"type": "Memory"}, "replicas": 0}
    with pytest.raises(CommandFailed, match=r"the GameState would be lost\. Delete the GameCluster, or make one with"):
        game.namespace.apply(manifest)


def objects(game: Game, kinds: str) -> dict[str, str]:
    found = game.namespace.get(kinds, "-l", f"app.kubernetes.io/instance={game.name}")["items"]
    found.append(game.resource())
    return {f"{obj['kind']}/{obj['metadata']['name']}": obj["metadata"]["resourceVersion"] for obj in found}
