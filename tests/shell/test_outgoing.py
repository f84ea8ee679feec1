"""What waits for a broker: how much of it, for how long, and what goes first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gamecluster.shell.pubsub.outgoing import BATCH_MESSAGES, Letter, Outgoing


def letter(number: int, size: int = 1) -> Letter:
    return Letter(str(number), b"x" * size)


def numbers(letters: list[Letter]) -> list[int]:
    return [int(letter.topic) for letter in letters]


def test_the_oldest_goes_for_the_newest() -> None:
    outgoing = Outgoing(messages=3)
    assert [outgoing.put(letter(n), 0.0) for n in range(5)] == [0, 0, 0, 1, 1]
    assert numbers(outgoing.take()) == [2, 3, 4]


def test_so_many_go_that_a_large_one_fits_and_one_that_never_will_goes_itself() -> None:
    outgoing = Outgoing(size=100)
    for number in range(4):
        outgoing.put(letter(number, 25), 0.0)
    assert outgoing.put(letter(4, 60), 0.0) == 3
    assert outgoing.put(letter(5, 101), 0.0) == 3
    assert len(outgoing) == 0 and outgoing.put(letter(6, 100), 0.0) == 0


def test_what_is_of_the_past_is_not_sent() -> None:
    outgoing = Outgoing(kept=5.0)
    for number in range(4):
        outgoing.put(letter(number), float(number))
    assert outgoing.drop_old(6.5) == 2
    assert outgoing.put(letter(4), 8.0) == 0, "what was too old was in nobody's way"
    assert numbers(outgoing.take()) == [3, 4]


def test_what_is_sent_together_is_bounded_but_never_nothing() -> None:
    outgoing = Outgoing()
    for number in range(BATCH_MESSAGES + 1):
        outgoing.put(letter(number), 0.0)
    assert numbers(outgoing.take()) == list(range(BATCH_MESSAGES))
    outgoing.put(letter(1, 5_000_000), 0.0)
    outgoing.put(letter(2), 0.0)
    assert numbers(outgoing.take()) == [BATCH_MESSAGES, 1]
    assert numbers(outgoing.take()) == [2] and outgoing.take() == []


@given(st.lists(st.one_of(st.integers(0, 60), st.none())), st.integers(1, 5), st.integers(1, 100))
def test_the_bounds_hold_and_each_is_sent_or_said_to_be_dropped(
    steps: list[int | None], messages: int, size: int
) -> None:
    """A step: a letter of that size, or None: some are sent."""
    outgoing = Outgoing(messages, size)
    sent, dropped, waiting = 0, 0, 0
    for step in steps:
        if step is None:
            batch = outgoing.take()
            assert sum(len(letter.body) for letter in batch) <= size
            sent += len(batch)
        else:
            waiting += 1
            dropped += outgoing.put(letter(0, step), 0.0)
        assert len(outgoing) <= messages and sent + dropped + len(outgoing) == waiting
