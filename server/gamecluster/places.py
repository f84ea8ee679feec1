"""What is known of rooms' places, in the order in which it is to be changed. Part of placing; pure.

| a room                                                              | its step  | what is to be done                         |
| ------------------------------------------------------------------- | --------- | ------------------------------------------ |
| of a silent pod, and another one has a copy; or a copy is on one    | lost      | lose                                       |
| of a silent pod                                                     | silent    | nothing: it is back, or gone               |
| is to go to a pod that is about to go, or is copied to one          | withdraw  | neither                                    |
| is being copied                                                     | joining   | wait                                       |
| is being handed over                                                | moving    | wait                                       |
| of a pod that is about to go, with a backup that stays              | hand_over | the backup holds it                        |
| without a backup that stays, and should have one                    | alone     | a pod joins it                             |
| with fewer than it should have                                      | join      | a pod joins it                             |
| with more, or with one on a pod that is about to go                 | surplus   | a backup is dropped, or holds it from now on |
| else                                                                | rest      | nothing, unless its pod has too many       |
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from enum import IntEnum

from .core.messages import Incarnation, Placement

ROOM_COST = 10
"""What a room costs its holder, in players."""

Pods = frozenset[Incarnation]


class Step(IntEnum):
    rest = 0
    lost = 1
    silent = 2
    withdraw = 3
    joining = 4
    moving = 5
    hand_over = 6
    alone = 7
    join = 8
    surplus = 9


class Places:
    """``copies_of``: how many pods are to have a room of a kind, its holder too."""

    def __init__(self, copies_of: Callable[[str], int]) -> None:
        self._copies_of = copies_of
        self.rooms: dict[str, Placement] = {}
        self.live: Pods = frozenset()
        self.staying: Pods = frozenset()
        self.steps: dict[Step, dict[str, None]] = {step: {} for step in Step}
        self.changes = 0
        """Another number whenever anything may be another."""
        self.vanished: list[tuple[Incarnation, Incarnation]] = []
        """Holders, and who was joining a room of theirs and does no more."""
        self._players: dict[str, float] = {}
        self._step: dict[str, Step] = {}
        self._held: dict[Incarnation, dict[str, None]] = {}
        self._kept: dict[Incarnation, dict[str, None]] = {}
        self._load: dict[Incarnation, float] = {}

    # --- events

    def load(self, rooms: Mapping[str, Placement]) -> None:
        """These are all."""
        for room in [room for room in self.rooms if room not in rooms]:
            self.change(room, None)
        for room, placement in rooms.items():
            self.change(room, placement)

    def change(self, room: str, placement: Placement | None) -> None:
        """It is there now; None: it is no more."""
        before = self.rooms.get(room)
        if before == placement:
            return
        self.changes += 1
        if before is not None:
            self._forget(room, before)
            if placement is not None and placement.holder == before.holder:
                left = set(before.joining) - {*placement.joining, *placement.backups}
                self.vanished += [(before.holder, pod) for pod in left]
        if placement is None:
            self._players.pop(room, None)
        else:
            self._add(room, placement)

    def weigh(self, players: Mapping[str, float]) -> None:
        """How many there are in rooms. What is not told stays as it was."""
        for room, count in players.items():
            if (placement := self.rooms.get(room)) is not None and count != self._players.get(room, 0):
                self.changes += 1
                holder = self._holder_to_be(placement)
                self._load[holder] += count - self._players.get(room, 0)
                self._players[room] = count

    def see(self, live: Iterable[Incarnation], staying: Iterable[Incarnation]) -> None:
        """``live``: pods that are heard; ``staying``: those of them that are not about to go."""
        seen = frozenset(live)
        stay = seen & frozenset(staying)
        if (seen, stay) != (self.live, self.staying):
            self.changes += 1
            self.live, self.staying = seen, stay
            self._held, self._kept, self._load = {}, {}, {}
            self.steps = {step: {} for step in Step}
            for room, placement in self.rooms.items():
                self._add(room, placement)

    # --- views

    def silent_but(self, live: Collection[Incarnation]) -> set[Incarnation]:
        """Others that have a part in a room."""
        return {pod for pod in (*self._held, *self._kept) if pod not in live}

    @property
    def is_busy(self) -> bool:
        """Something is being copied, or handed over."""
        return bool(self.steps[Step.joining] or self.steps[Step.moving])

    def held(self, pod: Incarnation) -> Collection[str]:
        return self._held.get(pod, {}).keys()

    def kept(self, pod: Incarnation) -> Collection[str]:
        """Rooms that it has as a backup, or joins."""
        return self._kept.get(pod, {}).keys()

    @property
    def players(self) -> int:
        """In all rooms, as far as it was told."""
        return round(sum(self._players.values()))

    def cost(self, room: str) -> float:
        return ROOM_COST + self._players.get(room, 0)

    def load_of(self, pod: Incarnation) -> float:
        """The cost of all that it holds when what is under way is done."""
        return self._load.get(pod, 0)

    def is_at_rest(self, room: str) -> bool:
        return self._step[room] is Step.rest

    def copies(self, placement: Placement) -> int:
        """Backups that it should have."""
        return min(self._copies_of(placement.kind), len(self.staying)) - 1

    def _step_of(self, placement: Placement) -> Step:
        others = (*placement.backups, *placement.joining)
        if placement.holder not in self.live:
            return Step.silent if self.live.isdisjoint(placement.backups) else Step.lost
        if not self.live.issuperset(others):
            return Step.lost
        if placement.to is not None:
            return Step.moving if placement.to in self.staying else Step.withdraw
        if placement.joining:
            return Step.joining if self.staying.issuperset(placement.joining) else Step.withdraw
        return self._lack(placement) if self.staying else Step.rest

    def _lack(self, placement: Placement) -> Step:
        stay = sum(pod in self.staying for pod in placement.backups)
        if placement.holder not in self.staying:
            return Step.hand_over if stay else Step.alone
        wanted = self.copies(placement)
        if stay < wanted:
            return Step.join if stay else Step.alone
        return Step.surplus if len(placement.backups) > wanted else Step.rest

    def _holder_to_be(self, placement: Placement) -> Incarnation:
        if placement.to is not None:
            return placement.to
        if placement.joining and placement.holder not in self.staying and self.staying.isdisjoint(placement.backups):
            return placement.joining[0]
        return placement.holder

    # --- the index

    def _add(self, room: str, placement: Placement) -> None:
        self.rooms[room] = placement
        step = self._step[room] = self._step_of(placement)
        self.steps[step][room] = None
        self._held.setdefault(placement.holder, {})[room] = None
        for pod in (*placement.backups, *placement.joining):
            self._kept.setdefault(pod, {})[room] = None
        to_be = self._holder_to_be(placement)
        self._load[to_be] = self._load.get(to_be, 0) + self.cost(room)

    def _forget(self, room: str, placement: Placement) -> None:
        del self.rooms[room]
        del self.steps[self._step.pop(room)][room]
        _take(self._held, placement.holder, room)
        for pod in (*placement.backups, *placement.joining):
            _take(self._kept, pod, room)
        self._load[self._holder_to_be(placement)] -= self.cost(room)


def _take(index: dict[Incarnation, dict[str, None]], pod: Incarnation, room: str) -> None:
    rooms = index[pod]
    del rooms[room]
    if not rooms:
        del index[pod]
