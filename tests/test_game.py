"""Declaring: what is accepted, what an entity does with it, and what each mistake is told."""

from __future__ import annotations

import copy
import json
import math
import random
import subprocess
import sys
from dataclasses import field
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from gamecluster import Entity, Game, Player, Rejected, Table, on
from gamecluster.errors import GameClusterError
from gamecluster.game import DefinitionError, Runtime


class Ship(Entity):
    name: str = "nobody"
    x: float = 0.0
    crew: int = 1
    alive: bool = True
    target: str | None = None
    side: Literal["red", "blue", 3] = "red"
    bag: list[int] = field(default_factory=list)
    marks: dict[str, list[int]] = field(default_factory=dict)
    anything: Any = None
    number: int | float = 0
    LIMIT: ClassVar[int] = 9

    @property
    def speed(self) -> float:
        return self.x / self.LIMIT


# --- entities ---------------------------------------------------------------------------------------------------


def test_an_entity_has_its_defaults_and_what_it_is_given():
    ship = Ship(x=4, bag=[1])
    assert (ship.name, ship.x, ship.crew, ship.target, ship.bag, ship.marks) == ("nobody", 4.0, 1, None, [1], {})
    assert type(ship.x) is float
    assert ship.speed == 4 / 9


def test_entities_do_not_share_their_lists():
    one, other = Ship(), Ship()
    one.bag.append(1)
    assert other.bag == []


def test_a_list_is_copied_when_it_is_assigned():
    mine = [1]
    ship = Ship(bag=mine)
    mine.append(2)
    assert ship.bag == [1]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("name", 7, "Ship.name: expected str, got int"),
        ("name", "\ud800", "Ship.name: expected str, got a str with half a surrogate pair"),
        ("x", "1", "Ship.x: expected float, got str"),
        ("x", True, "Ship.x: expected float, got bool"),
        ("x", math.nan, "Ship.x: expected float, got nan"),
        ("x", math.inf, "Ship.x: expected float, got inf"),
        ("crew", 1.0, "Ship.crew: expected int, got float"),
        ("crew", True, "Ship.crew: expected int, got bool"),
        ("crew", 2**63, "Ship.crew: expected int, got an int beyond 64 bits"),
        pytest.param("crew", -(10**5000), "Ship.crew: expected int, got an int beyond 64 bits", id="huge"),
        ("alive", 1, "Ship.alive: expected bool, got int"),
        ("target", 5, "Ship.target: expected str or None, got int"),
        ("side", "green", "Ship.side: expected 'red' or 'blue' or 3, got 'green'"),
        ("side", 3.0, "Ship.side: expected 'red' or 'blue' or 3, got 3.0"),
        ("bag", (1,), "Ship.bag: expected list[int], got tuple"),
        ("bag", [1, "2"], "Ship.bag[1]: expected int, got str"),
        ("marks", {"a": [1, None]}, "Ship.marks['a'][1]: expected int, got None"),
        ("marks", {1: []}, "Ship.marks[1]: expected a str as key, got int"),
        ("anything", {"a": {1}}, "Ship.anything['a']: expected a JSON value, got set"),
        ("anything", [math.nan], "Ship.anything[0]: expected float, got nan"),
    ],
)
def test_a_wrong_type_is_a_clear_error(name, value, message):
    ship = Ship()
    before = copy.copy(ship)
    for attempt in (lambda: setattr(ship, name, value), lambda: Ship(**{name: value})):
        with pytest.raises(TypeError) as error:
            attempt()
        assert str(error.value) == message
    assert ship == before


def test_nesting_has_a_limit_instead_of_a_stack_overflow():
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(TypeError, match="expected at most 32 levels of nesting, got more"):
        Ship(anything=deep)


def test_numbers_keep_their_type_where_both_are_allowed():
    assert type(Ship(number=1).number) is int
    assert type(Ship(number=1.0).number) is float


def test_there_are_no_other_fields():
    ship = Ship()
    with pytest.raises(AttributeError, match="Ship has no field y; it has name, x, crew"):
        ship.y = 1
    with pytest.raises(TypeError, match="Ship has no field y"):
        Ship(y=1)
    with pytest.raises(AttributeError, match="always has all of its fields"):
        del ship.x


