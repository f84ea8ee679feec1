"""Runs to tables: medians of rounds with their spread, ratios to the first server from the same round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from .run import Measured, Run
from .scenarios import Kind

SHARED = 0.1
"""Of a core: above that others were there."""
BUSY = 0.9
"""Of its core: above that the generator may have been what limits."""
KIB = 1024


@dataclass(frozen=True)
class Column:
    title: str
    of: Callable[[Measured], float]
    digits: int = 0


def _per_cpu_second(m: Measured) -> float:
    return m.deliveries / m.server_cpu_seconds if m.server_cpu_seconds else 0.0


def _share(m: Measured) -> float:
    return m.server_cpu_seconds / m.seconds if m.seconds else 0.0


SERVER_SHARE = Column("server's cores", _share, 2)
OWN_SHARE = Column("generator's core", lambda m: m.own_share, 2)
WRONG = Column("wrong", lambda m: m.wrong)
LATENCY = (
    Column("p50 ms", lambda m: m.latency_ms.p50, 2),
    Column("p99 ms", lambda m: m.latency_ms.p99, 2),
    Column("max ms", lambda m: m.latency_ms.max, 1),
)

COLUMNS: Mapping[Kind, Sequence[Column]] = {
    Kind.fan_out: (
        Column("deliveries per CPU-s", _per_cpu_second),
        *LATENCY,
        SERVER_SHARE,
        OWN_SHARE,
        WRONG,
    ),
    Kind.paced: (*LATENCY, SERVER_SHARE, OWN_SHARE, Column("held back", lambda m: m.held), WRONG),
    Kind.idle: (
        Column("joins per CPU-s", lambda m: m.sockets / m.connect_cpu_seconds if m.connect_cpu_seconds else 0.0),
        Column("KiB per connection", lambda m: (m.rss_joined - m.rss_before) / m.sockets / KIB, 2),
        Column("MiB without any", lambda m: m.rss_before / KIB**2, 1),
        Column("joins per second", lambda m: m.sockets / m.connect_seconds),
        WRONG,
    ),
    Kind.unread: (
        *LATENCY,
        Column("MiB more", lambda m: (m.rss_highest - m.rss_joined) / KIB**2, 1),
        Column("ended", lambda m: m.unread_ended),
        SERVER_SHARE,
        WRONG,
    ),
    Kind.moves: (
        Column("moves/s", lambda m: m.whole_ms.count / m.seconds if m.seconds else 0.0),
        Column("answer p50 ms", lambda m: m.answer_ms.p50, 2),
        Column("answer p99", lambda m: m.answer_ms.p99, 2),
        Column("seen p50", lambda m: m.latency_ms.p50, 2),
        Column("seen p99", lambda m: m.latency_ms.p99, 2),
        Column("by all p50", lambda m: m.whole_ms.p50, 2),
        Column("by all p99", lambda m: m.whole_ms.p99, 2),
        Column("deliveries/s", lambda m: m.deliveries / m.seconds if m.seconds else 0.0),
        SERVER_SHARE,
        OWN_SHARE,
        Column("held back", lambda m: m.held),
        WRONG,
    ),
}


def table(runs: Sequence[Run]) -> str:
    """One scenario's runs as a table in Markdown."""
    columns = COLUMNS[runs[0].scenario.kind]
    servers = list(dict.fromkeys(run.server.name for run in runs))
    is_compared = len(servers) > 1 and runs[0].scenario.kind in (Kind.fan_out, Kind.idle)
    first = [*(["of the first"] if is_compared else [])]
    rows = [["server", columns[0].title, *first, *(column.title for column in columns[1:])]]
    for name in servers:
        own = [run for run in runs if run.server.name == name]
        cells = [_cell(column, own) for column in columns]
        ratio = [_ratio(columns[0], own, runs)] if is_compared else []
        rows.append([name, cells[0], *ratio, *cells[1:]])
    return markdown(rows)


def remarks(runs: Sequence[Run]) -> list[str]:
    """What has to be known to judge the figures: who else was there, who was the bottleneck, and what went wrong."""
    others = [run.measured.others for run in runs]
    found = []
    if max(others, default=0) > SHARED:
        found.append(
            f"Other programs used {min(others):.1f} to {max(others):.1f} of the cores meanwhile: latencies are the machine's, "
            "CPU-seconds are less precise."
        )
    for run in runs:
        where = f"{run.scenario.name}, {run.server.name}, round {run.round + 1}"
        if run.measured.own_share > BUSY:
            found.append(
                f"THE LOAD GENERATOR WAS THE BOTTLENECK: {run.measured.own_share:.0%} of its core ({where}): latencies are its own"
            )
        if run.measured.held:
            found.append(f"the server did not keep up: {run.measured.held} messages were not even sent ({where})")
        if run.measured.wrong:
            m = run.measured
            found.append(
                f"WRONG: {m.lost} lost or not there in time, {m.doubled} doubled, {m.reordered} out of order, "
                f"{m.strays} in the wrong room, "
                f"{m.refused} refused, {m.cut} sockets lost ({where}) {m.trouble}"
            )
    return found


def _cell(column: Column, runs: Sequence[Run]) -> str:
    values = [column.of(run.measured) for run in runs]
    shown = [f"{value:,.{column.digits}f}" for value in (median(values), min(values), max(values))]
    return shown[0] if len(set(shown)) == 1 else f"{shown[0]} ({shown[1]}–{shown[2]})"


def _ratio(column: Column, own: Sequence[Run], runs: Sequence[Run]) -> str:
    first = {run.round: column.of(run.measured) for run in runs if run.server.name == runs[0].server.name}
    ratios = [column.of(run.measured) / first[run.round] for run in own if first.get(run.round)]
    return f"{median(ratios):.2f}" if ratios else "–"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    rule = "| " + " | ".join("-" * width for width in widths) + " |"
    return "\n".join([lines[0], rule, *lines[1:]])
