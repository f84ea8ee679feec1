"""A changed template: every pod is replaced, one at a time, the leader last, after it has handed over. One change of leader."""

from __future__ import annotations

import json

from .cluster import wait_until
from .game import Game


def test_every_pod_is_replaced_and_nothing_is_lost(spread_game: Game) -> None:
    game = spread_game
    epoch, uids, told = game.epoch(), game.pod_uids(), game.told()
    template = {"metadata": {"annotations": {"example.com/revision": f"after-{epoch}"}}}
    with game.play(prefix="rolled") as play:
        game.namespace.kubectl(
            "patch", "gc", game.name, "--type=merge", "-p", json.dumps({"spec": {"template": template}})
        )
        wait_until("every pod is another", lambda: not game.pod_uids() & uids, seconds=180)
        game.wait_ready(3)
        game.wait_in_sync(3)
        play.goes_on()
    verdict = play.nothing_lost()
    assert game.epoch() - epoch == 1, "one change of leader"
    assert game.told()["Failover"] == told["Failover"], "the leader handed over; nobody had to find out"
    game.wait_for_event("RolloutFinished")
    assert verdict.blackout_max_ms < 3000
