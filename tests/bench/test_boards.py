"""``python -m bench.boards`` runs, and prints what docs/performance.md has."""

from __future__ import annotations

import pytest

from bench import boards


def test_it_prints_what_a_leaderboard_costs(capsys: pytest.CaptureFixture[str]) -> None:
    assert boards.main(["--players", "3000", "--rounds", "1"]) == 0
    printed = capsys.readouterr().out
    for line in ("3,000 players", "| rank of a player |", "| sent to a pod that joins |", "| encoded for the storage"):
        assert line in printed
