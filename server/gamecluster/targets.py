"""TARGETs, ``module:Class`` or ``file.py:Class``, to the game, the rooms and the channels that a node runs."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from .channel import Channel
from .errors import ConfigurationError
from .game import Game
from .room import Room, class_for
from .singleton import Singleton

T = TypeVar("T")


@dataclass(frozen=True)
class Targets:
    """``game`` is the GameState's class, if there is one; a topic goes to the first of ``channels`` that matches, a name to the first of
    ``singletons``, a room's id to the first of ``rooms``."""

    game: type[Game] | None
    channels: tuple[type[Channel], ...]
    singletons: tuple[type[Singleton], ...] = ()
    rooms: tuple[type[Room], ...] = ()

    def room_class(self, room: str) -> type[Room] | None:
        """The one for this id."""
        return class_for(self.rooms, room)


def load(targets: Sequence[str]) -> Targets:
    """Imports what ``targets`` name. Raises ConfigurationError that says what is wrong with which."""
    game: tuple[str, type[Game]] | None = None
    channels: list[type[Channel]] = []
    singletons: list[type[Singleton]] = []
    rooms: list[type[Room]] = []
    for target in targets:
        found = _class(target)
        if issubclass(found, Room):
            rooms.append(_checked_room(target, found))
        elif issubclass(found, Game):
            if game is not None and game[1] is not found:
                raise ConfigurationError(
                    f"{game[0]} and {target} are both Games: a cluster has one GameState; "
                    "what there are many of, such as matches, is a Room"
                )
            game = target, found
        elif issubclass(found, Singleton):
            singletons.append(found)
        else:
            channels.append(found)
    _check_distinct("topic", [(channel.topic, channel) for channel in channels])
    _check_distinct("name", [(singleton.name, singleton) for singleton in singletons])
    _check_distinct("rooms", [(room.rooms, room) for room in rooms])
    loaded = Targets(game[1] if game else None, _once(channels), _once(singletons), _once(rooms))
    _check_declared(loaded)
    return loaded


def _once(found: list[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(found))


def _class(target: str) -> type[Game] | type[Channel] | type[Singleton]:
    place, separator, name = target.rpartition(":")
    if not separator or not place or not name.isidentifier():
        raise ConfigurationError(
            f"{target!r} is not a target: expected module:Class or file.py:Class, such as arena.py:Arena"
        )
    module = _file(target, Path(place)) if place.endswith(".py") else _module(target, place)
    found = getattr(module, name, None)
    if found is None:
        there = ", ".join(_suitable(module)) or "no Game, Room, Channel or Singleton at all"
        raise ConfigurationError(f"{target}: there is no {name} in {place}; there is: {there}")
    if not _is_suitable(found):
        raise ConfigurationError(
            f"{target}: {name} is not a class derived from gamecluster.Game, gamecluster.Room, gamecluster.Channel or "
            "gamecluster.Singleton"
        )
    suitable: type[Game] | type[Channel] | type[Singleton] = found
    return suitable


def _file(target: str, path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigurationError(f"{target}: there is no file {path.absolute()}")
    name = path.stem
    known = sys.modules.get(name)
    if known is not None and (known.__file__ or "") == str(path.resolve()):
        return known
    if known is not None or not name.isidentifier():
        name = f"gamecluster_target_{abs(hash(path.resolve()))}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    if folder not in sys.path:  # the file's neighbours can be imported, as when it is run as a script
        sys.path.insert(0, folder)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        raise _broken(target, error) from error
    return module


def _module(target: str, name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise ConfigurationError(
                f"{target}: there is no module {error.name}, neither installed nor in {here}"
            ) from None
        raise _broken(target, error) from error
    except (Exception, SystemExit) as error:
        raise _broken(target, error) from error


def _broken(target: str, error: BaseException) -> ConfigurationError:
    if not isinstance(error, (Exception, SystemExit)):
        raise error
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).parent != Path(__file__).parent] or frames
    line = f" ({own[-1].filename}:{own[-1].lineno})" if own and not isinstance(error, SyntaxError) else ""
    return ConfigurationError(f"{target} can't be imported: {type(error).__name__}: {error}{line}")


def _suitable(module: ModuleType) -> list[str]:
    return sorted(name for name, value in vars(module).items() if _is_suitable(value))


def _is_suitable(value: object) -> bool:
    bases = (Game, Room, Channel, Singleton)
    return isinstance(value, type) and issubclass(value, bases) and value not in bases


def _checked_room(target: str, found: type[Room]) -> type[Room]:
    if not found.rooms:
        raise ConfigurationError(f'{target}: {found.__name__} does not say which ids it is for: rooms = "duel-*"')
    return found


def _check_declared(loaded: Targets) -> None:
    for room in loaded.rooms:
        for declared in room.declared:
            if (first := loaded.room_class(declared)) is not room and first is not None:
                raise ConfigurationError(
                    f"{room.__name__} declares the room {declared!r}, but {first.__name__}, which is named before, has {first.rooms!r}"
                )


def _check_distinct(what: str, found: Sequence[tuple[str, type]]) -> None:
    known: dict[str, type] = {}
    for name, one in found:
        other = known.setdefault(name, one)
        if other is not one:
            raise ConfigurationError(
                f"{other.__name__} and {one.__name__} both have the {what} {name!r}: only one can answer"
            )
