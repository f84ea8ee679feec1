"""The short form of ``python -m tests.process.stalls``."""

from __future__ import annotations

import random
from pathlib import Path

from tests.process.stalls import run


async def test_loops_that_stand_still_for_200_ms_now_and_then_accuse_nobody(tmp_path: Path) -> None:
    outcome = await run(8.0, 9, random.randrange(2**20), tmp_path)
    print(outcome.report())
    assert outcome.stalls > 5 and outcome.moves > 100
    assert (outcome.accusations, outcome.wrong) == ([], [])
