"""What a total loss may cost (docs/storage.md): nothing that was answered with durability Storage; else the last second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gamecluster.core.durability import Kept
from gamecluster.core.messages import Entry

from .invariants import Violated

if TYPE_CHECKING:
    from .life import Life
    from .world import World

LAST_SECONDS = 1.0


def check_loss(world: World, by: Life, undone: list[Entry]) -> None:
    """``undone``: the entries that are not there any more, by number. They are a suffix of what was committed."""
    plan = world.plan
    if plan.storage is Kept.nowhere or not undone:
        return
    kept = len(world.ledger.entries)
    lost = [entry for entry in undone if entry.seq > kept]
    if plan.durable and lost:
        raise Violated("durability", f"{by} began again at {world.ledger.last}, and {lost} had been committed")
    if lost and world.safe_until >= lost[0].seq:
        text = f"{by} began again at {world.ledger.last}; up to {world.safe_until} was more than {LAST_SECONDS} s old"
        raise Violated("durability", text)


def safe_until(world: World) -> int:
    """The last entry that is more than a second old, if the leader has had all of that second to store it."""
    holder = world.lease.record.holder
    leader = world.lives[holder] if holder is not None else None
    storage, ledger, then = world.storage, world.ledger, world.now - LAST_SECONDS
    is_well = not (storage.failing or storage.flaky or storage.slow) and storage.well_since < then - LAST_SECONDS
    if leader is None or not leader.runs or not leader.node.is_leader or leader.paused_at > then or not is_well:
        return 0
    served = [at for at, entry in zip(ledger.times, ledger.entries, strict=True) if entry.epoch == leader.node.epoch]
    if not served or served[0] > then:
        return 0
    return sum(1 for at in ledger.times if at <= then)
