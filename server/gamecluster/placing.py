"""Which rooms are to be copied, handed over or dropped where, for every room to have its copies, and every pod its share. Pure.

In this order, so many at a time (see places for the steps of a room):

1. What is on its way to a pod that is about to go, or takes too long, is given up; for a while not to be tried again.
2. Rooms of pods that are about to go are handed over to a backup that stays.
3. Rooms that lack backups get some: those first that have none.
4. Of too many backups those go whose pods have most; or the holder, if the room is better held by another.
5. A pod that holds more than its share hands rooms over to the one that holds least, after that has joined them; then backups
   are shared out alike.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection
from itertools import islice

from msgspec import Struct

from .core.messages import Fields, Incarnation, Placement
from .places import ROOM_COST, Places, Step

JOIN_SECONDS, MOVE_SECONDS = 30.0, 10.0
"""Until who joins a room, or is to hold it, is taken to be unable to."""
SHUN_SECONDS, SHUN_BRIEFLY_SECONDS = 30.0, 3.0
QUIET = (Step.withdraw, Step.joining, Step.hand_over, Step.surplus)
"""While there are such rooms, none is moved for balance."""


class Limits(Struct, frozen=True):
    """At a time. ``leaving``: hand-overs of rooms whose pod is about to go, which is waited for. ``tolerance``: part of its share by
    which a pod may hold more or less."""

    joins: int = 100
    hand_overs: int = 20
    leaving: int = 80
    changes: int = 200
    tolerance: float = 0.1


class Placer(Places):
    """To be told of every change of a room; then ``see``, and ``plan``."""

    def __init__(self, copies_of: Callable[[str], int], limits: Limits | None = None) -> None:
        super().__init__(copies_of)
        self._limits = limits or Limits()
        self._since: dict[str, tuple[Placement, float]] = {}
        self._shunned: dict[tuple[Incarnation, Incarnation], float] = {}
        self._in_balance_at = -1

    def plan(self, now: float, balances: bool = True) -> list[Fields]:
        """Changes for ``rooms.place``. ``now``: monotonic seconds. ``balances`` False: not before what players there are is known."""
        self._note_shunned(now)
        draft = _Draft(self, self._limits, self._shunned)
        for room in (*self._late(now), *self._due(Step.withdraw)):
            draft.withdraw(room)
        for step in (Step.hand_over, Step.alone, Step.join, Step.surplus):
            self._take_step(step, draft)
        if balances and not draft.changes and not any(self.steps[step] for step in QUIET):
            self._balance(draft)
        return draft.changes

    def _balance(self, draft: _Draft) -> None:
        """Unless there was nothing to be done the last time, and nothing is different."""
        if self.changes != self._in_balance_at:
            draft.balance()
            self._in_balance_at = -1 if draft.changes else self.changes

    def _take_step(self, step: Step, draft: _Draft) -> None:
        take = {Step.hand_over: draft.hand_over, Step.surplus: draft.thin_out}.get(step, draft.join)
        for room in self._due(step):
            if not draft.has_room_for(step):
                return
            if not take(room):  # the others first, then
                self.steps[step][room] = self.steps[step].pop(room)

    def _due(self, step: Step) -> list[str]:
        return list(islice(self.steps[step], self._limits.changes))

    def _late(self, now: float) -> list[str]:
        """What has been under way for too long: nobody is to try the same again soon."""
        late: list[str] = []
        since = self._since
        self._since = {}
        for step, seconds in ((Step.joining, JOIN_SECONDS), (Step.moving, MOVE_SECONDS)):
            for room in self.steps[step]:
                placement = self.rooms[room]
                known = since.get(room)
                began = known[1] if known is not None and known[0] == placement else now
                self._since[room] = placement, began
                if now - began > seconds:
                    late.append(room)
                    for pod in (placement.to, *placement.joining):
                        if pod is not None:
                            self._shunned[placement.holder, pod] = now + SHUN_SECONDS
        return late

    def _note_shunned(self, now: float) -> None:
        shunned = {pair: until for pair, until in self._shunned.items() if now < until}
        self.changes += len(shunned) < len(self._shunned)
        self._shunned = shunned
        for pair in self.vanished:
            self._shunned.setdefault(pair, now + SHUN_BRIEFLY_SECONDS)
        self.vanished.clear()


class _Draft:
    """Changes, and what the pods have once they are made."""

    def __init__(self, places: Places, limits: Limits, shunned: Collection[tuple[Incarnation, Incarnation]]) -> None:
        self.changes: list[Fields] = []
        self._places, self._shunned = places, shunned
        self._staying = sorted(places.staying)
        self._load = {pod: places.load_of(pod) for pod in self._staying}
        self._kept = {pod: len(places.kept(pod)) for pod in self._staying}
        self._joins = limits.joins - len(places.steps[Step.joining])
        self._hand_overs = limits.hand_overs - len(places.steps[Step.moving])
        self._leaving = limits.leaving - len(places.steps[Step.moving])
        self._most = limits.changes
        share = sum(self._load.values()) / max(1, len(self._staying))
        slack = max(limits.tolerance * share, ROOM_COST / 2)
        self._low, self._high, self._slack = share - slack, share + slack, slack
        self._tolerance = limits.tolerance

    def has_room_for(self, step: Step) -> bool:
        left = {Step.hand_over: self._leaving, Step.surplus: 1}.get(step, self._joins)
        return left > 0 and len(self.changes) < self._most

    # --- of one room; whether anything can be done

    def withdraw(self, room: str) -> None:
        placement = self._places.rooms[room]
        stay = [pod for pod in placement.joining if pod in self._places.staying]
        self._change(room, joining=stay if stay != list(placement.joining) else [], to=None)

    def hand_over(self, room: str) -> bool:
        placement = self._places.rooms[room]
        fit = [pod for pod in self._kept_by(placement) if not self._is_shunned(placement, pod)]
        if fit:
            self._move(room, min(fit, key=lambda pod: (self._load[pod], pod)))
        return bool(fit)

    def join(self, room: str) -> bool:
        placement = self._places.rooms[room]
        is_going = placement.holder not in self._places.staying
        lacks = 1 if is_going else self._places.copies(placement) - len(self._kept_by(placement))
        fit = [pod for pod in self._staying if self._may_join(placement, pod)]
        order = (self._load, self._kept) if is_going else (self._kept, self._load)
        chosen = sorted(fit, key=lambda pod: (order[0][pod], order[1][pod], pod))[:lacks]
        if chosen:
            self._join(room, chosen)
            if is_going:
                self._load[chosen[0]] += self._places.cost(room)
        return bool(chosen)

    def thin_out(self, room: str) -> bool:
        placement = self._places.rooms[room]
        keep = self._kept_by(placement)
        going = [pod for pod in placement.backups if pod not in keep]
        if going:
            self._change(room, drop=going)
            return True
        to = min(keep, key=lambda pod: (self._load[pod], pod))
        cost = self._places.cost(room)
        if not self._is_shunned(placement, to) and self._is_better(cost, placement.holder, to):
            return self._move_now_or_later(room, to)
        most = sorted(keep, key=lambda pod: (self._kept[pod], pod), reverse=True)
        drop = most[: len(keep) - self._places.copies(placement)]
        for pod in drop:
            self._kept[pod] -= 1
        self._change(room, drop=drop)
        return True

    def _move_now_or_later(self, room: str, to: Incarnation) -> bool:
        if self._hand_overs > 0:
            self._move(room, to)
            return True
        self._shift(self._places.cost(room), self._places.rooms[room].holder, to)
        return False

    def _is_better(self, cost: float, holder: Incarnation, to: Incarnation) -> bool:
        gap = self._load[holder] - self._load[to]
        return self._is_out_of_balance(holder, to) and (cost <= gap / 2 or gap - cost >= self._slack)

    # --- balance

    def balance(self) -> None:
        candidates = _Candidates(self._places, self._shunned)
        while len(self.changes) < self._most and self._balance_one(candidates):
            pass
        if not self.changes and not self._places.steps[Step.moving]:
            self._share_out_backups()

    def _balance_one(self, candidates: _Candidates) -> bool:
        """From a pod that has much to the one that has least. False: there is nothing to be done, or enough."""
        order = sorted(self._staying, key=lambda pod: (self._load[pod], pod))
        for holder in reversed(order[1:]):
            to = order[0]
            if not self._is_out_of_balance(holder, to):
                return False
            for is_backup in (True, False):
                found = candidates.take(holder, to, is_backup, self._load[holder] - self._load[to], self._slack)
                if found is not None:
                    return self._begin(found, holder, to, is_backup)
        return False

    def _begin(self, room: str, holder: Incarnation, to: Incarnation, is_backup: bool) -> bool:
        if (self._hand_overs if is_backup else self._joins) <= 0:
            return False
        if is_backup:
            self._move(room, to)
        else:
            self._join(room, [to])
            self._shift(self._places.cost(room), holder, to)
        return True

    def _share_out_backups(self) -> None:
        for _ in range(self._joins):
            order = sorted(self._staying, key=lambda pod: (self._kept[pod], pod))
            if not order or self._kept[order[-1]] - self._kept[order[0]] <= max(2, 2 * self._tolerated_backups()):
                return
            room = self._backup_to_share(order)
            if room is None:
                return
            self._join(room, order[:1])
            self._kept[order[-1]] -= 1

    def _backup_to_share(self, order: list[Incarnation]) -> str | None:
        """One that the last has, and the first may join."""
        places, shared = self._places, {change["id"] for change in self.changes}
        rooms = (room for room in places.kept(order[-1]) if places.is_at_rest(room) and room not in shared)
        return next((room for room in rooms if self._may_join(places.rooms[room], order[0])), None)

    def _tolerated_backups(self) -> float:
        return self._tolerance * sum(self._kept.values()) / max(1, len(self._staying))

    def _is_out_of_balance(self, holder: Incarnation, to: Incarnation) -> bool:
        return self._load[holder] > self._high or self._load[to] < self._low

    # --- parts

    def _kept_by(self, placement: Placement) -> list[Incarnation]:
        return [pod for pod in placement.backups if pod in self._places.staying]

    def _may_join(self, placement: Placement, pod: Incarnation) -> bool:
        return pod != placement.holder and pod not in placement.backups and not self._is_shunned(placement, pod)

    def _is_shunned(self, placement: Placement, pod: Incarnation) -> bool:
        return (placement.holder, pod) in self._shunned

    def _join(self, room: str, pods: list[Incarnation]) -> None:
        self._change(room, joining=pods)
        self._joins -= 1
        for pod in pods:
            self._kept[pod] += 1

    def _move(self, room: str, to: Incarnation) -> None:
        self._change(room, to=to)
        self._hand_overs -= 1
        self._leaving -= 1
        self._shift(self._places.cost(room), self._places.rooms[room].holder, to)

    def _shift(self, cost: float, holder: Incarnation, to: Incarnation) -> None:
        self._load[to] += cost
        if holder in self._load:
            self._load[holder] -= cost

    def _change(self, room: str, **change: object) -> None:
        self.changes.append({"id": room, "version": self._places.rooms[room].version, **change})


class _Candidates:
    """Rooms that may be moved from one pod to another, by what they cost."""

    def __init__(self, places: Places, shunned: Collection[tuple[Incarnation, Incarnation]]) -> None:
        self._places, self._shunned = places, shunned
        self._lists: dict[tuple[Incarnation, Incarnation, bool], list[tuple[float, str]]] = {}
        self._sums: dict[tuple[Incarnation, Incarnation, bool], float] = {}
        self._ahead: dict[tuple[Incarnation, Incarnation, bool], float] = {}  # of the mean, with what was taken
        self._taken: set[str] = set()

    def take(self, holder: Incarnation, to: Incarnation, is_backup: bool, gap: float, least_gain: float) -> str | None:
        """One that leaves ``holder`` no less than ``to``; or the least that makes the greater of both that much smaller.

        The greatest, or one of no more than the mean: so that what goes is a mixture of what there is.
        """
        key = holder, to, is_backup
        if key not in self._lists:
            self._lists[key], self._ahead[key] = self._list(*key), 0.0
            self._sums[key] = sum(cost for cost, _ in self._lists[key])
        found = self._lists[key]
        while found:
            mean = self._sums[key] / len(found)
            most = min(gap / 2, mean) if self._ahead[key] > 0 else gap / 2
            at = bisect_right(found, most, key=lambda each: each[0]) - 1
            if at < 0 and gap - found[0][0] < least_gain:
                return None
            cost, room = found.pop(max(0, at))
            self._sums[key] -= cost
            if room not in self._taken:
                self._ahead[key] += cost - mean
                self._taken.add(room)
                return room
        return None

    def _list(self, holder: Incarnation, to: Incarnation, is_backup: bool) -> list[tuple[float, str]]:
        places = self._places
        if (holder, to) in self._shunned:
            return []
        fit = (room for room in places.held(holder) if (to in places.rooms[room].backups) is is_backup)
        return sorted((places.cost(room), room) for room in fit if places.is_at_rest(room))
