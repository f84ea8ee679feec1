"""Named singletons: one instance in the whole cluster for each name, whose fields are part of the GameState."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, ClassVar

from .checks import DefinitionError, names_around, text
from .core.messages import Fields
from .entity import Entity
from .rules import Rule, check_method, rules_of
from .state import Journal, Table

if TYPE_CHECKING:
    from .cluster import RuleCluster
    from .services.ledger import Ledger


class Singleton(Entity):
    """Something that there is once in a cluster, such as each market, with rules as a Game's and fields as an Entity's::

        class Market(Singleton):
            name = "market:*"         # a name, or a beginning and *
            stock: int = 10

            @on("buy")
            def buy(self, amount: int) -> dict[str, int]:
                if amount > self.stock:
                    raise Rejected("sold out", stock=self.stock)
                self.stock -= amount
                return {"left": self.stock}

    An instance is made by the first call of its name. A rule runs once, on the leader, one at a time with all of the game's; if it
    raises, nothing has changed.
    """

    __slots__ = ()
    name: ClassVar[str] = ""
    _no_fields: ClassVar[frozenset[str]] = frozenset({"name"})
    _rules: ClassVar[dict[str, Rule]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        names = names_around()
        cls._declare(names)
        cls._rules = rules_of(cls, Singleton, names, {}, lambda event: False)
        _check_class(cls)

    def start(self) -> None:
        """Runs once, when the instance is made, before its first call."""

    @property
    def key(self) -> str:
        """The whole name: ``market:1``."""
        return self._key

    @property
    def cluster(self) -> RuleCluster:
        """What the cluster offers, as in a Game's rule."""
        return self._home.cluster

    @property
    def random(self) -> random.Random:
        """For everything that is left to chance."""
        return self._home.random

    def broadcast(self, topic: str, event: str, payload: Fields) -> None:
        """To everyone on ``topic``, once what this rule changed is safe; not at all if it raises."""
        if event.startswith(("phx_", "presence_")) or (topic == "game" and event in ("patch", "state")):
            raise ValueError(f"the event {event!r} is reserved")
        if topic.startswith("$"):
            raise ValueError(f"the topic {topic!r} is the cluster's own")
        self._home.ledger.broadcast(text(topic), text(event), payload)

    @property
    def _home(self) -> Home:
        if not isinstance(self._table, Home):
            raise RuntimeError(f"{type(self).__name__}: only within a rule of its own")
        return self._table

    @classmethod
    def matches(cls, name: str) -> bool:
        """Whether this class is the one for ``name``: ``market:*`` is for ``market:1``, but not for ``market:``."""
        if cls.name.endswith("*"):
            return len(name) >= len(cls.name) and name.startswith(cls.name[:-1])
        return name == cls.name


class Home(Table[Singleton]):
    """Where one instance lives on the leader."""

    __slots__ = ("cluster", "ledger", "random")

    def __init__(
        self,
        table: str,
        singleton: type[Singleton],
        journal: Journal,
        cluster: RuleCluster,
        ledger: Ledger,
        chance: random.Random,
    ) -> None:
        super().__init__(table, singleton, journal)
        self.cluster, self.ledger, self.random = cluster, ledger, chance


def _check_class(cls: type[Singleton]) -> None:
    who = cls.__name__
    for name in cls._fields:
        if hasattr(Singleton, name):
            raise DefinitionError(f"{who}: a field can't be called {name}: Singleton itself has {name}")
    for name in ("key", "cluster", "random", "broadcast", "matches"):
        if name in vars(cls):
            raise DefinitionError(f"{who}.{name}: Singleton itself has {name}; call it otherwise")
    if cls._rules and (not isinstance(cls.name, str) or not cls.name or "*" in cls.name[:-1] or cls.name == "*"):
        raise DefinitionError(
            f'{who}.name: expected a name such as "bank", or a beginning and * such as "market:*", got {cls.name!r}'
        )
    check_method(cls, "start", 0, "(self)")
