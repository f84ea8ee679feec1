"""The job of the leader's pod that places rooms, and the leader's own look for pods that are gone.

What should be otherwise is what ``gamecluster.placing`` plans, or what a placer without a plan, which moves rooms to and fro, likes.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING

from gamecluster import placing
from gamecluster.core.messages import Fields, Incarnation, Placement
from gamecluster.places import Step

from .master import TENURE_SPARES, UNHEARD_SECONDS

if TYPE_CHECKING:
    from .world import World

ME = Incarnation("placer_0_1")
EVERY_SECONDS = 0.1


class Placer:
    def __init__(self, world: World, random: Random) -> None:
        self._world = world
        self._random = random
        self._planner = placing.Placer(lambda kind: world.plan.copies)
        world.at(0.3, self._look)

    def _look(self) -> None:
        master = self._world.master
        if not master.is_away:
            self._gone()
            if self._world.plan.planned:
                self._follow_plan()
            else:
                self._lose()
                self.place(self._changes())
            self._declare()
        self._world.at(self._world.now + EVERY_SECONDS * self._random.uniform(0.5, 1.5), self._look)

    def place(self, changes: list[Fields]) -> None:
        if changes:
            self._world.master.run("rooms", "place", {"changes": changes}, ME)

    def suspect(self, who: Incarnation) -> None:
        self._world.master.run("rooms", "lose", {"pods": [who]}, ME)

    def _follow_plan(self) -> None:
        """As ``shell.placing`` does."""
        master, planner = self._world.master, self._planner
        live = {who for who in master.heard if master.silence(who) <= self._random.uniform(0.3, 0.8)}
        planner.load(master.placements)
        planner.see(live, live - master.draining)
        if planner.steps[Step.lost]:
            master.run("rooms", "lose", {"pods": sorted(planner.silent_but(live))}, ME)
            planner.load(master.placements)
        self.place(planner.plan(self._world.now))

    def _lose(self) -> None:
        master = self._world.master
        silent = [who for who in _pods(master.placements) if master.silence(who) > self._random.uniform(0.3, 0.8)]
        if any(_would_move(placement, silent) for placement in master.placements.values()):
            master.run("rooms", "lose", {"pods": silent}, ME)

    def _gone(self) -> None:
        master = self._world.master
        if self._world.now - master.leads_since <= TENURE_SPARES:
            return
        gone = {who for who in master.services.pods() if master.silence(who) > UNHEARD_SECONDS}
        if gone:
            master.gone(gone)

    def _declare(self) -> None:
        master = self._world.master
        here = master.present()
        for room in self._world.kinds.declared:
            if room not in master.placements and here:
                args = {
                    "id": room,
                    "kind": self._world.kinds.kind_of(room),
                    "pods": here,
                    "copies": self._world.plan.copies,
                }
                master.run("rooms", "open", args, ME)

    # --- what should be otherwise

    def _changes(self) -> list[Fields]:
        here = self._world.master.present()
        loads = Counter({who: 0 for who in here})
        for placement in self._world.master.placements.values():
            loads.update(who for who in (placement.holder, *placement.backups) if who in here)
        changes = []
        for room, placement in self._world.master.placements.items():
            wanted = self._wanted(placement, here, loads)
            if wanted and self._random.random() < 0.7:
                changes.append({"id": room, "version": placement.version, **wanted})
        return changes

    def _wanted(self, placement: Placement, here: list[Incarnation], loads: Counter[Incarnation]) -> Fields:
        copies = self._world.plan.copies
        staying = [who for who in placement.backups if who in here]
        coming = [who for who in placement.joining if who in here]
        if placement.holder not in here and staying and placement.to is None:
            return {"to": self._random.choice(staying)}
        least = min(copies, len(here)) - (placement.holder in here)
        if len(staying) + len(coming) < least:
            free = [who for who in here if who != placement.holder and who not in (*staying, *coming)]
            if free:
                return {"joining": [*placement.joining, min(free, key=lambda who: (loads[who], who))]}
        leaving = [who for who in placement.backups if who not in here]
        if leaving and len(staying) >= least and placement.holder in here:
            return {"drop": leaving}
        if len(staying) > least and placement.to is None:
            return {"drop": [self._random.choice(staying)]}
        return {}


def _pods(placements: dict[str, Placement]) -> list[Incarnation]:
    return sorted({who for p in placements.values() for who in (p.holder, *p.backups, *p.joining)})


def _would_move(placement: Placement, silent: list[Incarnation]) -> bool:
    others = any(who in silent for who in (*placement.backups, *placement.joining))
    return others or (placement.holder in silent and any(who not in silent for who in placement.backups))
