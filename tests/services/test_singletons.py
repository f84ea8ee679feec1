"""Singletons: rules as a Game's, one instance for each name, undone as a whole, equal on every copy."""

from __future__ import annotations

import dataclasses
import random

import pytest

from gamecluster import Channel, Entity, Game, Player, Rejected, Singleton, Table, on
from gamecluster.checks import DefinitionError
from gamecluster.core.messages import Broadcast, Incarnation, Tables
from gamecluster.core.replication import apply
from gamecluster.rules import Outcome
from gamecluster.services import Services
from gamecluster.services.singletons import TABLE
from gamecluster.testing import play, room

A = Incarnation("arena-0_a_1")


class Market(Singleton):
    name = "market:*"
    stock: int = 10
    sold: dict[str, int] = dataclasses.field(default_factory=dict)

    def start(self) -> None:
        self.sold["nobody"] = 0

    @on("buy")
    def buy(self, by: str, amount: int) -> dict[str, int]:
        self.sold[by] = self.sold.get(by, 0) + amount
        self.stock -= amount
        self.broadcast("news", "sold", {"by": by, "in": self.key})
        if self.stock < 0:
            raise Rejected("sold out", stock=self.stock + amount)
        if by == "eve":
            raise LookupError("a bug")
        return {"left": self.stock}

    @on("order")
    def order(self, amount: int) -> None:
        """From the next market."""
        self.stock += amount
        try:
            self.cluster.singleton("market:next").call("buy", {"by": self.key, "amount": amount})
        except Rejected:
            self.cluster.cache("refused").put(self.key, amount)

    @on("circle")
    def circle(self) -> None:
        self.cluster.singleton(self.key).call("circle")

    @on("close")
    def close(self) -> None:
        self.cluster.singleton(self.key).stop()

    @on("spoil")
    def spoil(self) -> None:
        self.sold["x"] = "much"  # type: ignore[assignment]


class Stage:
    def __init__(self) -> None:
        self.services = Services(lambda: 0.0, random.Random(1), [Market])
        self.copy: Tables = {}

    def call(self, name: str, event: str, **payload: object) -> Outcome:
        outcome = self.services.call("singletons", "call", {"name": name, "event": event, "payload": payload}, A)
        apply(self.copy, outcome.ops)
        assert self.copy.get(TABLE, {}) == self.services.ledger.rows(TABLE), "the copy is as the leader's"
        return outcome


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_an_instance_begins_with_its_first_call_and_keeps_its_fields(stage: Stage) -> None:
    assert stage.call("market:1", "buy", by="ann", amount=3).response == {"response": {"left": 7}}
    assert stage.call("market:1", "buy", by="ann", amount=1).ops == [
        (TABLE, "market:1", {"stock": 6, "sold": {"nobody": 0, "ann": 4}})
    ]
    assert stage.call("market:2", "buy", by="ann", amount=1).response == {"response": {"left": 9}}
    assert stage.copy[TABLE]["market:1"] == {"stock": 6, "sold": {"nobody": 0, "ann": 4}}


def test_another_leader_goes_on_from_the_rows(stage: Stage) -> None:
    stage.call("market:1", "buy", by="ann", amount=3)
    stage.services = Services(lambda: 0.0, random.Random(2), [Market])
    stage.services.load({name: dict(rows) for name, rows in stage.copy.items()})
    assert stage.call("market:1", "buy", by="bob", amount=1).response == {"response": {"left": 6}}
    assert stage.copy[TABLE]["market:1"]["sold"] == {"nobody": 0, "ann": 3, "bob": 1}


def test_what_refuses_or_fails_has_changed_nothing(stage: Stage) -> None:
    refused = stage.call("market:1", "buy", by="ann", amount=11)
    assert refused.response == {"reason": "sold out", "stock": 10} and not refused.broadcasts
    assert TABLE not in stage.copy, "it was not made either"
    stage.call("market:1", "buy", by="ann", amount=2)
    failed = stage.call("market:1", "buy", by="eve", amount=2)
    assert failed.response == {"reason": "internal error"} and "a bug" in (failed.error or "")
    spoiled = stage.call("market:1", "spoil")
    assert spoiled.response == {"reason": "internal error"} and "expected int" in (spoiled.error or "")
    done = stage.call("market:1", "buy", by="ann", amount=1)
    assert done.response == {"response": {"left": 7}}
    assert done.broadcasts == [Broadcast("news", "sold", {"by": "ann", "in": "market:1"})]


