from __future__ import annotations

import hypothesis
from hypothesis import given
from hypothesis import strategies as st

from gamecluster.shell.timers import TimerWheel


def test_each_comes_when_it_is_due_and_once() -> None:
    wheel = TimerWheel()
    for number, when in enumerate((100.0, 100.9, 101.0, 160.5)):
        wheel.look_at(number, when)
    assert wheel.due(100.5) == []
    assert wheel.due(101.5) == [0, 1]
    assert wheel.due(102.0) == [2]
    assert wheel.due(1000.0) == [3]
    wheel.look_at(4, 5.0)  # long past
    assert wheel.due(1001.0) == [4]
    assert wheel.due(2000.0) == [] and wheel._slots == {}


steps = st.lists(st.tuples(st.floats(0, 5), st.lists(st.floats(-3, 90), max_size=3)), max_size=60)


@hypothesis.settings(deadline=None)
@given(steps, st.floats(0, 1e6))
def test_nobody_is_forgotten_early_or_much_too_late(steps: list[tuple[float, list[float]]], now: float) -> None:
    wheel, waiting, count = TimerWheel(), dict[int, float](), 0
    for seconds, delays in [*steps, (100.0, []), (2.0, [])]:
        now += seconds
        for number in wheel.due(now):
            assert waiting.pop(number) <= now
        assert all(when > now - 1 for when in waiting.values())
        for delay in delays:
            count += 1
            waiting[count] = max(now, now + delay)
            wheel.look_at(count, now + delay)
    assert not waiting
