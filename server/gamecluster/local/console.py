"""What ``gamecluster up`` tells people: one line per event, from what is seen now and what was seen before."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .. import account
from ..core.messages import Record, name_of


@dataclass(frozen=True)
class Failover:
    """``lastFailover`` of ``GET /cluster``."""

    epoch: int
    former: str
    leader: str
    told: str
    is_hand_over: bool = False
    is_whole: bool = True

    @classmethod
    def parse(cls, seen: Mapping[str, Any] | None) -> Failover | None:
        if not seen or not seen.get("from"):
            return None
        return cls(
            epoch=int(seen.get("epoch", 0)),
            former=str(seen.get("from")),
            leader=str(seen.get("to")),
            told=account.told(seen),
            is_hand_over=account.is_hand_over(seen),
            is_whole=account.is_whole(seen),
        )


@dataclass(frozen=True)
class Picture:
    """The cluster at one moment. ``running`` and ``ready``: names of such nodes and their process ids."""

    record: Record | None = None
    running: Mapping[str, int] = field(default_factory=dict)
    ready: Mapping[str, int] = field(default_factory=dict)
    failover: Failover | None = None


Line = tuple[str, str, str]
"""What, which node, text."""


def lines(before: Picture, after: Picture) -> list[Line]:
    """What happened between two pictures."""
    return [*_joined(before, after), *_led(before, after), *_failed_over(before, after)]


def show(what: str, name: str, text: str) -> None:
    stamp = datetime.now().strftime("%H:%M:%S.%f")[:-3]
    print(f"{stamp}  {what:<9} {name:<14} {text}".rstrip(), file=sys.stdout, flush=True)


def _joined(before: Picture, after: Picture) -> list[Line]:
    """Of processes that died, the supervisor tells."""
    joined = [(name, pid) for name, pid in after.ready.items() if before.ready.get(name) != pid]
    silent = [name for name, pid in before.ready.items() if name not in after.ready and after.running.get(name) == pid]
    return [
        *(("joined", name, f"ready, pid {pid}") for name, pid in joined),
        *(("unready", name, "its process runs, but does not say that it is ready") for name in silent),
    ]


def _led(before: Picture, after: Picture) -> list[Line]:
    old, new = before.record, after.record
    if (
        new is None
        or new.never_held
        or (old and (old.holder, old.epoch, old.in_sync) == (new.holder, new.epoch, new.in_sync))
    ):
        return []
    in_sync = ", ".join(name_of(member) for member in new.in_sync)
    if old and (old.holder, old.epoch) == (new.holder, new.epoch):
        return [("in sync", name_of(new.holder) if new.holder else "", in_sync)]
    if new.asleep is not None:
        at = f"{new.asleep.epoch}/{new.asleep.seq}"
        return [("asleep", name_of(new.asleep.by), f"went last, and has stored everything, at {at}")]
    if new.holder is None:
        return [("vacant", "", f"nobody holds the GameState (epoch {new.epoch})")]
    return [("leader", name_of(new.holder), f"epoch {new.epoch}, in sync: {in_sync}")]


def _failed_over(before: Picture, after: Picture) -> list[Line]:
    new = after.failover
    if new is None or (before.failover and before.failover.epoch >= new.epoch):
        return []
    what = "handover" if new.is_hand_over else "failover"
    return [(what, new.leader, f"from {new.former}, epoch {new.epoch}: {new.told}".removesuffix(": "))]
