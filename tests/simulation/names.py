"""Pods that register, give back and hold names under all the trouble of a plan; two must never both answer for one name.

A pod answers for a name while its own copy says that it holds it and its tenure is good (``services.tenure``). Who looks is told by every
process that runs, at every step of any. Clocks whose speeds differ by more than a quarter are not in the contract.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from gamecluster.core import effects as do
from gamecluster.core.events import Called, Event
from gamecluster.core.messages import Fields, Incarnation
from gamecluster.services import Services
from gamecluster.services.names import TABLE
from gamecluster.services.tenure import Tenure

from . import invariants, probe
from . import run as runs
from .invariants import Violated
from .life import Life
from .schedule import Plan
from .transcript import Transcript
from .world import World, real_node

NAMES = ("npc:1", "npc:2", "boss")
BELOW = -1_000_000
"""Requests of names; those above are the world's own."""
FREED_SECONDS = 3.0
"""When all is quiet, a dead pod's names are free after so long."""


@dataclass
class Holder:
    """One process, as far as it holds names. ``asked``: by request, when it was asked (its own clock), and what; ``wanted``: the id of what
    is to answer for a name, from when that asks to be registered until it is to be no more."""

    tenure: Tenure = field(default_factory=Tenure)
    requests: int = BELOW
    asked: dict[int, tuple[float, str, str]] = field(default_factory=dict)
    wanted: dict[str, str] = field(default_factory=dict)


class NamesWorld(World):
    def __init__(self, plan: Plan, transcript: Transcript | None = None) -> None:
        self.holders: dict[Incarnation, Holder] = {}
        super().__init__(plan, transcript, node_with_services)
        self._chance = Random(f"{plan.seed}/names")
        self.at(0.5, self._act)

    def answers_for(self, life: Life, name: str) -> bool:
        row = life.log.tables.get(TABLE, {}).get(name)
        holder = self.holders.get(life.incarnation)
        if holder is None or row is None or (row["pod"], row["id"]) != (life.incarnation, holder.wanted.get(name)):
            return False
        return holder.tenure.is_good(life.clock(self.now))

    def _act(self) -> None:
        """Every process asks for something now and then, while there is trouble."""
        for life in list(self.lives.values()):
            if life.runs and not life.queue:
                self._call(life)
        if self.now < self.plan.seconds:
            self.at(self.now + self._chance.uniform(0.02, 0.2), self._act)

    def _call(self, life: Life) -> None:
        verb = self._chance.choice(("hold", "hold", "register", "register", "unregister", ""))
        if not verb:
            return
        holder, name = self.holders.setdefault(life.incarnation, Holder()), self._chance.choice(NAMES)
        if (verb == "register") == (name in holder.wanted) and verb != "hold":
            return
        holder.requests -= 1
        holder.asked[holder.requests] = (life.clock(self.now), verb, name)
        args: Fields = {}
        if verb == "register":
            args = {"name": name, "id": holder.wanted.setdefault(name, f"{-holder.requests}")}
        elif verb == "unregister":
            args = {"name": name, "id": holder.wanted.pop(name)}
        self._step(life, Called(holder.requests, "names", verb, args))

    def _step(self, life: Life, event: Event) -> None:
        super()._step(life, event)
        for name in NAMES:
            holders = [str(one) for one in self.lives.values() if one.runs and self.answers_for(one, name)]
            if len(holders) > 1:
                raise Violated("names", f"{holders} all answer for {name!r}")

    def _answer(self, life: Life, answer: do.Answer) -> None:
        if answer.request > BELOW:
            super()._answer(life, answer)
            return
        invariants.check_answer(self.ledger, life, answer)
        holder = self.holders[life.incarnation]
        asked_at, verb, name = holder.asked.pop(answer.request)
        if answer.ok:
            holder.tenure.confirmed(asked_at)
            self.counts[verb] += 1
        elif verb == "register":
            self.counts["taken"] += answer.response["reason"] == "name taken"
            if holder.wanted.get(name) == f"{-answer.request}":
                del holder.wanted[name]


def node_with_services(me: Incarnation, plan: Plan, random: Random, now: float, revision: str) -> Any:
    services = Services(lambda: 0.0, Random(f"{plan.seed}/{me}/services"))
    return real_node(me, plan, random, now, revision, services)


def run(plan: Plan, transcript: Transcript | None = None) -> NamesWorld:
    """Raises ``run.Failed``."""
    with probe.history_of(plan.history), probe.patience_of(plan.operator.patience if plan.operator else None):
        world = NamesWorld(plan, transcript)
        try:
            runs._run(world)
            world.run_until(world.now + FREED_SECONDS)
            runs.converge(world)
            check_end(world)
        except Violated as violation:
            raise runs.Failed(plan, violation.invariant, str(violation), world) from violation
        return world


def check_end(world: World) -> None:
    """All copies are equal, and every name is a living pod's."""
    truth = world.ledger.shadow.get(TABLE, {})
    for life in world.living():
        if life.log.tables.get(TABLE, {}) != truth:
            raise Violated("names", f"{life} has {life.log.tables.get(TABLE)}, the entries give {truth}")
    if dead := {name: row for name, row in truth.items() if not world.lives[row["pod"]].alive}:
        raise Violated("names", f"held by dead pods: {dead}")
