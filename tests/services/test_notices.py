"""Notifications on the leader: what is kept, for how long, and what a repeated call does."""

from __future__ import annotations

import random

import pytest

from gamecluster.core.messages import Fields, Incarnation
from gamecluster.rules import Rejected
from gamecluster.services import Services
from gamecluster.services.notices import BODY_BYTES, KEPT_AT_MOST, NOTICE_DAYS, TABLE, kept_in, too_old

POD = Incarnation("a-0_uid_1")


class Leader:
    def __init__(self) -> None:
        self.seconds = 1000.0
        self.services = Services(lambda: self.seconds, random.Random(0))
        self.services.call("once", "open", {"session": "s"}, POD)
        self.numbers = 0

    def notify(self, player: str, body: object, number: int = 0) -> str:
        """``number``: of the call, for one that is made again."""
        self.numbers = number = number or self.numbers + 1
        args = {"service": "notices", "verb": "notify", "args": {"player": player, "body": body}}
        outcome = self.services.call("once", "call", {"session": "s", "slot": 0, "n": number, **args}, POD)
        if not outcome.ok:
            raise Rejected(outcome.response["reason"])
        return str(outcome.response["id"])

    def ack(self, player: str, id: str) -> list[object]:
        outcome = self.services.call("notices", "ack", {"player": player, "id": id}, POD)
        assert outcome.ok
        return list(outcome.ops)

    def kept(self, player: str) -> dict[str, Fields]:
        return kept_in(self.services.ledger.rows(TABLE).get(player, {}))


@pytest.fixture
def leader() -> Leader:
    return Leader()


def test_ids_rise_over_all_players_also_when_the_clock_goes_back(leader: Leader) -> None:
    ids = [leader.notify("ann", 1), leader.notify("bob", 2)]
    leader.seconds -= 500
    ids.append(leader.notify("ann", 3))
    assert [int(id) for id in ids] == sorted({int(id) for id in ids})
    assert [notice["body"] for notice in leader.kept("ann").values()] == [1, 3]


def test_a_repeated_call_is_one_notification_also_after_it_was_acknowledged(leader: Leader) -> None:
    first = leader.notify("ann", "hello", number=1)
    assert leader.notify("ann", "hello", number=1) == first and len(leader.kept("ann")) == 1
    leader.ack("ann", first)
    assert leader.notify("ann", "hello", number=1) == first and leader.kept("ann") == {}
    assert leader.ack("ann", first) == leader.ack("nobody", "1") == []


def test_a_player_has_the_last_hundred_and_a_row_does_not_grow_with_what_was_acknowledged(leader: Leader) -> None:
    ids = [leader.notify("ann", number) for number in range(KEPT_AT_MOST + 20)]
    assert list(leader.kept("ann")) == ids[20:]
    for number in range(5 * KEPT_AT_MOST):
        leader.ack("ann", next(iter(leader.kept("ann"))))
        leader.notify("ann", number)
        assert len(leader.services.ledger.rows(TABLE)["ann"]) <= 2 * KEPT_AT_MOST + 1
    assert len(leader.kept("ann")) == KEPT_AT_MOST
    for id in list(leader.kept("ann")):
        leader.ack("ann", id)
    assert "ann" not in leader.services.ledger.rows(TABLE)


def test_a_week_later_it_is_dropped(leader: Leader) -> None:
    old = leader.notify("ann", "old")
    leader.seconds += NOTICE_DAYS * 86_400 - 10
    new = leader.notify("ann", "new")
    leader.seconds += 20
    assert too_old(leader.services.ledger.rows(TABLE)["ann"], round(leader.seconds * 1000)) == [old]
    leader.services.call("notices", "sweep", {"players": ["ann", "nobody"]}, POD)
    assert list(leader.kept("ann")) == [new]
    assert leader.services.call("notices", "sweep", {"players": ["ann"]}, POD).ops == []


@pytest.mark.parametrize(("player", "body"), [("", 1), ("a" * 201, 1), ("ann", "x" * BODY_BYTES), ("ann", object())])
def test_what_can_not_be_kept_is_refused(leader: Leader, player: str, body: object) -> None:
    with pytest.raises(Rejected, match="bad"):
        leader.notify(player, body)
    assert not leader.services.ledger.rows(TABLE)


def test_a_rule_that_raises_has_told_nobody(leader: Leader) -> None:
    def rule() -> None:
        leader.services.notices.tell("ann", "won")
        raise Rejected("no")

    assert leader.services.run(rule).ops == []
    assert leader.kept("ann") == {}
