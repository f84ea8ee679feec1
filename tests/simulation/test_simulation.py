"""Whole clusters under trouble. Every failure says how to see it again."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gamecluster import core

from .run import Failed, run
from .schedule import Family, plan
from .transcript import Transcript

SEEDS_OF_A_FAMILY = 22
FRESH_SECONDS = 75.0
FRESH_SEEDS = 1200
"""At most so many on each CPU that there is, and so much of its time: as many beside other work as on a quiet machine."""
RULES = (*Path(core.__file__).parent.glob("*.py"), *Path(__file__).parent.glob("*.py"))

KEPT = (
    (216, Family.handovers),  # a pod that had become the only member went, by an old sight of the record
    (908, Family.everything),
    (4591, Family.takeovers),  # a leader that had stepped down bounced a repeated Forward that it had run
    (7, Family.alone),  # a leader that rule 11 had stopped went on when it read that the game was to begin anew
    (722292280, Family.leaving),  # the last pod went at once, while another was on its way back
    (1116, Family.hibernation),  # a pod went that had been told to before it knew that its claim had landed
    (21381, Family.hibernation),  # a restarted pod put its volume back, which had the only copy of what was answered
    (505, Family.takeovers),  # a learner was let in without the tail that the new leader had inherited
)
"""Seeds that once found something."""


@pytest.mark.parametrize("family", sorted(Family))
def test_nothing_is_lost_and_play_goes_on(family: Family) -> None:
    for seed in range(1, 1 + SEEDS_OF_A_FAMILY):
        run(plan(seed, family))


@pytest.mark.parametrize(("seed", "family"), KEPT)
def test_what_once_failed_holds(seed: int, family: Family) -> None:
    run(plan(seed, family))


@pytest.mark.timeout(600)
def test_nothing_is_lost_under_fresh_seeds() -> None:
    """Other seeds for every change of the rules or the simulator, the same for the same code: who changes something else is not
    stopped by it. `make simulate` looks for more."""
    text = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(RULES)))
    choice, jobs = random.Random(text.digest()), os.cpu_count() or 1
    firsts = [choice.randrange(10**6, 10**9) for _ in range(jobs)]
    with multiprocessing.Pool(jobs) as pool:
        ran = pool.map(seeds_from, firsts, chunksize=1)
    print(f"{sum(ran)} fresh seeds hold: from {firsts}, {ran} of each")


def seeds_from(first: int) -> int:
    """How many were run; a failure says which it was."""
    end, seed = time.process_time() + FRESH_SECONDS, first
    while seed == first or (time.process_time() < end and seed < first + FRESH_SEEDS):
        try:
            run(plan(seed))
        except Failed as failure:
            raise AssertionError(
                str(failure)
            ) from None  # it is to go from one process to another, which its world can't
        seed += 1
    return seed - first


def test_a_seed_replays_to_the_letter_in_another_process() -> None:
    program = (
        "import hashlib; from tests.simulation.run import run; from tests.simulation.schedule import plan;"
        "from tests.simulation.transcript import Transcript; t = Transcript(None); run(plan(7), t);"
        "print(hashlib.sha256('\\n'.join(t.lines()).encode()).hexdigest())"
    )
    digests = set()
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        digests.add(done.stdout)
    assert len(digests) == 1


def test_a_failure_names_seed_invariant_and_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    from gamecluster.core.replication import Replication

    monkeypatch.setattr(Replication, "advance", lambda self, waited_for: self.log.last.seq)
    with pytest.raises(Failed) as failure:
        for seed in range(1, 50):
            run(plan(seed, Family.kills), Transcript())
    text = str(failure.value)
    assert failure.value.invariant == "I3"
    assert f"python -m tests.simulation --seed {failure.value.plan.seed} --family kills --transcript" in text
    assert "lacks" in text and "last of" in text
