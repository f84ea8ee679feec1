"""What must hold at every step, at every change of the table of rooms, and at the end of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gamecluster.core.effects import Answer, DeliverPatch, DeliverState
from gamecluster.core.messages import (
    Ack,
    Append,
    Entry,
    Incarnation,
    InRoom,
    Install,
    Placement,
    Position,
    Promise,
    Promised,
)
from gamecluster.core.replication import Log, apply

from ..invariants import Violated, visible
from ..probe import holds
from .games import BOARD
from .life import Life
from .truth import OUT, Chain, Truth

if TYPE_CHECKING:
    from .world import World

__all__ = ["Violated"]

UNHEARD_SECONDS = 2.0


# --- of the table


def check_placement(world: World, room: str, before: Placement | None, after: Placement | None, why: str) -> None:
    """A room goes on where all of it is; it is over only when it has ended, or nobody has it any more."""
    truth = world.truth
    if after is None:
        assert before is not None
        _check_over(world, room, before, why)
    elif before is None:
        truth.begin(room, after)
    else:
        is_other = after.holder != before.holder
        world.counts["moved"] += is_other
        if (after.epoch > before.epoch) != is_other or (after.epoch < before.epoch):
            raise Violated("epoch", f"{why}: {before} became {after}")
        if after.version <= before.version and (is_other or set(after.backups) != set(before.backups)):
            raise Violated("epoch", f"{why}: {before} became {after}")
    if after is not None:
        members = (after.holder, *after.backups)
        if len(set(members)) != len(members):
            raise Violated("copies", f"{why}: {after}")
        truth.holders[room, after.epoch] = after.holder
        check_held_by_all(world, truth.chains[room][-1], after, why)


def _check_over(world: World, room: str, before: Placement, why: str) -> None:
    is_ended = "rooms.end" in why
    chain = world.truth.end(room, why, not is_ended)
    if is_ended:
        if "end" not in chain.tables.get("$room", {}):
            raise Violated("lost", f"{chain} was ended, and that is not committed: {why}")
        world.counts["ended"] += 1
        return
    for member in (before.holder, *before.backups):
        if world.lives[member].alive and world.master.silence(member) <= UNHEARD_SECONDS:
            raise Violated("lost", f"{chain} is lost, and {member} has it: {before}; {why}")
    world.counts["lost"] += 1


def check_held_by_all(world: World, chain: Chain, placement: Placement, why: str) -> None:
    """Every copy that may become the holder, a dead one's too, has all that was committed."""
    last = chain.last
    if not last.seq:
        return
    for member in (placement.holder, *placement.backups):
        log = world.log_of(world.lives[member], chain.room)
        if log is None or not holds(log, last):
            end = log.last if log is not None else None
            raise Violated("held", f"{member} is in {placement} of {chain} and lacks {last} (it ends at {end}); {why}")


# --- of one step of one pod


def check_commits(world: World, life: Life, room: str, entries: list[Entry]) -> None:
    """What is committed is the same everywhere; when it is, all who may become holder have it."""
    for entry in entries:
        chain = world.truth.of(room, entry.epoch)
        if entry.seq <= len(chain.entries):
            known = chain.entries[entry.seq - 1]
            if known is not entry and known != entry:
                raise Violated("same", f"{life} committed {entry} in {chain}, where {known} was committed")
        elif entry.seq > len(chain.entries) + 1 or entry.epoch < chain.last.epoch:
            raise Violated("same", f"{life} committed {entry} in {chain} after {chain.last}")
        else:
            _check_first(world, life, chain, entry)


def _check_first(world: World, life: Life, chain: Chain, entry: Entry) -> None:
    if chain.over is not None and not chain.is_lost and _changes_nothing(entry):
        world.truth.committed(chain, entry)  # it says so to those who ask
        return
    if chain.over is not None:
        raise Violated("over", f"{life} committed {entry} in {chain}, which is over: {chain.over}")
    world.truth.committed(chain, entry)
    world.counts["walked"] += any(op[0] == "$in" and op[2] is not None for op in entry.ops)
    placement = world.master.placements[chain.room]
    check_held_by_all(world, chain, placement, f"{life} committed it")


