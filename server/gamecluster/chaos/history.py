"""The history checker: is what players were told and shown possible in a cluster that loses, doubles and undoes nothing?

Every player is a client that does one thing at a time; every answer and every patch carries its position ``(epoch, seq)``. The
history is linearizable if the positions are an order in which all of this holds:

| what | must hold |
| --- | --- |
| a player's answers | their positions grow, and each tells the sum of all its moves so far |
| a total that is shown | between two answers of its player: the sum up to the first, or (it takes effect before its answer) the second |
| one total at one position | the same, whoever is shown it and by whichever node |
| one total at growing positions | never smaller |
| what began after an answer was there | has a later position: a move a higher one, a read of the whole state no lower one |
| the totals at the end | the sum of the acknowledged moves, and perhaps the one that got no answer: a time-out is unknown, never failed |
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any, Protocol

Position = tuple[int, int]
WRONG_AT_MOST = 100
"""Lines that are kept: who has doubled one move has often doubled thousands."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """One move that was answered ok. Times are of ``time.monotonic``; ``first_sent_at`` differs if it had to be repeated."""

    n: int
    amount: int
    sent_at: float
    answered_at: float
    epoch: int
    seq: int
    first_sent_at: float | None = None

    @property
    def asked_at(self) -> float:
        return self.sent_at if self.first_sent_at is None else self.first_sent_at

    @property
    def position(self) -> Position:
        return self.epoch, self.seq


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole state, as one player was shown it. ``asked_at``: when it asked, None if it did not."""

    by: str
    asked_at: float | None
    position: Position
    totals: Mapping[str, int]


@dataclass
class Ledger:
    """All that all players of a run were shown of anybody's total."""

    values: dict[str, dict[Position, int]] = field(default_factory=dict)
    snapshots: list[Snapshot] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def shown(self, by: str, position: Position, player: str, total: int) -> None:
        before = self.values.setdefault(player, {}).setdefault(position, total)
        if before != total and len(self.violations) < WRONG_AT_MOST:
            self.violations.append(
                f"{by} was shown {total} for {player} at {_text(position)}, where others were shown {before}"
            )

    def read(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)
        for player, total in snapshot.totals.items():
            self.shown(snapshot.by, snapshot.position, player, total)


def longest_silence(history: Sequence[Acknowledged], since: float, until: float) -> float | None:
    """Seconds of the longest time between two answers that lies in these times, at least in part; None if there is none."""
    first = bisect_left(history, since, key=lambda move: move.answered_at)
    last = bisect_right(history, until, key=lambda move: move.answered_at)
    answers = [move.answered_at for move in history[max(0, first - 1) : last + 1]]
    return max((later - earlier for earlier, later in pairwise(answers)), default=None)


class Told(Protocol):
    """A player, as far as the checker needs one. ``pending``: the amount that was sent and not answered, else 0."""

    @property
    def name(self) -> str: ...
    @property
    def history(self) -> Sequence[Acknowledged]: ...
    @property
    def pending(self) -> int: ...
    @property
    def violations(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Verdict:
    """``lost`` and ``doubled`` count players whose total is less, or more, than what was acknowledged to them."""

    acknowledged: int
    lost: int
    doubled: int
    unknown: int
    wrong: list[str]

    @property
    def is_right(self) -> bool:
        return not (self.lost or self.doubled or self.wrong)


def judge(
    players: Sequence[Told], totals: Mapping[str, Mapping[str, Any]] | None, ledger: Ledger | None = None
) -> Verdict:
    """``totals``: the counters in the end, None if the game has none: then only order and answers are checked."""
    ledger = ledger or Ledger()
    wrong = [*ledger.violations, *(line for player in players for line in player.violations)]
    wrong += [line for player in players for line in _in_order(player)]
    wrong += _in_real_time(players, ledger.snapshots)
    lost = doubled = 0
    if totals is not None:
        for player in players:
            wrong += _as_shown(player, ledger.values.get(player.name, {}))
            value, told = int(totals.get(player.name, {}).get("value", 0)), _sum(player)
            if value not in (told, told + player.pending):
                lost, doubled = lost + (value < told), doubled + (value > told)
                wrong.append(f"{player.name}: has {value}, was told {told}")
    return Verdict(
        sum(len(player.history) for player in players),
        lost,
        doubled,
        sum(1 for player in players if player.pending),
        wrong[:WRONG_AT_MOST],
    )


def _sum(player: Told) -> int:
    return sum(move.amount for move in player.history)


def _in_order(player: Told) -> Iterator[str]:
    for earlier, later in pairwise(player.history):
        if later.position <= earlier.position:
            yield (
                f"{player.name}: answers out of order: move {later.n} at {_text(later.position)} "
                f"after move {earlier.n} at {_text(earlier.position)}"
            )


def _as_shown(player: Told, values: Mapping[Position, int]) -> Iterator[str]:
    positions = [move.position for move in player.history]
    sums = [0, *accumulate(move.amount for move in player.history)]
    next_sums = [*sums[1:], sums[-1] + player.pending]
    highest = 0
    for position in sorted(values):
        value, moves = values[position], bisect_right(positions, position)
        if value not in (sums[moves], next_sums[moves]):
            yield (
                f"{player.name}: had {value} at {_text(position)}, but {sums[moves]} was acknowledged up to there"
                f" and {next_sums[moves]} with the next move"
            )
        elif value < highest:
            yield f"{player.name}: had {value} at {_text(position)}, after {highest} was shown at an earlier position"
        highest = max(highest, value)


def _in_real_time(players: Sequence[Told], snapshots: Sequence[Snapshot]) -> Iterator[str]:
    """What is asked after an answer has come is decided after it, whoever asks whichever node."""
    asked = [(m.asked_at, m.position, True, f"{p.name}: move {m.n}") for p in players for m in p.history]
    asked += [
        (read.asked_at, read.position, False, f"{read.by}: the state")
        for read in snapshots
        if read.asked_at is not None
    ]
    answers = [(m.answered_at, m.position) for p in players for m in p.history]
    heapq.heapify(answers)
    highest: Position = (0, 0)
    for moment, position, is_move, what in sorted(asked):
        while answers and answers[0][0] < moment:
            highest = max(highest, heapq.heappop(answers)[1])
        if position < highest or (is_move and position == highest):
            yield f"{what} is at {_text(position)}, but was asked for after an answer at {_text(highest)} had come"


def _text(position: Position) -> str:
    return f"{position[0]}/{position[1]}"
