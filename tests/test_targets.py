"""Targets: what they load, and what is said when they can't be."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gamecluster.demo import Arena, Room
from gamecluster.errors import ConfigurationError
from gamecluster.targets import Targets, load

GAME = """
from gamecluster import Channel, Entity, Game, Table
from helper import LOBBY

class Dot(Entity):
    x: int = 0

class Tiny(Game):
    dots: Table[Dot]

class Other(Game):
    pass

class Lobby(Channel):
    topic = LOBBY

class Hall(Channel):
    topic = LOBBY

not_a_class = 7
"""
ROOMS = """
from gamecluster import Room

class Town(Room):
    rooms = "zone-town"
    declared = ("zone-town",)

class Zone(Room):
    rooms = "zone-*"

class Land(Room):
    rooms = "zone-*"

class Late(Room):
    rooms = "zone-late"
    declared = ("zone-late",)

class Base(Room):
    pass
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "tiny_game.py").write_text(GAME)
    (tmp_path / "helper.py").write_text("LOBBY = 'lobby'\n")
    (tmp_path / "zones.py").write_text(ROOMS)
    monkeypatch.chdir(tmp_path)
    before, path = set(sys.modules), sys.path[:]
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_installed_modules() -> None:
    assert load(["gamecluster.demo:Arena", "gamecluster.demo:Room"]) == Targets(Arena, (Room,))


def test_no_targets_are_no_game_and_no_channels() -> None:
    assert load([]) == Targets(None, ())


def test_a_file_can_import_its_neighbours(folder: Path) -> None:
    loaded = load(["tiny_game.py:Tiny", str(folder / "tiny_game.py") + ":Lobby"])
    assert loaded.game is not None and loaded.game.__name__ == "Tiny"
    assert [c.topic for c in loaded.channels] == ["lobby"]
    assert sys.modules[loaded.game.__module__] is sys.modules[loaded.channels[0].__module__]


def test_a_module_beside_the_command(folder: Path) -> None:
    game = load(["tiny_game:Tiny"]).game
    assert game is not None and game.__module__ == "tiny_game"


def test_a_file_named_like_an_installed_module_does_not_replace_it(folder: Path) -> None:
    (folder / "json.py").write_text(GAME)
    assert load(["json.py:Tiny"]).game is not None
    import json

    assert json.loads("1") == 1


def test_the_same_target_twice_is_one(folder: Path) -> None:
    loaded = load(["tiny_game:Tiny", "tiny_game:Tiny", "tiny_game:Lobby", "tiny_game:Lobby"])
    assert loaded.game is not None and len(loaded.channels) == 1


def test_rooms_stand_beside_the_game_or_alone(folder: Path) -> None:
    loaded = load(["zones.py:Town", "zones.py:Zone", "zones.py:Zone", "tiny_game.py:Tiny"])
    assert loaded.game is not None and loaded.game.__name__ == "Tiny"
    assert [room.__name__ for room in loaded.rooms] == ["Town", "Zone"]
    found = [loaded.room_class(id) for id in ("zone-town", "zone-2", "duel-1")]
    assert found == [*loaded.rooms, None]
    alone = load(["zones.py:Zone"])
    assert alone.game is None and len(alone.rooms) == 1


@pytest.mark.parametrize(
    ("targets", "text"),
    [
        (["arena"], r"'arena' is not a target: expected module:Class or file\.py:Class"),
        ([":Arena"], "is not a target"),
        (["arena:"], "is not a target"),
        (["arena:2x"], "is not a target"),
        (["nowhere.py:Arena"], r"nowhere\.py:Arena: there is no file /.*nowhere\.py"),
        (["nowhere:Arena"], "nowhere:Arena: there is no module nowhere, neither installed nor in /"),
        (["gamecluster.nowhere:Arena"], r"there is no module gamecluster\.nowhere"),
        (["tiny_game.py:Tinny"], r"there is no Tinny in tiny_game\.py; there is: Hall, Lobby, Other, Tiny"),
        (["helper:Tiny"], "there is: no Game, Room, Channel or Singleton at all"),
        (["tiny_game:not_a_class"], "not_a_class is not a class derived from"),
        (["tiny_game:Dot"], "Dot is not a class derived from"),
        (["tiny_game:Game"], "Game is not a class derived from"),
        (["tiny_game:Tiny", "tiny_game:Other"], "tiny_game:Tiny and tiny_game:Other are both Games"),
        (["zones:Zone", "zones:Land"], "Zone and Land both have the rooms 'zone-\\*'"),
        (["zones:Base"], "zones:Base: Base does not say which ids it is for"),
        (["zones:Room"], "Room is not a class derived from"),
        (
            ["zones:Zone", "zones:Late"],
            r"Late declares the room 'zone-late', but Zone, which is named before, has 'zone-\*'",
        ),
        (["tiny_game:Lobby", "tiny_game:Hall"], "Lobby and Hall both have the topic 'lobby'"),
    ],
)
def test_what_can_not_be_loaded_is_said(folder: Path, targets: list[str], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        load(targets)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            "import not_installed_at_all",
            r"ModuleNotFoundError: No module named 'not_installed_at_all' \(.*broken\.py:1\)",
        ),
        ("\n\n1 / 0", r"ZeroDivisionError: division by zero \(.*broken\.py:3\)"),
        ("def (", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("from gamecluster import Game\nclass A(Game):\n    tick_rate = -1", r"A\.tick_rate: expected.*broken\.py:2\)"),
    ],
)
@pytest.mark.parametrize("target", ["broken.py:A", "broken:A"])
def test_a_module_that_fails_says_where(folder: Path, target: str, source: str, text: str) -> None:
    (folder / "broken.py").write_text(source + "\n")
    with pytest.raises(ConfigurationError, match=text):
        load([target])
