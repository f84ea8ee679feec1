"""Replicas of the operator on a fake API server, on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from gamecluster_operator.candidate import Candidate
from gamecluster_operator.election import LEASE_NAME, TERM_SECONDS
from gamecluster_operator.kube import Conflict, Fenced, NotLeading, Unavailable, list_all
from gamecluster_operator.labels import Object

from .fakes import FakeKube
from .kube_contract import service
from .virtual import now, run

NAMESPACE = "system"


class Slow(FakeKube):
    """``loses_answers``: writes are done, and nobody is told; ``holds``: nothing is answered."""

    loses_answers = holds = False

    async def replace(self, obj: Object) -> Object:
        await self._maybe_hold()
        made = await super().replace(obj)
        if self.loses_answers:
            raise Unavailable("the connection was reset")
        return made

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        await self._maybe_hold()
        return await super().get(kind, namespace, name)

    async def _maybe_hold(self) -> None:
        if self.holds:
            await asyncio.sleep(1_000)

    @property
    def lease(self) -> Object:
        found: Object = self.one("Lease", LEASE_NAME, NAMESPACE)["spec"]
        return found


def candidate(kube: FakeKube, name: str) -> Candidate:
    return Candidate(kube, NAMESPACE, name, now)


def task(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    return asyncio.create_task(coroutine)


async def ended(running: asyncio.Task[Any]) -> None:
    running.cancel()
    await asyncio.wait([running])


def test_the_first_leads_at_once_and_the_second_when_it_gives_the_lease_back() -> None:
    async def story() -> None:
        kube = Slow()
        first, second = candidate(kube, "first"), candidate(kube, "second")
        await first.win()
        keeping, waiting = task(first.keep()), task(second.win())
        await asyncio.sleep(120)
        assert first.leads() and not waiting.done() and second.has_looked
        await ended(keeping)
        await first.give_back()
        began = now()
        await waiting
        assert now() - began <= 1.01 and second.leads() and not first.leads()
        assert (kube.lease["holderIdentity"], kube.lease["leaseTransitions"]) == ("second", 1)

    run(story())


def test_a_leader_that_dies_is_followed_when_its_lease_is_over() -> None:
    async def story() -> None:
        kube = Slow()
        first, second = candidate(kube, "first"), candidate(kube, "second")
        await first.win()
        waiting, died = task(second.win()), now()
        await waiting
        assert 15.0 <= now() - died <= 16.1 and not first.leads()

    run(story())


def test_a_leader_writes_its_lease_every_five_seconds_and_a_standby_nothing() -> None:
    async def story() -> None:
        kube = Slow()
        first, second = candidate(kube, "first"), candidate(kube, "second")
        await first.win()
        keeping, waiting = task(first.keep()), task(second.win())
        kube.writes.clear()
        await asyncio.sleep(60.5)
        assert kube.writes == [("replace", "Lease", LEASE_NAME)] * 12
        await ended(keeping)
        await ended(waiting)

    run(story())


@pytest.mark.parametrize("fault", ["fails", "holds"])
def test_a_leader_without_the_api_server_ends_before_another_may_begin(fault: str) -> None:
    async def story() -> None:
        kube = Slow()
        leader = candidate(kube, "a")
        fenced = Fenced(kube, leader.leads)
        await leader.win()
        won = now()
        if fault == "fails":
            kube.fail = {verb: Unavailable("no route") for verb in ("get", "replace")}
        kube.holds = fault == "holds"
        reason = await asyncio.wait_for(leader.keep(), 60)
        assert "10 s" in reason and now() - won <= TERM_SECONDS + 4.1
        kube.fail, kube.holds, before = {}, False, list(kube.writes)
        with pytest.raises(NotLeading):
            await fenced.apply(service("late"))
        with pytest.raises(NotLeading):
            await fenced.delete("Service", NAMESPACE, "late", "uid")
        assert kube.writes == before

    run(story())


def test_a_leader_rides_out_an_api_server_that_is_away_for_less_than_its_term() -> None:
    async def story() -> None:
        kube = Slow()
        leader = candidate(kube, "a")
        await leader.win()
        keeping = task(leader.keep())
        for _ in range(5):
            kube.fail = {verb: Unavailable("no route") for verb in ("get", "replace")}
            await asyncio.sleep(4)
            kube.fail = {}
            await asyncio.sleep(8)
        assert leader.leads() and not keeping.done()
        await ended(keeping)

    run(story())


def test_a_renewal_of_which_the_answer_was_lost_deposes_nobody() -> None:
    async def story() -> None:
        kube = Slow()
        leader = candidate(kube, "a")
        await leader.win()
        keeping = task(leader.keep())
        kube.loses_answers = True
        await asyncio.sleep(8)
        kube.loses_answers = False
        await asyncio.sleep(20)
        assert leader.leads() and not keeping.done()
        await ended(keeping)

    run(story())


def test_a_lease_that_somebody_else_holds_now_deposes_at_the_next_renewal() -> None:
    async def story() -> None:
        kube = Slow()
        leader = candidate(kube, "a")
        await leader.win()
        await kube.merge("Lease", NAMESPACE, LEASE_NAME, {"spec": {"holderIdentity": "b"}})
        assert "b holds" in await asyncio.wait_for(leader.keep(), 10)
        await leader.give_back()
        assert kube.lease["holderIdentity"] == "b", "it is not its own any more"

    run(story())


def test_a_lease_that_was_deleted_comes_back_with_the_same_leader() -> None:
    async def story() -> None:
        kube = Slow()
        leader = candidate(kube, "a")
        await leader.win()
        keeping = task(leader.keep())
        kube.remove("Lease", LEASE_NAME, NAMESPACE)
        await asyncio.sleep(8)
        assert leader.leads() and kube.lease["holderIdentity"] == "a"
        await ended(keeping)

    run(story())


def test_a_lease_that_changed_while_it_is_given_back_is_given_back_all_the_same() -> None:
    async def story() -> None:
        kube = Slow()
        leader = candidate(kube, "a")
        await leader.win()
        await kube.merge("Lease", NAMESPACE, LEASE_NAME, {"metadata": {"annotations": {"theirs": "yes"}}})
        await leader.give_back()
        assert "holderIdentity" not in kube.lease and not leader.leads()

    run(story())


def test_two_that_see_it_free_at_once_do_not_both_take_it() -> None:
    async def story() -> None:
        kube = Slow()
        both = [candidate(kube, "a"), candidate(kube, "b")]
        running = [task(one.win()) for one in both]
        await asyncio.sleep(5)
        assert [one.leads() for one in both].count(True) == 1
        for one in running:
            await ended(one)

    run(story())


async def test_who_leads_writes_through_the_fence() -> None:
    kube = FakeKube()
    fenced = Fenced(kube, lambda: True)
    made = await fenced.apply(service("made"))
    with pytest.raises(Conflict):
        await fenced.create(service("made"))
    assert await list_all(fenced, "Service", None, None) == [made]
    await fenced.delete("Service", made["metadata"]["namespace"], "made", made["metadata"]["uid"])
    assert kube.names("Service") == set()
