"""A change of leader in words: ``lastFailover`` of ``GET /cluster``, for people. Older nodes leave some of its times out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HANDED_OVER = "handed over by"
"""How the reason of a planned change begins: the former leader lives and gave the GameState away."""

PARTS = {
    "detectMilliseconds": "noticed in",
    "claimMilliseconds": "claimed in",
    "equaliseMilliseconds": "equalised in",
    "takeoverMilliseconds": "taken over in",
    "firstCommitMilliseconds": "first commit after",
}

Account = Mapping[str, Any]


def is_hand_over(account: Account) -> bool:
    return str(account.get("reason") or "").startswith(HANDED_OVER)


def is_whole(account: Account) -> bool:
    """Nothing more will become known: the leader tells of its first commit a moment after it leads."""
    return "firstCommitMilliseconds" in account or "claimMilliseconds" not in account


def told(account: Account) -> str:
    """How long each part took, and why it was: ``noticed in 3 ms, …, first commit after 21 ms (link reset)``."""
    has_parts = "claimMilliseconds" in account and "equaliseMilliseconds" in account
    if is_hand_over(account):
        left_out = {"detectMilliseconds", "claimMilliseconds", "equaliseMilliseconds"}  # nothing was to be noticed
    else:
        left_out = {"takeoverMilliseconds"} if has_parts else set()  # the sum of the others
    known = [(word, account.get(name)) for name, word in PARTS.items() if name not in left_out]
    times = ", ".join(f"{word} {value:.0f} ms" for word, value in known if isinstance(value, (int, float)))
    reason = f"({account['reason']})" if account.get("reason") else ""
    return " ".join(part for part in (times, reason) if part)
