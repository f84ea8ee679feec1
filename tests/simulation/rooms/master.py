"""The GameState as the rooms see it: one call at a time, committed at once, and heard of by every pod in its own time.

It knows who is silent, as its leader does; see ``placer`` for what follows from that.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from gamecluster.core.effects import CallService
from gamecluster.core.events import Placed, ServiceAnswered
from gamecluster.core.messages import Fields, Incarnation, Placement
from gamecluster.services import Services
from gamecluster.services.placements import TABLE as ROOMS
from gamecluster.services.rooms import placement_of

from . import invariants
from .life import Life

if TYPE_CHECKING:
    from .world import World

TENURE_SPARES, UNHEARD_SECONDS = 2.0, 2.0
ASKED_SECONDS = 2.0


@dataclass
class Feed:
    """What one pod has yet to hear, in order. ``due``: nothing arrives before that."""

    due: float
    waiting: deque[tuple[float, Any]] = field(default_factory=deque)


@dataclass
class Asked:
    """``answers``: what is told the asker, once."""

    life: Life
    call: CallService
    since: float
    is_told: bool = False


class Master:
    def __init__(self, world: World, random: Random, flaky: float) -> None:
        self._world = world
        self._random = random
        self.services = Services(lambda: 1000.0 + world.now, Random(f"{world.plan.seed}/rooms/services"))
        self.placements: dict[str, Placement] = {}
        self.heard: dict[Incarnation, float] = {}
        self.draining: set[Incarnation] = set()
        self.cut: Counter[Incarnation] = Counter()
        self.away_until = 0.0
        self.leads_since = 0.0
        self.flaky = flaky
        self.calls: Counter[str] = Counter()
        self._feeds: dict[Incarnation, Feed] = {}

    # --- who is there

    def add(self, life: Life) -> None:
        """It is told all there is, and all that follows."""
        self._feeds[life.incarnation] = Feed(self._world.now + self._random.uniform(0.05, 0.4))
        self.heard[life.incarnation] = self._world.now
        for room, placement in self.placements.items():
            self._feed(life, Placed(room, placement))

    def hears(self, life: Life) -> None:
        if not self.is_cut(life) and not self.is_away:
            self.heard[life.incarnation] = self._world.now
            if life.draining:
                self.draining.add(life.incarnation)

    def silence(self, who: Incarnation) -> float:
        return self._world.now - max(self.heard.get(who, 0.0), self.leads_since)

    def is_cut(self, life: Life) -> bool:
        return self.cut[life.incarnation] > 0

    @property
    def is_away(self) -> bool:
        return self._world.now < self.away_until

    def present(self) -> list[Incarnation]:
        """Who was heard lately and is to stay."""
        return [who for who in sorted(self.heard) if self.silence(who) < 0.4 and who not in self.draining]

    def go_away(self, seconds: float) -> None:
        """Another pod leads after that long; it has heard of nobody yet."""
        self.away_until = max(self.away_until, self._world.now + seconds)
        self.leads_since = max(self.leads_since, self.away_until)

    # --- calls

    def ask(self, life: Life, call: CallService) -> None:
        self.calls[f"{call.service}.{call.verb}"] += 1
        random, now = self._random, self._world.now
        asked, wait = Asked(life, call, now), random.uniform(0.0005, 0.01)
        if random.random() >= self.flaky:
            self._world.at(now + wait, self._arrive, asked)
            return
        fate = random.randrange(6)
        if fate == 0:  # late
            self._world.at(now + random.uniform(0, 1.5), self._arrive, asked)
        elif fate == 1:  # twice
            self._world.at(now + wait, self._arrive, asked)
            self._world.at(now + wait + random.uniform(0, 1.5), self._arrive, asked)
        elif fate == 2:  # the answer is lost
            self._world.at(now + random.uniform(0.3, 2.0), self._tell, asked, False, {"reason": "unknown"})
            self._world.at(now + wait, self._arrive, asked)
            asked.is_told = True
        elif fate == 3:  # given up, and run late or never
            self._world.at(now + random.uniform(0.1, 1.0), self._tell, asked, False, {"reason": "unknown"})
            asked.is_told = True
            if random.random() < 0.5:
                self._world.at(now + random.uniform(0.5, 2.5), self._arrive, asked)
        elif fate == 4:  # not run
            self._world.at(now + random.uniform(0.1, 2.0), self._answer, asked, False, {"reason": "no leader"})
        else:  # given up at last
            self._world.at(now + random.uniform(2.0, 8.0), self._tell, asked, False, {"reason": "unknown"})
            asked.is_told = True
            if random.random() < 0.5:
                self._world.at(now + wait, self._arrive, asked)

    def _arrive(self, asked: Asked) -> None:
        now = self._world.now
        if self.is_cut(asked.life) or self.is_away:
            if now - asked.since > ASKED_SECONDS:
                self._answer(asked, False, {"reason": self._random.choice(("no leader", "unknown"))})
            elif asked.life.alive:
                self._world.at(now + self._random.uniform(0.02, 0.1), self._arrive, asked)
            return
        self.heard[asked.life.incarnation] = now
        ok, response = self.run(asked.call.service, asked.call.verb, asked.call.args, asked.life.incarnation)
        self._answer(asked, ok, response)

    def _answer(self, asked: Asked, ok: bool, response: Fields) -> None:
        if not asked.is_told:
            asked.is_told = True
            self._tell(asked, ok, response)

    def _tell(self, asked: Asked, ok: bool, response: Fields) -> None:
        if asked.life.alive:
            self._feed(asked.life, ServiceAnswered(asked.call.request, ok, response))

    def run(self, service: str, verb: str, args: Fields, origin: Incarnation) -> tuple[bool, Fields]:
        outcome = self.services.call(service, verb, args, origin)
        why = f"{origin}: {service}.{verb}({args}) → {outcome.response}"
        if outcome.error:
            self._world.violated("service", f"{why}\n{outcome.error}")
        self._world.transcript.note(self._world.now, f"master: {why}")
        self._commit(outcome.ops, why)
        return outcome.ok, outcome.response

    def gone(self, pods: set[Incarnation]) -> None:
        outcome = self.services.gone(pods)
        if outcome.error:
            self._world.violated("service", outcome.error)
        self._world.transcript.note(self._world.now, f"master: gone {sorted(pods)}")
        self._commit(outcome.ops, f"gone {sorted(pods)}")

    def _commit(self, ops: list[Any], why: str) -> None:
        rows = self.services.ledger.rows(ROOMS)
        for room in {key: None for table, key, _ in ops if table == ROOMS}:
            before, row = self.placements.get(room), rows.get(room)
            after = placement_of(row) if row is not None else None
            if before == after:
                continue
            if after is None:
                del self.placements[room]
            else:
                self.placements[room] = after
            invariants.check_placement(self._world, room, before, after, why)
            for life in self._world.living():
                self._feed(life, Placed(room, after))

    # --- what pods hear

    def _feed(self, life: Life, event: Any) -> None:
        feed, random = self._feeds[life.incarnation], self._random
        wait = random.uniform(0, 0.2) if random.random() < 0.05 else random.uniform(0.0005, 0.01)
        feed.due = max(feed.due, self._world.now + wait)
        feed.waiting.append((feed.due, event))
        self._world.at(feed.due, self._hand_out, life)

    def _hand_out(self, life: Life) -> None:
        feed = self._feeds[life.incarnation]
        while feed.waiting and feed.waiting[0][0] <= self._world.now and life.alive and not self.is_cut(life):
            self._world.tell_life(life, feed.waiting.popleft()[1])

    def block(self, who: Incarnation) -> None:
        self.cut[who] += 1

    def unblock(self, who: Incarnation) -> None:
        """What it has missed comes as it was, or as a snapshot: of each room the last word."""
        self.cut[who] -= 1
        life = self._world.lives[who]
        if self.cut[who] or not life.alive:
            return
        feed = self._feeds[who]
        if self._random.random() < 0.5:
            last = {item[1].room: item for item in feed.waiting if isinstance(item[1], Placed)}
            feed.waiting = deque(i for i in feed.waiting if not isinstance(i[1], Placed) or last[i[1].room] is i)
        self._world.at(self._world.now + self._random.uniform(0.001, 0.1), self._hand_out, life)
