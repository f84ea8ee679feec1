"""The names that a pod holds: who may answer, for how long, and what others are told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

import msgspec
import pytest

from gamecluster import Rejected, on
from gamecluster.checks import DefinitionError
from gamecluster.core.effects import Deliver
from gamecluster.core.messages import Fields, Incarnation, incarnation
from gamecluster.core.replication import apply
from gamecluster.facades.names import Handler, Target
from gamecluster.rules import rejected
from gamecluster.services import Services
from gamecluster.services.names import TOPIC
from gamecluster.services.tenure import TENURE_SECONDS
from gamecluster.shell import seat
from gamecluster.shell.held_names import HeldNames
from gamecluster.shell.questions import Answered, Question, Questions

A, B = incarnation("arena-0", "uid", 1), incarnation("arena-1", "uid", 1)


class Npc:
    def __init__(self) -> None:
        self.said: list[str] = []
        self.lost_names: list[str] = []
        self.go_on = asyncio.Event()
        self.go_on.set()

    @on("hear")
    async def hear(self, text: str) -> dict[str, Any]:
        await self.go_on.wait()
        self.said.append(text)
        if text == "bug":
            raise LookupError("a bug")
        return {"heard": len(self.said)}

    def lost(self, name: str) -> None:
        self.lost_names.append(name)


class World:
    """Two pods on one leader. ``cut``: pods that do not reach it; ``time``: of all of them."""

    def __init__(self) -> None:
        self.time = 100.0
        self.services = Services(lambda: 0.0, random.Random(1))
        self.cut: set[Incarnation] = set()
        self.pods = {who: Pod(self, who) for who in (A, B)}

    async def ask(self, who: Incarnation, service: str, verb: str, args: Fields) -> Fields:
        if who in self.cut:
            raise Rejected("no leader")
        outcome = self.services.call(service, verb, args, who)
        self.committed(outcome.ops, [msgspec.json.encode(said.payload) for said in outcome.broadcasts])
        if not outcome.ok:
            raise rejected(outcome.response)
        return {**outcome.response, "epoch": 1, "seq": 1}

    def committed(self, ops: list[Any], said: Iterable[bytes] = ()) -> None:
        for pod in self.pods.values():
            if pod.me not in self.cut:
                apply(pod.tables, ops)
                for payload in said:
                    pod.names.delivered(Deliver(TOPIC, "hear", payload))
                pod.names.followed(ops)


class Pod:
    def __init__(self, world: World, me: Incarnation) -> None:
        self.me = me
        self.tables: dict[str, dict[str, Fields]] = {}
        self.reachable: list[Incarnation] = [A, B]
        self._world = world
        later = asyncio.get_running_loop().call_later
        self.questions = Questions(later, self._send)
        self.names = HeldNames(
            me,
            lambda *call: world.ask(me, *call),
            self.rows,
            lambda: self.reachable,
            self.questions,
            lambda: world.time,
        )

    def rows(self, table: str) -> Mapping[str, Fields]:
        return self.tables.get(table, {})

    def _send(self, peer: Incarnation, said: Question | Answered) -> None:
        if not {peer, self.me} & self._world.cut:
            asyncio.get_running_loop().call_soon(self._world.pods[peer].questions.said, self.me, said)

    async def register(self, npc: object, name: str = "npc") -> Target:
        target = Target(Handler(npc), None)
        await self.names.register(name, target)
        return target

    async def call(self, text: str = "hi", name: str = "npc") -> Any:
        try:
            return await self.names.call(name, "hear", {"text": text})
        except Rejected as refusal:
            return refusal.response


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    for pod in made.pods.values():
        pod.names.close()


async def until(met: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not met():  # noqa: ASYNC110 (conditions of any kind)
            await asyncio.sleep(0.005)


async def test_a_name_is_called_where_it_lives(world: World) -> None:
    npc, [a, b] = Npc(), world.pods.values()
    target = await a.register(npc)
    assert [await pod.call() for pod in (a, b, a)] == [{"heard": n} for n in (1, 2, 3)]
    with pytest.raises(Rejected, match="name taken"):
        await b.register(Npc())
    with pytest.raises(Rejected, match="name taken"):
        await a.register(Npc())
    assert await b.call(name="nobody") == {"reason": "unknown name"}
    await b.names.unregister("npc", target)
    assert await b.call() == {"heard": 4}, "it is another's"
    await a.names.unregister("npc", target)
    assert await b.call() == {"reason": "unknown name"}
    await b.register(npc)
    assert await a.call() == {"heard": 5}


async def test_what_a_handler_refuses_or_fails_at_is_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    a, b = world.pods.values()
    await a.register(Npc())
    assert await b.call("bug") == {"reason": "internal error"} and "a bug" in caplog.text
    with pytest.raises(Rejected, match="unknown event"):
        await b.names.call("npc", "shout", {})
    with pytest.raises(Rejected, match="bad payload"):
        await b.names.call("npc", "hear", {"text": 1})
    with pytest.raises(Rejected, match="too large"):
        await b.names.call("npc", "hear", {"text": "x" * 70_000})
    with pytest.raises(DefinitionError, match="answers nothing"):
        Handler(object())


async def test_a_node_that_is_not_heard_is_unreachable_at_once(world: World) -> None:
    a, b = world.pods.values()
    await a.register(Npc())
    b.reachable = []
    assert await b.call() == {"reason": "unreachable", "node": "arena-0"}


async def test_a_node_that_falls_silent_during_a_call_is_not_waited_for(world: World) -> None:
    npc, [a, b] = Npc(), world.pods.values()
    await a.register(npc)
    npc.go_on.clear()
    call = asyncio.ensure_future(b.call())
    await asyncio.sleep(0)
    b.reachable = []
    answer = await call
    assert (answer["reason"], answer["node"]) == ("unknown", "arena-0")


async def test_a_holder_without_a_sign_of_the_leader_stops_answering_before_its_name_can_be_anothers(
    world: World,
) -> None:
    npc, [a, b] = Npc(), world.pods.values()
    await a.register(npc)
    world.cut.add(A)
    world.time += TENURE_SECONDS - 0.01
    assert await a.call() == {"heard": 1}
    world.time += 0.02
    answer = await a.call()
    assert (answer["reason"], answer["node"]) == ("unreachable", "arena-0") and npc.said == ["hi"]
    world.cut.discard(A)
    await until(lambda: a.names._tenure.is_good(world.time))  # the next sign, 400 ms later at most
    assert await b.call() == {"heard": 2}


async def test_a_holder_that_has_lost_its_name_is_told_and_calls_go_to_the_new_one(world: World) -> None:
    first, second, [a, b] = Npc(), Npc(), world.pods.values()
    await a.register(first)
    world.cut.add(A)
    world.committed(world.services.gone({A}).ops)
    world.time += 10
    await b.register(second)
    assert (await a.call())["reason"] == "unreachable", "by its copy it holds it still"
    world.cut.discard(A)
    a.tables = {name: dict(rows) for name, rows in b.tables.items()}
    a.names.followed(None)
    assert first.lost_names == ["npc"] and await a.call() == {"heard": 1} and second.said == ["hi"]


async def test_a_name_that_no_handler_wants_any_more_is_given_back_when_the_leader_is_there_again(world: World) -> None:
    a, b = world.pods.values()
    target = await a.register(Npc())
    world.cut.add(A)
    a.names.give_back("npc", target)
    for _ in range(3):
        await asyncio.sleep(0)
    assert b.rows("$names"), "nobody could be told"
    world.cut.discard(A)
    await until(lambda: not b.rows("$names"))
    await b.register(Npc())


async def test_what_a_rule_sends_is_delivered_in_order_to_the_holder_of_then(world: World) -> None:
    npc, [a, b] = Npc(), world.pods.values()
    target = await b.register(npc)
    services = world.services
    for text in ("one", "two"):
        assert services.names.send("npc", "hear", {"text": text})
    ops, said = services.ledger.take()
    world.committed(ops, [msgspec.json.encode(broadcast.payload) for broadcast in said])
    await until(lambda: npc.said == ["one", "two"])
    assert not services.names.send("nobody", "hear", {})
    services.names.send("npc", "hear", {"text": "late"})
    ops, said = services.ledger.take()
    await b.names.unregister("npc", target)
    await a.register(other := Npc())
    world.committed(ops, [msgspec.json.encode(broadcast.payload) for broadcast in said])
    assert await a.call("now") == {"heard": 1} and other.said == ["now"] and npc.said == ["one", "two"]


async def test_a_handler_that_has_too_much_to_do_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seat, "WAITING_AT_MOST", 2)
    npc, [a, b] = Npc(), world.pods.values()
    await a.register(npc)
    npc.go_on.clear()
    calls = [asyncio.ensure_future(a.call(str(n))) for n in range(3)]
    await asyncio.sleep(0)
    assert await b.call("late") == {"node": "arena-0", "reason": "overloaded"}
    npc.go_on.set()
    assert [await call for call in calls] == [{"heard": n} for n in (1, 2, 3)] and npc.said == ["0", "1", "2"]
