"""A change of leader in words, whatever its account has or lacks."""

from __future__ import annotations

import pytest

from gamecluster import look
from gamecluster.account import Account, is_hand_over, is_whole, told

WHOLE = {
    "from": "arena-0",
    "to": "arena-1",
    "epoch": 8,
    "reason": "link reset",
    "detectMilliseconds": 3,
    "claimMilliseconds": 9,
    "equaliseMilliseconds": 4,
    "takeoverMilliseconds": 13,
    "firstCommitMilliseconds": 21,
}


def without(*names: str) -> Account:
    return {name: value for name, value in WHOLE.items() if name not in names}


@pytest.mark.parametrize(
    ("account", "text"),
    [
        (WHOLE, "noticed in 3 ms, claimed in 9 ms, equalised in 4 ms, first commit after 21 ms (link reset)"),
        (without("firstCommitMilliseconds"), "noticed in 3 ms, claimed in 9 ms, equalised in 4 ms (link reset)"),
        (
            without("claimMilliseconds", "equaliseMilliseconds", "firstCommitMilliseconds"),
            "noticed in 3 ms, taken over in 13 ms (link reset)",
        ),
        (
            WHOLE | {"reason": "handed over by arena-0"},
            "taken over in 13 ms, first commit after 21 ms (handed over by arena-0)",
        ),
        ({"reason": "link reset", "detectMilliseconds": None, "takeoverMilliseconds": "soon"}, "(link reset)"),
        ({"detectMilliseconds": 3.4}, "noticed in 3 ms"),
        ({}, ""),
    ],
)
def test_what_is_known_is_told(account: Account, text: str) -> None:
    assert told(account) == text


def test_an_account_is_whole_with_its_first_commit_or_if_it_is_of_an_older_node() -> None:
    assert is_whole(WHOLE) and is_whole({"detectMilliseconds": 3, "takeoverMilliseconds": 13})
    assert not is_whole(without("firstCommitMilliseconds"))


def test_a_hand_over_is_told_by_its_reason() -> None:
    assert is_hand_over({"reason": "handed over by arena-0"})
    assert not any(is_hand_over(account) for account in (WHOLE, {}, {"reason": None}))


def test_the_status_shows_the_last_change_of_leader() -> None:
    shown = look.show("status", {"lastFailover": WHOLE}).splitlines()[-1]
    assert shown == f"last failover  arena-0 → arena-1, epoch 8: {told(WHOLE)}"
    handed = look.show("status", {"lastFailover": {**WHOLE, "reason": "handed over by arena-0"}}).splitlines()[-1]
    assert handed.startswith("last handover  arena-0 → arena-1, epoch 8: taken over in 13 ms")
    assert "last" not in look.show("status", {"lastFailover": {"to": "arena-0", "epoch": 1}})
