"""Has the leader drop what is too old: seasons of leaderboards, notifications, answers, streams. Where nothing is, nothing is written."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from ..core.messages import Fields
from ..rules import Rejected
from ..services import boards, notices, streams
from ..services.standings import BOARDS

LOOK_SECONDS = 5.0
NOTICES_SECONDS = 600.0
STREAMS_SECONDS = 60.0
STREAMS_AT_ONCE = 1_000
"""Calls in a row: all that there can be, on a clock that does not go back."""
PAUSE_SECONDS = 0.02
ROWS_AT_A_TIME = 2_000

log = logging.getLogger("gamecluster.node")

Rows = Callable[[str], Mapping[str, Fields]]
Call = tuple[str, str, Fields]


class Pod(Protocol):
    """``driver.Driver``."""

    def rows(self, table: str) -> Mapping[str, Fields]: ...

    def ask(self, service: str, verb: str, args: Fields) -> asyncio.Future[Fields]: ...

    @property
    def is_leader(self) -> bool: ...


async def sweep(pod: Pod, wall_clock: Callable[[], float] = time.time, look_seconds: float = LOOK_SECONDS) -> None:
    """Without end. ``wall_clock``: Unix seconds."""
    looked_at = streams_at = wall_clock()
    while True:
        await asyncio.sleep(look_seconds)
        if not pod.is_leader:
            continue
        now = wall_clock()
        await _call(pod, _seasons(pod.rows))
        if not 0 <= now - streams_at < STREAMS_SECONDS:
            streams_at = now
            await _call(pod, _streams(pod.rows, round(now * 1000)))
        if not 0 <= now - looked_at < NOTICES_SECONDS:
            looked_at = now
            await _call(pod, _notices(pod.rows, round(now * 1000)))


async def _call(pod: Pod, due: Iterator[Call | None]) -> None:
    """A part at a time, so that moves come in between."""
    try:
        for call in due:
            if call is not None:
                await pod.ask(*call)
            await asyncio.sleep(PAUSE_SECONDS)
    except Rejected as error:  # it leads no more, say: another one sees to it
        log.debug("sweeping: %s", error)


def _seasons(rows: Rows) -> Iterator[Call]:
    while any(boards.is_due(row) for row in rows(BOARDS).values()):
        yield "boards", "sweep", {}


def _streams(rows: Rows, now: int) -> Iterator[Call]:
    for _ in range(STREAMS_AT_ONCE):
        if not any(streams.is_due(row, now) for row in rows(streams.TABLE).values()):
            return
        yield "streams", "sweep", {}


def _notices(rows: Rows, now: int) -> Iterator[Call | None]:
    """None: nothing of this part, go on."""
    players = list(rows(notices.TABLE))
    for start in range(0, len(players), ROWS_AT_A_TIME):
        table = rows(notices.TABLE)
        batch = players[start : start + ROWS_AT_A_TIME]
        old = [player for player in batch if notices.too_old(table.get(player, {}), now)]
        for at in range(0, len(old), notices.PLAYERS_AT_A_TIME):
            yield "notices", "sweep", {"players": old[at : at + notices.PLAYERS_AT_A_TIME]}
        yield None
