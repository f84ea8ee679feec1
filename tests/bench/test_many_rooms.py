"""The bench of many rooms, with few of them: everything is answered, and an idle room is not ticked."""

from __future__ import annotations

import pytest
from bench.many_rooms import main, measured


def test_rooms_are_measured_and_their_pod_is_lost() -> None:
    figures = measured(rooms=60, players=2, moves=120)
    assert figures.messages == 3.0, "to the backup, its acknowledgement, and that it is committed"
    assert figures.lost.rooms == 20
    assert figures.idle < figures.move / 2


def test_the_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rooms", "30", "--players", "2", "--moves", "60", "--rounds", "1"]) == 0
    assert "a pod is lost: rooms that go on elsewhere, of 30 | 10 |" in capsys.readouterr().out
