"""A name is never answered for by two, whatever happens; and the simulator notices if it is."""

from __future__ import annotations

from collections import Counter

import pytest

from gamecluster.services import tenure

from . import names
from .run import Failed
from .schedule import Family, plan

SEEDS_OF_A_FAMILY = 3
FAMILIES = sorted(set(Family) - {Family.clocks})


@pytest.mark.parametrize("family", FAMILIES)
def test_no_two_pods_answer_for_one_name(family: Family) -> None:
    done: Counter[str] = Counter()
    for seed in range(1, 1 + SEEDS_OF_A_FAMILY):
        done += names.run(plan(seed, family)).counts
    assert min(done["register"], done["unregister"], done["hold"], done["taken"]) > 0, done


def test_a_tenure_that_is_too_long_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenure, "TENURE_SECONDS", 3.0)
    for seed in range(1, 100):
        try:
            names.run(plan(seed, Family.partitions))
        except Failed as failure:
            assert failure.invariant == "names", str(failure)
            return
    pytest.fail("nothing was noticed")
