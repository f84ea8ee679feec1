"""A game with a Grid at the hub: joins, patches, broadcasts, clients that do not read, and what comes back after a loss."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.shell.fakes import FakeClient
from tests.shell.test_clients import Stage

from gamecluster.core.effects import Answer, Deliver, DeliverPatch, DeliverState
from gamecluster.core.messages import Fields, Op, Position
from gamecluster.core.replication import apply
from gamecluster.interest import Grid
from gamecluster.phoenix.codec import Vsn

GRID = Grid("ships", 10.0, 1, focus="ships")
RATE = 10


class World(Stage):
    def __init__(self, patch_rate: int = 0) -> None:
        super().__init__(patch_rate=patch_rate, grids=[GRID])
        self.backend.at = Position(1, 1)
        self.commit(("ships", "far", {"x": 500.0, "y": 0.0}), ("scores", "all", {"wins": 0}))

    def commit(self, *ops: Op) -> None:
        apply(self.backend.tables, list(ops))
        self.backend.at = at = Position(1, self.backend.at.seq + 1)
        self.hub.deliver_patch(DeliverPatch(at.epoch, at.seq, list(ops)))
        self.clock.turn()

    def player(self, name: str, x: float = 0.0, vsn: Vsn = Vsn.V2, **asked: Any) -> tuple[FakeClient, Fields]:
        """As a join goes: the answer comes before the patch of its own commit."""
        client = self.client(vsn)
        payload = {"player": name, **asked}
        frame = {"topic": "game", "event": "phx_join", "ref": "g", "payload": payload}
        if vsn is Vsn.V2:
            client.ask_game(**payload)
        else:
            self.hub.received(client.connection, json.dumps(frame))
        row: Op = ("ships", name, {"x": x, "y": 0.0})
        apply(self.backend.tables, [row])
        self.backend.at = at = Position(1, self.backend.at.seq + 1)
        response = {"player": name, "stay": "s", "n": 0, "resumed": "seq" in asked}
        self.hub.answer(Answer(self.backend.last_request, True, response, join=True))
        self.hub.deliver_patch(DeliverPatch(1, at.seq, [row]))
        [answer] = self.told(client)
        return client, answer["response"]

    def told(self, client: FakeClient) -> list[Any]:
        """The payloads that it was sent since it was last asked."""
        self.clock.turn()
        return [message["payload"] if isinstance(message, dict) else message[4] for message in client.hear()]


def test_a_joiners_answer_has_what_it_sees_its_own_row_and_the_tables_without_a_grid() -> None:
    world = World()
    _, ann = world.player("ann")
    assert ann["state"] == {"ships": {"ann": {"x": 0.0, "y": 0.0}}, "scores": {"all": {"wins": 0}}}
    _, bob = world.player("bob", 12.0, patches="binary")
    assert set(bob["state"]["ships"]) == {"ann", "bob"}
    assert "schema" not in bob  # its patches are JSON, as everybody's


@pytest.mark.parametrize("vsn", [Vsn.V1, Vsn.V2])
def test_what_comes_near_is_sent_whole_what_moves_near_as_it_changes_and_what_goes_is_deleted(vsn: Vsn) -> None:
    world = World()
    ann, joined = world.player("ann", vsn=vsn)
    seq = joined["seq"]
    world.commit(("ships", "far", {"x": 200.0}))
    assert world.told(ann) == []
    world.commit(("ships", "far", {"x": 19.0}))
    world.commit(("ships", "far", {"y": 3.0}))
    world.commit(("ships", "far", {"x": 20.0}))
    world.commit(("scores", "all", {"wins": 1}))
    assert world.told(ann) == [
        {"epoch": 1, "seq": seq + 2, "ops": [["ships", "far", {"x": 19.0, "y": 0.0}]]},
        {"epoch": 1, "seq": seq + 3, "ops": [["ships", "far", {"y": 3.0}]]},
        {"epoch": 1, "seq": seq + 4, "ops": [["ships", "far", None]]},
        {"epoch": 1, "seq": seq + 5, "ops": [["scores", "all", {"wins": 1}]]},
    ]


def test_who_goes_elsewhere_sees_what_is_there_and_no_more_what_was_here() -> None:
    world = World()
    ann, _ = world.player("ann")
    bob, _ = world.player("bob", 500.0)
    world.told(bob)
    world.commit(("ships", "ann", {"x": 495.0}))
    [seen_by_ann], [seen_by_bob] = world.told(ann), world.told(bob)
    assert sorted(seen_by_ann["ops"]) == [
        ["ships", "ann", {"x": 495.0}],
        ["ships", "bob", {"x": 500.0, "y": 0.0}],
        ["ships", "far", {"x": 500.0, "y": 0.0}],
    ]
    assert seen_by_bob["ops"] == [["ships", "ann", {"x": 495.0, "y": 0.0}]]


def test_patches_keep_to_the_games_rate_and_come_before_a_broadcast() -> None:
    world = World(RATE)
    ann, _ = world.player("ann")
    for x in range(5):
        world.commit(("ships", "ann", {"x": float(x)}))
    world.hub.deliver(Deliver("game", "horn", b"{}"))
    patch, horn = world.told(ann)
    assert (patch["ops"], horn) == ([["ships", "ann", {"x": 4.0}]], {})
    world.commit(("ships", "ann", {"x": 7.0}))
    world.commit(("ships", "ann", {"y": 1.0}))
    assert world.told(ann) == []
    world.clock.wait(1 / RATE)
    assert [patch["ops"] for patch in world.told(ann)] == [[["ships", "ann", {"x": 7.0, "y": 1.0}]]]


def test_who_does_not_read_is_told_nothing_and_then_what_it_sees() -> None:
    world = World()
    ann, _ = world.player("ann")
    bob, _ = world.player("bob")
    world.told(ann)
    ann.connection.full()
    for x in range(5):
        world.commit(("ships", "bob", {"x": float(x)}))
    assert (len(world.told(ann)), len(world.told(bob))) == (0, 5)
    ann.connection.writable()
    [state] = world.told(ann)
    assert state["state"]["ships"] == {"ann": {"x": 0.0, "y": 0.0}, "bob": {"x": 4.0, "y": 0.0}}
    world.commit(("ships", "bob", {"x": 9.0}), ("ships", "far", {"x": 0.0}))
    [patch] = world.told(ann)
    assert sorted(patch["ops"]) == [["ships", "bob", {"x": 9.0, "y": 0.0}], ["ships", "far", {"x": 0.0, "y": 0.0}]]


def test_a_gap_too_big_for_patches_is_the_state_that_each_client_sees() -> None:
    world = World(RATE)
    ann, _ = world.player("ann")
    bob, _ = world.player("bob", 500.0)
    world.commit(("ships", "ann", {"x": 1.0}))
    world.told(ann), world.told(bob)
    world.backend.tables = {"ships": {"ann": {"x": 40.0, "y": 0.0}, "new": {"x": 30.0, "y": 0.0}}}
    world.backend.at = Position(2, 90)
    world.hub.deliver_state(DeliverState(2, 90))
    [seen_by_ann], [seen_by_bob] = world.told(ann), world.told(bob)
    assert (seen_by_ann["epoch"], seen_by_ann["seq"]) == (2, 90)
    assert (set(seen_by_ann["state"]["ships"]), seen_by_bob["state"]) == ({"ann", "new"}, {"ships": {}})
    world.clock.wait(1)
    assert world.told(ann) == []


def test_who_comes_back_is_sent_the_state_that_it_sees() -> None:
    world = World()
    world.player("ann")
    _, again = world.player("ann", 500.0, epoch=1, seq=3)
    assert set(again["state"]["ships"]) == {"ann", "far"}


def test_who_has_left_is_sent_nothing_more_and_the_next_one_sees_what_is_there_then() -> None:
    world = World()
    ann, _ = world.player("ann")
    ann.say("g", "l", "game", "phx_leave", {})
    world.told(ann)
    world.commit(("ships", "ann", None), ("ships", "far", {"x": 3.0}))
    assert world.told(ann) == []
    _, bob = world.player("bob")
    assert set(bob["state"]["ships"]) == {"bob", "far"}
