"""Runs a game's rules on its state: one call in, one Outcome out. Used by the leader, and by gamecluster.testing."""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .checks import DefinitionError, got, json_object
from .cluster import RuleCluster
from .core.messages import Broadcast, Fields, Tables
from .rules import Outcome, Player, Rejected, called, refused
from .services import Services
from .state import Journal, Table

if TYPE_CHECKING:
    from .game import Game


class Runtime:
    """One game with its state. Raises DefinitionError if ``game_class`` is not a Game.

    ``services``: what ``self.cluster`` works on, the same as the Node's. ``raise_errors``: exceptions of rules other than Rejected
    come through (after the undo) instead of becoming an Outcome.
    """

    def __init__(
        self,
        game_class: type[Game],
        random: random.Random,
        *,
        services: Services | None = None,
        raise_errors: bool = False,
    ) -> None:
        if not (isinstance(game_class, type) and hasattr(game_class, "_tables") and hasattr(game_class, "_rules")):
            raise DefinitionError(f"{getattr(game_class, '__name__', game_class)} is not a class derived from Game")
        self.tick_rate: int = game_class.tick_rate
        self.patch_rate: int = game_class.patch_rate
        self.leave_after_seconds: float = game_class.leave_after_seconds
        self._class, self._rules, self._raise_errors = game_class, game_class._rules, raise_errors
        self._journal = Journal()
        self._broadcasts: list[Broadcast] = []
        tables = {name: Table(name, entity, self._journal) for name, entity in game_class._tables.items()}
        self._game = object.__new__(game_class)
        self._services = services or Services(lambda: 0.0, random)
        cluster = RuleCluster(self._services)
        vars(self._game).update(tables, random=random, cluster=cluster, _broadcasts=self._broadcasts)

    def load(self, tables: Tables) -> None:
        """Replaces all state. Tables and fields that the game does not declare are left out; absent fields get their default.
        Raises ValueError, with the state as before, if a value is not of its field's type."""
        fresh = {name: table._restored(tables.get(name, {})) for name, table in self._journal.tables.items()}
        for name, rows in fresh.items():
            self._journal.tables[name]._load(rows)

    def tables(self) -> Tables:
        """A copy of all state as plain data; every declared table is in it."""
        return {name: table._plain() for name, table in self._journal.tables.items()}

    def join(self, player_id: str) -> Outcome:
        return self._run(self._game.join, Player(player_id))

    def leave(self, player_id: str) -> Outcome:
        return self._run(self._game.leave, Player(player_id))

    def tick(self, seconds: float) -> Outcome:
        return self._run(self._game.tick, seconds)

    def move(self, player_id: str, event: str, payload: Fields) -> Outcome:
        try:
            rule, arguments = called(self._rules, event, payload)
        except Rejected as refusal:
            return refused(refusal.response)
        return self._run(rule.function, self._game, Player(player_id), **arguments)

    def fields(self) -> dict[str, list[str]]:
        """The names of each table's fields, as declared."""
        return {name: list(table._schema()) for name, table in self._journal.tables.items()}

    def schema(self) -> Fields:
        """What the game declares: its tables' fields and its events' payloads, by the names of their types."""
        return {
            "game": self._class.__name__,
            "tick_rate": self.tick_rate,
            "patch_rate": self.patch_rate,
            "leave_after_seconds": self.leave_after_seconds,
            "tables": {name: table._schema() for name, table in self._journal.tables.items()},
            "events": {event: rule.schema() for event, rule in sorted(self._rules.items())},
        }

    def _run(self, rule: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Outcome:
        journal = self._journal
        journal.running = True
        try:
            response = _response(rule(*args, **kwargs))
            ops = journal.commit()
            broadcasts = self._broadcasts[:]
            if self._services.ledger.has_changed:
                rows, said = self._services.ledger.take()
                ops, broadcasts = ops + rows, broadcasts + said
            return Outcome(True, response, ops, broadcasts)
        except Rejected as refusal:
            self._undo()
            return refused(refusal.response)
        except Exception:
            self._undo()
            if self._raise_errors:
                raise
            return refused({"reason": "internal error"}, traceback.format_exc())
        except BaseException:
            self._undo()
            raise
        finally:
            journal.running = False
            self._broadcasts.clear()

    def _undo(self) -> None:
        self._journal.undo()
        self._services.ledger.undo()


def _response(returned: Any) -> Fields:
    if returned is None:
        return {}
    if not isinstance(returned, dict):
        raise TypeError(
            f"a rule returns None, or a dict that is added to the response; this one returned {got(returned)}"
        )
    if taken := returned.keys() & {"epoch", "seq"}:
        raise TypeError(f"a rule's response can't have {' or '.join(sorted(taken))}: the cluster adds it")
    return json_object(returned)
