"""One fault: done, left for as long as it lasts, and undone."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import assert_never

from .target import Fault, Place, Target, health

LOOK_SECONDS = 0.02
LEADER_SHARE = 0.7
"""How often it is the leader whom a fault hits."""

TELLS = {
    Fault.kill: "kill -9",
    Fault.stop: "hangs (SIGSTOP)",
    Fault.delete: "its pod is deleted",
    Fault.force_delete: "its pod is deleted by force",
    Fault.handover: "asked to hand over",
    Fault.drain: "drains and ends",
    Fault.scale: "joins, and leaves again",
}


def victim(fault: Fault, places: list[Place], leader: str, dice: random.Random) -> Place:
    """Whom it is done to. A hand-over is asked of anyone: it is the leader who does it."""
    others = [place for place in places if place.name != leader]
    if fault is Fault.handover or not others or dice.random() < LEADER_SHARE:
        return next(place for place in places if place.name == leader)
    return dice.choice(others)


@asynccontextmanager
async def injected(
    fault: Fault, target: Target, node: Place, count: int, ending: asyncio.Event
) -> AsyncIterator[float]:
    """The fault is there within the block, and undone after it. ``count``: how many nodes there are.

    Gives the moment (``time.monotonic``) from which on it may be felt. Waits are cut short by ``ending``.
    """
    life, leader = await asyncio.to_thread(_life_and_leader, node)
    seconds = target.recover_seconds + await asyncio.to_thread(target.back_off_seconds, fault, node)
    moment = time.monotonic()
    try:
        match fault:
            case Fault.kill | Fault.stop | Fault.delete | Fault.force_delete:
                await asyncio.to_thread(target.hit, fault, node)
            case Fault.handover:
                await asyncio.to_thread(node.ask, "POST", "/handoff", {"to": None})
            case Fault.drain:
                await asyncio.to_thread(node.ask, "POST", "/drain", {})
            case Fault.scale:
                await asyncio.to_thread(target.scale, count + 1)
                await _wait_for(lambda: not health(target).problem, seconds, ending)
            case _:
                assert_never(fault)
        yield moment
    finally:
        if fault is Fault.stop:
            node.signal(signal.SIGCONT)
        if fault is Fault.scale:
            await asyncio.to_thread(target.scale, count)
    if fault is Fault.handover:
        await _wait_for(lambda: _life_and_leader(node)[1] not in ("", leader), seconds, ending)
    elif fault not in (Fault.stop, Fault.scale):
        await _wait_for(lambda: _life_and_leader(node)[0] not in ("", life), seconds, ending)


def _life_and_leader(node: Place) -> tuple[str, str]:
    """Which life of the node answers, and who leads in its eyes; empty if it does not answer or knows of none."""
    view = node.ask("GET", "/cluster")
    lives = [n["incarnation"] for n in view.get("nodes", []) if n["name"] == view["self"]]
    return (lives[0] if lives else "", view.get("leader") or "")


async def _wait_for(met: Callable[[], bool], seconds: float, ending: asyncio.Event) -> None:
    """What is asked for is accepted first and done then. Whether it was done, the cluster's health shows."""
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(met) and time.monotonic() < deadline and not ending.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ending.wait(), LOOK_SECONDS)
