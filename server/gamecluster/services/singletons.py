"""Named singletons: ``$singletons``: name → the instance's fields. Their rules run here, on the leader, within a call or a Game's rule."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..checks import Mismatch, json_object, text
from ..core.messages import Fields, Incarnation
from ..rules import Rejected, Rule, called
from ..singleton import Home, Singleton
from ..state import Journal
from .ledger import Ledger
from .service import Service

if TYPE_CHECKING:
    from ..cluster import RuleCluster

TABLE = "$singletons"
LONGEST, MOST = 200, 10_000
AT_HAND = 1000
"""Instances that are kept as objects; the others are made from their rows again."""


@dataclass
class _Instance:
    """``row``: the ledger's, when ``home`` was equal to it; another row there now says that it no longer is."""

    home: Home
    journal: Journal
    row: Fields | None


class Singletons(Service):
    """``cluster``: makes what rules are given as ``self.cluster``. Calls come through ``once``: a rule is not to run twice."""

    name = "singletons"
    verbs = frozenset({"call", "stop"})

    def __init__(
        self,
        ledger: Ledger,
        classes: Sequence[type[Singleton]],
        randomness: random.Random,
        cluster: Callable[[], RuleCluster],
    ) -> None:
        super().__init__(ledger)
        self._classes = tuple(classes)
        self._random = randomness
        self._cluster = cluster
        self._instances: dict[str, _Instance] = {}
        self._running: set[str] = set()

    def call(self, origin: Incarnation, name: str, event: str, payload: Fields) -> Fields:
        return {"response": self.run(name, event, payload)}

    def stop(self, origin: Incarnation, name: str) -> None:
        self.end(name)

    def end(self, name: str) -> None:
        """The next call makes a new one."""
        if name in self._running:
            raise RuntimeError(f"{name} can't be stopped by what it runs itself")
        self._instances.pop(name, None)
        self._ledger.delete(TABLE, name)

    def run(self, name: str, event: str, payload: Fields) -> Fields:
        """What the rule returns. Raises Rejected, with all undone that this call did and no more."""
        found = self._class_for(name)
        rule, arguments = called(found._rules, event, payload)
        if name in self._running:
            raise RuntimeError(f"{name} is called by a rule that it has called itself")
        return self._undone_if_it_raises(name, lambda: self._run(found, name, rule, arguments))

    def _class_for(self, name: str) -> type[Singleton]:
        for found in self._classes:
            if len(text(name)) <= LONGEST and found.matches(name):
                return found
        known = [found.name for found in self._classes]
        raise Rejected("unknown singleton", known=known, detail=f"a name has at most {LONGEST} characters")

    def _undone_if_it_raises(self, name: str, call: Callable[[], Fields]) -> Fields:
        mark = self._ledger.mark()
        self._running.add(name)
        try:
            return call()
        except BaseException as error:
            self._ledger.undo(mark)
            self._instances.pop(name, None)
            if isinstance(error, Mismatch):  # the rule's own fault, not the caller's
                raise RuntimeError(f"{name}: {error}") from error
            raise
        finally:
            self._running.discard(name)

    def _run(self, found: type[Singleton], name: str, rule: Rule, arguments: dict[str, Any]) -> Fields:
        instance = self._instance(found, name)
        home, journal = instance.home, instance.journal
        journal.running = True
        if instance.row is None:
            home[name] = found()
            home[name].start()
        response = _response(rule.function(home[name], **arguments))
        for _, _, fields in journal.commit():
            assert fields is not None, "only `stop` deletes"
            self._ledger.put(TABLE, name, fields)
        journal.running = False
        instance.row = self._ledger.rows(TABLE)[name]
        return response

    def _instance(self, found: type[Singleton], name: str) -> _Instance:
        row = self._ledger.rows(TABLE).get(name)
        instance = self._instances.get(name)
        if instance is not None and instance.row is row and row is not None:
            return instance
        if row is None and len(self._ledger.rows(TABLE)) >= MOST:
            raise Rejected(
                "too many singletons", detail=f"a cluster has at most {MOST}: stop those that are not needed"
            )
        journal = Journal()
        home = Home(TABLE, found, journal, self._cluster(), self._ledger, self._random)
        if row is not None:
            home._load(home._restored({name: row}))
        if len(self._instances) >= AT_HAND:
            del self._instances[next(iter(self._instances))]
        instance = self._instances[name] = _Instance(home, journal, row)
        return instance


def _response(returned: Any) -> Fields:
    if returned is not None and not isinstance(returned, dict):
        raise TypeError(
            f"a rule returns None, or a dict that is the response; this one returned {type(returned).__name__}"
        )
    return json_object(returned) if returned else {}
