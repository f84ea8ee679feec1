"""A new version that can't start: the old pods play on, the condition says why, and a corrected spec goes on. One pod alone, too."""

from __future__ import annotations

import json
from typing import Any

from .cluster import wait_until
from .game import Game


def change(game: Game, **spec: Any) -> None:
    game.namespace.kubectl("patch", "gc", game.name, "--type=merge", "-p", json.dumps({"spec": spec}))


def reconciling(game: Game) -> tuple[str, str]:
    found = next(c for c in game.status()["conditions"] if c["type"] == "Reconciling")
    return found["reason"], found["message"]


def wait_stuck(game: Game, trouble: str, pods: int = 3) -> None:
    def look() -> bool:
        reason, message = reconciling(game)
        return reason == "RolloutStuck" and trouble in message and message.startswith(f"1 of {pods} pods")

    wait_until(f"RolloutStuck by {trouble}", look, seconds=120)
    game.wait_for_event("RolloutStuck")


def wait_settled(game: Game, pods: int = 3) -> None:
    wait_until("Settled", lambda: reconciling(game)[0] == "Settled", seconds=180)
    game.wait_pods(pods)
    game.wait_in_sync(pods)


def test_an_image_that_is_not_there_stops_it_until_the_spec_is_corrected(game: Game) -> None:
    game.wait_in_sync()
    epoch, uids = game.epoch(), game.pod_uids()
    with game.play(prefix="unpullable") as play:
        change(game, image="localhost:1/there-is-none:1")
        wait_stuck(game, "ImagePullBackOff")
        play.goes_on(40)
        assert len(game.pod_uids() & uids) == 2, "the others are left as they are"
        assert (game.condition("Ready"), game.epoch()) == ("True", epoch)
        corrected = {"metadata": {"annotations": {"example.com/corrected": "yes"}}}
        change(game, image=game.manifest["spec"]["image"], template=corrected)
        wait_until("every pod is another", lambda: not game.pod_uids() & uids, seconds=180)
        wait_settled(game)
        play.goes_on()
    play.nothing_lost()
    assert game.epoch() - epoch == 1, "one change of leader"


def test_a_server_that_keeps_ending_is_taken_back_without_a_change_of_leader(game: Game) -> None:
    game.wait_in_sync()
    epoch, uids = game.epoch(), game.pod_uids()
    with game.play(prefix="ending") as play:
        server = {"name": "server", "command": ["python", "-c", "raise SystemExit(1)"]}
        change(game, template={"spec": {"containers": [server]}})
        wait_stuck(game, "CrashLoopBackOff")
        play.goes_on(40)
        assert len(game.pod_uids() & uids) == 2
        change(game, template={"spec": None})
        wait_settled(game)
        play.goes_on()
    play.nothing_lost()
    assert len(game.pod_uids() & uids) == 2, "only the broken one was replaced"
    assert game.epoch() == epoch


def test_a_game_of_one_pod_survives_a_broken_version_and_a_good_one(game: Game) -> None:
    game.namespace.kubectl("scale", "gc", game.name, "--replicas=1")
    wait_settled(game, 1)
    uids = game.pod_uids()
    with game.play(pods=2, prefix="single") as play:
        change(game, image="localhost:1/there-is-none:1")
        wait_stuck(game, "ImagePullBackOff", 2)
        play.goes_on(40)
        assert uids < game.pod_uids()
        corrected = {"metadata": {"annotations": {"example.com/corrected": "again"}}}
        change(game, image=game.manifest["spec"]["image"], template=corrected)
        wait_until("the pod is another", lambda: not game.pod_uids() & uids, seconds=180)
        wait_settled(game, 1)
        play.goes_on()
    play.nothing_lost()
