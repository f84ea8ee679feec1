"""One fault: done, left for as long as it lasts, and undone."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import assert_never

from .target import Fault, Place, Target, health

LEADER_SHARE = 0.7
"""How often it is the leader whom a fault hits."""
CHANGE_SECONDS = 10.0

TELLS = {
    Fault.kill: "kill -9",
    Fault.stop: "hangs (SIGSTOP)",
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
async def injected(fault: Fault, target: Target, node: Place, count: int) -> AsyncIterator[float]:
    """The fault is there within the block, and undone after it. ``count``: how many nodes there are.

    Gives the moment (``time.monotonic``) at which it began.
    """
    before = await asyncio.to_thread(_life_and_lead, node)
    moment = time.monotonic()
    match fault:
        case Fault.kill:
            node.signal(signal.SIGKILL)
        case Fault.stop:
            node.signal(signal.SIGSTOP)
        case Fault.handover:
            await asyncio.to_thread(node.ask, "POST", "/handoff", {"to": None})
        case Fault.drain:
            await asyncio.to_thread(node.ask, "POST", "/drain", {})
        case Fault.scale:
            await asyncio.to_thread(target.scale, count + 1)
            await asyncio.to_thread(_wait_for, lambda: not health(target).problem)
        case _:
            assert_never(fault)
    try:
        yield moment
    finally:
        if fault is Fault.stop:
            node.signal(signal.SIGCONT)
        if fault is Fault.scale:
            await asyncio.to_thread(target.scale, count)
        if fault in (Fault.drain, Fault.handover):
            await asyncio.to_thread(_wait_for, lambda: _life_and_lead(node) != before)


def _life_and_lead(node: Place) -> tuple[str, bool]:
    """Which life of the node answers, and whether it leads."""
    view = node.ask("GET", "/cluster")
    lives = [n["incarnation"] for n in view.get("nodes", []) if n["name"] == view["self"]]
    return (lives[0] if lives else "", view.get("leader") == node.name)


def _wait_for(met: Callable[[], bool]) -> None:
    """What is asked for is accepted first and done then. Whether it was done, the cluster's health shows."""
    deadline = time.monotonic() + CHANGE_SECONDS
    while not met() and time.monotonic() < deadline:
        time.sleep(0.02)
