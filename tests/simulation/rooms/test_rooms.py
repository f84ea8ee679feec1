"""Rooms under trouble. Every failure says how to see it again."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from gamecluster import core, places, placing
from gamecluster.services import outbox, placements, rooms

from .run import Failed, run
from .schedule import Family, Kind, plan

SEEDS_OF_A_FAMILY = 10
FRESH_SECONDS = 7.0
FRESH_SEEDS = 300
"""At most so many on each CPU that there is, and so much of its time."""
KEPT = (
    (10265, Family.ends),  # a late acknowledgement reached a room that had moved on
    (51593, Family.partitions),  # a copy that nobody used was not told that its holder had forgotten it
    (201682, Family.partitions),  # a room that was over did not end while many asked in vain
)
"""Seeds that once found something."""
RULES = (
    *Path(core.__file__).parent.glob("*.py"),
    *Path(__file__).parent.glob("*.py"),
    *(Path(str(module.__file__)) for module in (outbox, placements, rooms, places, placing)),
)


@pytest.mark.parametrize("family", sorted(Family))
def test_nothing_is_lost_and_play_goes_on(family: Family) -> None:
    for seed in range(1, 1 + SEEDS_OF_A_FAMILY):
        run(plan(seed, family))


@pytest.mark.parametrize(("seed", "family"), KEPT)
def test_what_once_failed_holds(seed: int, family: Family) -> None:
    run(plan(seed, family))


@pytest.mark.timeout(600)
def test_nothing_is_lost_under_fresh_seeds() -> None:
    """Other seeds for every change of the rules or the simulator, the same for the same code."""
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
            raise AssertionError(str(failure)) from None  # it is to go to another process, which its world can't
        seed += 1
    return seed - first


def test_runs_have_what_they_are_for() -> None:
    """Rooms move, end, are lost and made again, people walk, pods drain, and players are acknowledged meanwhile."""
    counts: Counter[str] = Counter()
    moves = 0
    for family in (Family.everything, Family.losses, Family.ends, Family.scaling):
        for seed in range(1, 9):
            result = run(plan(seed, family))
            counts += result.counts
            moves += result.moves
    assert moves > 1000
    wanted = {"ended", "lost", "drained", "walked", "moved", Kind.kill, Kind.pause, Kind.suspect, Kind.kill_room}
    assert not wanted - set(counts), counts


def test_a_seed_replays_to_the_letter_in_another_process() -> None:
    program = (
        "import hashlib; from tests.simulation.rooms.run import run; from tests.simulation.rooms.schedule import plan;"
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
            run(plan(seed, Family.kills))
    text = str(failure.value)
    assert failure.value.invariant == "held"
    assert f"python -m tests.simulation.rooms --seed {failure.value.plan.seed} --family kills --transcript" in text
    assert "lacks" in text and "last of" in text
