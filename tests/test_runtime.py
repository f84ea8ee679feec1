"""One call in, one Outcome out: payloads, ops, undo, and what a random game keeps true."""

from __future__ import annotations

import copy
import random
import timeit
from dataclasses import field
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gamecluster import Entity, Game, Player, Rejected, Table, on
from gamecluster.core.messages import Op, Tables
from gamecluster.demo import Arena
from gamecluster.game import Outcome, Runtime


class Ship(Entity):
    x: float = 0.0
    y: float = 0.0
    bag: list[Any] = field(default_factory=list)
    marks: dict[str, list[int]] = field(default_factory=dict)


class Marker(Entity):
    pass


class Sea(Game):
    ships: Table[Ship]
    wrecks: Table[Ship]
    markers: Table[Marker]

    def join(self, player: Player) -> None:
        if player.id == "full":
            self.ships["x"] = Ship()
            raise Rejected("full")
        self.ships[player.id] = Ship(x=1)

    def leave(self, player: Player) -> None:
        del self.ships[player.id]

    def tick(self, seconds: float) -> None:
        for ship in self.ships.values():
            ship.y += seconds

    @on("do")
    def do(self, player: Player, what: str) -> Any:
        """Any statements on the tables: what the tests below are about is what they lead to."""
        names = {"self": self, "ships": self.ships, "wrecks": self.wrecks, "me": self.ships.get(player.id)}
        exec(what, globals() | names, names)
        return names.get("result")

    @on("typed")
    def typed(
        self,
        player: Player,
        i: int = 0,
        f: float = 0.0,
        s: str = "",
        b: bool = False,
        o: int | None = None,
        li: list[int] | None = None,
        d: dict[str, int] | None = None,
        c: Literal[-1, 0, 1] = 0,
        a: Any = None,
    ) -> dict[str, Any]:
        return {"got": [i, f, s, b, o, li, d, c, a]}

    @on("needs")
    def needs(self, player: Player, dx: int, dy: int) -> None: ...


@pytest.fixture
def sea() -> Runtime:
    runtime = Runtime(Sea, random.Random(1))
    runtime.join("p1")
    return runtime


def do(runtime: Runtime, what: str) -> list[Op]:
    outcome = runtime.move("p1", "do", {"what": what})
    assert outcome.ok, outcome.error
    return outcome.ops


def apply(tables: Tables, ops: list[Op]) -> None:
    """As replicas do: fields are an update on what is there."""
    for table, key, fields in ops:
        if fields is None:
            del tables[table][key]
        else:
            tables[table].setdefault(key, {}).update(copy.deepcopy(fields))


FULL = {"x": 0.0, "y": 0.0, "bag": [], "marks": {}}


# --- ops --------------------------------------------------------------------------------------------------------


def test_an_insert_carries_all_fields(sea):
    assert sea.join("p2").ops == [("ships", "p2", {**FULL, "x": 1.0})]


def test_a_change_carries_what_changed(sea):
    assert do(sea, "me.x = 5") == [("ships", "p1", {"x": 5.0})]


def test_two_changes_of_one_key_are_one_op(sea):
    assert do(sea, "me.x = 5; me.y = 2; me.x = 6") == [("ships", "p1", {"x": 6.0, "y": 2.0})]


def test_ops_are_in_the_order_of_the_first_touch(sea):
    assert do(sea, "ships['b'] = Ship(); me.x = 4; ships['b'].y = 1") == [
        ("ships", "b", {**FULL, "y": 1.0}),
        ("ships", "p1", {"x": 4.0}),
    ]


@pytest.mark.parametrize(
    "what",
    [
        "me.x = 1",
        "me.x = 5; me.x = 1",
        "ships['p1'] = me",
        "ships['p1'] = copy.copy(me)",
        "del ships['p1']; ships['p1'] = Ship(x=1)",
        "ships['b'] = Ship(); del ships['b']",
        "me.bag = []",
        "me.bag.append(1); me.bag.pop()",
        "me.bag.clear()",
        "me.marks['a'] = [1]; del me.marks['a']",
    ],
)
def test_what_is_the_same_in_the_end_is_no_op(sea, what):
    before = sea.tables()
    assert do(sea, what) == []
    assert sea.tables() == before


