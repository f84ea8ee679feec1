"""Runs the rules of a game, or of a room, on its state: one call in, one Outcome out. Used by the leader, and by gamecluster.testing."""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .checks import DefinitionError, got, json_object
from .cluster import RuleCluster
from .core.messages import Broadcast, Fields, Tables
from .facades.rooms import RoomCluster
from .interest import Grid
from .rules import Outcome, Player, Rejected, called, refused
from .services import Services
from .services.ledger import Ledger, Mark
from .services.outbox import Outbox
from .state import Journal, Table

if TYPE_CHECKING:
    from .game import Game
    from .room import Room


class Runtime:
    """One game with its state. Raises DefinitionError if ``game_class`` is not a Game.

    ``services``: what ``self.cluster`` works on, the same as the Node's. ``raise_errors``: exceptions of rules other than Rejected
    come through (after the undo) instead of becoming an Outcome.
    """

    __slots__ = ("_broadcasts", "_class", "_game", "_journal", "_ledger", "_raise_errors")

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
        if hasattr(game_class, "_received"):
            raise DefinitionError(
                f"{game_class.__name__} is a Room, and runs under an id; to try it: "
                f'gamecluster.testing.play({game_class.__name__}, room="…")'
            )
        services = services or Services(lambda: 0.0, random)
        self._begin(game_class, services.ledger, raise_errors, random=random, cluster=RuleCluster(services))

    def _begin(self, game_class: type[Game], ledger: Ledger, raise_errors: bool, **attributes: Any) -> None:
        """``attributes``: what the instance has beside its tables."""
        self._class, self._ledger, self._raise_errors = game_class, ledger, raise_errors
        self._journal = Journal()
        self._broadcasts: list[Broadcast] = []
        self._game = object.__new__(game_class)
        for name, entity in game_class._tables.items():
            object.__setattr__(self._game, name, Table(name, entity, self._journal))
        for name, value in attributes.items():
            object.__setattr__(self._game, name, value)
        object.__setattr__(self._game, "_broadcasts", self._broadcasts)

    @property
    def tick_rate(self) -> int:
        return self._class.tick_rate

    @property
    def patch_rate(self) -> int:
        return self._class.patch_rate

    @property
    def leave_after_seconds(self) -> float:
        return self._class.leave_after_seconds

    @property
    def grids(self) -> tuple[Grid, ...]:
        return self._class._grids

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
            rule, arguments = called(self._class._rules, event, payload)
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
            "events": {event: rule.schema() for event, rule in sorted(self._class._rules.items())},
        }

    def _run(self, rule: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Outcome:
        journal = self._journal
        journal.running = True
        try:
            response = _response(rule(*args, **kwargs))
            ops = journal.commit()
            broadcasts = self._broadcasts[:]
            if self._ledger.has_changed:
                rows, said = self._ledger.take()
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
        self._ledger.undo()


class RoomRuntime(Runtime):
    """One room with its state. Raises DefinitionError if ``room_class`` is not a Room for ``outbox.room``. ``random`` may be shared by
    many: an idle room is to be small."""

    __slots__ = ("_kept", "_outbox", "_room_class")

    def __init__(
        self,
        room_class: type[Room],
        outbox: Outbox,
        invited: Sequence[str],
        random: random.Random,
        *,
        raise_errors: bool = False,
    ) -> None:
        if not (isinstance(room_class, type) and hasattr(room_class, "_received")):
            raise DefinitionError(f"{getattr(room_class, '__name__', room_class)} is not a class derived from Room")
        if not room_class.matches(outbox.room):
            raise DefinitionError(
                f"{room_class.__name__} has the rooms {room_class.rooms!r}: {outbox.room!r} is none of them"
            )
        self._room_class, self._outbox = room_class, outbox
        self._kept: Mark = (0, 0, 0)
        cluster = RoomCluster(outbox)
        own = {"room": outbox.room, "invited": tuple(invited), "_outbox": outbox}
        self._begin(room_class, outbox.ledger, raise_errors, random=random, cluster=cluster, **own)

    @property
    def empty_seconds(self) -> float | None:
        """After so long without a player it ends; None: never."""
        return None if self._outbox.room in self._room_class.declared else self._room_class.empty_seconds

    @property
    def keep_seconds(self) -> float | None:
        """So long after a change a copy is to be kept; None: none is."""
        return self._room_class.keep_seconds

    @property
    def ticks_when_empty(self) -> bool:
        return self._room_class.ticks_when_empty

    def join(self, player_id: str) -> Outcome:
        return self._ended() or super().join(player_id)

    def tick(self, seconds: float) -> Outcome:
        return self._ended() or super().tick(seconds)

    def move(self, player_id: str, event: str, payload: Fields) -> Outcome:
        return self._ended() or super().move(player_id, event, payload)

    def letter(self, sender: str, event: str, payload: Fields, kept: Mark) -> Outcome:
        """Runs the rule that is ``@received(event)``. If it refuses or fails, the ledger is as at ``kept``."""
        if (ended := self._ended()) is not None:
            return ended
        try:
            rule, arguments = called(self._room_class._received, event, payload)
        except Rejected as refusal:
            return refused(refusal.response)
        return self._run_after(kept, lambda: rule.function(self._game, sender, **arguments))

    def returned(self, room: str, event: str, payload: Fields, kept: Mark) -> Outcome:
        """Runs the room's ``returned``. If it fails, the ledger is as at ``kept``."""
        game: Any = self._game
        return self._run_after(kept, lambda: game.returned(room, event, json_object(payload)))

    def _ended(self) -> Outcome | None:
        return refused({"reason": "room ended"}) if self._outbox.is_ended else None

    def _run_after(self, kept: Mark, rule: Callable[[], Any]) -> Outcome:
        self._kept = kept
        try:
            return self._run(rule)
        finally:
            self._kept = (0, 0, 0)

    def _undo(self) -> None:
        self._journal.undo()
        self._ledger.undo(self._kept)


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
