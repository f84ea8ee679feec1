"""The leader has streams swept once a minute, and only if there is something to sweep."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Mapping

import pytest

from gamecluster.core.messages import Fields, Incarnation
from gamecluster.services import Services
from gamecluster.services import streams as module
from gamecluster.services.streams import TABLE
from gamecluster.shell.sweeper import sweep

POD = Incarnation("arena-2_u_1")


class Pod:
    """One whose calls are done at once."""

    def __init__(self, leads: bool) -> None:
        self.now = 1000.0
        self.services = Services(lambda: self.now, random.Random(1))
        self.calls: list[tuple[str, str]] = []
        self.leads = leads
        self.looks = 0

    def rows(self, table: str) -> Mapping[str, Fields]:
        return self.services.ledger.rows(table)

    def ask(self, service: str, verb: str, args: Fields) -> asyncio.Future[Fields]:
        self.calls.append((service, verb))
        answer: asyncio.Future[Fields] = asyncio.get_running_loop().create_future()
        answer.set_result(self.services.call(service, verb, args, POD).response)
        return answer

    @property
    def is_leader(self) -> bool:
        self.looks += 1
        return self.leads

    def append(self, topic: str, expires: float | None) -> None:
        args = {"topic": topic, "lines": [["said", {}]] * 3, "keep": 10, "expires": expires}
        assert self.services.call("streams", "append", args, POD).ok

    async def sweeps(self, until: Callable[[], bool]) -> None:
        task = asyncio.create_task(sweep(self, lambda: self.now, look_seconds=0.001))
        deadline = time.monotonic() + 10
        try:
            while not until():
                assert time.monotonic() < deadline and not task.done(), "it did not come to it"
                await asyncio.sleep(0.001)  # polls, with a deadline
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_what_has_expired_goes_in_parts_and_the_rest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SWEPT", 4)
    pod = Pod(leads=True)
    for number in range(5):
        pod.append(f"chat:{number}", expires=30)
    pod.append("chat:kept", expires=None)

    def is_swept() -> bool:
        pod.now += 1  # a minute passes sometime
        return sum(1 for row in pod.rows(TABLE).values() if row["first"] > row["offset"]) == 5

    await pod.sweeps(is_swept)
    assert len(pod.calls) == 3 and set(pod.calls) == {("streams", "sweep")}
    assert pod.rows(TABLE)["chat:kept"]["first"] == 1


@pytest.mark.parametrize("leads", [True, False])
async def test_where_nothing_has_expired_or_another_leads_nothing_is_written(leads: bool) -> None:
    pod = Pod(leads)
    pod.append("chat:1", expires=None if leads else 5)

    def has_looked_often() -> bool:
        pod.now += 100
        return pod.looks > 20

    await pod.sweeps(has_looked_often)
    assert pod.calls == []
