"""Runs scenarios in rounds, one server after the other, so that what the machine does besides hits all alike."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from . import build
from .build import Failed
from .scenarios import Scenario, Value
from .servers import Running, Server, started
from .stall import stalling

SERVER_CORE, LOAD_CORE = 0, 1
LOAD_SECONDS = 240.0


class Percentiles(msgspec.Struct, frozen=True):
    """Milliseconds; at most 1.6 % above the true value."""

    count: int
    p50: float
    p99: float
    max: float


class Measured(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the generator tells of one run; ``load.c`` has the meaning of each. ``latency_ms``: from a message being due until one
    receiver has it; ``whole_ms``: until all have; ``answer_ms``: until a move's own answer is there."""

    sockets: int
    connect_seconds: float
    connect_cpu_seconds: float
    rss_before: float
    rss_joined: float
    rss_end: float
    rss_highest: float
    seconds: float
    server_cpu_seconds: float
    own_cpu_seconds: float
    others_cpu_seconds: float
    published: int
    deliveries: int
    arrivals: int
    answered: int
    bytes: int
    lost: int
    gaps: int
    doubled: int
    reordered: int
    strays: int
    refused: int
    held: int
    cut: int
    unread_ended: int
    latency_ms: Percentiles
    whole_ms: Percentiles
    answer_ms: Percentiles
    trouble: str

    @property
    def wrong(self) -> int:
        """Messages that were lost, doubled, out of order or in the wrong room, refusals and lost sockets. Must be 0."""
        return self.lost + self.doubled + self.reordered + self.strays + self.refused + self.cut

    @property
    def others(self) -> float:
        """How many of the cores that are measured on were busy with other programs."""
        return self.others_cpu_seconds / self.seconds if self.seconds else 0.0

    @property
    def own_share(self) -> float:
        """Of its core that the generator has used."""
        return self.own_cpu_seconds / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Run:
    scenario: Scenario
    server: Server
    round: int
    load_average: float
    measured: Measured


def rounds(scenario: Scenario, servers: Sequence[Server], count: int) -> Iterator[Run | Failed]:
    """Every other round in the opposite order. A server that failed is left out of the rounds to come."""
    left = list(servers)
    for number in range(count):
        for server in left[:: 1 if number % 2 == 0 else -1]:
            average = os.getloadavg()[0]
            try:
                yield Run(scenario, server, number, average, once(scenario, server))
            except Failed as error:
                left.remove(server)
                yield error


def once(scenario: Scenario, server: Server) -> Measured:
    """Raises Failed."""
    is_pinned = scenario.pinned and can_pin()
    with started(server, SERVER_CORE if is_pinned else None) as running:
        if scenario.rehearsal:
            load(running, {**scenario.load, "sockets": scenario.rehearsal}, is_pinned)
        with stalling(running, scenario.stall_milliseconds):
            return load(running, scenario.load, is_pinned)


def can_pin() -> bool:
    return {SERVER_CORE, LOAD_CORE} <= os.sched_getaffinity(0)


def processor() -> str:
    for text in Path("/proc/cpuinfo").read_text().splitlines():
        if text.startswith("model name"):
            return text.split(":", 1)[1].strip()
    return platform.machine()


def load(running: Running, arguments: Mapping[str, Value], is_pinned: bool) -> Measured:
    line = [str(build.program("load")), "--dialect", running.server.dialect, "--pid", str(running.pid)]
    for port in running.ports:
        line += ["--port", str(port)]
    for name, value in arguments.items():
        line += [f"--{name}", str(value)]
    if running.server.paths:
        sockets = int(arguments["sockets"])
        paths = running.server.paths(running.ports[0], sockets, sockets // int(arguments.get("rooms", 1)))
        (running.data / "paths").write_text("\n".join(paths))
        line += ["--paths", str(running.data / "paths")]
    if is_pinned:
        line += ["--core", str(LOAD_CORE)]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=LOAD_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{running.server.name}: the generator did not end within {LOAD_SECONDS:.0f} s") from error
    if done.returncode:
        raise Failed(f"{running.server.name}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return msgspec.json.decode(done.stdout, type=Measured)
