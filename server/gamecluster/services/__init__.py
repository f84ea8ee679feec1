"""What a cluster offers beside its game: names and more, whose state is part of the GameState's.

A service is called on the leader, one call at a time; what it changes are rows of system tables, replicated, fenced and stored
as the game's own. So what it has granted holds through the loss of pods and through partitions. A call whose fate is not known after a
failover is made again: every service takes a repeated call as the first one.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from ..checks import Mismatch
from ..core.messages import Fields, Incarnation, Tables
from ..rules import Outcome, Rejected, refused
from .ledger import Ledger
from .names import Names
from .service import Service

__all__ = ["Services"]


class Services:
    """``wall_clock``: Unix seconds; of the leader, where something has a time."""

    def __init__(self, wall_clock: Callable[[], float], randomness: random.Random) -> None:
        self.ledger = ledger = Ledger()
        self.names = Names(ledger)
        self._all: Sequence[Service] = (self.names,)
        self._by_name = {service.name: service for service in self._all}
        self._clock = wall_clock
        self._random = randomness

    def load(self, tables: Tables) -> None:
        """Replaces all state; ``tables`` are this object's from now on."""
        self.ledger.load(tables)

    def call(self, service: str, verb: str, args: Fields, origin: Incarnation) -> Outcome:
        """``origin``: the pod that asks."""
        found = self._by_name.get(service)
        if found is None or verb not in found.verbs:
            return refused(
                {"reason": "unknown service", "detail": f"{service}.{verb}: is this pod of an older version?"}
            )
        return self.run(lambda: getattr(found, verb)(origin, **args))

    def pods(self) -> set[Incarnation]:
        return {pod for service in self._all for pod in service.pods()}

    def gone(self, pods: set[Incarnation]) -> Outcome:
        """What these pods held ends."""

        def end() -> None:
            for service in self._all:
                service.gone(pods)

        return self.run(end)

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
