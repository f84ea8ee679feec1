"""Who hears what: pods told of topics over links that keep their order, and what nobody may miss."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import hypothesis
from hypothesis import given
from hypothesis import strategies as st

from gamecluster.core.messages import Incarnation, incarnation
from gamecluster.shell.interests import TOPICS_AT_ONCE, Interest, Interests, Noted, Wants, WantsNoMore

A, B, C = (incarnation(name, "uid", 1) for name in "abc")


class Pod:
    """``sent`` is what it said to whom; ``timers`` what would come after 250 ms."""

    def __init__(self) -> None:
        self.sent: deque[tuple[Incarnation, Interest]] = deque()
        self.timers: list[list[Any]] = []
        self.joined: list[str] = []
        self.interests = Interests(self._call_later, lambda peer, said: self.sent.append((peer, said)))

    def want(self, topic: str) -> None:
        self.interests.want(topic, lambda: self.joined.append(topic))

    def took(self) -> list[tuple[Incarnation, Interest]]:
        taken = list(self.sent)
        self.sent.clear()
        return taken

    def time_out(self) -> None:
        timers, self.timers = self.timers, []
        for callback, is_cancelled in timers:
            if not is_cancelled:
                callback()

    def _call_later(self, _: float, callback: Callable[[], None]) -> Any:
        timer = [callback, False]
        self.timers.append(timer)

        class Handle:
            def cancel(self) -> None:
                timer[1] = True

        return Handle()


def test_alone_a_client_joins_at_once() -> None:
    pod = Pod()
    pod.want("room:1")
    assert pod.joined == ["room:1"] and not pod.sent


def test_the_first_client_of_a_topic_waits_for_all_peers_and_the_next_for_nobody() -> None:
    pod = Pod()
    for peer in (B, C):
        pod.interests.link_up(peer)
    assert pod.took() == [(B, Wants(0, [])), (C, Wants(0, []))]
    pod.want("room:1")
    pod.want("room:1")
    assert pod.took() == [(B, Wants(1, ["room:1"])), (C, Wants(1, ["room:1"]))]
    pod.interests.said(B, Noted(1))
    pod.interests.said(B, Noted(1))
    assert pod.joined == []
    pod.interests.said(C, Noted(1))
    assert pod.joined == ["room:1"] * 2
    pod.want("room:1")
    assert pod.joined == ["room:1"] * 3 and not pod.sent
    pod.time_out()
    assert len(pod.joined) == 3


def test_nobody_waits_for_a_peer_that_is_lost_or_silent() -> None:
    pod = Pod()
    for peer in (B, C):
        pod.interests.link_up(peer)
    pod.want("room:1")
    pod.interests.said(B, Noted(1))
    pod.interests.link_down(C)
    assert pod.joined == ["room:1"]
    pod.want("room:2")
    pod.time_out()
    assert pod.joined == ["room:1", "room:2"]
    pod.interests.said(B, Noted(2))


def test_one_who_left_while_waiting_takes_the_topic_from_nobody_else() -> None:
    pod = Pod()
    pod.interests.link_up(B)
    pod.took()
    pod.interests.want("room:1", lambda: pod.interests.want_no_more("room:1"))
    pod.want("room:1")
    pod.interests.said(B, Noted(1))
    assert pod.joined == ["room:1"] and pod.took() == [(B, Wants(1, ["room:1"]))]
    pod.interests.want_no_more("room:1")
    assert pod.took() == [(B, WantsNoMore(["room:1"]))]


def test_a_topic_that_all_left_while_waiting_is_wanted_no_more() -> None:
    pod = Pod()
    pod.interests.link_up(B)
    pod.took()
    for _ in range(2):
        pod.interests.want("room:1", lambda: pod.interests.want_no_more("room:1"))
    pod.interests.said(B, Noted(1))
    assert pod.took() == [(B, Wants(1, ["room:1"])), (B, WantsNoMore(["room:1"]))]


def test_a_peer_is_sent_everything_until_it_has_told_all_its_topics() -> None:
    pod = Pod()
    pod.interests.link_up(B)
    assert pod.interests.hears(B, "x") and pod.interests.hears(C, "x")
    pod.interests.said(B, Wants(0, ["room:1"], more=True))
    assert pod.interests.hears(B, "x")
    pod.interests.said(B, Wants(0, ["room:2"]))
    assert [pod.interests.hears(B, topic) for topic in ("x", "room:1", "room:2")] == [False, True, True]
    pod.interests.said(B, WantsNoMore(["room:1"]))
    assert not pod.interests.hears(B, "room:1")
    pod.interests.link_down(B)
    pod.interests.link_up(B)
    assert pod.interests.hears(B, "x")


def test_many_topics_are_told_in_parts() -> None:
    pod = Pod()
    for number in range(2 * TOPICS_AT_ONCE + 1):
        pod.want(f"room:{number}")
    pod.interests.link_up(B)
    parts = [said for _, said in pod.took() if isinstance(said, Wants)]
    assert [part.more for part in parts] == [True, True, False]
    assert len({topic for part in parts for topic in part.topics}) == 2 * TOPICS_AT_ONCE + 1


def test_a_topic_that_is_being_joined_is_not_given_up() -> None:
    pod = Pod()
    pod.interests.link_up(B)
    pod.took()
    pod.want("room:1")
    pod.interests.want_no_more("room:1")
    pod.interests.want_no_more("room:2")
    assert pod.took() == [(B, Wants(1, ["room:1"]))]
    pod.interests.said(B, Noted(1))
    pod.interests.want_no_more("room:1")
    assert pod.took() == [(B, WantsNoMore(["room:1"]))]


steps = st.lists(
    st.tuples(
        st.sampled_from(["join", "leave", "carry", "carry", "carry", "cut", "link", "late", "broadcast"]),
        st.integers(0, 2),
        st.integers(0, 2),
    ),
    max_size=80,
)


@hypothesis.settings(max_examples=300, deadline=None)
@given(steps)
def test_who_was_let_in_by_all_misses_no_broadcast(script: list[tuple[str, int, int]]) -> None:
    """Three pods, one topic. Where a pod was let in without a time-out, every linked pod sends it what is broadcast from then on."""
    names, pods = (A, B, C), [Pod(), Pod(), Pod()]
    linked: set[frozenset[int]] = set()
    ways: dict[tuple[int, int], deque[Interest]] = {(a, b): deque() for a in range(3) for b in range(3) if a != b}
    sure = [False] * 3
    wants = [False] * 3

    def post() -> None:
        for sender, pod in enumerate(pods):
            for peer, said in pod.took():
                to = names.index(peer)
                if frozenset((sender, to)) in linked:
                    ways[sender, to].append(said)

    for what, first, second in script:
        pair, two = frozenset((first, second)), first != second
        match what:
            case "join" if not wants[first]:
                wants[first] = True

                def let_in(pod: int = first) -> None:
                    sure[pod] = wants[pod]
                    if not wants[pod]:
                        pods[pod].interests.want_no_more("t")

                pods[first].interests.want("t", let_in)
            case "leave" if wants[first]:
                wants[first] = sure[first] = False
                pods[first].interests.want_no_more("t")
            case "link" if two and pair not in linked:
                linked.add(pair)
                pods[first].interests.link_up(names[second])
                pods[second].interests.link_up(names[first])
            case "cut" if two and pair in linked:
                linked.remove(pair)
                ways[first, second].clear()
                ways[second, first].clear()
                pods[first].interests.link_down(names[second])
                pods[second].interests.link_down(names[first])
            case "carry" if two and ways[first, second]:
                pods[second].interests.said(names[first], ways[first, second].popleft())
            case "late":
                was = list(sure)
                pods[first].time_out()
                sure[first] = was[first]  # nothing is promised to who was let in by the clock
        post()
        for pod in range(3):
            for other in range(3):
                if sure[pod] and frozenset((pod, other)) in linked and pod != other:
                    assert pods[other].interests.hears(names[pod], "t")
    for (a, b), way in ways.items():
        while way:
            pods[b].interests.said(names[a], way.popleft())
            post()
    for (a, b), way in ways.items():
        while way:
            pods[b].interests.said(names[a], way.popleft())
            post()
    for pod in range(3):
        for other in range(3):
            if frozenset((pod, other)) in linked and pod != other:
                assert pods[other].interests.hears(names[pod], "t") == wants[pod]
