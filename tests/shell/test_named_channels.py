"""A channel that answers for a name itself: called in its turn, what it says goes to its client, and the name ends with it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.shell.fakes import FakeBackend, FakeClient, FakeClock, FakeSocket

from gamecluster import Channel, Rejected, on
from gamecluster.checks import DefinitionError
from gamecluster.core.messages import Fields
from gamecluster.facades.names import LOST, Said, Target
from gamecluster.phoenix.codec import Vsn
from gamecluster.settings import Settings
from gamecluster.shell.clients import Hub
from gamecluster.shell.joins import Tokens
from gamecluster.shell.metrics import Metrics
from gamecluster.testing import room


class Phone(Channel):
    topic = "phone:*"

    @on("plug_in")
    async def plug_in(self, number: str) -> None:
        await self.cluster.names.register(number, self)

    @on("ring")
    def ring(self, by: str) -> Fields:
        self.push("ringing", {"by": by})
        if by == "bug":
            raise LookupError("a bug")
        return {"answered": True}

    @on("dial")
    async def dial(self, number: str) -> Fields:
        return await self.cluster.names.call(number, "ring", {"by": self.topic})

    def lost(self, name: str) -> None:
        self.push("unplugged", {"number": name})


class FakeNames:
    def __init__(self) -> None:
        self.targets: dict[str, Target] = {}

    async def register(self, name: str, target: Target) -> None:
        self.targets[name] = target

    def give_back(self, name: str, target: Target) -> None:
        assert self.targets.pop(name) is target


class Stage:
    def __init__(self) -> None:
        clock, self.backend, self.names = FakeClock(), FakeBackend(), FakeNames()
        self.backend.names = self.names  # type: ignore[attr-defined]
        settings = Settings(node="arena-0", name="arena")
        self.hub = Hub(settings, self.backend, [Phone], Tokens(b"k" * 32, "arena"), Metrics(), clock)
        socket = FakeSocket(clock)
        self.client = FakeClient(self.hub, clock, self.hub.connect(socket, Vsn.V2, None), socket)

    async def plug_in(self) -> None:
        self.client.say("d", "d", "phone:1", "phx_join", {})
        self.client.say("d", "1", "phone:1", "plug_in", {"number": "112"})
        for _ in range(3):
            await asyncio.sleep(0)
        assert [frame[4]["status"] for frame in self.client.hear()] == ["ok"]

    def call(self, event: str, **payload: Any) -> list[Said]:
        said: list[Said] = []
        enter = self.names.targets["112"].enter
        assert enter is not None
        enter(event, payload, said.append)
        return said


async def test_what_a_channel_that_is_called_pushes_goes_to_its_client() -> None:
    stage = Stage()
    await stage.plug_in()
    assert stage.call("ring", by="ann") == [Said(True, {"answered": True})]
    assert [frame[3:] for frame in stage.client.hear()] == [["ringing", {"by": "ann"}]]
    assert stage.call("ring")[0].response["reason"] == "bad payload"
    assert stage.call(LOST, name="112")[0].ok
    assert [frame[3:] for frame in stage.client.hear()] == [["unplugged", {"number": "112"}]]


async def test_a_name_ends_with_its_channel_and_one_that_fails_crashes_it() -> None:
    stage = Stage()
    await stage.plug_in()
    enter = stage.names.targets["112"].enter
    [said] = stage.call("ring", by="bug")
    assert not said.ok and said.response == {"reason": "internal error"} and "a bug" in (said.error or "")
    assert [frame[3] for frame in stage.client.hear()] == ["phx_error"] and stage.names.targets == {}
    late: list[Said] = []
    assert enter is not None
    enter("ring", {"by": "late"}, late.append)
    assert late == [Said(False, {"reason": "unknown name"})]


def test_in_tests_channels_call_each_other() -> None:
    phone = room(Phone, "phone:1")
    phone.join("ann")
    phone.join("bob")
    phone.push("ann", "plug_in", number="112")
    assert phone.push("bob", "dial", number="112") == {"answered": True}
    assert phone.received["ann"] == [("ringing", {"by": "phone:1"})]
    with pytest.raises(Rejected, match="name taken"):
        phone.push("bob", "plug_in", number="112")
    phone.leave("ann")
    with pytest.raises(Rejected, match="unknown name"):
        phone.push("bob", "dial", number="112")


def test_another_clients_channel_can_not_be_registered() -> None:
    class Thief(Channel):
        topic = "thief"
        first: Thief | None = None

        @on("steal")
        async def steal(self) -> None:
            if Thief.first is None:
                Thief.first = self
            else:
                await self.cluster.names.register("x", Thief.first)

    thieves = room(Thief, "thief")
    for client in ("ann", "bob"):
        thieves.join(client)
    thieves.push("ann", "steal")
    with pytest.raises(DefinitionError, match="registers itself"):
        thieves.push("bob", "steal")