def test_a_delete_is_none(sea):
    assert sea.leave("p1").ops == [("ships", "p1", None)]
    assert sea.tables()["ships"] == {}


@pytest.mark.parametrize("what", ["del ships['p1']; ships['p1'] = Ship(y=2)", "ships['p1'] = Ship(y=2)"])
def test_a_replaced_entity_carries_all_of_its_fields(sea, what):
    do(sea, "me.bag.append(1)")
    assert do(sea, what) == [("ships", "p1", {**FULL, "y": 2.0})]


def test_an_entity_may_move_to_another_key_or_table(sea):
    assert do(sea, "wrecks['w'] = ships.pop('p1'); wrecks['w'].bag.append(3)") == [
        ("ships", "p1", None),
        ("wrecks", "w", {**FULL, "x": 1.0, "bag": [3]}),
    ]
    assert do(sea, "wrecks['w'].y = 9") == [("wrecks", "w", {"y": 9.0})]


def test_an_entity_without_fields_can_come_and_go(sea):
    assert do(sea, "self.markers['m'] = Marker()") == [("markers", "m", {})]
    assert do(sea, "del self.markers['m']") == [("markers", "m", None)]


def test_the_difference_of_one_and_true_is_a_change(sea):
    do(sea, "me.bag = [1, 1, {'a': 0}]")
    assert do(sea, "me.bag = [True, 1, {'a': False}]") == [("ships", "p1", {"bag": [True, 1, {"a": False}]})]
    assert [type(v) for v in sea.tables()["ships"]["p1"]["bag"][:2]] == [bool, int]


@pytest.mark.parametrize(
    ("what", "bag"),
    [
        ("me.bag.append(4)", [1, [2], {"a": 3}, 4]),
        ("me.bag += [4]", [1, [2], {"a": 3}, 4]),
        ("me.bag.extend([4, 5])", [1, [2], {"a": 3}, 4, 5]),
        ("me.bag.insert(0, 0)", [0, 1, [2], {"a": 3}]),
        ("me.bag[0] = 9", [9, [2], {"a": 3}]),
        ("me.bag[1:] = []", [1]),
        ("del me.bag[0]", [[2], {"a": 3}]),
        ("me.bag.remove(1)", [[2], {"a": 3}]),
        ("me.bag.pop()", [1, [2]]),
        ("me.bag.reverse()", [{"a": 3}, [2], 1]),
        ("me.bag.sort(key=str)", [1, [2], {"a": 3}]),
        ("me.bag.clear()", []),
        ("me.bag *= 2", [1, [2], {"a": 3}] * 2),
        ("me.bag[1].append(7)", [1, [2, 7], {"a": 3}]),
        ("me.bag[2]['a'] = 4", [1, [2], {"a": 4}]),
        ("me.bag[2].update(b=1)", [1, [2], {"a": 3, "b": 1}]),
        ("me.bag[2] |= {'b': 1}", [1, [2], {"a": 3, "b": 1}]),
        ("me.bag[2].setdefault('b', []).append(1)", [1, [2], {"a": 3, "b": [1]}]),
        ("me.bag[2].pop('a')", [1, [2], {}]),
        ("me.bag[2].popitem()", [1, [2], {}]),
        ("me.bag[2].clear()", [1, [2], {}]),
        ("del me.bag[2]['a']", [1, [2], {}]),
        ("old = me.bag; me.bag = [5]; old.append(6)", [5]),
        ("new = {'b': 1}; me.bag.append(new); new['b'] = 2", [1, [2], {"a": 3}, {"b": 2}]),
    ],
)
def test_lists_and_dicts_changed_in_place_are_noticed_and_undone(sea, what, bag):
    do(sea, "me.bag = [1, [2], {'a': 3}]")
    before = sea.tables()
    assert not sea.move("p1", "do", {"what": what + "; raise Rejected('undo')"}).ok
    assert sea.tables() == before
    changed = [] if bag == before["ships"]["p1"]["bag"] else [("ships", "p1", {"bag": bag})]
    ops = do(sea, what)
    assert ops == changed
    assert sea.tables()["ships"]["p1"]["bag"] == bag
    assert do(sea, "me.x = 77") == [("ships", "p1", {"x": 77.0})]


