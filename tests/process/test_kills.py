"""The short form of ``python -m tests.process.kills``."""

from __future__ import annotations

import random
from pathlib import Path

from tests.process.kills import run


async def test_five_kills_of_the_leader_in_a_row_lose_and_double_nothing(tmp_path: Path) -> None:
    outcome = await run(5, 20, random.randrange(2**20), tmp_path)
    print(outcome.report(5))
    assert (outcome.lost, outcome.doubled, outcome.wrong) == (0, 0, [])
    assert len(outcome.elsewhere) + len(outcome.at_dead) == 5 * 20
