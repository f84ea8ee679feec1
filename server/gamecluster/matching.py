"""Who plays with whom: tickets in, groups out. Pure; the matchmaker's service keeps the tickets.

Tickets match that want the same size, whose texts and switches are equal, and whose numbers are near each other. How far apart they may
be for a ticket widens with the time it waits; a group is one that all its tickets would have. The longest waiting choose first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

from msgspec import Struct

Property = str | bool | int | float
LOOKED_AT_MOST = 200
"""Neighbours that one ticket looks at; beyond, a pool is so crowded that a party too big for what is left is the only reason to go on."""


class Range(Struct, frozen=True):
    """How far apart a property's numbers may be: ``within`` at first, ``per_second`` more for each second of waiting, ``most`` at most."""

    within: float = 100.0
    per_second: float = 50.0
    most: float = inf

    def reach(self, waited_seconds: float) -> float:
        return min(self.most, self.within + self.per_second * max(0.0, waited_seconds))


class Ticket(Struct, frozen=True):
    """``size``: players of a match. ``players``: those who want to be in it together. ``at``: since when, Unix milliseconds."""

    id: str
    players: tuple[str, ...]
    size: int
    properties: dict[str, Property]
    at: int


def find_matches(tickets: Iterable[Ticket], ranges: Mapping[str, Range], now: int) -> list[list[Ticket]]:
    """Disjoint groups of exactly ``size`` players. ``ranges``: of properties that have another than Range(); ``now``: Unix milliseconds."""
    pools: dict[object, list[Ticket]] = {}
    for ticket in sorted(tickets, key=lambda t: (t.at, t.id)):
        pools.setdefault(_pool_of(ticket), []).append(ticket)
    return [group for pool in pools.values() for group in _Pool(pool, ranges, now).groups()]


def _pool_of(ticket: Ticket) -> object:
    """Tickets of different pools never match."""
    return ticket.size, frozenset((n, None if _is_number(v) else (type(v), v)) for n, v in ticket.properties.items())


def _is_number(value: Property) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class _Pool:
    """Tickets in the order of their first number; who is taken is skipped at once, however many follow each other."""

    def __init__(self, tickets: list[Ticket], ranges: Mapping[str, Range], now: int) -> None:
        self._names = sorted(name for name, value in tickets[0].properties.items() if _is_number(value))
        self._ranges = [ranges.get(name, Range()) for name in self._names]
        self._tickets = sorted(tickets, key=lambda t: (self._numbers(t), t.at, t.id))
        self._values = [self._numbers(t) for t in self._tickets]
        self._reaches = [[r.reach((now - t.at) / 1000) for r in self._ranges] for t in self._tickets]
        count = len(tickets)
        self._left = list(range(-1, count - 1))
        self._right = list(range(1, count + 1))
        self._is_taken = [False] * count

    def groups(self) -> list[list[Ticket]]:
        oldest = sorted(range(len(self._tickets)), key=lambda i: (self._tickets[i].at, self._tickets[i].id))
        found = []
        for index in oldest:
            if not self._is_taken[index] and (group := self._around(index)) is not None:
                for member in group:
                    self._is_taken[member] = True
                found.append([self._tickets[i] for i in group])
        return found

    def _numbers(self, ticket: Ticket) -> tuple[float, ...]:
        return tuple(float(ticket.properties[name]) for name in self._names)

    def _around(self, index: int) -> list[int] | None:
        """The nearest that complete a match of this ticket."""
        ticket = self._tickets[index]
        lacks = ticket.size - len(ticket.players)
        group, players = [index], set(ticket.players)
        low, high, reach = list(self._values[index]), list(self._values[index]), self._reaches[index]
        left, right = self._free_left(index), self._free_right(index)
        for _ in range(LOOKED_AT_MOST):
            if not lacks:
                break
            candidate = self._nearer(index, left, right)
            if candidate is None or self._is_beyond(index, candidate, reach):
                return None
            if candidate == left:
                left = self._free_left(left)
            else:
                right = self._free_right(right)
            other = self._tickets[candidate]
            fits = len(other.players) <= lacks and players.isdisjoint(other.players)
            if fits and (joined := self._joined(candidate, low, high, reach)) is not None:
                low, high, reach = joined
                group.append(candidate)
                players.update(other.players)
                lacks -= len(other.players)
        return group if not lacks else None

    def _nearer(self, index: int, left: int, right: int) -> int | None:
        """Of the two next free neighbours the one whose first number is nearer."""
        is_left, is_right = left >= 0, right < len(self._tickets)
        if is_left and is_right and self._names:
            mine = self._values[index][0]
            return left if mine - self._values[left][0] <= self._values[right][0] - mine else right
        return right if is_right else left if is_left else None

    def _is_beyond(self, index: int, candidate: int, reach: list[float]) -> bool:
        """All that follow are further away still."""
        return bool(self._names) and abs(self._values[candidate][0] - self._values[index][0]) > reach[0]

    def _joined(
        self, candidate: int, low: list[float], high: list[float], reach: list[float]
    ) -> tuple[list[float], list[float], list[float]] | None:
        """The group's numbers and reach with the candidate in it; None if somebody in it would not have that."""
        values = self._values[candidate]
        low = [min(a, b) for a, b in zip(low, values, strict=True)]
        high = [max(a, b) for a, b in zip(high, values, strict=True)]
        reach = [min(a, b) for a, b in zip(reach, self._reaches[candidate], strict=True)]
        return (low, high, reach) if all(h - lo <= r for lo, h, r in zip(low, high, reach, strict=True)) else None

    def _free_left(self, index: int) -> int:
        return _follow(self._left, self._is_taken, index, -1)

    def _free_right(self, index: int) -> int:
        return _follow(self._right, self._is_taken, index, len(self._tickets))


def _follow(next_of: list[int], is_taken: list[bool], index: int, end: int) -> int:
    """The next that is free in one direction, or ``end``; what was passed on the way points there from now on."""
    free = next_of[index]
    passed = [index]
    while free != end and is_taken[free]:
        passed.append(free)
        free = next_of[free]
    for each in passed:
        next_of[each] = free
    return free
