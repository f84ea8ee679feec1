"""``python -m tests.shell.rejoin_bytes``: how many bytes a client is sent that comes back, and how many it would be without its position.

A hub with the demo's Arena, 1,000 ships in it, of which 20 move 50 times a second each; the frame that answers the join is measured
as it goes to the socket (V2 serializer, uncompressed), and how long the hub took to make it.
"""

from __future__ import annotations

import random
import time

from tests.shell.fakes import FakeBackend
from tests.shell.test_clients import Stage

from gamecluster.core.effects import Answer
from gamecluster.core.messages import Entry, Op, Position, Tables
from gamecluster.core.replication import Log
from gamecluster.demo import Arena
from gamecluster.runtime import Runtime
from gamecluster.shell.resume import missed

SHIPS, MOVERS, MOVES_PER_SECOND = 1000, 20, 50
SEED = 7


class Arenas(FakeBackend):
    """A backend whose state is a game's, and whose log is a real one."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log()
        self.random = random.Random(SEED)
        self.game = Runtime(Arena, self.random)
        for ship in range(SHIPS):
            self.commit(self.game.join(f"player-{ship}").ops)

    def commit(self, ops: list[Op]) -> None:
        seq = self.log.last.seq + 1
        self.log.append(Entry(1, seq, ops, [], []))
        self.log.commit(seq)
        self.at = self.log.committed
        self.tables = self.log.tables

    def play(self, seconds: float) -> None:
        for n in range(round(seconds * MOVERS * MOVES_PER_SECOND)):
            dx, dy = self.random.choice([(0, 1), (1, 0), (0, -1), (-1, 0)])
            self.commit(self.game.move(f"player-{n % MOVERS}", "move", {"dx": dx, "dy": dy}).ops)

    def missed(self, since: Position) -> list[Op] | None:
        return missed(self.log, since, self.tables)

    def visible_tables(self) -> Tables:
        return self.tables


def rejoin(away_seconds: float, says_position: bool) -> tuple[int, float]:
    """Bytes of the answer's frame, and milliseconds to make it, for one who was away for so long."""
    backend = Arenas()
    stage, before = Stage(backend), backend.at
    backend.play(away_seconds)
    client = stage.client()
    client.ask_game("player-0", **({"epoch": before.epoch, "seq": before.seq} if says_position else {}))
    answer = Answer(backend.last_request, True, {"player": "player-0", "stay": "s" * 24, "n": 9, "resumed": True}, True)
    began = time.perf_counter()
    stage.hub.answer(answer)
    took = (time.perf_counter() - began) * 1000
    stage.clock.turn()
    [[frame]] = client.socket.writes
    return len(frame), took


def main() -> None:
    print(f"{SHIPS} ships; {MOVERS} of them move {MOVES_PER_SECOND} times a second each")
    print("away        moves  with its position     without            saved")
    for seconds in (0.06, 0.25, 1.0, 10.0):
        (known, took), (whole, took_whole) = rejoin(seconds, True), rejoin(seconds, False)
        moves = round(seconds * MOVERS * MOVES_PER_SECOND)
        print(
            f"{seconds:5.2f} s  {moves:8}  {known:6} B in {took:4.1f} ms  {whole:6} B in {took_whole:4.1f} ms"
            f"  {1 - known / whole:6.1%}"
        )


if __name__ == "__main__":
    main()
