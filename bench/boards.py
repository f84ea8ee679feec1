"""``python -m bench.boards``: a leaderboard of a million players: what it costs to read and change it, and what its rows cost the rest.

CPU time, which other processes on the machine lengthen less than they do the time by the clock.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from gamecluster.core.messages import Fields, Install, Position, Tables
from gamecluster.core.replication import Log
from gamecluster.services.ranking import View
from gamecluster.services.standings import Standings
from gamecluster.shell.mesh_install import Incoming, InstallRows, parts
from gamecluster.shell.serve import collect_seldom
from gamecluster.shell.standings import ROWS_AT_A_TIME
from gamecluster.shell.storage import encode_snapshot

TABLE = "$board:wins:1"
CALLS = 2_000


def player(number: int) -> str:
    return f"player-{number:07d}"


class Pod:
    """The committed copy of a board of ``size`` players, and its index, being built."""

    def __init__(self, size: int, dice: random.Random) -> None:
        self.size, self.dice = size, dice
        before = resident()
        board: dict[str, Fields] = {
            player(number): {"score": dice.randrange(10**6), "at": 1_800_000_000_000 + number} for number in range(size)
        }
        self.log = Log()
        self.log.tables = {"$boards": {"wins": {"season": 1, "oldest": 1}}, TABLE: board}
        self.rows_bytes = resident() - before
        self.standings = Standings(lambda table: self.log.tables.get(table, {}))

    def build(self) -> tuple[float, float, int]:
        """Seconds in all, of the longest slice, and bytes."""
        before = resident()
        slices = [measure(lambda: self.standings.changed(None))]
        while self.standings.is_building:
            slices.append(measure(lambda: self.standings.build(ROWS_AT_A_TIME)))
        return sum(slices), max(slices[1:], default=0.0), resident() - before

    def each(self, call: Callable[[str], object]) -> float:
        """Microseconds of one call, for players by chance."""
        names = [player(self.dice.randrange(self.size)) for _ in range(CALLS)]
        return measure(lambda: [call(name) for name in names]) / CALLS * 1e6

    def put(self, name: str) -> None:
        row = {"score": self.dice.randrange(10**6), "at": 1_900_000_000_000}
        self.standings.changed([(TABLE, name, row)])


def measure(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def of_parts(tables: Tables) -> tuple[list[float], list[float]]:
    """Seconds of each part of an Install, for the one who makes it and for the one who reads it."""
    sending: list[float] = []
    reading: list[float] = []
    going, incoming = parts(Install(1, Position(1, 1), tables)), Incoming()
    read = msgspec.msgpack.Decoder(InstallRows).decode
    while True:
        began = time.process_time()
        part = next(going, None)
        if part is None:
            return sending, reading
        raw = msgspec.msgpack.encode(part)
        sending.append(time.process_time() - began)
        if hasattr(part, "rows"):
            reading.append(measure(lambda raw=raw: incoming.take(read(raw))))  # type: ignore[misc]


def report(size: int, rounds: int) -> None:
    pod = Pod(size, random.Random(1))
    seconds, longest, taken = pod.build()
    view = View(pod.standings.ready(TABLE))
    calls: dict[str, Callable[[str], object]] = {
        "top 10": lambda _: view.top(10),
        "top 100": lambda _: view.top(100),
        "around a player, 10": lambda name: view.around(name, 10),
        "rank of a player": view.rank,
        "a changed score": pod.put,
    }
    print(f"\n{size:,} players: rows {pod.rows_bytes / 1e6:.0f} MB, index {taken / 1e6:.0f} MB")
    print(f"index built in {seconds:.1f} s, in slices of {longest * 1000:.1f} ms at most\n")
    print("| a call | µs |\n| --- | --- |")
    for name, call in calls.items():
        print(f"| {name} | {statistics.median(pod.each(call) for _ in range(rounds)):.1f} |")
    copied = min(measure(pod.log.snapshot) for _ in range(rounds))
    sending, reading = of_parts(pod.log.tables)
    stored = measure(lambda: encode_snapshot(Position(1, 1), pod.log.tables))
    print("\n| the rows | |\n| --- | --- |")
    print(f"| copied, for a snapshot or a take-over | {copied * 1000:.0f} ms at once |")
    print(
        f"| sent to a pod that joins | {sum(sending):.1f} s in {len(sending)} parts of {max(sending) * 1000:.1f} ms at most |"
    )
    print(f"| read there | {sum(reading):.1f} s, {max(reading) * 1000:.1f} ms at most at once |")
    print(f"| encoded for the storage, in a thread | {stored:.1f} s |")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.boards", description=__doc__)
    parser.add_argument("--players", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    collect_seldom()
    print(f"Python {sys.version.split()[0]}; CPU time; medians of {options.rounds} rounds of {CALLS:,} calls")
    for size in options.players:
        report(size, options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
