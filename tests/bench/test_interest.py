"""``python -m bench.interest`` runs, and prints what docs/performance.md has."""

from __future__ import annotations

import pytest

from bench import interest


def test_it_prints_what_a_big_world_costs_with_a_grid_and_without(capsys: pytest.CaptureFixture[str]) -> None:
    assert interest.main(["--players", "20", "--entities", "100", "--ticks", "3"]) == 0
    printed = capsys.readouterr().out
    for line in (
        "with a Grid:",
        "with a Grid, into sockets:",
        "without a Grid:",
        "  the rule: ",
        "  cells: ",
        "20 writes a tick",
    ):
        assert line in printed
