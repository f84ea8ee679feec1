"""The history checker itself: it must see what it is there to see."""

from __future__ import annotations

import random

from tests.process.players import Acknowledged, Player, answered_after, check


def player(*amounts: int, pending: int = 0) -> Player:
    history = [Acknowledged(n, amount, n * 1.0, n + 0.5, 1, n) for n, amount in enumerate(amounts, 1)]
    return Player("p", ["ws://nowhere"], 0, random.Random(1), history=history, pending=pending)


def test_all_acknowledged_moves_exactly_once_is_right() -> None:
    assert check([player(5, 7)], {"p": {"value": 12}}) == (0, 0, [])


def test_a_move_without_an_answer_may_have_happened_or_not() -> None:
    assert check([player(5, pending=7)], {"p": {"value": 5}}) == (0, 0, [])
    assert check([player(5, pending=7)], {"p": {"value": 12}}) == (0, 0, [])
    assert check([player(5, pending=7)], {"p": {"value": 7}})[2]


def test_a_lost_move_is_seen() -> None:
    assert check([player(5, 7)], {"p": {"value": 7}}) == (1, 0, ["p: has 7, was told 12"])
    assert check([player(5, 7)], {})[0] == 1


def test_a_doubled_move_is_seen() -> None:
    assert check([player(5, 7)], {"p": {"value": 19}}) == (0, 1, ["p: has 19, was told 12"])


def test_answers_whose_positions_go_back_are_seen() -> None:
    moved = player(5, 7)
    moved.history.reverse()
    assert "out of order" in check([moved], {"p": {"value": 12}})[2][0]


def test_what_a_player_is_shown_must_fit_what_it_was_told() -> None:
    moved = player(5, 7)
    moved._saw(1, 1, {"value": 5})
    moved._saw(1, 2, {"value": 12})
    assert not moved.violations
    moved._saw(1, 3, {"value": 5})
    assert "after 12 was acknowledged" in moved.violations.pop()
    moved._saw(1, 3, {"value": 24})
    assert "more than it ever moved" in moved.violations.pop()


def test_the_blackout_ends_with_the_answer_to_a_move_that_was_sent_after_the_kill() -> None:
    assert answered_after(player(5, 7), 1.2) == 2.5 - 1.2
    assert answered_after(player(5, 7), 2.2) is None
