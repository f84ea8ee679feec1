from __future__ import annotations

import asyncio

from gamecluster_operator.queue import FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS, WorkQueue

A, B = ("games", "a"), ("games", "b")


async def test_a_key_waits_once_however_often_it_was_added() -> None:
    queue = WorkQueue()
    for _ in range(1000):
        queue.add(A)
    assert len(queue) == 1
    assert await queue.get() == A
    assert len(queue) == 0


async def test_what_comes_while_a_key_is_worked_on_comes_once_more_afterwards() -> None:
    queue = WorkQueue()
    queue.add(A)
    await queue.get()
    queue.add(A)
    queue.add(A)
    assert len(queue) == 0, "no second worker for the same key"
    queue.done(A)
    assert await queue.get() == A
    queue.done(A)
    assert len(queue) == 0


async def test_a_failing_key_does_not_keep_others_and_comes_later_each_time() -> None:
    queue = WorkQueue()
    queue.add(A)
    await queue.get()
    delays = [queue.failed(A) for _ in range(12)]
    assert delays[:3] == [FIRST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2, FIRST_RETRY_SECONDS * 4]
    assert delays[-1] == LONGEST_RETRY_SECONDS
    queue.add(B)
    assert await queue.get() == B


async def test_a_success_forgets_the_failures() -> None:
    queue = WorkQueue()
    queue.failed(A)
    queue.failed(A)
    queue.done(A)
    assert queue.failed(A) == FIRST_RETRY_SECONDS


async def test_a_failing_key_is_not_woken_before_its_time_without_news() -> None:
    queue = WorkQueue()
    queue.add(A)
    await queue.get()
    queue.failed(A, 30.0)
    queue.nudge(A)
    assert len(queue) == 0
    queue.add(A)
    assert len(queue) == 1, "news are looked at"
    queue.nudge(B)
    assert len(queue) == 2


async def test_an_api_server_that_asks_for_patience_gets_it() -> None:
    queue = WorkQueue()
    assert queue.failed(A, 30.0) == 30.0
    assert queue.failed(B, 3600.0) == LONGEST_RETRY_SECONDS


async def test_the_earlier_of_two_timers_counts() -> None:
    queue = WorkQueue()
    queue.add_after(A, 1000)
    queue.add_after(A, 0)
    assert await asyncio.wait_for(queue.get(), 5) == A
    queue.done(A, 0)
    assert await asyncio.wait_for(queue.get(), 5) == A


async def test_news_come_before_what_is_only_looked_at_again() -> None:
    queue = WorkQueue()
    many = [("games", f"g{n}") for n in range(1000)]
    for key in many:
        queue.nudge(key)
    queue.add(A)
    queue.add(many[-1])
    assert len(queue) == 1001
    assert [await queue.get() for _ in range(3)] == [A, many[-1], many[0]]
    assert len(queue) == 998