def test_entities_compare_copy_and_show_by_their_fields():
    ship = Ship(x=1, bag=[1])
    for twin in copy.copy(ship), copy.deepcopy(ship):
        assert twin == ship
        twin.bag.append(2)
        assert twin != ship
    assert copy.deepcopy(ship.bag).__class__ is list
    assert json.loads(json.dumps(vars(ship)))["bag"] == [1]
    assert "x=1.0" in repr(ship)


def test_entities_inherit_fields():
    class Cruiser(Ship):
        x: float = 5.0
        guns: int = 2

    cruiser = Cruiser(crew=3)
    assert (cruiser.x, cruiser.guns, cruiser.crew, Ship().x) == (5.0, 2, 3, 0.0)


# --- what can be declared wrongly -------------------------------------------------------------------------------


def no_type():
    class Wrong(Entity):
        x = 0.0


def no_default():
    class Wrong(Entity):
        x: float


def no_default_in_field():
    class Wrong(Entity):
        x: float = field()


def mutable_default():
    class Wrong(Entity):
        bag: list[int] = []  # noqa: RUF012


def wrong_default():
    class Wrong(Entity):
        x: float = "zero"


def wrong_factory():
    class Wrong(Entity):
        bag: list[int] = field(default_factory=dict)


def type_that_can_not_be_sent():
    class Wrong(Entity):
        bag: set[int] = field(default_factory=set)


def unknown_name():
    class Wrong(Entity):
        x: Nothing = 0  # noqa: F821


def private_field():
    class Wrong(Entity):
        _x: int = 0


def entity_with_constructor():
    class Wrong(Entity):
        def __init__(self) -> None:
            pass


def two_rules_for_one_event():
    class Wrong(Game):
        @on("move")
        def one(self, player: Player) -> None: ...

        @on("move")
        def other(self, player: Player) -> None: ...


def two_rules_of_one_name():
    class Wrong(Game):
        @on("move")
        def move(self, player: Player) -> None: ...

        @on("move")
        def move(self, player: Player, dx: int) -> None: ...  # noqa: F811


def reserved_event():
    class Wrong(Game):
        @on("phx_join")
        def rule(self, player: Player) -> None: ...


def reserved_patch():
    class Wrong(Game):
        @on("patch")
        def rule(self, player: Player) -> None: ...


def reserved_state():
    class Wrong(Game):
        @on("state")
        def rule(self, player: Player) -> None: ...


def no_event():
    class Wrong(Game):
        @on
        def rule(self, player: Player) -> None: ...


def table_of_no_entity():
    class Wrong(Game):
        ships: Table[dict]


def table_of_nothing():
    class Wrong(Game):
        ships: Table


def table_with_default():
    class Wrong(Game):
        ships: Table[Ship] = {}  # noqa: RUF012


def table_assigned():
    class Wrong(Game):
        ships = Table[Ship]


def table_called_as_a_method_of_game():
    class Wrong(Game):
        tick: Table[Ship]


def state_beside_tables():
    class Wrong(Game):
        round: int


def parameter_without_type():
    class Wrong(Game):
        @on("move")
        def move(self, player: Player, dx) -> None: ...


def parameter_that_can_not_be_sent():
    class Wrong(Game):
        @on("move")
        def move(self, player: Player, when: bytes) -> None: ...


def parameter_n():
    class Wrong(Game):
        @on("move")
        def move(self, player: Player, n: int) -> None: ...


def star_arguments():
    class Wrong(Game):
        @on("move")
        def move(self, player: Player, **fields: int) -> None: ...


def no_player():
    class Wrong(Game):
        @on("move")
        def move(self, dx: int, dy: int) -> None: ...


def no_parameters():
    class Wrong(Game):
        @on("move")
        def move(self) -> None: ...


def asynchronous():
    class Wrong(Game):
        @on("move")
        async def move(self, player: Player) -> None: ...


def static():
    class Wrong(Game):
        @on("move")
        @staticmethod
        def move(player: Player) -> None: ...


def rule_called_join():
    class Wrong(Game):
        @on("join")
        def join(self, player: Player) -> None: ...


def game_with_constructor():
    class Wrong(Game):
        def __init__(self) -> None: ...


def join_without_player():
    class Wrong(Game):
        def join(self) -> None: ...


