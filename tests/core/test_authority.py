"""What the leader does with a real game: failures of rules, a changed class, ticks."""

from __future__ import annotations

import random

from gamecluster import Entity, Game, Player, Table, on
from gamecluster.core.authority import Asked, Authority
from gamecluster.core.messages import Incarnation, JoinGame, Move
from gamecluster.game import Runtime

POD = Incarnation("a-0_uid_1")


class Ship(Entity):
    x: int = 0


class Sea(Game):
    ships: Table[Ship]
    tick_rate = 10

    def join(self, player: Player) -> None:
        self.ships[player.id] = Ship()

    def tick(self, seconds: float) -> None:
        for ship in self.ships.values():
            ship.x += 1

    @on("crash")
    def crash(self, player: Player) -> None:
        self.ships[player.id].x = 99
        raise ZeroDivisionError


def leading() -> Authority:
    authority = Authority(Runtime(Sea, random.Random(1)), random.Random(2))
    authority.load({}, now=0.0)
    authority.run(JoinGame("bob", None, "nonce", 1), Asked(POD, 1, 1, 1), now=0.0)
    return authority


def test_a_rule_that_fails_changes_nothing_and_its_traceback_is_kept_for_the_developer() -> None:
    authority = leading()
    draft = authority.run(Move("bob", 1, "crash", {}, None), Asked(POD, 2, 1, 2), now=0.0)
    assert draft.ops == []
    assert draft.replies[0].response == {"reason": "internal error"}
    (error,) = authority.take_errors()
    assert "ZeroDivisionError" in error
    assert authority.take_errors() == []


def test_ticks_come_at_the_games_rate() -> None:
    authority = leading()
    assert authority.tick(0.05) is None
    draft = authority.tick(0.1)
    assert draft is not None and draft.ops == [("ships", "bob", {"x": 1})]


def test_fields_that_a_newer_class_adds_are_replicated_by_its_first_leader() -> None:
    authority = Authority(Runtime(Sea, random.Random(1)), random.Random(2))
    assert authority.load({"ships": {"bob": {}}}, now=0.0) == [("ships", "bob", {"x": 0})]


def test_a_state_that_the_class_cannot_load_is_kept_and_every_request_is_told_why() -> None:
    authority = Authority(Runtime(Sea, random.Random(1)), random.Random(2))
    authority.load({"ships": {"bob": {"x": "far"}}}, now=0.0)
    draft = authority.run(JoinGame("eve", None, "nonce", 1), Asked(POD, 1, 1, 1), now=0.0)
    assert draft.ops == []
    assert "cannot load its state" in draft.replies[0].response["reason"]
