"""Rules 9 and 12, played by ``gamecluster up``."""

from __future__ import annotations

import random
from typing import Any

import pytest

from gamecluster.core.messages import Incarnation, Position, Record, name_of
from gamecluster.local.backstop import Told, backstop, is_lost, is_total_loss, leads, newest_held, reset

A1, B1, C1, D1 = (Incarnation(f"arena-{i}_u{i}_1") for i in range(4))
A2 = Incarnation("arena-0_u0_2")
HELD = Record(17, A1, 7, (A1, B1, C1))
VACANT = Record(20, None, 7, (A1, B1, C1))
LOWERED = Record(20, A1, 3, (A1, B1, C1))

Tellings = dict[Incarnation, Told]


def after(seconds: float, record: Record, told: Tellings, *silent: Incarnation) -> Record | None:
    """What is written when those of ``told`` live and answer, and those of ``silent`` only live."""
    live = {name_of(who): who for who in (*told, *silent)}
    return backstop(record, live, told, 100.0, 100.0 + seconds)


def knowing(who: Incarnation, held: Record | None = HELD, seq: int = 1, **more: Any) -> Tellings:
    return {who: Told(epoch=7, held=held, last=Position(7, seq), **more)}


def alive(*members: Incarnation) -> Tellings:
    return {who: Told() for who in members}


def test_a_holder_that_lives_is_left_alone() -> None:
    assert after(1e6, HELD, alive(A1, B1)) is None


def test_the_nodes_have_ten_seconds_to_take_over_themselves() -> None:
    told = alive(A2, B1, C1)
    assert backstop(HELD, {name_of(who): who for who in told}, told, None, 1e6) is None
    assert after(9.9, HELD, told) is None


def test_then_the_first_living_member_of_the_set_is_named() -> None:
    assert after(10, HELD, alive(A2, C1, D1)) == Record(17, C1, 8, (B1, C1), dead=(A1, B1))


def test_a_new_life_of_the_holder_does_not_count_as_the_holder() -> None:
    assert after(10, HELD, alive(A2, B1, C1)) == Record(17, B1, 8, (B1, C1), dead=(A1,))


def test_one_that_hangs_is_not_named_but_not_taken_for_dead_either() -> None:
    assert after(10, HELD, alive(A2, C1), B1) == Record(17, C1, 8, (B1, C1), dead=(A1,))
    assert after(1e6, HELD, alive(A2), B1) is None


def test_one_that_leads_by_promises_alone_is_not_interfered_with() -> None:
    assert after(1e6, HELD, {B1: Told(leads=True, epoch=8), **alive(C1)}) is None


def test_when_all_of_the_set_are_dead_it_starts_afresh() -> None:
    assert after(10, HELD, alive(A2, D1)) == Record(17, None, 1007, (), never_held=True)


def test_a_cluster_that_never_played_is_left_to_its_nodes() -> None:
    assert after(1e6, Record(1, None, 0, (), never_held=True), alive(A1)) is None


# --- a Lease that was lost


def test_the_longest_log_that_is_left_of_the_newest_set_goes_on() -> None:
    told = {**alive(A2), **knowing(B1, seq=9), **knowing(C1, seq=12)}
    expected = Record(20, C1, 1007, (C1, B1), dead=(A1,))
    assert after(10, VACANT, told) == expected
    assert after(10, LOWERED, told) == expected
    assert after(9.9, VACANT, told) is None


def test_the_newest_set_that_any_node_knows_counts() -> None:
    newest = Record(18, B1, 8, (A1, B1))
    told = {**knowing(B1, newest, seq=9), **knowing(C1, seq=12)}
    assert after(10, VACANT, told) == Record(20, B1, 1008, (B1,), dead=(A1,))
    lost = {**alive(A2), **knowing(C1, newest, seq=12)}
    assert after(10, VACANT, lost) == Record(20, None, 1008, (), never_held=True)
    assert is_total_loss(VACANT, {name_of(who): who for who in lost}, lost)


