"""The history checker itself: it must see what it is there to see."""

from __future__ import annotations

import random
from collections.abc import Mapping

from tests.process.players import Acknowledged, Ledger, Player, Snapshot, answered_after, judge


def player(*amounts: int, name: str = "p", pending: int = 0, first_seq: int = 1, began: float = 1.0) -> Player:
    """Moves at began, began + 1 … seconds, each answered after half a second, at the positions 1/first_seq …"""
    history = [
        Acknowledged(n, amount, began + n - 1, began + n - 0.5, 1, first_seq + n - 1)
        for n, amount in enumerate(amounts, 1)
    ]
    return Player(name, ["ws://nowhere"], 0, random.Random(1), history=history, pending=pending)


def check(moved: Player, *totals: int, ledger: Ledger | None = None) -> tuple[int, int, list[str]]:
    end = {"p": {"value": totals[0]}} if totals else {}
    found = judge([moved], end, ledger)
    return found.lost, found.doubled, found.wrong


def shown(*values: tuple[int, int], by: str = "q", ledger: Ledger | None = None) -> Ledger:
    """What ``by`` was shown of p's total: (seq, value)."""
    ledger = ledger or Ledger()
    for seq, value in values:
        ledger.shown(by, (1, seq), "p", value)
    return ledger


def state_read(asked_at: float, seq: int, totals: Mapping[str, int]) -> Ledger:
    ledger = Ledger()
    ledger.read(Snapshot("q", asked_at, (1, seq), totals))
    return ledger


def test_all_acknowledged_moves_exactly_once_is_right() -> None:
    assert check(player(5, 7), 12) == (0, 0, [])
    assert judge([player(5, 7)], {"p": {"value": 12}}).is_right


def test_a_move_without_an_answer_may_have_happened_or_not() -> None:
    assert check(player(5, pending=7), 5) == (0, 0, [])
    assert check(player(5, pending=7), 12) == (0, 0, [])
    assert check(player(5, pending=7), 7)[2]
    assert check(player(5, pending=7), 5, ledger=shown((1, 5), (2, 12)))[2] == []
    assert judge([player(5, pending=7)], {"p": {"value": 5}}).unknown == 1


def test_a_lost_move_is_seen() -> None:
    assert check(player(5, 7), 7) == (1, 0, ["p: has 7, was told 12"])
    assert check(player(5, 7))[0] == 1


def test_a_doubled_move_is_seen() -> None:
    assert check(player(5, 7), 19) == (0, 1, ["p: has 19, was told 12"])


def test_answers_whose_positions_go_back_are_seen() -> None:
    moved = player(5, 7)
    moved.history.reverse()
    assert "out of order" in check(moved, 12)[2][0]


def test_what_a_player_is_shown_must_fit_what_it_was_told() -> None:
    moved = player(5, 7)
    moved._saw(1, 1, {"value": 5})
    moved._saw(1, 2, {"value": 12})
    assert not moved.violations
    moved._saw(1, 3, {"value": 5})
    assert "after 12 was acknowledged" in moved.violations.pop()
    moved._saw(1, 3, {"value": 24})
    assert "more than it ever moved" in moved.violations.pop()


def test_what_others_are_shown_of_a_total_may_be_ahead_of_its_answer_but_never_behind() -> None:
    assert check(player(5, 7, first_seq=10), 12, ledger=shown((9, 0), (10, 5), (11, 12)))[2] == []
    assert check(player(5, 7, first_seq=10), 12, ledger=shown((8, 5), (10, 12)))[2] == [], "before their answers"
    [behind] = check(player(5, 7, first_seq=10), 12, ledger=shown((11, 5)))[2]
    assert "had 5 at 1/11, but 12 was acknowledged" in behind
    [ahead] = check(player(5, 7, first_seq=10), 12, ledger=shown((9, 12)))[2]
    assert "had 12 at 1/9, but 0 was acknowledged up to there and 5 with the next move" in ahead


def test_a_move_that_is_shown_and_then_undone_is_seen() -> None:
    [undone] = check(player(5, 7, first_seq=10), 12, ledger=shown((7, 5), (8, 0)))[2]
    assert "had 0 at 1/8, after 5 was shown" in undone


def test_two_nodes_that_show_different_states_of_one_position_are_seen() -> None:
    ledger = shown((10, 0), by="s", ledger=shown((10, 5)))
    assert (
        "s was shown 0 for p at 1/10, where others were shown 5" in check(player(5, first_seq=10), 5, ledger=ledger)[2]
    )


def test_a_stale_read_is_seen() -> None:
    """p's answer came at 1.5 s: who asks at 2 s must not be shown a state from before it."""
    assert check(player(5, first_seq=10), 5, ledger=state_read(2.0, 10, {"p": 5}))[2] == []
    assert check(player(5, first_seq=10), 5, ledger=state_read(1.4, 9, {"p": 0}))[2] == []
    [stale] = check(player(5, first_seq=10), 5, ledger=state_read(2.0, 9, {"p": 0}))[2]
    assert "q: the state is at 1/9, but was asked for after an answer at 1/10" in stale


def test_a_move_that_is_numbered_before_one_that_was_answered_earlier_is_seen() -> None:
    """Two leaders at once would look like this: each player's own answers are in order."""
    one, other = player(5, first_seq=10), player(7, name="o", first_seq=9, began=1.2)
    assert judge([one, other], {"p": {"value": 5}, "o": {"value": 7}}).is_right, "they overlap"
    late = player(7, name="o", first_seq=9, began=1.6)
    [wrong] = judge([one, late], {"p": {"value": 5}, "o": {"value": 7}}).wrong
    assert "o: move 1 is at 1/9, but was asked for after an answer at 1/10" in wrong


def test_two_moves_at_one_position_are_seen() -> None:
    late = player(7, name="o", first_seq=10, began=1.6)
    assert judge([player(5, first_seq=10), late], {"p": {"value": 5}, "o": {"value": 7}}).wrong


def test_without_totals_only_order_is_checked() -> None:
    moved = player(1, 1)
    assert judge([moved], None).is_right
    moved.history.reverse()
    assert not judge([moved], None).is_right


def test_random_right_histories_are_right_and_any_one_change_of_a_total_is_seen() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    for _ in range(200):
        amounts = [dice.randrange(1, 1000) for _ in range(dice.randrange(1, 8))]
        sums = [sum(amounts[:n]) for n in range(len(amounts) + 1)]
        right = [(seq, sums[min(len(amounts), max(0, seq - 9))]) for seq in range(8, 20)]
        assert check(player(*amounts, first_seq=10), sums[-1], ledger=shown(*right))[2] == []
        at = dice.randrange(2, len(right))
        wrong = [(seq, value + (-1 if value else 1001) * (i == at)) for i, (seq, value) in enumerate(right)]
        assert check(player(*amounts, first_seq=10), sums[-1], ledger=shown(*wrong))[2]


def test_the_blackout_ends_with_the_answer_to_a_move_that_was_sent_after_the_kill() -> None:
    assert answered_after(player(5, 7), 1.2) == 2.5 - 1.2
    assert answered_after(player(5, 7), 2.2) is None


def test_a_repeated_move_may_have_its_place_from_its_first_sending() -> None:
    early, late = player(5, first_seq=10), player(7, name="o", first_seq=9, began=2.0)
    ends = {"p": {"value": 5}, "o": {"value": 7}}
    assert not judge([early, late], ends).is_right
    late.history[0] = Acknowledged(1, 7, 2.0, 2.5, 1, 9, first_sent_at=1.0)
    assert judge([early, late], ends).is_right