def test_what_was_put_into_a_list_in_place_is_tracked_in_the_next_rule(sea):
    do(sea, "me.bag.append({'a': []})")
    assert do(sea, "me.bag[0]['a'].append(1)") == [("ships", "p1", {"bag": [{"a": [1]}]})]


def test_what_was_put_into_a_list_in_place_is_checked_at_the_end(sea):
    outcome = sea.move("p1", "do", {"what": "me.x = 3; me.marks['a'] = [1, 'two']"})
    assert outcome.response == {"reason": "internal error"}
    assert "Ship.marks['a'][1]: expected int, got str" in outcome.error
    assert sea.tables()["ships"]["p1"] == {**FULL, "x": 1.0}


def test_ops_and_tables_are_plain_data_that_later_rules_do_not_change(sea):
    ops, tables = do(sea, "me.bag = [[1]]; me.marks = {'a': [1]}"), sea.tables()
    kept = copy.deepcopy((ops, tables))
    for value in ops[0][2]["bag"], ops[0][2]["bag"][0], tables["ships"]["p1"]["marks"], tables["ships"]["p1"]["bag"][0]:
        assert type(value) in (list, dict)
    do(sea, "me.bag[0].append(2); me.marks['a'].append(2)")
    assert (ops, tables) == kept
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(tables)) == tables


# --- tables -----------------------------------------------------------------------------------------------------


def test_a_table_is_a_dict(sea):
    what = """
ships["b"] = Ship(x=2)
assert list(ships) == list(ships.keys()) == ["p1", "b"] and len(ships) == 2
assert "b" in ships and "c" not in ships and 5 not in ships
assert ships.get("c") is None and ships["b"] is ships.get("b")
assert [k for k, s in ships.items()] == ["p1", "b"] and [s.x for s in ships.values()] == [1, 2]
assert ships.setdefault("b", Ship()).x == 2 and ships.pop("b").x == 2 and ships.pop("b", None) is None
ships.update(c=Ship(), d=Ship()); ships.clear()
assert not ships and "0 × Ship" in repr(ships)
"""
    assert do(sea, what) == [("ships", "p1", None)]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("ships['nobody']", "KeyError: 'nobody'"),
        ("del ships['nobody']", "KeyError: 'nobody'"),
        ("ships[5] = Ship()", "a key of ships: expected str, got int"),
        ("ships['b'] = Marker()", "ships['b']: expected Ship, got Marker"),
        ("ships['b'] = {}", "ships['b']: expected Ship, got dict"),
        ("ships['b'] = me", "ships['b']: this Ship is already in ships as 'p1'; delete it there first"),
        ("self.round = 3", "Sea.round can't be assigned: only what is in tables is replicated"),
        ("self.ships = {}", "Sea.ships is a table: change what is in it"),
        ("self.broadcast('patch', {})", "the event 'patch' is reserved"),
        ("self.broadcast('hi', 'text')", "expected dict, got str"),
        ("result = 5", "a rule returns None, or a dict that is added to the response; this one returned int"),
        ("result = {'seq': 1}", "a rule's response can't have seq: the cluster adds it"),
        ("result = {'a': {1}}", "['a']: expected a JSON value, got set"),
        ("raise Rejected(5)", "expected str, got int"),
        ("1 / 0", "ZeroDivisionError"),
        ("def f(g): g(g)\nf(f)", "RecursionError"),
    ],
)
def test_a_developers_mistake_in_a_rule_is_an_internal_error_with_its_reason(sea, what, message):
    before = sea.tables()
    outcome = sea.move("p1", "do", {"what": "me.x = 9\nships['new'] = Ship()\n" + what})
    assert (outcome.ok, outcome.response, outcome.ops, outcome.broadcasts) == (
        False,
        {"reason": "internal error"},
        [],
        [],
    )
    assert message in outcome.error
    assert sea.tables() == before


