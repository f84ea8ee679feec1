"""The short form of ``python -m tests.process.kills``."""

from __future__ import annotations

import random
from pathlib import Path

from tests.process.kills import HANDOVER, KILL, STOP, run


async def test_kills_stops_and_handovers_of_the_leader_in_a_row_lose_and_double_nothing(tmp_path: Path) -> None:
    faults = [KILL, KILL, STOP, HANDOVER, KILL, HANDOVER]
    outcome = await run(faults, 20, random.randrange(2**20), tmp_path)
    print(outcome.report())
    assert (outcome.lost, outcome.doubled, outcome.wrong) == (0, 0, [])
    assert outcome.reconnects == 0, "a hand-over sends no client away"
    for sort, waits in outcome.waits.items():
        assert waits.faults == faults.count(sort)
        assert len(waits.elsewhere) + len(waits.at_leader) == waits.faults * 20