def tick_without_seconds():
    class Wrong(Game):
        def tick(self) -> None: ...


def binary_move():
    class Wrong(Game):
        @on("draw")
        def draw(self, player, payload: bytes): ...


def broken_patch_rate():
    class Wrong(Game):
        patch_rate = 0.5


def negative_tick_rate():
    class Wrong(Game):
        tick_rate = -1


def endless_stay():
    class Wrong(Game):
        leave_after_seconds = math.inf


def own_random():
    class Wrong(Game):
        random = 4


def not_a_game():
    Runtime(Ship, random.Random(1))


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (no_type, "Wrong.x has no type; write x: float = 0.0"),
        (no_default, "Wrong.x has no default"),
        (no_default_in_field, "Wrong.x has no default"),
        (mutable_default, "Wrong.bag: a mutable default would be shared by all; write field(default_factory=list)"),
        (wrong_default, "Wrong.x: its default: expected float, got str"),
        (wrong_factory, "Wrong.bag: its default: expected list[int], got dict"),
        (type_that_can_not_be_sent, "Wrong.bag: set[int] can't be stored or sent; there are int, float"),
        (unknown_name, "Wrong: an annotation can't be resolved: name 'Nothing' is not defined"),
        (private_field, "Wrong._x: a field can't be called _x"),
        (entity_with_constructor, "Wrong.__init__: an entity is made from its fields"),
        (two_rules_for_one_event, "Wrong.other: two rules for 'move', the other is one"),
        (two_rules_of_one_name, "Wrong.move: two rules for 'move'"),
        (reserved_event, "Wrong.rule: the event 'phx_join' is reserved"),
        (reserved_patch, "Wrong.rule: the event 'patch' is reserved"),
        (reserved_state, "Wrong.rule: the event 'state' is reserved"),
        (no_event, '@on needs the name of an event: @on("move")'),
        (table_of_no_entity, "Wrong.ships: a table holds one class of entities"),
        (table_of_nothing, "Wrong.ships: a table holds one class of entities"),
        (table_with_default, "Wrong.ships: a table has no default"),
        (table_assigned, "Wrong.ships: a table is declared by an annotation: ships: Table[…]"),
        (table_called_as_a_method_of_game, "Wrong.tick: Game itself has tick"),
        (state_beside_tables, "Wrong.round: only tables are state"),
        (parameter_without_type, "Wrong.move: the parameter dx has no type; write, for example, dx: int"),
        (parameter_that_can_not_be_sent, "Wrong.move: when: bytes can't be stored or sent"),
        (parameter_n, "Wrong.move: the parameter n must be called otherwise"),
        (star_arguments, "Wrong.move: **fields: 'int' is not a field of a payload"),
        (no_player, "Wrong.move: its first parameter is the player"),
        (no_parameters, "Wrong.move must take (self, player, …)"),
        (asynchronous, "Wrong.move must be an ordinary def"),
        (static, '@on("move") belongs directly on a method'),
        (rule_called_join, "Wrong.join: a rule can't be called join, which Game itself has"),
        (game_with_constructor, "Wrong.__init__: a game has no constructor"),
        (join_without_player, "Wrong.join must take (self, player)"),
        (tick_without_seconds, "Wrong.tick must take (self, seconds)"),
        (negative_tick_rate, "Wrong.tick_rate: expected an int from 0 to 1000 (Hz), got -1"),
        (binary_move, "Wrong.draw: a game's moves are JSON; binary data is for channels"),
        (broken_patch_rate, "Wrong.patch_rate: expected an int from 0 to 1000 (Hz), got 0.5"),
        (endless_stay, "Wrong.leave_after_seconds: expected 0 or more seconds, got inf"),
        (own_random, "Wrong.random: Game itself has random"),
        (not_a_game, "Ship is not a class derived from Game"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_each_mistake_is_told_when_the_class_is_defined(mistake, message):
    with pytest.raises(DefinitionError) as error:
        mistake()
    assert message in str(error.value)
    assert isinstance(error.value, GameClusterError)


# --- games ------------------------------------------------------------------------------------------------------


class Base(Game):
    ships: Table[Ship]
    speed: ClassVar[int] = 2

    @on("go")
    def go(self, player: Player, dx: int) -> dict[str, int]:
        return {"went": dx * self.speed}


def test_games_inherit_tables_and_rules_and_may_replace_them():
    class Logs(Entity):
        text: str = ""

    class Other(Game):
        logs: Table[Logs]

        @on("log")
        def log(self, player: Player) -> None: ...

    class Derived(Base, Other):
        speed = 3

        def go(self, player: Player, dx: int, far: bool = False) -> dict[str, int]:
            return {"went": 100 if far else dx * self.speed}

    runtime = Runtime(Derived, random.Random(1))
    assert runtime.tables() == {"ships": {}, "logs": {}}
    assert runtime.move("p1", "go", {"dx": 1}).response == {"went": 3}
    assert runtime.move("p1", "go", {"dx": 1, "far": True}).response == {"went": 100}
    assert Runtime(Base, random.Random(1)).move("p1", "go", {"dx": 1}).response == {"went": 2}
    assert runtime.move("p1", "log", {}).ok


def test_one_rule_may_answer_two_events():
    class Twice(Game):
        @on("left")
        @on("right")
        def turn(self, player: Player) -> None: ...

    assert sorted(Runtime(Twice, random.Random(1)).schema()["events"]) == ["left", "right"]


def test_annotations_may_be_text_or_types():
    """Without ``from __future__ import annotations``, and with classes of a function."""
    source = (
        "from gamecluster import *\n"
        "def make():\n"
        "    class A(Entity):\n        x: int = 1\n"
        "    class G(Game):\n        a: Table[A]\n        b: 'Table[A]'\n"
        "        @on('set')\n        def set(self, player, to: 'int'): self.a['k'] = A(x=to)\n"
        "    return G\n"
    )
    names: dict[str, Any] = {"__name__": "nowhere"}
    exec(source, names)
    runtime = Runtime(names["make"](), random.Random(1))
    assert runtime.move("p1", "set", {"to": 4}).ops == [("a", "k", {"x": 4})]
    assert set(runtime.tables()) == {"a", "b"}


def test_a_game_is_not_made_by_hand():
    with pytest.raises(TypeError, match=r"to try it: gamecluster\.testing\.play\(Base\)"):
        Base()


def test_the_schema_tells_fields_and_payloads():
    schema = Runtime(Base, random.Random(1)).schema()
    assert schema["game"] == "Base"
    assert schema["events"] == {"go": {"dx": {"type": "int", "required": True}}}
    assert schema["tables"]["ships"]["target"] == {"type": "str or None", "default": None}
    assert schema["tables"]["ships"]["bag"] == {"type": "list[int]", "default": []}
    json.dumps(schema)


def test_a_refusal_reads_well():
    assert str(Rejected("too far", limit=3)) == "too far, limit: 3"
    assert Rejected("too far", limit=3).response == {"reason": "too far", "limit": 3}
    assert Rejected().response == {"reason": "rejected"}
    with pytest.raises(TypeError):
        Rejected("odd", what={1})


def test_a_users_game_passes_mypy_strict(tmp_path):
    good = tmp_path / "good.py"
    good.write_text(
        "from dataclasses import field\n"
        "from gamecluster import Entity, Game, Player, Table, on\n\n\n"
        "class Ship(Entity):\n    x: float = 0.0\n    bag: list[str] = field(default_factory=list)\n\n\n"
        "class Arena(Game):\n    ships: Table[Ship]\n    tick_rate = 30\n\n"
        "    def join(self, player: Player) -> None:\n        self.ships[player.id] = Ship(x=self.random.random())\n\n"
        "    @on('move')\n    def move(self, player: Player, dx: int) -> None:\n        self.ships[player.id].x += dx\n"
    )
    bad = tmp_path / "bad.py"
    bad.write_text(
        "from gamecluster import Entity\n\n\nclass Ship(Entity):\n    x: float = 0.0\n\n\nShip(x='no')\nShip(y=1)\n"
    )
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-incremental",
        "--config-file=",
        "--follow-imports=silent",
    ]
    environment = {"MYPYPATH": str(Path(__file__).parents[1] / "server"), "PATH": ""}
    result = subprocess.run(
        [*command, str(good), str(bad)], capture_output=True, text=True, env=environment, timeout=110
    )
    assert "good.py" not in result.stdout, result.stdout
    assert result.stdout.count("bad.py") == 2, result.stdout + result.stderr
