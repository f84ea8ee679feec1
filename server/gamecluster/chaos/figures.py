"""Milliseconds in a line: how many, and the percentiles that targets are set for."""

from __future__ import annotations

from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that ``share`` of them do not exceed. Raises ValueError on none."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * share // 1) - 1)]


def figures(milliseconds: Sequence[float]) -> str:
    if not milliseconds:
        return "none"
    shares = " · ".join(f"p{share * 100:.0f} {percentile(milliseconds, share):.0f}" for share in (0.5, 0.99))
    return f"{shares} · max {max(milliseconds):.0f} ms (of {len(milliseconds)})"
