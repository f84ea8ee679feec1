"""The process around kopf."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import kopf
import pytest

from gamecluster_operator import __main__ as program
from gamecluster_operator import handlers
from gamecluster_operator.queue import WorkQueue
from gamecluster_operator.settings import Settings
from gamecluster_operator.store import Store
from gamecluster_operator.watches import Watches


class Parts:
    """As much of ``handlers.Loop`` as kopf's handlers need."""

    def __init__(self) -> None:
        self.store, self.queue = Store(), WorkQueue()


async def test_a_watch_that_nobody_opens_again_ends_even_a_kopf_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    hangs: list[str] = []

    async def hanging(**_: Any) -> None:
        for notice in ("is told to end, and takes no notice", "ends"):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                hangs.append(notice)
                if notice == "ends":
                    raise

    monkeypatch.setattr(kopf, "operator", hanging)
    monkeypatch.setattr(program, "CLOSED_SECONDS", 0.1)
    monkeypatch.setattr(program, "END_SECONDS", 0.1)
    watches = Watches()
    watches.opened_by_kopf("/apis/apps/v1/statefulsets")
    watches.closed_by_kopf("/apis/apps/v1/statefulsets")
    async with asyncio.timeout(5):
        with pytest.raises(TimeoutError, match="was not opened again"):
            await program._watch_once(Settings(), cast(handlers.Loop, Parts()), watches, asyncio.Event())
    assert hangs == ["is told to end, and takes no notice"]


def test_a_watch_that_was_opened_again_is_not_closed() -> None:
    now = 5.0
    watches = Watches(lambda: now)
    watches.opened_by_kopf("/api/v1/pods")
    assert watches.closed_seconds == 0
    watches.closed_by_kopf("/api/v1/pods")
    now = 8.0
    assert watches.closed_seconds == 3
    watches.opened_by_kopf("/api/v1/pods")
    assert watches.closed_seconds == 0
    now = 9.0
    watches.started()
    now = 11.0
    assert watches.closed_seconds == 2, "kopf has begun anew, and has not opened it yet"
