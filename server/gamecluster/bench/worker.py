"""``python -m gamecluster.bench``: one process' share of the players.

Pickles over its pipes: a Job comes in, True goes out when all have joined and were answered once, the moment to begin comes
in (``time.monotonic``, which all processes of a machine share), a Share goes out. The same for a share of listeners, but that before the
end what these have published goes out, and what all have comes in.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..chaos.client import Payload
from ..chaos.history import Acknowledged, Ledger
from ..chaos.players import Player
from .listeners import Listeners, Listening

JOIN_SECONDS = 30.0
FINISH_SECONDS = 15.0


@dataclass(frozen=True)
class Job:
    """``first``: the number of the first of these players. ``move``: as chaos.Options has it."""

    name: str
    first: int
    players: int
    urls: Sequence[str]
    pace_seconds: float
    seconds: float
    seed: int
    move: tuple[str, Payload] | None


@dataclass(frozen=True)
class Told:
    """What the checker has to know of a player, after it has ended; see ``chaos.history.Told``."""

    name: str
    history: list[Acknowledged]
    pending: int
    violations: list[str]


@dataclass(frozen=True)
class Share:
    """``milliseconds``: from when each move was due until its answer, of those that were due in the measured time.

    ``busy``: the share of that time in which this process ran, or could have and found no core.
    ``refusals``: why players had to come back, the last ones."""

    told: list[Told]
    ledger: Ledger
    milliseconds: list[float]
    busy: float
    refusals: list[str]


@dataclass
class PacedPlayer(Player):
    """Moves when it is due, not so long after the last answer: who waits is late for the next move, and that counts."""

    due: dict[int, float] = field(default_factory=dict)
    _next: float = 0.0

    async def _pause(self) -> None:
        now = time.monotonic()
        self._next = (self._next or now) + self.pace_seconds
        self.due[self._n + 1] = self._next
        if self._next > now:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._next - now):
                    await self.hurry.wait()

    def waited(self, since: float, until: float) -> list[float]:
        """Milliseconds from due to answered, of the moves that were due in this time."""
        return [
            (move.answered_at - self.due[move.n]) * 1000
            for move in self.history
            if since <= self.due.get(move.n, 0.0) < until
        ]


def main() -> None:
    job = pickle.load(sys.stdin.buffer)
    asyncio.run(_listen(job) if isinstance(job, Listening) else _work(job))


async def _listen(job: Listening) -> None:
    listeners = Listeners(job)
    await listeners.join()
    _tell(True)
    begin: float = await asyncio.to_thread(pickle.load, sys.stdin.buffer)
    wanted = _wanted_seconds()
    published = await listeners.listen(begin)
    busy = (_wanted_seconds() - wanted) / (time.monotonic() - begin)
    _tell(published)
    heard = await listeners.end(await asyncio.to_thread(pickle.load, sys.stdin.buffer))
    heard.busy = busy
    _tell(heard)


async def _work(job: Job) -> None:
    ledger = Ledger()
    players = [_player(job, job.first + i, ledger) for i in range(job.players)]
    async with asyncio.TaskGroup() as tasks:
        playing = [tasks.create_task(player.run()) for player in players]
        await _until_all_play(players)
        _tell(True)
        begin: float = await asyncio.to_thread(pickle.load, sys.stdin.buffer)
        await asyncio.sleep(begin - time.monotonic())
        wanted = _wanted_seconds()
        await asyncio.sleep(job.seconds)
        busy = (_wanted_seconds() - wanted) / (time.monotonic() - begin)
        for player in players:
            player.stop()
        _, late = await asyncio.wait(playing, timeout=FINISH_SECONDS)
        for task in late:
            task.cancel()
    milliseconds = [ms for player in players for ms in player.waited(begin, begin + job.seconds)]
    told = [Told(p.name, p.history, p.pending, p.violations) for p in players]
    _tell(Share(told, ledger, milliseconds, busy, [line for p in players for line in p.refusals[-1:]]))


def _player(job: Job, number: int, ledger: Ledger) -> PacedPlayer:
    return PacedPlayer(
        f"{job.name}-{number}",
        job.urls,
        number % len(job.urls),
        random.Random(f"{job.seed} {number}"),
        job.pace_seconds,
        ledger,
        job.move,
    )


async def _until_all_play(players: Sequence[PacedPlayer]) -> None:
    """Or until it is too late: then the parent sees by their histories who never did."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(JOIN_SECONDS):
            await asyncio.gather(*(player.acknowledged.wait() for player in players))


def _wanted_seconds() -> float:
    """What this process has run, and, where the kernel tells it (Linux), has waited for a core."""
    waited = 0.0
    with contextlib.suppress(OSError, IndexError, ValueError):
        waited = int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    return time.process_time() + waited


def _tell(what: object) -> None:
    pickle.dump(what, sys.stdout.buffer)
    sys.stdout.buffer.flush()