def test_state_changed_outside_of_a_rule_is_told():
    held: list[Ship] = []

    class Leaky(Game):
        ships: Table[Ship]

        @on("hold")
        def hold(self, player: Player) -> None:
            self.ships["a"] = Ship()
            held.append(self.ships["a"])

    runtime = Runtime(Leaky, random.Random(1))
    runtime.move("p1", "hold", {})
    for change in (lambda: setattr(held[0], "x", 2), lambda: held[0].bag.append(1)):
        with pytest.raises(RuntimeError, match=r"ships\['a'\] is changed outside of a rule"):
            change()
    runtime.load({"ships": {"a": {"x": 5.0}}})
    held[0].x = 9  # what it was is no longer there: it is nobody's
    assert runtime.tables() == {"ships": {"a": {**FULL, "x": 5.0}}}


# --- refusals and undo ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "what",
    [
        "me.x = 5; me.bag.append(1)",
        "del ships['p1']; me.x = 7; me.bag.append(1)",
        "ships['b'] = Ship(); ships['b'].x = 3",
        "ships['p1'] = Ship(x=9); ships['p1'].x = 4",
        "wrecks['w'] = ships.pop('p1'); me.x = 8; me.marks['q'] = [1]",
        "ships['b'] = Ship(x=2); a, b = ships.pop('p1'), ships.pop('b'); ships['p1'], ships['b'] = b, a; a.x = 5",
        "me.marks = {'a': [1]}; me.marks['a'].append(2); ships.clear()",
        "old = me.bag; me.bag = [1]; old.append(5)",
    ],
)
def test_a_refused_rule_leaves_all_as_it_was(sea, what):
    do(sea, "me.bag = [1, [2]]; me.marks = {'z': [0]}")
    before = sea.tables()
    outcome = sea.move(
        "p1", "do", {"what": "self.broadcast('hi', {}); " + what + "; raise Rejected('no', because=[1])"}
    )
    assert outcome == Outcome(False, {"reason": "no", "because": [1]}, [], [], None)
    assert sea.tables() == before
    assert do(sea, "me.bag[1].append(3); me.x = 6") == [("ships", "p1", {"bag": [1, [2, 3]], "x": 6.0})]


def test_an_entity_of_a_refused_insert_is_nobodys():
    mine = Ship()

    class Held(Game):
        ships: Table[Ship]

        @on("insert")
        def insert(self, player: Player, under: str, refuse: bool) -> None:
            self.ships[under] = mine
            if refuse:
                raise Rejected("no")

    runtime = Runtime(Held, random.Random(1))
    assert not runtime.move("p1", "insert", {"under": "a", "refuse": True}).ok
    mine.x = 4  # no rule runs, but it is in no table either
    assert runtime.move("p1", "insert", {"under": "b", "refuse": False}).ops == [("ships", "b", {**FULL, "x": 4.0})]


def test_join_leave_and_tick_are_rules_too(sea):
    assert sea.tick(0.5).ops == [("ships", "p1", {"y": 0.5})]
    refused = sea.join("full")
    assert (refused.ok, refused.response, refused.ops) == (False, {"reason": "full"}, [])
    failed = sea.leave("nobody")
    assert (failed.ok, failed.response) == (False, {"reason": "internal error"})
    assert "KeyError: 'nobody'" in failed.error
    assert set(sea.tables()["ships"]) == {"p1"}


def test_an_interrupt_is_not_swallowed_but_undone(sea):
    before = sea.tables()
    with pytest.raises(KeyboardInterrupt):
        sea.move("p1", "do", {"what": "me.x = 5; raise KeyboardInterrupt"})
    assert sea.tables() == before
    assert do(sea, "me.y = 1") == [("ships", "p1", {"y": 1.0})]


