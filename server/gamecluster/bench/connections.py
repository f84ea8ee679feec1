"""Connections instead of players: how fast they connect and join, whether they stay, and how long a broadcast takes to all of them."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..chaos.target import Placed
from .listeners import GAME, Heard, Listening
from .processes import begin, bottleneck, count_workers, hear, run_name, say, shared, spread, started, whole

SOCKETS_EACH = 250
"""So many fit into one process, as long as nobody says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Sockets:
    """Instead of players: ``connections`` join ``topic``, and hear ``broadcasts_per_second`` of ``size`` bytes."""

    connections: int
    topic: str
    broadcasts_per_second: float
    event: str
    size: int
    seconds: float
    processes: int | None = None

    @property
    def workers(self) -> int:
        return count_workers(self.processes, self.connections, SOCKETS_EACH)


@dataclass(frozen=True)
class Result:
    options: Sockets
    nodes: int
    published: int
    shares: Sequence[Heard]

    @property
    def is_right(self) -> bool:
        """All joined and stayed, and heard everything."""
        wrong = sum(share.lost + share.doubled + share.disordered for share in self.shares)
        return not wrong and sum(share.stayed for share in self.shares) == self.options.connections

    def report(self) -> str:
        o, shares = self.options, self.shares
        joined, stayed = [ms for share in shares for ms in share.joined], sum(share.stayed for share in shares)
        joining = max(share.joining for share in shares)
        lines = [
            f"{o.connections} connections on {o.topic} at {self.nodes} nodes, for {o.seconds:g} s, from {len(shares)} processes",
            f"connected and joined  {len(joined)}, {len(joined) / joining:,.1f} a second, in {spread(joined)}",
            f"stayed                {stayed}",
        ]
        if self.published or o.broadcasts_per_second:
            latencies = [ms for share in shares for ms in share.latencies]
            lost, doubled, disordered = (
                sum(getattr(share, what) for share in shares) for what in ("lost", "doubled", "disordered")
            )
            refused = sum((Counter(share.refused) for share in shares), Counter[str]())
            lines += [
                f"broadcasts            {self.published:,} of {o.seconds * o.broadcasts_per_second:,.0f}, heard {len(latencies):,} times, "
                f"from when each was due in {spread(latencies)}",
                f"lost {lost}, doubled {doubled}, out of order {disordered}",
                *(f"refused {count:,} times: {reason}{advice(reason)}" for reason, count in refused.most_common()),
            ]
        if o.topic == GAME:
            intervals = [ms for share in shares for ms in share.intervals]
            lines.append(f"the game's patches    one every {spread(intervals)}")
        problems = [f"  {line}" for share in shares for line in share.problems]
        return "\n".join([*lines, *bottleneck(share.busy for share in shares), *problems])


def run(target: Placed, options: Sockets) -> int:
    """The exit code: 1 if one could not join or stay, or if a broadcast was lost, doubled or out of order. Raises ConfigurationError."""
    places = whole(target)
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(started(job)) for job in listeners(options, [place.url for place in places])]
        begin(workers)
        published: dict[str, int] = {}
        for worker in workers:
            told = hear(worker)
            assert isinstance(told, dict)
            published |= told
        for worker in workers:
            say(worker, published)
        shares = [heard for heard in map(hear, workers) if isinstance(heard, Heard)]
    result = Result(options, len(places), sum(published.values()), shares)
    print(result.report(), flush=True)
    return 0 if result.is_right else 1


def advice(reason: str) -> str:
    if "rate limited" not in reason:
        return ""
    return "; one client of each process publishes: more --processes, or a higher GAMECLUSTER_LIMIT_MESSAGES_PER_SECOND on the nodes"


def listeners(options: Sockets, urls: Sequence[str]) -> list[Listening]:
    """Sockets shared out as evenly as can be. The first of each process publishes, if anything is to be published."""
    name, workers = run_name(), options.workers
    rate = options.broadcasts_per_second / workers
    return [
        Listening(
            name=name,
            first=first,
            sockets=end - first,
            urls=urls,
            topic=options.topic,
            seconds=options.seconds,
            senders=1 if rate else 0,
            event=options.event,
            pace_seconds=1 / rate if rate else 1.0,
            size=options.size,
        )
        for first, end in shared(options.connections, workers)
    ]