def _changes_nothing(entry: Entry) -> bool:
    return all(op[0].startswith("$") and (op[0] != OUT or op[2] is None) for op in entry.ops)


def check_install(world: World, life: Life, room: str, log: Log) -> None:
    chain = world.truth.of(room, log.committed.epoch)
    if log.committed.seq and not chain.has(log.committed):
        raise Violated("same", f"{life} has a snapshot of {log.committed} in {chain}, and nobody committed that")


def check_message(truth: Truth, life: Life, peer: Incarnation, message: InRoom) -> None:
    """Who leads an epoch is who was placed; promises never go back, and are to one holder per epoch."""
    room, body = message.room, message.body
    match body:
        case Append() | Install():
            if truth.holders.get((room, body.epoch)) != life.incarnation:
                placed = truth.holders.get((room, body.epoch))
                raise Violated("holder", f"{placed} holds {room} in epoch {body.epoch}, and {life} sent {body}")
            _check_promise(truth, life, room, Promise(body.epoch, life.incarnation))
        case Ack() | Promised():
            _check_promise(truth, life, room, Promise(body.epoch, peer))


def _check_promise(truth: Truth, life: Life, room: str, promise: Promise) -> None:
    before = truth.promises.get((life.incarnation, room))
    if before is None or promise.epoch > before.epoch:
        truth.promises[life.incarnation, room] = promise
    elif promise != before:
        raise Violated("promise", f"{life} has promised {before} in {room} and acted on {promise}")


def check_answer(truth: Truth, life: Life, room: str, answer: Answer) -> None:
    """An ok answer is of a committed entry."""
    if not answer.ok or "seq" not in answer.response:
        return
    position = Position(answer.response["epoch"], answer.response["seq"])
    if not truth.of(room, position.epoch).has(position):
        raise Violated("answer", f"{life} answered {answer.response} in {room}, which is not committed")


def check_delivery(truth: Truth, life: Life, effect: DeliverPatch | DeliverState) -> None:
    """What subscribers are shown is what was committed, in order."""
    room, at = effect.room, (effect.epoch, effect.seq)
    if at < life.delivered.get(room, (0, 0)):
        raise Violated("shown", f"{life} delivered {at} of {room} after {life.delivered[room]}")
    life.delivered[room] = at
    position = Position(*at)
    if position.seq and not truth.of(room, position.epoch).has(position):
        raise Violated("shown", f"{life} delivered {at} of {room}, which is not committed")
    if isinstance(effect, DeliverPatch):
        apply(life.shown.setdefault(room, {}), [(t, k, dict(f) if f else f) for t, k, f in effect.ops])
    else:
        life.shown[room] = {name: dict(rows) for name, rows in life.rooms.visible_tables(room).items()}


def check_shown(world: World, life: Life, room: str) -> None:
    """Who applied every patch has the pod's state; at the chain's end that is the one true state."""
    tables = _filled(life.rooms.visible_tables(room))
    if tables != _filled(life.shown[room]):
        raise Violated("shown", f"a subscriber at {life} has {life.shown[room]} of {room}, the pod has {tables}")
    log = world.log_of(life, room)
    if log is None or not log.committed.seq:
        return
    chain = world.truth.of(room, log.committed.epoch)
    if log.committed == chain.last and tables != _filled(visible(chain.tables)):
        raise Violated("same", f"{life} has {tables} of {chain}; the entries give {visible(chain.tables)}")


# --- at the end


def check_people(truth: Truth) -> None:
    """Who walks is in one room at last, unless a room was lost with it."""
    missing = sorted(truth.known - set(truth.where) - truth.may_be_lost)
    if missing:
        raise Violated("people", f"{missing} are nowhere")


def check_scores(world: World) -> None:
    """What a room has called was run once; what a lost room had called, once at most."""
    board = world.master.services.ledger.rows(f"$board:{BOARD}:1")
    for room, chains in world.truth.chains.items():
        score, calls = board.get(room, {"score": 0})["score"], sum(chain.calls for chain in chains)
        if score > calls or (score < calls and not any(chain.is_lost for chain in chains)):
            raise Violated("calls", f"{room} has made {calls} calls, and has a score of {score}")


def _filled(tables: Any) -> Any:
    return {name: rows for name, rows in tables.items() if rows}