def test_broadcasts_go_to_the_games_topic_in_order_and_are_copies(sea):
    outcome = sea.move(
        "p1", "do", {"what": "p = {'a': [1]}; self.broadcast('one', p); p['a'].append(2); self.broadcast('two', p)"}
    )
    assert [(b.topic, b.event, b.payload) for b in outcome.broadcasts] == [
        ("game", "one", {"a": [1]}),
        ("game", "two", {"a": [1, 2]}),
    ]
    assert sea.tick(1).broadcasts == []
    assert len(outcome.broadcasts) == 2


def test_chance_comes_from_the_given_random():
    def start(seed: int) -> Tables:
        runtime = Runtime(Arena, random.Random(seed))
        runtime.join("p1")
        return runtime.tables()

    assert start(5) == start(5) != start(6)


# --- payloads ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "at", "value"),
    [
        ({"i": -(2**63)}, 0, -(2**63)),
        ({"f": 3}, 1, 3.0),
        ({"s": "é"}, 2, "é"),
        ({"b": True}, 3, True),
        ({"o": None}, 4, None),
        ({"o": 4}, 4, 4),
        ({"li": [1, 2]}, 5, [1, 2]),
        ({"d": {"a": 1}}, 6, {"a": 1}),
        ({"c": -1}, 7, -1),
        ({"a": [None, {"b": 1.5}]}, 8, [None, {"b": 1.5}]),
        ({"n": 7, "i": 1}, 0, 1),
    ],
)
def test_a_payload_that_fits_becomes_arguments(sea, payload, at, value):
    result = sea.move("p1", "typed", payload).response["got"]
    assert result[at] == value
    assert type(result[at]) is type(value)


@pytest.mark.parametrize(
    ("event", "payload", "detail"),
    [
        ("needs", {"dx": "1", "dy": 0}, "dx: expected int, got str"),
        ("needs", {"dx": 1}, "dy: expected int, got nothing"),
        ("needs", {"dx": 1, "dy": 0, "dz": 0}, "dz: expected no such field, only dx, dy, got int"),
        ("needs", {"dx": 1, "dy": 0, "é" * 100: 0}, "\\xe9" * 10 + ": expected no such field, only dx, dy, got int"),
        ("needs", [], "payload: expected an object, got list"),
        ("typed", {"i": True}, "i: expected int, got bool"),
        ("typed", {"i": 1.0}, "i: expected int, got float"),
        ("typed", {"i": 2**63}, "i: expected int, got an int beyond 64 bits"),
        ("typed", {"f": 10**400}, "f: expected float, got an int beyond 64 bits"),
        ("typed", {"f": float("nan")}, "f: expected float, got nan"),
        ("typed", {"f": float("-inf")}, "f: expected float, got -inf"),
        ("typed", {"s": None}, "s: expected str, got None"),
        ("typed", {"s": "\udc00"}, "s: expected str, got a str with half a surrogate pair"),
        ("typed", {"b": 0}, "b: expected bool, got int"),
        ("typed", {"o": "1"}, "o: expected int or None, got str"),
        ("typed", {"li": [1, None]}, "li[1]: expected int, got None"),
        ("typed", {"li": {}}, "li: expected list[int] or None, got dict"),
        ("typed", {"d": {"a": "b"}}, "d['a']: expected int, got str"),
        ("typed", {"c": 2}, "c: expected -1 or 0 or 1, got 2"),
        ("typed", {"c": True}, "c: expected -1 or 0 or 1, got True"),
        ("typed", {"a": [float("inf")]}, "a[0]: expected float, got inf"),
    ],
)
def test_a_payload_that_does_not_fit_is_refused_by_name(sea, event, payload, detail):
    outcome = sea.move("p1", event, payload)
    assert outcome == Outcome(False, {"reason": "bad payload", "detail": detail}, [], [], None)


