"""What a cluster offers beside its game: names and more, whose state is part of the GameState's.

A service is called on the leader, one call at a time; what it changes are rows of system tables, replicated, fenced and stored
as the game's own. So what it has granted holds through the loss of pods and through partitions. A call whose fate is not known after a
failover is made again: every service takes a repeated call as the first one.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..checks import Mismatch
from ..core.messages import Fields, Incarnation, Op, Tables
from ..rules import Outcome, Rejected, refused
from ..singleton import Singleton
from .boards import Boards
from .caches import Caches
from .ledger import Ledger
from .matchmaker import Matchmaker
from .names import Names
from .notices import Notices
from .once import Once
from .rooms import Rooms
from .service import Service
from .singletons import Singletons
from .streams import Streams

if TYPE_CHECKING:
    from ..cluster import RuleCluster

__all__ = ["Services"]


class Services:
    """``wall_clock``: Unix seconds; of the leader, where something has a time. ``singletons``: the classes that there are."""

    def __init__(
        self,
        wall_clock: Callable[[], float],
        randomness: random.Random,
        singletons: Sequence[type[Singleton]] = (),
    ) -> None:
        self._clock = wall_clock
        self.ledger = ledger = Ledger()
        self.names = Names(ledger)
        self.streams = Streams(ledger, wall_clock, randomness)
        self.boards = Boards(ledger, self._now)
        self.notices = Notices(ledger, self._now)
        self.caches = Caches(ledger)
        self.singletons = Singletons(ledger, singletons, randomness, self._rule_cluster)
        self.rooms = Rooms(ledger, self._now, self._run_other)
        self.matchmaker = Matchmaker(ledger, self._now, self.rooms)
        self._all: Sequence[Service] = (
            self.names,
            self.streams,
            self.boards,
            self.notices,
            self.caches,
            self.singletons,
            self.matchmaker,
            self.rooms,
            Once(ledger, self._run_other),
        )
        self._by_name = {service.name: service for service in self._all}

    def _now(self) -> int:
        """Unix milliseconds."""
        return round(self._clock() * 1000)

    def load(self, tables: Tables, ahead: Sequence[Op] = ()) -> None:
        """Replaces all state; ``tables`` are this object's from now on. ``ahead``: what is in them and not committed yet."""
        self.ledger.load(tables)
        self.boards.loaded(ahead)

    def call(self, service: str, verb: str, args: Fields, origin: Incarnation) -> Outcome:
        """``origin``: the pod that asks."""
        return self.run(lambda: self._verb(service, verb)(origin, **args))

    def pods(self) -> set[Incarnation]:
        return {pod for service in self._all for pod in service.pods()}

    def gone(self, pods: set[Incarnation]) -> Outcome:
        """What these pods held ends."""

        def end() -> None:
            for service in self._all:
                service.gone(pods)

        return self.run(end)

    def restored(self) -> Outcome:
        """The state goes on from an earlier one than some were shown."""

        def leap() -> None:
            self.streams.restored()
            self.rooms.restored()

        return self.run(leap)

    def run(self, call: Callable[[], Any]) -> Outcome:
        """All that ``call`` changes, or, if it raises, nothing."""
        try:
            response = call()
            ops, broadcasts = self.ledger.take()
            return Outcome(True, response or {}, ops, broadcasts)
        except Rejected as refusal:
            self.ledger.undo()
            return refused(refusal.response)
        except Mismatch as error:
            self.ledger.undo()
            return refused({"reason": "bad payload", "detail": str(error)})
        except Exception:
            self.ledger.undo()
            return refused({"reason": "internal error"}, traceback.format_exc())

    def _verb(self, service: str, verb: str) -> Callable[..., Any]:
        found = self._by_name.get(service)
        if found is None or verb not in found.verbs:
            raise Rejected("unknown service", detail=f"{service}.{verb}: is this pod of an older version?")
        call: Callable[..., Any] = getattr(found, verb)
        return call

    def _run_other(self, origin: Incarnation, service: str, verb: str, args: Fields) -> Fields | None:
        if service == Once.name:
            raise Rejected("unknown service", detail="once within once")
        response: Fields | None = self._verb(service, verb)(origin, **args)
        return response

    def _rule_cluster(self) -> RuleCluster:
        from ..cluster import RuleCluster  # which is made of the services

        return RuleCluster(self)
