"""A room's outbox and inbox: rows of its own log, letters taken once, refusals that are final."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gamecluster import Entity, Player, Rejected, Room, Table, on, received
from gamecluster.core.authority import Asked, Authority, Services
from gamecluster.core.messages import Call, Fields, Incarnation, Tables
from gamecluster.core.replication import apply
from gamecluster.room import make_room
from gamecluster.rules import Outcome
from gamecluster.services import outbox
from gamecluster.services.outbox import IN, OUT, OUT_AT_MOST, ROOM

HERE = Incarnation("arena-0_a_1")


class Coin(Entity):
    value: int = 0


class Vault(Room):
    rooms = "vault-*"
    coins: Table[Coin]

    @on("pay")
    def pay(self, player: Player, to: str, coin: str) -> None:
        value = self.coins.pop(coin).value
        self.send(to, "paid", {"coin": coin, "value": value})
        self.cluster.leaderboard("paid").add(player.id, value)
        self.broadcast("gone", {"coin": coin})
        if coin == "lead":
            raise Rejected("too heavy")

    @on("mint")
    def mint(self, player: Player, coin: str, value: int) -> None:
        self.coins[coin] = Coin(value=value)

    @on("flood")
    def flood(self, player: Player, letters: int) -> None:
        for number in range(letters):
            self.send("vault-2", "paid", {"coin": str(number), "value": 1})

    @on("close")
    def close(self, player: Player, fail: bool = False) -> None:
        self.end()
        if fail:
            raise LookupError("a bug")

    @received("paid")
    def paid(self, sender: str, coin: str, value: int) -> None:
        self.coins[coin] = Coin(value=value)
        self.broadcast("came", {"coin": coin, "from": sender})
        if value == 0:
            raise Rejected("worthless")
        if value < 0:
            raise LookupError("a bug")
        if value > 1000:
            self.send(sender, "paid", {"coin": "change", "value": 1})

    def returned(self, room: str, event: str, payload: Fields) -> None:
        self.coins[payload["coin"]] = Coin(value=payload["value"])
        self.broadcast("back", {"from": room})
        if payload["coin"] == "cursed":
            raise LookupError("a bug")
        if payload["coin"] == "stubborn":
            raise Rejected("no")


class Copy:
    """A room with a backup, which has what each entry says."""

    def __init__(self, room: str = "vault-1", seed: int = 1) -> None:
        self.room, self.seed = room, seed
        self.rules, self.services = make_room(Vault, room, (), random.Random(seed))
        self.copy: Tables = {}

    def take_over(self) -> None:
        """The holder is lost; the backup goes on."""
        self.seed += 1
        self.rules, self.services = make_room(Vault, self.room, (), random.Random(self.seed))
        tables = {name: dict(rows) for name, rows in self.copy.items()}
        self.services.load({name: rows for name, rows in tables.items() if name.startswith("$")})
        self.rules.load({name: rows for name, rows in tables.items() if not name.startswith("$")})

    def move(self, event: str, **payload: Any) -> Outcome:
        return self.took(self.rules.move("ann", event, payload))

    def call(self, service: str, verb: str, **args: Any) -> Outcome:
        return self.took(self.services.call(service, verb, args, HERE))

    def took(self, outcome: Outcome) -> Outcome:
        apply(self.copy, outcome.ops)
        for name in OUT, IN, ROOM:
            assert self.copy.get(name, {}) == self.services.ledger.rows(name), "the copy is as the holder's"
        assert {"coins": self.copy.get("coins", {})} == self.rules.tables()
        return outcome

    @property
    def coins(self) -> dict[str, int]:
        return {name: row["value"] for name, row in self.copy.get("coins", {}).items()}

    @property
    def out(self) -> dict[str, Fields]:
        return self.copy.get(OUT, {})


@pytest.fixture
def vault() -> Copy:
    vault = Copy()
    for coin, value in ("gold", 10), ("lead", 1), ("penny", 0):
        vault.move("mint", coin=coin, value=value)
    return vault


def test_what_a_rule_sends_is_part_of_its_entry(vault: Copy) -> None:
    outcome = vault.move("pay", to="vault-2", coin="gold")
    assert outcome.ok and [b.topic for b in outcome.broadcasts] == ["game:vault-1"]
    life = vault.copy[ROOM]["outbox"]["life"]
    letter = {"from_": "vault-1", "n": 1, "life": life, "event": "paid", "payload": {"coin": "gold", "value": 10}}
    assert vault.out == {
        "1": {"to": "vault-2", "service": "letters", "verb": "deliver", "args": letter},
        "2": {
            "to": "",
            "service": "boards",
            "verb": "add",
            "args": {"name": "paid", "player": "ann", "amount": 10},
        },
    }


def test_a_rule_that_refuses_or_fails_has_sent_nothing(vault: Copy) -> None:
    refused = vault.move("pay", to="vault-2", coin="lead")
    assert (refused.ok, refused.ops, refused.broadcasts) == (False, [], [])
    failed = vault.move("close", fail=True)
    assert not failed.ok and "a bug" in (failed.error or "")
    assert not vault.out and not vault.copy.get(ROOM) and vault.coins["lead"] == 1
    assert vault.move("mint", coin="late", value=1).ok, "and has not ended either"


def test_a_letter_is_taken_once(vault: Copy) -> None:
    letter = {"from_": "vault-9", "n": 4, "event": "paid", "payload": {"coin": "ruby", "value": 70}}
    first = vault.call("letters", "deliver", **letter)
    assert first.ok and first.response == {} and len(first.broadcasts) == 1
    vault.move("pay", to="vault-2", coin="ruby")
    again = vault.call("letters", "deliver", **letter)
    assert (again.ok, again.response, again.ops) == (True, {}, [])
    vault.take_over()
    assert not vault.call("letters", "deliver", **letter).ops, "and the next holder knows"
    assert "ruby" not in vault.coins
    assert vault.call("letters", "deliver", **letter | {"n": 5}).ops


def test_an_id_that_is_used_again_counts_anew(vault: Copy) -> None:
    letter = {"from_": "vault-9", "n": 7, "event": "paid", "payload": {"coin": "ruby", "value": 70}, "life": "a"}
    vault.call("letters", "deliver", **letter)
    assert not vault.call("letters", "deliver", **letter | {"n": 6}).ops
    assert vault.call("letters", "deliver", **letter | {"n": 1, "life": "b"}).ops


@pytest.mark.parametrize(
    ("event", "value", "reason"),
    [("paid", 0, "worthless"), ("paid", -1, "internal error"), ("stolen", 1, "unknown event")],
)
def test_a_refusal_changes_nothing_and_is_final(vault: Copy, event: str, value: int, reason: str) -> None:
    letter = {"from_": "vault-9", "n": 1, "event": event, "payload": {"coin": "ruby", "value": value}}
    before = vault.coins
    refused = vault.call("letters", "deliver", **letter)
    assert refused.ok, "it is committed"
    assert refused.response["refused"]["reason"] == reason and not refused.broadcasts
    assert ("a bug" in (refused.error or "")) == (value < 0)
    assert vault.coins == before
    vault.take_over()
    again = vault.call("letters", "deliver", **letter | {"payload": {"coin": "ruby", "value": 5}})
    assert again.response == refused.response and not again.ops
    assert vault.call(
        "letters", "deliver", **letter | {"n": 2, "event": "paid", "payload": {"coin": "x", "value": 1}}
    ).ok
    assert vault.copy[IN] == {"vault-9": {"life": "", "n": 2, "refused": None}}


def test_what_was_answered_is_removed_once(vault: Copy) -> None:
    vault.move("pay", to="vault-2", coin="gold")
    assert vault.call("outbox", "sent", n=1, ok=True, response={"epoch": 1, "seq": 9}).ops == [(OUT, "1", None)]
    assert vault.call("outbox", "sent", n=1, ok=False, response={"reason": "no such room"}).ops == []
    assert list(vault.out) == ["2"] and "gold" not in vault.coins


@pytest.mark.parametrize(
    ("ok", "response"), [(False, {"reason": "no such room"}), (True, {"refused": {"reason": "x"}})]
)
def test_a_letter_that_was_refused_comes_back_once(vault: Copy, ok: bool, response: Fields) -> None:
    vault.move("pay", to="vault-2", coin="gold")
    back = vault.call("outbox", "sent", n=1, ok=ok, response=response)
    assert [b.payload for b in back.broadcasts] == [{"from": "vault-2"}]
    assert {op[0] for op in back.ops} == {OUT, "coins"}, "in one entry"
    assert vault.coins["gold"] == 10
    assert not vault.call("outbox", "sent", n=1, ok=ok, response=response).ops


@pytest.mark.parametrize(("coin", "told"), [("cursed", "a bug"), ("stubborn", "returned raised Rejected")])
def test_a_rule_that_fails_on_its_return_is_undone_and_the_letter_is_gone(vault: Copy, coin: str, told: str) -> None:
    vault.move("mint", coin=coin, value=3)
    vault.move("pay", to="nowhere", coin=coin)
    back = vault.call("outbox", "sent", n=1, ok=False, response={"reason": "no such room"})
    assert back.ok and back.ops == [(OUT, "1", None)] and not back.broadcasts
    assert told in (back.error or "")


def test_what_the_cluster_refuses_is_told_to_the_developer(vault: Copy) -> None:
    vault.move("pay", to="vault-2", coin="gold")
    outcome = vault.call("outbox", "sent", n=2, ok=True, response={"refused": {"reason": "bad name"}})
    assert outcome.ops == [(OUT, "2", None)]
    assert outcome.error == "vault-1: boards.add is refused: {'reason': 'bad name'}"


def test_an_outbox_has_a_bound(vault: Copy) -> None:
    assert vault.move("flood", letters=OUT_AT_MOST + 1).response["reason"] == "overloaded"
    assert not vault.out
    assert vault.move("flood", letters=OUT_AT_MOST).ok
    assert vault.move("flood", letters=1).response["reason"] == "overloaded"
    back = vault.call("outbox", "sent", n=1, ok=True, response={})
    assert back.ok and vault.move("flood", letters=1).ok and str(OUT_AT_MOST + 1) in vault.out


def test_a_letter_has_a_size(vault: Copy) -> None:
    box = outbox.Outbox("vault-1", vault.services.ledger, random.Random(1))
    with pytest.raises(Rejected, match="too large"):
        box.send("vault-2", "paid", {"coin": "x" * outbox.LARGEST_BYTES})
    vault.services.ledger.undo()


def test_only_so_many_senders_are_remembered_the_last_ones(vault: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "SENDERS_AT_MOST", 3)
    for n, sender in enumerate(("a", "b", "c", "a", "d"), 1):
        vault.call("letters", "deliver", from_=sender, n=n, event="paid", payload={"coin": sender, "value": 1})
    assert set(vault.copy[IN]) == {"a", "c", "d"}


def test_a_room_that_has_ended_takes_nothing_but_what_became_of_its_letters(vault: Copy) -> None:
    vault.move("pay", to="vault-2", coin="gold")
    assert vault.move("close").ok and "end" in vault.copy[ROOM]
    vault.take_over()
    for outcome in vault.move("mint", coin="late", value=1), vault.rules.join("bob"), vault.rules.tick(0.1):
        assert outcome.response == {"reason": "room ended"} and not outcome.ops
    assert vault.rules.leave("ann").ok
    letter = {"from_": "vault-9", "n": 1, "event": "paid", "payload": {"coin": "ruby", "value": 1}}
    assert vault.call("letters", "deliver", **letter).response == {"refused": {"reason": "room ended"}}
    assert vault.call("outbox", "sent", n=1, ok=False, response={"reason": "no such room"}).ok
    assert vault.coins["gold"] == 10


def test_what_is_no_verb_is_refused(vault: Copy) -> None:
    for service, verb in ("boards", "add"), ("letters", "sent"), ("outbox", "send"):
        assert vault.call(service, verb).response["reason"] == "unknown service"
    bad = vault.call("outbox", "sent", number=1)
    assert bad.response == {"reason": "internal error"} and "TypeError" in (bad.error or "")


def test_an_authority_runs_it() -> None:
    rules, services = make_room(Vault, "vault-1", (), random.Random(1))
    fulfils: Services = services
    authority = Authority(rules, random.Random(1), fulfils)
    authority.load({}, 0.0)
    call = Call(
        "letters", "deliver", {"from_": "vault-2", "n": 1, "event": "paid", "payload": {"coin": "x", "value": 0}}
    )
    draft = authority.run(call, Asked(HERE, 1, 3, 7), 0.0)
    assert draft.replies[0].ok and draft.replies[0].response["refused"] == {"reason": "worthless"}
    assert {op[0] for op in draft.ops} == {IN}
    assert services.pods() == set() and services.gone({HERE}).ok and services.restored().ok


STEPS = st.lists(st.tuples(st.sampled_from(["pay", "ask", "hear", "late", "over"]), st.integers(0, 5)), max_size=60)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_a_coin_is_in_one_place_whatever_is_repeated_late_or_lost(steps: list[tuple[str, int]]) -> None:
    """Two rooms pay each other; calls are asked twice, answers get lost, holders change, old calls come late."""
    rooms = {name: Copy(name) for name in ("vault-1", "vault-2")}
    names = list(rooms)
    for number in range(6):
        rooms[names[number % 2]].move("mint", coin=str(number), value=number - 1)  # 0 is refused, -1 fails
    asked: list[tuple[str, Fields]] = []
    answers: deque[tuple[str, int, Fields]] = deque()

    def ask(name: str) -> None:
        letters = [row for row in rooms[name].out.values() if row["to"]]
        if letters:
            asked.append((letters[0]["to"], letters[0]["args"]))
            outcome = rooms[letters[0]["to"]].call("letters", "deliver", **letters[0]["args"])
            answers.append((name, letters[0]["args"]["n"], outcome.response))

    def hear() -> None:
        name, n, response = answers.popleft()
        rooms[name].call("outbox", "sent", n=n, ok=True, response=response)

    def settle() -> None:
        while answers or any(row["to"] for room in rooms.values() for row in room.out.values()):
            for name in names:
                ask(name)
            while answers:
                hear()

    for step, which in steps:
        name = names[which % 2]
        match step:
            case "pay" if str(which) in rooms[name].coins:
                rooms[name].move("pay", to=names[(which + 1) % 2], coin=str(which))
            case "ask":
                ask(name)
            case "hear" if answers:
                hear()
            case "late" if asked:
                to, letter = asked[which % len(asked)]
                rooms[to].call("letters", "deliver", **letter)
            case "over":
                rooms[name].take_over()
                answers.clear()
    settle()
    assert sorted([*rooms["vault-1"].coins, *rooms["vault-2"].coins]) == [str(n) for n in range(6)]