def test_a_field_may_be_called_as_anything_inside():
    class Odd(Game):
        @on("odd")
        def odd(self, who: Player, rule: int, args: int, kwargs: int, player: str, event: str) -> dict[str, Any]:
            return {"got": [rule, args, kwargs, player, event, who.id]}

    payload = {"rule": 1, "args": 2, "kwargs": 3, "player": "p", "event": "e"}
    assert Runtime(Odd, random.Random(1)).move("me", "odd", payload).response == {"got": [1, 2, 3, "p", "e", "me"]}


def test_an_unknown_event_names_those_there_are(sea):
    assert sea.move("p1", "fly", {}).response == {"reason": "unknown event", "known": ["do", "needs", "typed"]}


# --- load -------------------------------------------------------------------------------------------------------


def test_load_replaces_everything_and_keeps_nothing_of_what_it_is_given(sea):
    given_tables: Tables = {"ships": {"q": {**FULL, "bag": [[1]]}}, "wrecks": {}, "markers": {"m": {}}}
    sea.load(given_tables)
    given_tables["ships"]["q"]["bag"][0].append(2)
    assert sea.tables() == {"ships": {"q": {**FULL, "bag": [[1]]}}, "wrecks": {}, "markers": {"m": {}}}


def test_load_fits_the_state_of_an_older_game(sea):
    sea.load({"$players": {"p1": {}}, "gone": {"a": {}}, "ships": {"a": {"x": 3, "removed": 1}}})
    assert sea.tables() == {"ships": {"a": {**FULL, "x": 3.0}}, "wrecks": {}, "markers": {}}


def test_load_refuses_what_does_not_fit_and_changes_nothing(sea):
    before = sea.tables()
    with pytest.raises(
        ValueError, match=r"the state does not fit the game: ships\['a'\]: Ship.x: expected float, got str"
    ):
        sea.load({"wrecks": {"w": {}}, "ships": {"a": {"x": "far"}}})
    assert sea.tables() == before


# --- random games -----------------------------------------------------------------------------------------------

