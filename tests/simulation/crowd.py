"""Who is where: sockets that track presences and group members on pods that come and go, and what their pods make of it."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from gamecluster.core.effects import PresenceChanged
from gamecluster.core.events import Event, Joined, Tracked, TrackerEnded, Untracked
from gamecluster.core.messages import Fields, Incarnation, Space, name_of

from .invariants import Violated
from .life import Life

if TYPE_CHECKING:
    from .world import World

TOPICS, GROUPS, KEYS, SOCKETS = ("room:1", "room:2"), ("guards",), 6, 4
SETTLED_SECONDS = 12.0
"""After the longest grace, and the longest that the others may take to find out that a machine is gone."""

Place = tuple[Space, str, str]


class Crowd:
    """``every``: seconds between two of its deeds, on all pods together; 0: there is nobody."""

    def __init__(self, world: World, random: Random, every: float) -> None:
        self._world = world
        self._random = random
        self._every = every
        self._number = 0
        self._there: dict[Incarnation, dict[Joined, dict[Place, int]]] = {}
        self._seen: dict[Incarnation, dict[str, dict[str, dict[str, Fields]]]] = {}  # topic → key → ref → meta
        self._is_quiet = False
        if every:
            world.at(1.0, self._act)

    def quieten(self) -> None:
        self._is_quiet = True

    # --- what its sockets do

    def _act(self) -> None:
        if self._is_quiet:
            return
        random = self._random
        self._world.at(self._world.now + random.uniform(0.2, 1.8) * self._every, self._act)
        running = [life for life in self._world.living() if life.runs]
        if running:
            life = random.choice(running)
            self._world.hear(life.incarnation, self._deed(life.incarnation))

    def _deed(self, pod: Incarnation) -> Event:
        random, sockets = self._random, self._there.setdefault(pod, {})
        by = random.randrange(1, SOCKETS + 1), 1
        mine = sockets.setdefault(by, {})
        if not mine or random.random() < 0.5:
            return self._track(pod, by, mine)
        if random.random() < 0.4:
            space, topic, key = random.choice(sorted(mine))
            del mine[space, topic, key]
            return Untracked(space, topic, key, by)
        del sockets[by]
        return TrackerEnded(by, wanted=random.random() < 0.3)

    def _track(self, pod: Incarnation, by: Joined, mine: dict[Place, int]) -> Event:
        random = self._random
        space = Space.group if random.random() < 0.2 else Space.presence
        topic = random.choice(GROUPS if space is Space.group else TOPICS)
        key = f"key{random.randrange(KEYS)}"
        self._number += 1
        mine[space, topic, key] = self._number
        return Tracked(space, topic, key, by, {"at": pod, "n": self._number})

    # --- what clients are told

    def told(self, life: Life, changed: PresenceChanged) -> None:
        """Nobody comes twice, and nobody leaves who is not there (phoenix.js, ``Presence.syncDiff``)."""
        state = self._seen.setdefault(life.incarnation, {}).setdefault(changed.topic, {})
        for key, joined in changed.joins.items():
            for meta in joined["metas"]:
                if state.setdefault(key, {}).setdefault(meta["phx_ref"], meta) is not meta:
                    raise Violated("presence", f"{life}: {key} comes again as {meta}")
        for key, left in changed.leaves.items():
            for meta in left["metas"]:
                if state.get(key, {}).pop(meta["phx_ref"], None) is None:
                    raise Violated("presence", f"{life}: {key} leaves as {meta}, and was not there: {state}")
            if not state[key]:
                del state[key]

    # --- the end

    def check(self) -> None:
        """All pods come to show the same, to their clients too: what the sockets of living pods have tracked, and nothing else."""
        deadline = self._world.now + SETTLED_SECONDS
        while self._every:
            try:
                return self._compare_all(self._world.living())
            except Violated:
                if self._world.now >= deadline:
                    raise
            self._world.run_until(self._world.now + 0.1)

    def _compare_all(self, living: list[Life]) -> None:
        present, members = self._truth(living)
        for life in living:
            if (shown := life.node.roster.groups()) != members:
                raise Violated("presence", f"{life} shows the groups {shown}; there are {members}")
            for topic in TOPICS:
                metas = [m for found in life.node.roster.presences(topic).values() for m in found["metas"]]
                self._compare(life, topic, metas, present[topic])
                told = self._seen.get(life.incarnation, {}).get(topic, {})
                self._compare(life, topic, [m for found in told.values() for m in found.values()], present[topic])

    def _truth(self, living: list[Life]) -> tuple[dict[str, set[int]], dict[str, list[tuple[str, str]]]]:
        present: dict[str, set[int]] = {topic: set() for topic in TOPICS}
        members: dict[str, set[tuple[str, str]]] = {}
        for life in living:
            for mine in self._there.get(life.incarnation, {}).values():
                for (space, topic, key), number in mine.items():
                    if space is Space.group:
                        members.setdefault(topic, set()).add((name_of(life.incarnation), key))
                    else:
                        present[topic].add(number)
        return present, {group: sorted(found) for group, found in members.items()}

    def _compare(self, life: Life, topic: str, metas: list[Fields], wanted: set[int]) -> None:
        if sorted(meta["n"] for meta in metas) != sorted(wanted):
            raise Violated("presence", f"{life} shows {metas} on {topic}; there are {sorted(wanted)}")
