"""What a game is made of: Game, Entity, Table, Grid, Player, Rejected and @on. The guide is docs/game.md."""

from __future__ import annotations

import random
from typing import Any, ClassVar, get_args, get_origin

from .checks import DefinitionError, Mismatch, got, inherited, json_object, names_around, own_annotations, text
from .cluster import RuleCluster
from .core.messages import Broadcast, Fields
from .entity import Entity
from .interest import Grid, checked
from .rules import PLAYER, Outcome, Player, Rejected, Rule, check_method, on, rules_of
from .runtime import Runtime
from .state import Table

__all__ = [
    "DefinitionError",
    "Entity",
    "Game",
    "Grid",
    "Mismatch",
    "Outcome",
    "Player",
    "Rejected",
    "Runtime",
    "Table",
    "on",
]

TOPIC = "game"


class Game:
    """The rules of a game and the tables of its state. A rule runs once, on the leader, one at a time, from start to end;
    what it changed in the tables is what is replicated. If it raises, nothing has changed.

    State lives in tables only: other attributes can't be assigned, since they would be lost with the pod.
    """

    tick_rate: ClassVar[int] = 0
    """How often ``tick`` runs, in Hz; 0: never."""
    patch_rate: ClassVar[int] = 30
    """How many patches of the state clients are sent at most, in Hz; 0: one for every commit."""
    leave_after_seconds: ClassVar[float] = 30
    """How long a player whose connection is lost stays; a return within it runs neither ``leave`` nor ``join``."""
    interest: ClassVar[Grid | tuple[Grid, ...]] = ()
    """Of which tables a player is sent only the rows near its own; of all others it is sent everything."""
    random: random.Random
    """For everything that is left to chance."""
    cluster: RuleCluster
    """What the cluster offers beside the game. What a rule does with it is part of what the rule changes."""

    _reserved: ClassVar[frozenset[str]] = frozenset({"random", "cluster", "broadcast"})
    """What a game can't call anything of its own."""
    _tables: ClassVar[dict[str, type[Entity]]] = {}
    _rules: ClassVar[dict[str, Rule]] = {}
    _grids: ClassVar[tuple[Grid, ...]] = ()
    _broadcasts: list[Broadcast]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._declare(names_around())

    @classmethod
    def _declare(cls, names: dict[str, Any]) -> None:
        """``names``: those that the class statement sees."""
        base = base_of(cls)
        _check_class(cls, base)
        cls._tables = inherited(cls, "_tables", _tables_of(cls, base, names))
        cls._rules = rules_of(cls, base, names, PLAYER, is_reserved)
        cls._grids = checked(cls.interest, cls._tables, f"{cls.__name__}.interest")

    def __init__(self) -> None:
        name = type(self).__name__
        raise TypeError(f"{name} is run by a cluster; to try it: gamecluster.testing.play({name})")

    def join(self, player: Player) -> None:
        """Runs once when a player joins; not at a return before ``leave_after_seconds`` are over."""

    def leave(self, player: Player) -> None:
        """Runs once when a player has left, or has been away for ``leave_after_seconds``."""

    def tick(self, seconds: float) -> None:
        """Runs ``tick_rate`` times a second; ``seconds`` have passed since the last time."""

    def broadcast(self, event: str, payload: Fields) -> None:
        """Sends ``event`` to everyone on the game's topic, once what this rule changed is safe; not at all if it raises."""
        if is_reserved(event):
            raise ValueError(f"the event {event!r} is reserved")
        self._broadcasts.append(Broadcast(self._topic, text(event), json_object(payload)))

    @property
    def _topic(self) -> str:
        return TOPIC

    def __setattr__(self, name: str, value: Any) -> None:
        who = f"{type(self).__name__}.{name}"
        if name in self._tables:
            raise AttributeError(f"{who} is a table: change what is in it")
        raise AttributeError(f"{who} can't be assigned: only what is in tables is replicated and survives a pod")


def is_reserved(event: str) -> bool:
    return event.startswith(("phx_", "presence_")) or event in ("patch", "state")


def base_of(cls: type[Game]) -> type[Game]:
    """Game, or the kind of Game that this one is derived from."""
    return next(base for base in cls.__mro__ if "_reserved" in vars(base))


def _check_class(cls: type[Game], base: type[Game]) -> None:
    who = cls.__name__
    if "__init__" in vars(cls):
        raise DefinitionError(f"{who}.__init__: a game has no constructor; its state is in tables, which begin empty")
    for name in sorted(base._reserved & vars(cls).keys()):
        raise DefinitionError(f"{who}.{name}: {base.__name__} itself has {name}; call it otherwise")
    for name in ("tick_rate", "patch_rate"):
        rate = getattr(cls, name)
        if type(rate) is not int or not 0 <= rate <= 1000:
            raise DefinitionError(f"{who}.{name}: expected an int from 0 to 1000 (Hz), got {rate!r}")
    if type(cls.leave_after_seconds) not in (int, float) or not 0 <= cls.leave_after_seconds < float("inf"):
        raise DefinitionError(f"{who}.leave_after_seconds: expected 0 or more seconds, got {cls.leave_after_seconds!r}")
    check_method(cls, "join", 1, "(self, player)")
    check_method(cls, "leave", 1, "(self, player)")
    check_method(cls, "tick", 1, "(self, seconds)")


def _tables_of(cls: type[Game], base: type[Game], names: dict[str, Any]) -> dict[str, type[Entity]]:
    for name, value in vars(cls).items():
        if value is Table or get_origin(value) is Table:
            raise DefinitionError(f"{cls.__name__}.{name}: a table is declared by an annotation: {name}: Table[…]")
    tables = {}
    for name, hint in own_annotations(cls, names).items():
        if hint is Table or get_origin(hint) is Table:
            tables[name] = _entity_of(cls, base, name, hint)
        elif name not in vars(cls) and ClassVar not in (hint, get_origin(hint)):
            raise DefinitionError(
                f"{cls.__name__}.{name}: only tables are state; make it a field of an Entity in a Table"
            )
    return tables


def _entity_of(cls: type[Game], base: type[Game], name: str, hint: Any) -> type[Entity]:
    who = f"{cls.__name__}.{name}"
    if hasattr(base, name) or name in base._reserved:
        raise DefinitionError(f"{who}: {base.__name__} itself has {name}; call the table otherwise")
    if name in vars(cls):
        raise DefinitionError(f"{who}: a table has no default; it begins empty")
    kind = get_args(hint)[0] if get_args(hint) else None
    if not (isinstance(kind, type) and issubclass(kind, Entity) and kind is not Entity):
        shown = "nothing" if kind is None else getattr(kind, "__name__", None) or got(kind)
        raise DefinitionError(
            f"{who}: a table holds one class of entities, Table[Ship] with class Ship(Entity); this one has {shown}"
        )
    return kind