KEYS = st.sampled_from(["p1", "a", "b"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xy"), inner, max_size=2),
    max_leaves=4,
)
STEPS = st.one_of(
    st.tuples(st.just("insert"), KEYS, VALUES),
    st.tuples(st.just("delete"), KEYS, st.none()),
    st.tuples(st.just("x"), KEYS, st.integers(-2, 2)),
    st.tuples(st.just("bag"), KEYS, VALUES),
    st.tuples(st.just("append"), KEYS, VALUES),
    st.tuples(st.just("nested"), KEYS, VALUES),
    st.tuples(st.just("pop"), KEYS, st.none()),
    st.tuples(st.just("mark"), KEYS, st.lists(st.integers(0, 2), max_size=2)),
    st.tuples(st.just("bad mark"), KEYS, st.none()),
    st.tuples(st.just("wreck"), KEYS, KEYS),
    st.tuples(st.just("raise wreck"), KEYS, KEYS),
    st.tuples(st.just("swap"), KEYS, KEYS),
    st.tuples(st.just("stale"), KEYS, VALUES),
    st.tuples(st.just("reject"), KEYS, st.none()),
    st.tuples(st.just("crash"), KEYS, st.none()),
)


class Chaos(Game):
    ships: Table[Ship]
    wrecks: Table[Ship]

    @on("steps")
    def steps(self, player: Player, steps: list[Any]) -> None:
        for what, key, value in steps:
            self.step(what, key, value)

    def step(self, what: str, key: str, value: Any) -> None:
        ships, wrecks, ship = self.ships, self.wrecks, self.ships.get(key)
        match what:
            case "insert":
                ships[key] = Ship(bag=[value])
            case "raise wreck" if value in wrecks:
                ships[key] = wrecks.pop(value)
            case "reject":
                raise Rejected("no")
            case "crash":
                raise LookupError("crash")
        if ship is None:
            return
        match what:
            case "delete":
                del ships[key]
                ship.bag.append("after its deletion")
                ship.x += 1
            case "x":
                ship.x = value
            case "bag":
                ship.bag = [value]
            case "append":
                ship.bag.append(value)
            case "nested":
                for element in ship.bag:
                    if isinstance(element, list):
                        element.append(value)
                    elif isinstance(element, dict):
                        element["x"] = value
            case "pop" if ship.bag:
                ship.bag.pop()
            case "mark":
                ship.marks["m"] = value
            case "bad mark":
                ship.marks["m"] = ["not an int"]
            case "wreck":
                wrecks[value] = ships.pop(key)
                ship.x += 1
                ship.bag.append("wrecked")
            case "swap" if value in ships and value != key:
                other = ships.pop(value)
                del ships[key]
                ships[key], ships[value] = other, ship
            case "stale":
                old = ship.bag
                ship.bag = [1]
                old.append(value)


@settings(max_examples=300, deadline=None, print_blob=True)
@given(st.lists(st.lists(STEPS, min_size=1, max_size=6), max_size=8))
def test_replicas_that_apply_the_ops_equal_the_leader_and_refusals_change_nothing(moves):
    runtime = Runtime(Chaos, random.Random(1))
    replica = runtime.tables()
    for steps in moves:
        before = runtime.tables()
        outcome = runtime.move("p1", "steps", {"steps": [list(step) for step in steps]})
        if not outcome.ok:
            assert exactly(runtime.tables()) == exactly(before)
            assert outcome.ops == []
        assert len({(table, key) for table, key, _ in outcome.ops}) == len(outcome.ops)
        apply(replica, msgspec.msgpack.decode(msgspec.msgpack.encode(outcome.ops)))
        assert exactly(replica) == exactly(runtime.tables())
    twin = Runtime(Chaos, random.Random(2))
    twin.load(runtime.tables())
    assert exactly(twin.tables()) == exactly(runtime.tables())


@settings(max_examples=100, deadline=None, print_blob=True)
@given(st.lists(STEPS, min_size=1, max_size=8))
def test_a_runtime_after_an_undo_goes_on_as_one_that_never_tried(steps):
    prepared = {"ships": {k: {**FULL, "bag": [[1], {"x": 2}]} for k in ("p1", "a")}, "wrecks": {"b": FULL}}
    tried, fresh = Runtime(Chaos, random.Random(1)), Runtime(Chaos, random.Random(1))
    tried.load(prepared)
    fresh.load(prepared)
    wire = [list(step) for step in steps]
    assert not tried.move("p1", "steps", {"steps": [*wire, ["crash", "a", None]]}).ok
    again, first = (runtime.move("p1", "steps", {"steps": wire}) for runtime in (tried, fresh))
    assert (again.ok, again.response, again.ops) == (first.ok, first.response, first.ops)


@settings(max_examples=200, deadline=None, print_blob=True)
@given(
    st.dictionaries(
        st.sampled_from(["dx", "dy", "i", "li", "a", "n", "zz"]), VALUES | st.floats() | st.integers(), max_size=4
    )
)
def test_no_payload_makes_a_rule_fail(payload):
    runtime = Runtime(Sea, random.Random(1))
    for event in "needs", "typed":
        outcome = runtime.move("p1", event, payload)
        assert outcome.ok or outcome.response["reason"] == "bad payload"
        assert outcome.error is None


def exactly(value: Any) -> Any:
    """Tells 1 from True and 1.0, which are equal."""
    if isinstance(value, dict):
        return {key: exactly(v) for key, v in value.items()}
    if isinstance(value, list):
        return [exactly(v) for v in value]
    return type(value).__name__, value


# --- cost -------------------------------------------------------------------------------------------------------


def test_a_move_costs_what_it_changes_not_what_there_is():
    """Ratios of best times: a move of the arena among 20,000 ships, against one among ten."""

    def best(ships: int) -> float:
        runtime = Runtime(Arena, random.Random(1))
        runtime.load({"ships": {str(n): {"x": 400.0, "y": 300.0} for n in range(ships)}})
        steps = iter(range(10**9))

        def move() -> None:
            runtime.move("1", "move", {"dx": 1 if next(steps) % 2 else -1, "dy": 0})

        return min(timeit.repeat(move, number=100, repeat=20))

    assert best(20_000) < 3 * best(10)
