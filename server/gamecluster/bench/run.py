"""Players in several processes, what they were told put together, and judged by the same history checker as in ``chaos``."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..chaos.client import Payload
from ..chaos.history import Ledger, Verdict, judge
from ..chaos.target import Placed, counters, totals_at
from ..errors import ConfigurationError
from .processes import begin, bottleneck, count_workers, hear, percentiles, run_name, shared, started, whole
from .worker import Job, Share

PLAYERS_EACH = 25
"""So many players fit into one process, as long as nobody says otherwise."""
CATCH_UP_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """``move``: event and payload for a game that is not the counter. ``processes``: None chooses."""

    players: int
    moves_per_second: float
    seconds: float
    processes: int | None = None
    move: tuple[str, Payload] | None = None

    @property
    def workers(self) -> int:
        return count_workers(self.processes, self.players, PLAYERS_EACH)


@dataclass(frozen=True)
class Result:
    options: Options
    nodes: int
    shares: Sequence[Share]
    verdict: Verdict
    problems: Sequence[str]

    @property
    def is_right(self) -> bool:
        return self.verdict.is_right and not self.problems

    def report(self) -> str:
        """For people; what the machine that ran it did to the figures is said, too."""
        o, milliseconds = self.options, [ms for share in self.shares for ms in share.milliseconds]
        return "\n".join(
            [
                f"{o.players} players at {self.nodes} nodes, {o.moves_per_second:g} moves/s each, for {o.seconds:g} s, "
                f"from {len(self.shares)} processes",
                f"acknowledged  {len(milliseconds) / o.seconds:,.1f} moves/s of {o.players * o.moves_per_second:,.1f}",
                f"answered in   {_percentiles(milliseconds)}",
                f"lost {self.verdict.lost}, doubled {self.verdict.doubled}, unknown {self.verdict.unknown}, "
                f"violations {len(self.verdict.wrong)}",
                *self._remarks(),
                *(f"  violation: {line}" for line in (*self.problems, *self.verdict.wrong)),
            ]
        )

    def _remarks(self) -> Iterator[str]:
        yield from bottleneck(share.busy for share in self.shares)
        if away := [line for share in self.shares for line in share.refusals]:
            yield f"{len(away)} players had to come back; the last: {away[-1]}"


def run(target: Placed, options: Options) -> int:
    """The exit code: 1 if anything was lost, doubled or out of order. Raises ConfigurationError."""
    places = whole(target)
    found = counters(places[0])
    if options.move is None and (found is None or found[1] is None):
        raise ConfigurationError(
            "the game is not gamecluster.demo:Counter: say how to move, --move EVENT --payload JSON"
        )
    shares = _measured(options, [place.url for place in places])
    verdict, problems = _judged(target, options, shares)
    result = Result(options, len(places), shares, verdict, problems)
    print(result.report(), flush=True)
    return 0 if result.is_right else 1


def _measured(options: Options, urls: Sequence[str]) -> list[Share]:
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(started(job)) for job in jobs(options, urls)]
        begin(workers)
        return [share for share in map(hear, workers) if isinstance(share, Share)]


def jobs(options: Options, urls: Sequence[str]) -> list[Job]:
    """Players shared out as evenly as can be; names of their own, since totals are kept for good."""
    name, seed = run_name(), random.randrange(2**32)
    return [
        Job(name, first, end - first, urls, 1 / options.moves_per_second, options.seconds, seed, options.move)
        for first, end in shared(options.players, options.workers)
    ]


def _judged(target: Placed, options: Options, shares: Sequence[Share]) -> tuple[Verdict, list[str]]:
    """By the counters of every node that has caught up with what was acknowledged."""
    ledger, told = Ledger(), [one for share in shares for one in share.told]
    for share in shares:
        _merge(ledger, share.ledger)
    silent = [f"{one.name} was never answered" for one in told if not one.history]
    last = max((one.history[-1].position for one in told if one.history), default=(0, 0))
    verdicts, problems = [], silent
    for place in target.places():
        totals = totals_at(place, last, CATCH_UP_SECONDS)
        if totals is None and not options.move:
            problems.append(f"{place.name} did not catch up with {last[0]}/{last[1]}")
        else:
            verdicts.append(judge(told, None if options.move else totals, ledger))
    worst = max(verdicts, key=lambda verdict: len(verdict.wrong), default=None)
    return worst or judge(told, None, ledger), problems


def _merge(ledger: Ledger, other: Ledger) -> None:
    ledger.violations += other.violations
    ledger.snapshots += other.snapshots
    for player, values in other.values.items():
        for position, total in values.items():
            ledger.shown("another process", position, player, total)


def _percentiles(milliseconds: Sequence[float]) -> str:
    if not milliseconds:
        return "no move was answered"
    return f"{percentiles(milliseconds)} ms, from when each was due (of {len(milliseconds)})"
