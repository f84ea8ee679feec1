"""The ledger: what a call changes is taken as ops, or undone."""

from __future__ import annotations

import copy
import random

from hypothesis import given
from hypothesis import strategies as st

from gamecluster.core.messages import Broadcast, Fields, Incarnation, Tables
from gamecluster.core.replication import apply
from gamecluster.rules import Rejected
from gamecluster.services import Services
from gamecluster.services.ledger import Ledger

A, B = Incarnation("arena-0_a_1"), Incarnation("arena-1_b_1")

steps = st.lists(
    st.tuples(
        st.sampled_from(["$a", "$b"]),
        st.sampled_from("xyz"),
        st.none() | st.dictionaries(st.sampled_from("fg"), st.integers(0, 3), min_size=1),
    ),
    max_size=8,
)


def tables_of(ledger: Ledger) -> Tables:
    return {name: dict(ledger.rows(name)) for name in ("$a", "$b") if ledger.rows(name)}


def do(ledger: Ledger, changes: list[tuple[str, str, Fields | None]]) -> None:
    for table, key, fields in changes:
        if fields is None:
            ledger.delete(table, key)
        else:
            ledger.put(table, key, fields)


@given(steps, steps, steps)
def test_copies_get_what_was_taken_and_nothing_that_was_undone(first: list, undone: list, last: list) -> None:
    ledger, replica = Ledger(), {}
    do(ledger, first)
    apply(replica, ledger.take()[0])
    before = copy.deepcopy(tables_of(ledger))
    do(ledger, undone)
    ledger.undo()
    assert tables_of(ledger) == before and not ledger.has_changed
    do(ledger, last)
    apply(replica, ledger.take()[0])
    assert tables_of(ledger) == replica


@given(steps)
def test_a_version_is_another_whenever_the_table_is(changes: list) -> None:
    ledger = Ledger()
    for change in changes:
        before, version = dict(ledger.rows("$a")), ledger.version("$a")
        do(ledger, [change])
        assert dict(ledger.rows("$a")) == before or ledger.version("$a") != version
        changed, version = dict(ledger.rows("$a")), ledger.version("$a")
        ledger.undo()
        assert dict(ledger.rows("$a")) == changed or ledger.version("$a") != version
    version = ledger.version("$a")
    ledger.load({"$a": {"x": {"f": 9}}})
    assert ledger.version("$a") != version and ledger.rows("$a") == {"x": {"f": 9}}


def services() -> Services:
    return Services(lambda: 1.7e9, random.Random(1))


def test_a_call_that_is_refused_or_fails_has_changed_and_said_nothing() -> None:
    these = services()

    def fails(error: Exception) -> None:
        these.ledger.put("$a", "x", {"f": 1})
        these.ledger.broadcast("t", "e", {})
        raise error

    refused = these.run(lambda: fails(Rejected("no", why="because")))
    assert (refused.ok, refused.response, refused.error) == (False, {"reason": "no", "why": "because"}, None)
    failed = these.run(lambda: fails(LookupError("a bug")))
    assert failed.response == {"reason": "internal error"} and "a bug" in (failed.error or "")
    assert not these.ledger.rows("$a") and not these.ledger.has_changed
    done = these.run(lambda: these.ledger.broadcast("t", "e", {"x": 1}))
    assert done.ok and done.broadcasts == [Broadcast("t", "e", {"x": 1})]


def test_a_service_or_verb_that_this_pod_does_not_know_is_refused() -> None:
    for service, verb in (("nothing", "register"), ("names", "gone"), ("names", "__init__")):
        assert services().call(service, verb, {}, A).response["reason"] == "unknown service"


def test_a_name_is_one_holders_at_a_time_and_goes_with_its_pod() -> None:
    these = services()
    ask = {"name": "npc:7", "id": "1"}
    assert these.call("names", "register", ask, A).ops == [("$names", "npc:7", {"pod": A, "id": "1"})]
    again = these.call("names", "register", ask, A)
    assert again.ok and again.ops == [], "a repeated call is harmless"
    assert these.call("names", "register", ask, B).response == {"reason": "name taken", "node": "arena-0"}
    assert these.call("names", "unregister", ask, B).ops == [], "not its own"
    assert these.pods() == {A}
    assert these.gone({A}).ops == [("$names", "npc:7", None)] and these.pods() == set()
    assert these.call("names", "register", ask, B).ok and these.pods() == {B}
    assert these.call("names", "register", {"name": "", "id": "1"}, A).response["reason"] == "bad name"
    assert these.call("names", "register", {"name": 7, "id": "1"}, A).response["reason"] == "bad payload"