def test_one_calls_another_and_only_what_was_refused_is_undone(stage: Stage) -> None:
    assert stage.call("market:1", "order", amount=4).ok
    assert (stage.copy[TABLE]["market:1"]["stock"], stage.copy[TABLE]["market:next"]["stock"]) == (14, 6)
    assert stage.call("market:1", "order", amount=7).ok
    assert (stage.copy[TABLE]["market:1"]["stock"], stage.copy[TABLE]["market:next"]["stock"]) == (21, 6)
    assert stage.copy["$cache:refused"] == {"market:1": {"value": 7}}
    for event in ("circle", "close"):
        assert stage.call("market:1", event).response == {"reason": "internal error"}


def test_what_can_not_be_called_says_why(stage: Stage) -> None:
    assert stage.call("bank:1", "buy").response["known"] == ["market:*"]
    assert stage.call("market:", "buy").response["reason"] == "unknown singleton"
    assert stage.call("market:" + "x" * 200, "buy").response["reason"] == "unknown singleton"
    assert stage.call("market:1", "sell").response["reason"] == "unknown event"
    assert stage.call("market:1", "buy", by="ann").response == {
        "reason": "bad payload",
        "detail": "amount: expected int, got nothing",
    }


def test_one_that_is_stopped_begins_anew(stage: Stage) -> None:
    stage.call("market:1", "buy", by="ann", amount=3)
    outcome = stage.services.call("singletons", "stop", {"name": "market:1"}, A)
    assert outcome.ops == [(TABLE, "market:1", None)]
    apply(stage.copy, outcome.ops)
    assert stage.call("market:1", "buy", by="ann", amount=1).response == {"response": {"left": 9}}


def test_a_class_that_can_not_be_one_is_said() -> None:
    with pytest.raises(DefinitionError, match="a field can't be called key"):

        class Named(Singleton):
            name = "a"
            key: int = 0

    with pytest.raises(DefinitionError, match=r'expected a name such as "bank"'):

        class Nameless(Singleton):
            @on("x")
            def x(self) -> None: ...

    with pytest.raises(DefinitionError, match="must be an ordinary def"):

        class Waiting(Singleton):
            name = "a"

            @on("x")
            async def x(self) -> None: ...

    with pytest.raises(RuntimeError, match="only within a rule"):
        _ = Market().cluster


class Purse(Entity):
    gold: int = 5


class Shop(Game):
    purses: Table[Purse]

    def join(self, player: Player) -> None:
        self.purses[player.id] = Purse()

    @on("buy")
    def buy(self, player: Player, amount: int) -> dict[str, int]:
        left = self.cluster.singleton("market:1").call("buy", {"by": player.id, "amount": amount})["left"]
        purse = self.purses[player.id]
        if purse.gold < amount:
            raise Rejected("too poor")
        purse.gold -= amount
        return {"left": left, "seen": self.cluster.singleton("market:1").read()["stock"]}


def test_a_move_and_what_it_does_to_a_singleton_are_one() -> None:
    shop = play(Shop, singletons=[Market])
    shop.join("ann")
    assert shop.move("ann", "buy", amount=4) == {"left": 6, "seen": 6}
    with pytest.raises(Rejected, match="too poor"):
        shop.move("ann", "buy", amount=2)
    assert shop.move("ann", "buy", amount=1) == {"left": 5, "seen": 5}
    assert shop.tables["purses"]["ann"] == {"gold": 0}


class Counter(Channel):
    topic = "counter"

    @on("buy")
    async def buy(self, amount: int) -> dict[str, object]:
        market = self.cluster.singleton("market:1")
        before = market.read()
        answer = await market.call("buy", {"by": "me", "amount": amount})
        return {"before": before, **answer, "after": (market.read() or {})["stock"]}


def test_a_channel_awaits_one() -> None:
    counter = room(Counter, "counter", singletons=[Market])
    counter.join("ann")
    assert counter.push("ann", "buy", amount=1) == {"before": None, "left": 9, "after": 9}
    with pytest.raises(Rejected, match="sold out"):
        counter.push("ann", "buy", amount=10)
