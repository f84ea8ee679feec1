"""With what a cluster begins whose GameState is in no pod's memory: at its start, or when all that had it are dead. Pure.

    what the pods' storages hold                             what is written
    not all have said, for less than 30 s                    nothing yet
    something, and it is wanted                              who has the most, alone, epoch + 1000, to be restored
    nothing, or it is not wanted                             vacant, never held, epoch + 1000: a fresh start
    nothing so far, but a pod that was in sync has not said  nothing: it may have it

Epochs count from the highest that any pod has promised or stored. Nothing is written while a pod says that somebody leads.

A game that sleeps begins with what its last pod has stored, nothing less. Who has just that claims the Lease by itself:

    nobody has, 10 s after a pod has looked for it      what is written
    one has just that                                   that one, alone, epoch + 1000, to be restored
    the last pod's own volume has not been seen yet     nothing: it has it
    it is not there any more                            as above: a total loss
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from . import backstop
from . import labels as names
from .observed import ObservedPod, Position
from .record import Incarnation, Record, name_of
from .spec import GameCluster

ASK_SECONDS = 30.0
EPOCH_LEAP = 1000


@dataclass(frozen=True)
class Beginning:
    """The record to write, and why. ``lost``: who is dead of those that had the GameState; ``stored``: what is restored."""

    record: Record
    lost: tuple[Incarnation, ...]
    stored: Position | None


def is_undecided(record: Record, pods: Sequence[ObservedPod]) -> bool:
    """Of a cluster with a storage, before anybody has looked into it. Not one that has been held, as far as its pods know."""
    if record.holder is not None or record.in_sync or record.never_held or record.asleep is not None:
        return False
    return all(pod.told is None or pod.told.held is None for pod in pods)


def begin(
    cluster: GameCluster, record: Record, pods: Sequence[ObservedPod], epoch: int, waited_seconds: float
) -> Beginning | None:
    """``epoch``: the highest that is known. ``waited_seconds``: for how long there have been pods and nobody leads."""
    tellings = [pod.told for pod in pods if pod.told is not None]
    if any(told.leader for told in tellings):
        return None
    known = {told.incarnation: told.stored for told in tellings if told.knows_stored}
    expected = {names.pod_name(cluster.name, ordinal) for ordinal in range(cluster.replicas)}
    missing = expected - {name_of(who) for who in known}
    if not known or (missing and waited_seconds < ASK_SECONDS):
        return None
    held = {who: position for who, position in known.items() if position is not None}
    above = max([epoch, *(position[0] for position in held.values())]) + EPOCH_LEAP
    restores = cluster.game_state.on_total_loss == "Restore"
    if restores and held:
        richest = max(held, key=lambda who: (held[who], who))
        return Beginning(
            Record(record.version, richest, above, (richest,), restore=True), record.in_sync, held[richest]
        )
    if restores and missing & {name_of(who) for who in record.in_sync}:
        return None
    return Beginning(Record(record.version, None, above, (), never_held=True), record.in_sync, None)


def wake(
    cluster: GameCluster, record: Record, pods: Sequence[ObservedPod], epoch: int, waited_seconds: float
) -> Beginning | None:
    """The same for a record that says that the game sleeps."""
    asleep = record.asleep
    tellings = [pod.told for pod in pods if pod.told is not None]
    if asleep is None or waited_seconds < backstop.GRACE_SECONDS or any(told.leader for told in tellings):
        return None
    last, is_own = name_of(asleep.by), cluster.storage.type == "Volume"
    known = {
        t.incarnation: t.stored for t in tellings if t.knows_stored and (not is_own or name_of(t.incarnation) == last)
    }
    heir = min((who for who, position in known.items() if position == asleep.position), default=None)
    if heir is not None:
        above = max(epoch, record.epoch) + EPOCH_LEAP
        return Beginning(Record(record.version, heir, above, (heir,), restore=True), (), asleep.position)
    if not known:
        return None
    begun = begin(cluster, record, pods, epoch, waited_seconds)
    if begun is None or (begun.stored is not None and begun.stored >= asleep.position):
        return begun
    return replace(begun, lost=(asleep.by,))
