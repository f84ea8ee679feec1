"""Two replicas of the operator, as processes: who works, how fast the other takes over, and that the old one writes nothing more."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .account import SYSTEM, as_the_charts_account
from .audit import Audit, Request
from .conftest import Kubectl, wait_for
from .operators import LEASE, USER, Process, another, running
from .test_operator import Game

LEASE_SECONDS = 15.0


class Pair:
    """``leader`` works, ``standby`` waits."""

    def __init__(self, leader: Process, standby: Process, game: Game, audit: Audit) -> None:
        self.leader, self.standby, self.game, self.audit = leader, standby, game, audit

    def writes(self, by: Process, since: float) -> list[Request]:
        return [write for write in self.audit.writes(USER, since) if write.token == by.token]

    def first_repair(self, since: float) -> float | None:
        """When the standby first put back the Service that was deleted; in seconds since 1970."""
        repairs = (w.at for w in self.writes(self.standby, since) if w.what == ("patch", "services", self.game.name))
        return next(repairs, None)


@pytest.fixture(scope="module")
def account(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return as_the_charts_account(kubectl, tmp_path_factory.mktemp("account"))


@pytest.fixture
def pair(kubectl: Kubectl, account: Path, audit: Audit, tmp_path: Path) -> Iterator[Pair]:
    kubectl("-n", SYSTEM, "delete", "lease", "gamecluster-operator", "--ignore-not-found")
    flags = ("--leader-election", "--lease-namespace", SYSTEM)
    with ExitStack() as stack:
        leader = stack.enter_context(running(another(kubectl, account, "one"), tmp_path, "one", *flags))
        wait_for(lambda: leader.leads, "the first leads")
        standby = stack.enter_context(running(another(kubectl, account, "two"), tmp_path, "two", *flags))
        wait_for(lambda: standby.answer("/readyz") == 200, "the second is ready")
        game = Game(kubectl, "taken-over")
        game.apply()
        wait_for(lambda: game.told("Created"), "the event Created")
        assert standby.answer("/livez") == 200 and not standby.leads
        yield Pair(leader, standby, game, audit)
        game("delete", "gc", game.name, "--wait=true")


def taken_over(pair: Pair, since: float, seconds: float) -> tuple[float, float]:
    """Seconds until the standby leads, and until it has put something right."""
    wait_for(lambda: pair.standby.leads, "the second leads", seconds)
    leads = time.time() - since
    pair.game("delete", "service", pair.game.name, "--ignore-not-found")
    repaired = wait_for(lambda: pair.first_repair(since), "the Service again", seconds)
    return leads, repaired - since


def test_a_leader_that_is_told_to_end_is_followed_within_three_seconds(pair: Pair) -> None:
    pair.game("delete", "service", pair.game.name, "--wait=false")
    since = time.time()
    pair.leader.signal(signal.SIGTERM)
    leads, repaired = taken_over(pair, since, 10)
    print(f"\nclean stop: the other leads after {leads:.2f} s, its first repair came after {repaired:.2f} s")
    assert leads <= 3.0
    assert pair.leader.process.wait(20) == 0
    taken = next(write.at for write in pair.writes(pair.standby, since) if write.what == LEASE and write.code == 200)
    assert pair.writes(pair.leader, taken) == []


def test_a_leader_that_is_killed_is_followed_when_its_lease_is_over(pair: Pair) -> None:
    since = time.time()
    pair.leader.signal(signal.SIGKILL)
    leads, repaired = taken_over(pair, since, 30)
    print(f"\nkill -9: the other leads after {leads:.2f} s, its first repair came after {repaired:.2f} s")
    assert leads <= LEASE_SECONDS + 3.0


def test_a_leader_that_was_frozen_for_longer_than_its_lease_ends_without_another_write(pair: Pair) -> None:
    since = time.time()
    pair.leader.signal(signal.SIGSTOP)
    taken_over(pair, since, 30)
    thawed = time.time()
    pair.game("scale", "gc", pair.game.name, "--replicas=5")
    pair.leader.signal(signal.SIGCONT)
    assert pair.leader.process.wait(20) == 1
    assert pair.writes(pair.leader, thawed) == []
    wait_for(lambda: pair.game.get("statefulset", pair.game.name)["spec"]["replicas"] == 5, "five replicas")
    assert "could not be renewed" in pair.leader.log.read_text()
