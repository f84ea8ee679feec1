"""The operator before an API server that refuses, forgets, is slow, and ends watches: through a proxy before the real one."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from .account import GAMES, as_the_charts_account
from .conftest import Kubectl, wait_for
from .operators import Process, running
from .proxy import Fault, Proxy, seconds_until
from .test_operator import Game, until


class Bad:
    """An operator with two workers behind a proxy."""

    def __init__(self, kubectl: Kubectl, operator: Process, proxy: Proxy) -> None:
        self.kubectl, self.operator, self.proxy = kubectl, operator, proxy
        self._games: list[Game] = []

    def game(self, name: str) -> Game:
        game = Game(self.kubectl, name)
        self._games.append(game)
        game.apply()
        return game

    def made(self, name: str) -> Game:
        game = self.game(name)
        wait_for(lambda: game.told("Created"), f"the event Created of {name}", 30)
        return game

    def is_there(self, kind: str, name: str) -> bool:
        return bool(self.kubectl("-n", GAMES, "get", kind, name, "--ignore-not-found"))

    def ends(self) -> None:
        self.proxy.deaf.clear()
        self.proxy.faults.clear()
        for game in self._games:
            game("delete", "gc", game.name, "--ignore-not-found", "--wait=false")
        assert self.operator.process.poll() is None, self.operator.log.read_text()


@pytest.fixture(scope="module")
def behind_a_proxy(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, Proxy]]:
    folder = tmp_path_factory.mktemp("faults")
    proxy = Proxy(as_the_charts_account(kubectl, folder))
    with ExitStack() as stack:
        stack.callback(proxy.close)
        operator = stack.enter_context(running(proxy.kubeconfig, folder, "behind", "--workers", "2"))
        wait_for(lambda: proxy.watching >= 6, "the watches", 30)
        yield operator, proxy


@pytest.fixture
def bad(kubectl: Kubectl, behind_a_proxy: tuple[Process, Proxy]) -> Iterator[Bad]:
    bad = Bad(kubectl, *behind_a_proxy)
    yield bad
    bad.ends()


def test_games_for_which_the_api_server_is_slow_or_broken_delay_no_other(bad: Bad) -> None:
    """More of them than there are workers."""
    bad.proxy.faults += [
        Fault("PATCH", "/services/slow-", seconds=9.0, code=500),
        Fault("PATCH|POST|GET", "/(secrets|serviceaccounts)/broken-", code=500),
    ]
    for number in range(5):
        bad.game(f"slow-{number}")
        bad.game(f"broken-{number}")
    fine = bad.game("fine")
    seconds = seconds_until(lambda: bad.is_there("statefulset", "fine"), "the healthy one", 15)
    wait_for(lambda: fine.told("Created"), "all of it", 15)
    print(f"\nbeside ten games in trouble, and two workers: created {seconds:.1f} s after it was asked for")
    fine("delete", "service", "fine")
    seconds = seconds_until(lambda: bad.is_there("service", "fine"), "the Service again", 10)
    print(f"drift put right after {seconds:.1f} s")


def test_what_is_refused_is_tried_less_and_less_often(bad: Bad) -> None:
    bad.proxy.faults.append(Fault("PATCH", "/statefulsets/backing-off", code=500))
    game = bad.game("backing-off")
    times = wait_for(lambda: (t := bad.proxy.times("PATCH", "/statefulsets/backing-off"))[4:] and t, "five tries", 60)
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses[3] >= 4.0 > pauses[0], pauses
    assert bad.is_there("service", game.name), "the other objects are there"
    assert game.condition("Reconciling") == ("True", "Retrying")


def test_an_api_server_that_asks_for_patience_gets_it(bad: Bad) -> None:
    fault = Fault("PATCH", "/statefulsets/patient", times=1, code=429, headers={"Retry-After": "6"})
    bad.proxy.faults.append(fault)
    game = bad.game("patient")
    wait_for(lambda: game.told("Created"), "the event Created", 30)
    first, second = bad.proxy.times("PATCH", "/statefulsets/patient")[:2]
    assert second - first >= 6.0


def test_conflicts_are_resolved_by_looking_again(bad: Bad) -> None:
    bad.proxy.faults += [
        Fault("PATCH", "/gameclusters/conflicting/status", times=3, code=409),
        Fault("PATCH", "/(statefulsets|services)/conflicting", times=5, code=409),
    ]
    game = bad.made("conflicting")
    until(lambda: game.condition("Stalled")[0], "False")
    until(lambda: game.status.get("observedGeneration"), 1)


def test_an_api_server_that_fails_for_a_while_is_waited_for(bad: Bad) -> None:
    game = bad.made("rides-out")
    bad.proxy.faults.append(Fault(".*", "", code=500))
    bad.proxy.end_watches(500)
    game("delete", "service", game.name)
    game("scale", "gc", game.name, "--replicas=4")
    wait_for(lambda: len(bad.proxy.times("GET", "", time.monotonic() - 1)) > 0, "it asks on")
    began = time.monotonic()
    wait_for(lambda: time.monotonic() - began > 6, "six seconds", 10)
    bad.proxy.faults.clear()
    seconds = seconds_until(lambda: bad.is_there("service", game.name), "the Service again", 30)
    wait_for(lambda: game.get("statefulset", game.name)["spec"]["replicas"] == 4, "four replicas", 30)
    print(f"\nput right {seconds:.1f} s after the API server was back")


@pytest.mark.parametrize("code", [410, 500])
def test_watches_that_end_by_an_error_are_opened_anew(bad: Bad, code: int) -> None:
    game = bad.made(f"watched-{code}")
    began = time.monotonic()
    bad.proxy.end_watches(code)
    wait_for(lambda: len(bad.proxy.times("GET", "/statefulsets", began)) >= 2, "a list and a watch", 30)
    wait_for(lambda: bad.proxy.watching >= 6, "the watches", 30)
    game("delete", "service", game.name)
    seconds = seconds_until(lambda: bad.is_there("service", game.name), "the Service again", 10)
    print(f"\nafter {code} on all watches: drift put right after {seconds:.1f} s")


def test_watches_that_are_asked_for_in_vain_while_another_ends_by_an_error_are_opened_anew(bad: Bad) -> None:
    """kopf ends by the error, and those that ask take no notice of that."""
    game = bad.made("asked-in-vain")
    bad.proxy.faults.append(Fault(".*", "", code=500))
    began = time.monotonic()
    bad.proxy.close_watches(but=1)
    wait_for(lambda: len(bad.proxy.times("GET", "/[a-z]+$", began)) >= 5, "kinds that are asked for", 30)
    bad.proxy.end_watches(500)
    ended = time.monotonic()
    wait_for(lambda: time.monotonic() - ended > 7, "kopf waits 5 s for its tasks", 10)
    bad.proxy.faults.clear()
    wait_for(lambda: bad.proxy.watching >= 6, "the watches", 60)
    game("delete", "service", game.name)
    seconds = seconds_until(lambda: bad.is_there("service", game.name), "the Service again", 10)
    print(f"\ndrift put right after {seconds:.1f} s")


def test_a_deletion_in_the_gap_between_two_watches_is_seen(bad: Bad) -> None:
    """The list after a 410 has only the survivors."""
    game = bad.made("in-the-gap")
    lost = bad.proxy.lost
    bad.proxy.deaf.set()
    game("delete", "service", game.name)
    wait_for(lambda: bad.proxy.lost > lost, "the watch's event, which is lost")
    bad.proxy.deaf.clear()
    bad.proxy.end_watches(410)
    seconds = seconds_until(lambda: bad.is_there("service", game.name), "the Service again", 15)
    print(f"\nput right {seconds:.1f} s after the watches were back")


def test_a_slow_api_server_only_slows(bad: Bad) -> None:
    bad.proxy.faults.append(Fault(".*", "", seconds=0.5))
    seconds = seconds_until(lambda: bad.made("through-mud"), "all objects", 60)
    print(f"\nwith half a second for each answer: created after {seconds:.1f} s")
