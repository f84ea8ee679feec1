"""The simulator is worth something only if it notices a broken rule: here each is broken, and it has to."""

from __future__ import annotations

import pytest

from .mutants import MUTANTS, Mutant
from .run import Failed, run
from .schedule import plan

SEEDS = 120


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_a_broken_rule_is_caught(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.apply(monkeypatch)
    for seed in range(mutant.first, mutant.first + SEEDS):
        try:
            run(plan(seed, mutant.family))
        except Failed as failure:
            assert failure.invariant in mutant.caught_by, str(failure)
            return
    pytest.fail(f"{mutant.name}: nothing was noticed in {SEEDS} seeds of {mutant.family}")
