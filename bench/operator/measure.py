"""Figures of processes, from /proc, and what is told of many figures."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MEBI = 1 << 20
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """``rss``, ``peak``: MiB; ``cpu``: seconds of user and system time since it began."""

    rss: float
    peak: float
    cpu: float


def usage(pid: int) -> Usage:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kibi = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS", "VmHWM"))}
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu = (int(times[11]) + int(times[12])) / TICKS
    return Usage(int(kibi["VmRSS"]) / 1024, int(kibi["VmHWM"]) / 1024, cpu)


def percentile(values: Sequence[float], of_hundred: int) -> float:
    """The nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * of_hundred // 100) - 1)]


def spread(seconds: Sequence[float]) -> str:
    p50, p99, most = (1000 * value for value in (statistics.median(seconds), percentile(seconds, 99), max(seconds)))
    return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, at most {most:.0f} ms (of {len(seconds)})"


def machine() -> str:
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1024 / 1024
    one, five, fifteen = os.getloadavg()
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, load average {one:.1f} {five:.1f} {fifteen:.1f} before it began"
