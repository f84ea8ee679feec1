"""gamecluster.testing, and the guide whose examples use it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from gamecluster import Channel, Entity, Game, Player, Rejected, Table, on
from gamecluster.testing import play, room

DOCS = Path(__file__).parents[1] / "docs"
GUIDE = DOCS / "game.md"


class Dot(Entity):
    x: int = 0


class Dots(Game):
    dots: Table[Dot]
    tick_rate = 4

    def join(self, player: Player) -> None:
        if player.id == "eve":
            raise Rejected("not you")
        self.dots[player.id] = Dot(x=self.random.randrange(1000))

    def tick(self, seconds: float) -> None:
        for dot in self.dots.values():
            dot.x += round(seconds * 1000)

    @on("jump")
    def jump(self, player: Player, to: int, names: list[str] | None = None) -> None:
        self.broadcast("jumped", {"to": to})
        self.dots[player.id].x = to
        if to == 13:
            raise LookupError("a bug")


@pytest.mark.parametrize(
    ("guide", "fewest"),
    [(GUIDE, 6), (DOCS / "cluster.md", 1), (DOCS / "rooms.md", 4)],
    ids=lambda v: getattr(v, "name", ""),
)
def test_every_example_of_a_guide_runs(guide: Path, fewest: int):
    text = guide.read_text()
    module = sys.modules["the_guide"] = ModuleType("the_guide")
    blocks = list(re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    assert len(blocks) >= fewest
    for block in blocks:
        lines_before = text[: block.start(1)].count("\n")
        exec(compile("\n" * lines_before + block[1], str(guide), "exec"), vars(module))


def test_the_guides_table_of_responses_is_true():
    text = GUIDE.read_text()
    arena = play(Dots)
    arena.join("ann")
    with pytest.raises(Rejected) as refusal:
        arena.move("ann", "fly")
    assert refusal.value.response == {"reason": "unknown event", "known": ["jump"]}
    with pytest.raises(Rejected) as refusal:
        arena.move("ann", "jump", to="x")
    assert refusal.value.response == {"reason": "bad payload", "detail": "to: expected int, got str"}
    for reason in "unknown event", "bad payload", "internal error":
        assert reason in text


def test_the_seed_decides_what_is_left_to_chance():
    def begin(seed: int) -> dict:
        dots = play(Dots, seed=seed)
        dots.join("ann")
        return dots.tables

    assert begin(1) == begin(1)
    assert begin(1) != begin(2)


def test_a_tick_lasts_what_the_rate_says_unless_told():
    dots = play(Dots, tables={"dots": {"ann": {"x": 0}}})
    dots.tick()
    assert dots.tables["dots"]["ann"]["x"] == 250
    dots.tick(seconds=2, times=2)
    assert dots.tables["dots"]["ann"]["x"] == 4250
    assert [ops for [ops] in dots.patches] == [("dots", "ann", {"x": x}) for x in (250, 2250, 4250)]


def test_a_bug_comes_through_as_itself_and_changes_nothing():
    dots = play(Dots)
    dots.join("ann")
    before, patches = dots.tables, list(dots.patches)
    with pytest.raises(LookupError, match="a bug"):
        dots.move("ann", "jump", to=13)
    assert (dots.tables, dots.patches, dots.broadcasts) == (before, patches, [])
    dots.move("ann", "jump", to=5)
    assert [b.payload for b in dots.broadcasts] == [{"to": 5}]


def test_who_was_refused_has_not_joined():
    dots = play(Dots)
    with pytest.raises(Rejected, match="not you"):
        dots.join("eve")
    assert dots.players == set()
    for call in (lambda: dots.move("eve", "jump", to=1), lambda: dots.leave("eve")):
        with pytest.raises(ValueError, match="eve has not joined"):
            call()


def test_joining_twice_is_a_mistake_of_the_test():
    dots = play(Dots)
    dots.join("ann")
    with pytest.raises(ValueError, match="ann has joined already"):
        dots.join("ann")


def test_a_payload_that_json_could_not_carry_is_a_mistake_of_the_test():
    dots = play(Dots)
    dots.join("ann")
    with pytest.raises(TypeError, match=r"\['to'\]: expected a JSON value, got set"):
        dots.move("ann", "jump", to={1})


class Echo(Channel):
    topic = "echo"

    def leave(self) -> None:
        self.push("bye", {})
        self.broadcast("gone", {})

    @on("echo")
    def echo(self, payload):
        self.broadcast("echo", payload)

    @on("break")
    def stop(self) -> None:
        self.broadcast("echo", {})
        raise LookupError("a bug")


def test_what_is_received_belongs_to_the_receiver():
    echo = room(Echo, "echo")
    echo.join("a")
    echo.join("b")
    echo.push("a", "echo", list=[1])
    echo.received["a"][0][1]["list"].append(2)
    assert echo.received["b"] == [("echo", {"list": [1]})]


def test_who_left_gets_nothing_more():
    echo = room(Echo, "echo")
    echo.join("a")
    echo.join("b")
    echo.leave("a")
    assert echo.received == {"a": [], "b": [("gone", {})]}
    with pytest.raises(ValueError, match="a has not joined"):
        echo.push("a", "echo")


def test_a_bug_in_a_channel_comes_through_and_sends_nothing():
    echo = room(Echo, "echo")
    echo.join("a")
    with pytest.raises(LookupError):
        echo.push("a", "break")
    with pytest.raises(Rejected, match="unknown event"):
        echo.push("a", "ecco")
    assert echo.received == {"a": []}
