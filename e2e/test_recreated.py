"""A GameCluster deleted and made anew under its name, under moving players: another game; with --cascade=orphan the same one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .cluster import wait_until
from .game import Game


@pytest.mark.parametrize(
    ("prefix", "when"),
    [("atonce", lambda game: True), ("ending", Game.is_any_pod_ending)],
    ids=["at-once", "pods-ending"],
)
def test_made_anew_it_is_another_game(game: Game, prefix: str, when: Callable[[Game], bool]) -> None:
    game.wait_in_sync()
    for _ in range(4):
        hand_over(game)
    uid, epoch, pods, lease = game.uid(), game.epoch(), game.pod_uids(), lease_uid(game)
    with game.play(prefix=prefix, begins_anew=True) as play:
        play.goes_on(10)
        game.namespace.kubectl("delete", "gc", game.name)
        wait_until("the moment to make it anew", lambda: when(game), every=0.05)
        assert game.pod_uids() & pods, "the old one's pods are still there"
        game.start()
        play.goes_on(10)
    verdict = play.nothing_lost()
    assert verdict.begun_anew == verdict.players, "everybody joined the new game once, as a new one"
    assert game.uid() != uid and lease_uid(game) != lease and not game.pod_uids() & pods
    assert game.epoch() < epoch, "it has no past"
    assert game.condition("TotalLoss") is None
    wait_until("what is told", lambda: (game.told()["Created"], game.told()["LeaderElected"]) == (1, 1))
    assert not game.told().keys() & {"TotalLoss", "Restored", "LeaseRestored", "BackstopNamed", "Adopted"}
    wait_until("one of everything", game.is_all_there)
    game.wait_pods(3)


def test_what_was_left_without_an_owner_is_taken_over(game: Game) -> None:
    game.wait_in_sync()
    uid, epoch, leader, pods = game.uid(), game.epoch(), game.leader(), game.pod_uids()
    with game.play(prefix="orphaned") as play:
        game.namespace.kubectl("delete", "gc", game.name, "--cascade=orphan")
        play.goes_on()
        assert set(game.objects().values()) == {""}, "nothing is owned, and all is there"
        game.namespace.apply(game.manifest)
        wait_until("one of everything", game.is_all_there)
        game.start()
        play.goes_on()
        game.namespace.kubectl("delete", "service", game.name)
        wait_until("it is looked after again", game.is_all_there)
    verdict = play.nothing_lost()
    assert verdict.reconnects == 0
    assert game.uid() != uid
    assert (game.epoch(), game.leader(), game.pod_uids()) == (epoch, leader, pods), "the same game"
    wait_until("what is told", lambda: game.told() == {"Adopted": 1, "LeaderElected": 1})
    assert game.condition("Stalled") == "False"


def lease_uid(game: Game) -> str:
    return str(game.namespace.get("lease", f"{game.name}-gamestate")["metadata"]["uid"])


def hand_over(game: Game) -> None:
    epoch = game.epoch()
    game.call(game.leader(), "/handoff", {})
    wait_until("a later epoch", lambda: game.epoch() > epoch)
