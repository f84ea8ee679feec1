from __future__ import annotations

from gamecluster_operator.feed import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, pause


def test_a_watch_that_brought_something_is_opened_at_once_and_others_later_each_time() -> None:
    pauses = [pause(attempts) for attempts in range(2_000)]
    assert pauses[:6] == [FIRST_PAUSE_SECONDS, 0.5, 1.0, 2.0, 4.0, LONGEST_PAUSE_SECONDS]
    assert set(pauses[6:]) == {LONGEST_PAUSE_SECONDS}
