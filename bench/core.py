"""``python -m bench.core``: what a move and a tick cost the leader, by the size of the state. The core alone: no socket, no clock."""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Sequence

from gamecluster.core import events as happened
from gamecluster.core.effects import Effect, WriteRecord
from gamecluster.core.messages import Record, incarnation
from gamecluster.core.node import Node, NodeConfig
from gamecluster.game import Runtime

from .game import Board

SIZES = (100, 1_000, 10_000)
MOVES, TICKS = 3_000, 200


class Leader:
    """A node that leads alone, with ``players`` in its game; each has one entity."""

    def __init__(self, players: int) -> None:
        self._now = 0.0
        self._players = players
        self._node = Node(
            incarnation("a-0", "uid", 1),
            NodeConfig(replicas=1),
            Runtime(Board, random.Random(1)),
            random.Random(1),
            0.0,
        )
        self._do(happened.RecordRead(Record(1, None, 0, (), True)))
        self.tick(50)
        for number in range(players):
            self._do(happened.PlayerJoined(number, number, f"p{number}", None, "nonce"))

    def move(self, count: int) -> None:
        for number in range(count):
            player = number % self._players
            self._do(happened.PlayerMoved(number, player, f"p{player}", "move", {"mark": str(number)}, None))

    def tick(self, count: int) -> None:
        for _ in range(count):
            self._now += 0.02
            self._do(happened.Ticked())

    def _do(self, event: happened.Event) -> None:
        effects: list[Effect] = self._node.handle(event, self._now)
        for effect in effects:
            if isinstance(effect, WriteRecord):
                self._do(happened.RecordWritten(effect.request, effect.record.version + 1))


def microseconds(leader: Leader) -> tuple[float, float]:
    """CPU time of one move, and of one tick in which nothing happens."""
    began = time.process_time()
    leader.move(MOVES)
    moved = time.process_time()
    leader.tick(TICKS)
    return (moved - began) / MOVES * 1e6, (time.process_time() - moved) / TICKS * 1e6


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.core", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args(arguments).rounds
    leaders = {size: Leader(size) for size in SIZES}
    figures: dict[int, list[tuple[float, float]]] = {size: [] for size in SIZES}
    for _ in range(rounds):
        for size, leader in leaders.items():
            figures[size].append(microseconds(leader))
    print(f"Python {sys.version.split()[0]}; medians of {rounds} interleaved rounds; CPU time, in µs\n")
    print("| entities | a move | a tick |\n| --- | --- | --- |")
    for size, told in figures.items():
        print(
            f"| {size:,} | {statistics.median(m for m, _ in told):.1f} | {statistics.median(t for _, t in told):.1f} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
