from __future__ import annotations

import pytest

from bench import core


def test_the_core_is_measured_at_every_size(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "SIZES", (10, 50))
    monkeypatch.setattr(core, "MOVES", 100)
    assert core.main(["--rounds", "1"]) == 0
    rows = [
        line.strip("| ").split(" | ")
        for line in capsys.readouterr().out.splitlines()
        if line.startswith(("| 10", "| 50"))
    ]
    assert [size for size, *_ in rows] == ["10", "50"] and all(float(cell) > 0 for row in rows for cell in row[1:])
    leader = core.Leader(10)
    leader.move(25)
    pieces = leader._node.visible_tables()["pieces"]
    assert len(pieces) == 10 and pieces["p4"]["mark"] == "24"
