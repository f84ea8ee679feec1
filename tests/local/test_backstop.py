"""Rule 9, played by ``gamecluster up``."""

from __future__ import annotations

import random

import pytest

from gamecluster.core.messages import Incarnation, Record, name_of
from gamecluster.local.backstop import backstop, reset

A1, B1, C1, D1 = (Incarnation(f"arena-{i}_u{i}_1") for i in range(4))
A2 = Incarnation("arena-0_u0_2")
HELD = Record(17, A1, 7, (A1, B1, C1))


def live(*members: Incarnation) -> dict[str, Incarnation]:
    return {name_of(member): member for member in members}


def test_a_holder_that_lives_is_left_alone() -> None:
    assert backstop(HELD, live(A1, B1), 0.0, 1e6) is None


def test_the_nodes_have_ten_seconds_to_take_over_themselves() -> None:
    assert backstop(HELD, live(A2, B1, C1), None, 1e6) is None
    assert backstop(HELD, live(A2, B1, C1), 100.0, 109.9) is None


def test_then_the_first_living_member_of_the_set_is_named() -> None:
    assert backstop(HELD, live(A2, C1, D1), 100.0, 110.0) == Record(17, C1, 8, (B1, C1))


def test_a_new_life_of_the_holder_does_not_count_as_the_holder() -> None:
    assert backstop(HELD, live(A2, B1), 100.0, 110.0) == Record(17, B1, 8, (B1, C1))


def test_when_all_of_the_set_are_dead_it_starts_afresh() -> None:
    assert backstop(HELD, live(A2, D1), 100.0, 110.0) == Record(17, None, 1007, (), never_held=True)


def test_a_cluster_that_never_played_is_left_to_its_nodes() -> None:
    assert backstop(Record(1, None, 0, (), never_held=True), live(A1), 0.0, 1e6) is None


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (live(B1, C1), None),
        (live(C1, D1), Record(17, C1, 1007, (C1,))),
        (live(D1), Record(17, None, 1007, (), never_held=True)),
    ],
)
def test_a_lease_made_anew_goes_to_the_last_survivor_only(
    members: dict[str, Incarnation], expected: Record | None
) -> None:
    assert backstop(Record(17, None, 7, (A1, B1, C1)), members, 100.0, 110.0) == expected


def test_whatever_the_record_nobody_outside_the_set_is_named_and_the_epoch_grows() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    everyone = [A1, A2, B1, C1, D1]
    for _ in range(2000):
        in_sync = tuple(dice.sample(everyone, dice.randrange(5)))
        record = Record(dice.randrange(99), dice.choice([None, *in_sync]), dice.randrange(99), in_sync)
        alive = live(*dice.sample(everyone, dice.randrange(5)))
        written = backstop(record, alive, 0.0, 10.0)
        if written is None:
            continue
        assert written.version == record.version and written.epoch > record.epoch
        assert set(written.in_sync) <= set(in_sync)
        assert written.never_held == (written.holder is None) == (not set(in_sync) & set(alive.values()))
        assert written.holder is None or (written.holder in written.in_sync and written.holder in alive.values())


def test_a_fresh_start_leaps_past_every_epoch_that_was() -> None:
    assert reset(HELD) == Record(17, None, 1007, (), never_held=True)
