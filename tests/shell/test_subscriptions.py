"""What a broker is told of topics: whatever clients do meanwhile, it ends with those that they want."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gamecluster.shell.pubsub.subscriptions import TOPICS_AT_ONCE, Subscriptions

OWN = "pod:a"


class Broker:
    """Hears of topics step by step, as over a link. ``timers``: what goes off when it takes too long."""

    def __init__(self) -> None:
        self.topics: set[str] = set()
        self.joined: list[str] = []
        self.timers: list[Timer] = []
        self.subscriptions = Subscriptions(OWN, self._call_later, 0.5)
        self.subscriptions.begin()
        self._under_way: tuple[list[str], list[str]] = [], []

    def want(self, topic: str, waits: bool = True) -> None:
        self.subscriptions.want(topic, lambda: self.joined.append(topic), waits)

    def begins(self) -> bool:
        """It is told the next, if there is any, once it has answered."""
        self.ends()
        self._under_way = self.subscriptions.next_changes()
        return any(self._under_way)

    def ends(self) -> None:
        more, fewer = self._under_way
        self._under_way = [], []
        self.topics |= set(more)
        self.subscriptions.subscribed(more)
        self.topics -= set(fewer)

    def catches_up(self) -> None:
        self.ends()
        while self.begins():
            self.ends()

    def is_lost(self) -> None:
        self.topics, self._under_way = set(), ([], [])
        self.subscriptions.give_up()
        self.subscriptions.begin()

    def times_out(self) -> None:
        for timer in [timer for timer in self.timers if not timer.is_cancelled]:
            timer.cancel()
            timer.callback()

    def _call_later(self, _: float, callback: Callable[[], None]) -> Timer:
        self.timers.append(Timer(callback))
        return self.timers[-1]


class Timer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback, self.is_cancelled = callback, False

    def cancel(self) -> None:
        self.is_cancelled = True


def test_who_wants_a_topic_waits_for_the_broker_and_the_next_for_nobody() -> None:
    broker = Broker()
    broker.want("room:1")
    broker.want("room:1")
    assert broker.joined == [] and broker.begins()
    broker.ends()
    assert broker.joined == ["room:1"] * 2 and broker.topics == {OWN, "room:1"}
    broker.want("room:1")
    assert broker.joined == ["room:1"] * 3 and not broker.begins()


def test_nobody_waits_for_a_broker_that_is_slow_or_lost_or_known_to_be_down() -> None:
    broker = Broker()
    broker.want("room:1")
    broker.times_out()
    assert broker.joined == ["room:1"]
    broker.want("room:2")
    broker.is_lost()
    assert broker.joined == ["room:1", "room:2"]
    broker.want("room:3", waits=False)
    assert broker.joined == ["room:1", "room:2", "room:3"]
    broker.catches_up()
    assert broker.topics == {OWN, "room:1", "room:2", "room:3"}


def test_one_who_left_while_waiting_takes_the_topic_from_nobody_else() -> None:
    broker = Broker()
    broker.subscriptions.want("room:1", lambda: broker.subscriptions.want_no_more("room:1"), True)
    broker.want("room:1")
    broker.catches_up()
    assert broker.topics == {OWN, "room:1"}


def test_a_topic_that_all_left_while_waiting_is_given_up() -> None:
    broker = Broker()
    for _ in range(2):
        broker.subscriptions.want("room:1", lambda: broker.subscriptions.want_no_more("room:1"), True)
    broker.catches_up()
    assert broker.topics == {OWN}


def test_a_topic_wanted_again_while_it_is_given_up_is_waited_for() -> None:
    broker = Broker()
    broker.want("room:1")
    broker.catches_up()
    broker.subscriptions.want_no_more("room:1")
    assert broker.begins()
    broker.want("room:1")
    assert broker.joined == ["room:1"]
    broker.catches_up()
    assert broker.joined == ["room:1"] * 2 and broker.topics == {OWN, "room:1"}


def test_a_client_that_can_not_be_let_in_is_in_nobodys_way(caplog: pytest.LogCaptureFixture) -> None:
    broker = Broker()

    def fail() -> None:
        raise KeyError("nobody")

    broker.subscriptions.want("room:1", fail, True)
    broker.want("room:1")
    broker.catches_up()
    assert broker.joined == ["room:1"] and "KeyError" in caplog.text


def test_very_many_are_told_in_parts() -> None:
    broker = Broker()
    for number in range(2 * TOPICS_AT_ONCE + 7):
        broker.want(f"room:{number}")
    parts = 0
    while broker.begins():
        broker.ends()
        parts += 1
    assert parts == 3 and len(broker.topics) == len(broker.joined) + 1 == 2 * TOPICS_AT_ONCE + 8


topics = st.sampled_from(["a", "b", "c"])
steps = st.one_of(
    st.tuples(st.just("join"), topics),
    st.tuples(st.just("leave"), topics),
    st.tuples(st.sampled_from(["begins", "ends", "is_lost", "times_out"]), st.none()),
)


@given(st.lists(steps, max_size=40))
def test_whatever_clients_and_links_do_the_broker_ends_with_what_is_wanted(steps: list[tuple[str, Any]]) -> None:
    """Clients as the hub has them: a topic is given up when its last client has left, unless others wait for it."""
    broker, inside = Broker(), dict.fromkeys("abc", 0)
    waiting: dict[str, list[bool]] = {topic: [] for topic in "abc"}

    def let_in(topic: str) -> None:
        if waiting[topic].pop(0):
            inside[topic] += 1
        elif not inside[topic]:
            broker.subscriptions.want_no_more(topic)

    for step, topic in steps:
        match step:
            case "join":
                waiting[topic].append(True)
                broker.subscriptions.want(topic, lambda topic=topic: let_in(topic), True)  # type: ignore[misc]
            case "leave" if True in waiting[topic]:
                waiting[topic][waiting[topic].index(True)] = False
                if not inside[topic]:
                    broker.subscriptions.want_no_more(topic)
            case "leave" if inside[topic]:
                inside[topic] -= 1
                if not inside[topic]:
                    broker.subscriptions.want_no_more(topic)
            case "leave":
                pass
            case _:
                getattr(broker, step)()
    broker.catches_up()
    broker.times_out()
    broker.catches_up()
    assert not any(waiting.values())
    assert broker.topics == {OWN} | {topic for topic, count in inside.items() if count}
