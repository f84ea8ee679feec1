"""Matches: of the right size, near enough for all in them, nobody twice, and found where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gamecluster.matching import Property, Range, Ticket, find_matches

NOW = 1_000_000


def ticket(id: str, *, size: int = 2, players: int = 1, waited: float = 0, **properties: Property) -> Ticket:
    names = tuple(f"{id}{n}" for n in range(players))
    return Ticket(id, names, size, properties, NOW - round(waited * 1000))


def ids(*tickets: Ticket, ranges: Mapping[str, Range] | None = None) -> list[str]:
    return ["+".join(sorted(t.id for t in group)) for group in find_matches(tickets, ranges or {}, NOW)]


def test_two_who_want_the_same_are_a_match() -> None:
    assert ids(ticket("a"), ticket("b")) == ["a+b"]
    assert ids(ticket("a"), ticket("b", size=3)) == []
    assert ids(ticket("a", mode="ctf"), ticket("b", mode="race"), ticket("c", mode="ctf")) == ["a+c"]
    assert ids(ticket("a", ranked=True), ticket("b", ranked=False), ticket("c")) == []


def test_the_longest_waiting_choose_first_and_take_the_nearest() -> None:
    first = ticket("a", waited=2, skill=1000)
    assert ids(first, ticket("b", waited=1, skill=1090), ticket("c", skill=1010)) == ["a+c"]


def test_numbers_may_be_as_far_apart_as_both_would_have_it() -> None:
    ranges = {"skill": Range(within=100, per_second=10, most=150)}
    near, far = ticket("a", skill=1000), ticket("b", waited=60, skill=1110)
    assert ids(near, far, ranges=ranges) == [], "the newer one would rather wait"
    later = ticket("a", waited=1, skill=1000)
    assert ids(later, far, ranges=ranges) == ["a+b"]
    assert ids(ticket("a", waited=600, skill=1000), ticket("b", waited=600, skill=1151), ranges=ranges) == []


def test_a_group_is_within_reach_of_all_not_only_of_the_first() -> None:
    ranges = {"skill": Range(within=100, per_second=0)}
    apart = [ticket("a", size=3, waited=1, skill=1000), ticket("b", size=3, skill=930), ticket("c", size=3, skill=1070)]
    assert ids(*apart, ranges=ranges) == []
    assert ids(*apart, ticket("d", size=3, skill=1020), ranges=ranges) == ["a+b+d"]


def test_every_number_counts() -> None:
    assert ids(ticket("a", skill=1000, ping=10), ticket("b", skill=1000, ping=500)) == []
    assert ids(ticket("a", skill=1000, ping=10), ticket("b", skill=1090, ping=70)) == ["a+b"]


def test_parties_stay_together_and_fill_up_exactly() -> None:
    pair, trio = ticket("p", size=4, players=2, waited=3), ticket("t", size=4, players=3, waited=2)
    assert ids(pair, trio) == []
    assert ids(pair, trio, ticket("a", size=4)) == ["a+t"]
    assert ids(pair, trio, ticket("a", size=4, waited=1), ticket("b", size=4, waited=1)) == ["a+b+p"]
    assert ids(ticket("f", size=4, players=4)) == ["f"], "a party that is a match by itself"


def test_a_player_is_not_in_a_match_twice() -> None:
    twice = Ticket("b", ("a0",), 2, {}, NOW)
    assert ids(ticket("a"), twice) == []


def test_what_is_no_number_is_no_nearness() -> None:
    assert ids(ticket("a", level=1), ticket("b", level="1")) == []
    assert ids(ticket("a", level=1), ticket("b", level=True)) == []
    assert ids(ticket("a", level=1), ticket("b", level=1.5)) == ["a+b"]


waiting = st.lists(
    st.tuples(st.integers(2, 5), st.integers(1, 3), st.integers(0, 400), st.integers(0, 5), st.sampled_from("xy")),
    max_size=40,
)


def made(drawn: list[Any]) -> list[Ticket]:
    return [
        ticket(f"t{n}", size=size, players=min(players, size), waited=waited, skill=skill, mode=mode)
        for n, (size, players, skill, waited, mode) in enumerate(drawn)
    ]


@given(waiting)
@settings(max_examples=300)
def test_every_match_is_one_that_all_in_it_would_have(drawn: list[Any]) -> None:
    tickets = made(drawn)
    groups = find_matches(tickets, {}, NOW)
    taken = [t.id for group in groups for t in group]
    assert len(taken) == len(set(taken))
    for group in groups:
        players = [p for t in group for p in t.players]
        assert len(players) == len(set(players)) == group[0].size
        assert len({(t.size, t.properties["mode"]) for t in group}) == 1
        skills = [float(t.properties["skill"]) for t in group]
        assert max(skills) - min(skills) <= min(Range().reach((NOW - t.at) / 1000) for t in group)
    assert find_matches(list(reversed(tickets)), {}, NOW) == groups, (
        "the order in which they are given is of no account"
    )


@given(waiting)
def test_two_who_would_have_each_other_do_not_both_go_on_waiting(drawn: list[Any]) -> None:
    tickets = [t for t in made(drawn) if t.size == 2 and len(t.players) == 1]
    taken = {t.id for group in find_matches(tickets, {}, NOW) for t in group}
    left = [t for t in tickets if t.id not in taken]
    for a in left:
        for b in left:
            if a.id < b.id and a.properties["mode"] == b.properties["mode"]:
                reach = min(Range().reach((NOW - t.at) / 1000) for t in (a, b))
                assert abs(float(a.properties["skill"]) - float(b.properties["skill"])) > reach


def test_all_of_a_crowd_find_somebody() -> None:
    crowd = [ticket(f"t{n:05}", size=4, waited=n % 7, skill=n * 7919 % 3000) for n in range(2000)]
    matched = sum(len(group) for group in find_matches(crowd, {}, NOW))
    assert matched >= 1900


@pytest.mark.parametrize("count", [0, 1])
def test_nobody_alone_is_a_match(count: int) -> None:
    assert ids(*[ticket("a")] * count) == []
