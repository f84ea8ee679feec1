"""Nothing is written while nothing happens, counted by the API server."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from .account import SYSTEM, as_the_charts_account
from .audit import Audit, Request
from .conftest import Kubectl, wait_for
from .operators import LEASE, USER, Process, running
from .test_operator import Game, until

QUIET_SECONDS = 70.0
"""Longer than the longest period of anything: the operator lists once a minute."""


@pytest.fixture(scope="module")
def operator(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("steady")
    account = as_the_charts_account(kubectl, folder)
    kubectl("-n", SYSTEM, "delete", "lease", "gamecluster-operator", "--ignore-not-found")
    with running(account, folder, "steady", "--leader-election", "--lease-namespace", SYSTEM) as process:
        yield process


def writes(audit: Audit, by: Process, since: float) -> list[Request]:
    return [write for write in audit.writes(USER, since) if write.token == by.token]


def test_steady_games_cost_no_write_but_the_operators_own_lease(
    kubectl: Kubectl, operator: Process, audit: Audit
) -> None:
    """One game plays (its leader renews), one never becomes ready, one is refused by the API server."""
    playing, starting, refused = Game(kubectl, "plays"), Game(kubectl, "never-ready"), Game(kubectl, "refused")
    playing.apply()
    starting.apply()
    refused.apply(template={"spec": {"containers": [{"name": "server", "ports": [{"containerPort": 99999999}]}]}})
    playing.play_the_leader(1, *playing.play_the_kubelet())
    until(lambda: playing.condition("Ready")[0], "True")
    until(lambda: playing.condition("Reconciling")[0], "False")
    until(lambda: starting.condition("Ready"), ("False", "NoPodReady"))
    until(lambda: refused.condition("Stalled"), ("True", "Refused"))
    wait_for(lambda: _has_settled(audit, operator), "nothing for five seconds", 60)
    since, looks = time.time(), operator.figure("gamecluster_operator_reconciled_total")

    def is_over() -> bool:
        playing.renew()
        return time.time() - since >= QUIET_SECONDS

    wait_for(is_over, "the time", QUIET_SECONDS + 30)
    seen = writes(audit, operator, since)
    attempts = [write for write in seen if write.code >= 400]
    others = [write.what for write in seen if write.what != LEASE and write not in attempts]
    renewals = [write for write in seen if write.what == LEASE]
    looked = (operator.figure("gamecluster_operator_reconciled_total") or 0) - (looks or 0)
    print(f"\n{looked:.0f} looks in {time.time() - since:.0f} s, {len(renewals)} renewals, writes: {others}")
    assert others == []
    assert looked >= 20
    assert {write.what for write in attempts} <= {("patch", "statefulsets", "refused")}
    assert sum(write.at > since + QUIET_SECONDS / 2 for write in attempts) <= 2, "it backs off from what is refused"
    assert 12 <= len(renewals) <= 17
    assert operator.figure("gamecluster_operator_failed_total") == 0


def _has_settled(audit: Audit, operator: Process) -> bool:
    return all(write.what == LEASE for write in writes(audit, operator, time.time() - 5) if write.code < 400)