def test_what_up_has_seen_itself_counts_like_what_a_node_has() -> None:
    told, shrunk = {**alive(A2), **knowing(C1)}, Record(18, A1, 7, (A1, B1))
    live = {name_of(who): who for who in told}
    assert backstop(VACANT, live, told, 0.0, 10.0, shrunk) == Record(20, None, 1007, (), never_held=True)
    assert is_total_loss(VACANT, live, told, shrunk)
    assert backstop(VACANT, live, told, 0.0, 10.0) == Record(20, C1, 1007, (C1,), dead=(A1, B1))


def test_one_that_does_not_answer_may_know_better() -> None:
    told = {**alive(A2), **knowing(C1)}
    assert after(1e6, VACANT, told, B1) is None
    assert after(1e6, VACANT, told, D1) is None
    assert after(1e6, VACANT, alive(A2), D1) is None
    assert not is_total_loss(VACANT, {name_of(who): who for who in (A2, D1)}, alive(A2))


def test_a_leader_that_has_not_read_of_the_loss_plays_on() -> None:
    assert after(1e6, VACANT, {**knowing(A1, leads=True), **knowing(B1)}) is None


def test_a_log_elsewhere_that_ends_in_a_later_epoch_is_proof_of_a_record_that_nobody_knows() -> None:
    told = {**knowing(B1), **knowing(C1), D1: Told(epoch=9, held=HELD, last=Position(9, 2))}
    assert after(1e6, VACANT, told) is None


def test_an_older_record_that_is_only_read_late_is_not_lost() -> None:
    assert not is_lost(Record(16, A1, 6, (A1, B1)), knowing(B1))
    assert is_lost(Record(18, A1, 6, (A1, B1)), knowing(B1))


# --- a seal that binds for ever


def test_a_holder_that_a_seal_binds_to_the_dead_is_told_of_them_once() -> None:
    record = Record(21, C1, 8, (B1, C1))
    told = {**alive(A2), **knowing(C1, record, bound=(A1, B1, C1))}
    freed = Record(21, C1, 8, (B1, C1), dead=(B1, A1))
    assert after(10, record, told) is not None
    written = after(10, record, told)
    assert written is not None and set(written.dead) == {A1, B1} and written.epoch == 8
    assert after(1e6, freed, told) is None


def test_only_a_holder_that_says_so_and_is_not_bound_leads() -> None:
    assert leads(HELD, {A1: Told(leads=True)})
    assert not leads(HELD, {A1: Told(leads=True, bound=(A1, B1, C1))})
    assert not leads(HELD, {A1: Told()})
    assert not leads(HELD, {B1: Told(leads=True)})


@pytest.mark.parametrize("holder", [None, A1, B1])
def test_whatever_the_record_nobody_outside_the_set_is_named_and_the_epoch_grows(holder: Incarnation | None) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    everyone = [A1, A2, B1, C1, D1]

    def some() -> tuple[Incarnation, ...]:
        return tuple(dice.sample(everyone, dice.randrange(5)))

    def anything() -> Told:
        held = Record(dice.randrange(99), dice.choice(everyone), dice.randrange(99), some() or (A1,))
        at = Position(dice.randrange(9), dice.randrange(9))
        return Told(dice.random() < 0.1, dice.randrange(99), dice.choice([held, None]), at, some())

    for _ in range(2000):
        record = Record(dice.randrange(99), holder, dice.randrange(99), some())
        told = {who: anything() for who in {name_of(who): who for who in some()}.values()}
        written = after(10, record, told)
        if written is None:
            continue
        newest = newest_held(told) if is_lost(record, told) else None
        assert written.version == record.version and not set(written.dead) & told.keys()
        assert written.epoch > record.epoch or (written.holder == record.holder in told and written.dead)
        assert written.never_held == (written.holder is None)
        assert written.holder is None or written.holder in told
        assert set(written.in_sync) <= {*record.in_sync, *(newest.in_sync if newest else ())}


def test_a_fresh_start_leaps_past_every_epoch_that_was() -> None:
    assert reset(HELD) == Record(17, None, 1007, (), never_held=True)
    assert reset(HELD, {B1: Told(epoch=9)}) == Record(17, None, 1009, (), never_held=True)
