"""One run: trouble, then quiet; in the quiet everything must come right again."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from msgspec.structs import replace

from gamecluster.core.authority import PLAYERS
from gamecluster.core.messages import Incarnation

from . import probe
from .clients import Client
from .faults import Trouble
from .guests import Guest
from .invariants import Violated, check_stays, visible
from .schedule import Plan
from .speakers import Speaker
from .speakers import check_end as check_lines
from .transcript import Transcript
from .world import MakeNode, World, real_node

CONVERGE_SECONDS = 30.0
PROBE_SECONDS = 10.0
QUIET_SECONDS = 10.0


class Failed(AssertionError):
    """``invariant``: its short name. The text has all that is needed to see it again."""

    def __init__(self, plan: Plan, invariant: str, text: str, world: World) -> None:
        lines = "\n".join(world.transcript.lines(60))
        replay = f"python -m tests.simulation --seed {plan.seed} --family {plan.family} --transcript"
        faults = "\n".join(f"  {index}: {fault}" for index, fault in enumerate(plan.faults))
        super().__init__(
            f"seed {plan.seed} ({plan.family}, {plan.pods} pods, {plan.replicas} replicas, "
            f"{'ordered' if plan.ordered else 'unordered'}) at {world.now:.4f} s\n"
            f"{text}\nfaults:\n{faults}\nlast of {world.transcript.count} lines:\n{lines}\n{text}\nreplay: {replay}"
        )
        self.plan = plan
        self.invariant = invariant
        self.text = text
        self.world = world


@dataclass(frozen=True)
class Result:
    """What a run was like, for the summary."""

    moves: int
    unknown: int
    entries: int
    epochs: int
    seconds: float


def run(plan: Plan, transcript: Transcript | None = None, make_node: MakeNode = real_node) -> Result:
    """Raises Failed."""
    with probe.history_of(plan.history), probe.patience_of(plan.operator.patience if plan.operator else None):
        return _run_or_fail(plan, transcript, make_node)


def _run_or_fail(plan: Plan, transcript: Transcript | None, make_node: MakeNode) -> Result:
    world = World(plan, transcript, make_node)
    try:
        return _run(world)
    except Violated as violation:
        raise Failed(plan, violation.invariant, str(violation), world) from violation
    except Exception as error:
        raise Failed(plan, type(error).__name__, f"{type(error).__name__}: {error}", world) from error


def _run(world: World) -> Result:
    plan = world.plan
    for index in range(plan.players + plan.uncounted):
        _add(world, _player(world, f"player{index}", index < plan.players)).start()
    for index in range(plan.speakers):
        _add(world, Speaker(world, Random(f"{plan.seed}/speaker{index}"), f"speaker{index}", plan.think)).start()
    trouble = Trouble(world)
    world.run_until(plan.seconds)
    quieten(world, trouble)
    converge(world)
    probes = [_add(world, _probe(world, f"probe{index}")) for index in range(len(world.living()))]
    ask_every_pod(world, probes)
    check_end(world)
    world.crowd.check()
    if plan.seed % 10 == 0:
        check_nothing_happens(world)
    return Result(
        moves=sum(c.bounds()[0] for c in world.clients),
        unknown=sum(c.unknown for c in world.clients),
        entries=len(world.ledger.entries),
        epochs=world.lease.record.epoch,
        seconds=world.now,
    )


def _add(world: World, client: Client) -> Client:
    world.clients.append(client)
    return client


def _player(world: World, name: str, counted: bool) -> Client:
    plan = world.plan
    random = Random(f"{plan.seed}/{name}")
    if not plan.leaves:
        return Client(world, random, name, counted, plan.window, plan.think)
    return Guest(world, random, name, counted, plan.window, plan.think, plan.leaves, plan.grace, reuses=plan.ordered)


def _probe(world: World, name: str) -> Client:
    """A player who stays."""
    plan = world.plan
    return Client(world, Random(f"{plan.seed}/{name}"), name, True, plan.window, plan.think)


def quieten(world: World, trouble: Trouble) -> None:
    world.transcript.note(world.now, "all trouble ends")
    trouble.end()
    world.start_absent()
    weather = world.network.weather
    weather.loss = weather.doubling = weather.slow_share = 0.0
    world.lease.flaky = 0.0
    world.lease.slow = 0.005
    if world.operator is not None:
        world.operator.quieten()
    for client in world.clients:
        client.stop()
    world.crowd.quieten()


def converge(world: World) -> None:
    """I10: with everything well again, whatever was under way comes to its end and all pods become equal."""
    operator = world.plan.operator
    seconds = CONVERGE_SECONDS + (2 * (operator.patience + operator.gone) if operator else 0.0)
    deadline = world.now + seconds
    if operator is None:
        world.at(world.now + seconds / 2, tell_who_has_ended, world)
    elif world.lease.lost is not None:
        world.at(world.now + seconds / 2, decide_by_hand, world)
    while (reason := _unsettled(world)) is not None:
        if world.now >= deadline:
            raise Violated("I10", f"not settled {seconds:.0f} s after all trouble ended: {reason}")
        world.run_until(world.now + 0.1)


def tell_who_has_ended(world: World) -> None:
    """Rule 9, where no operator is simulated: a seal can bind for ever to those who were lost with their pods."""
    record, living = world.lease.record, world.living()
    bound = {Incarnation(m) for life in living for m in life.node.view().bound}
    ended = tuple(sorted(m for m in bound | set(record.in_sync) if not world.lives[m].alive))
    heirs = [m for m in record.in_sync if m not in ended]
    if not bound or not ended or not heirs:
        return
    world.counts["told who has ended"] += 1
    world.note(f"the operator says that {ended} have ended")
    if record.holder in heirs:
        world.lease.store.write(replace(record, dead=ended))
    else:
        epoch = max(record.epoch, *(life.node.epoch for life in living)) + 1
        world.lease.store.write(replace(record, holder=heirs[0], epoch=epoch, in_sync=tuple(heirs), dead=ended))


def decide_by_hand(world: World) -> None:
    """docs/operator.md, "When the Lease was lost": the operator can't tell which set was the last, and somebody can."""
    lost, living = world.lease.lost, world.living()
    if lost is None or world.lease.record.holder is not None:
        return
    world.counts["by hand"] += 1
    world.note(f"somebody writes the last set by hand: {lost.in_sync}")
    world.lease.write_by_hand(max([world.lease.record.epoch, *(life.node.epoch for life in living)]) + 1)
    latest = max((life.log.last.epoch for life in living if life.incarnation in lost.in_sync), default=0)
    for life in living:
        if life.log.last.epoch > latest and life.incarnation not in lost.in_sync:
            world.end(life, "deleted by hand")
            world.start(life.name, same_pod=False)


def _unsettled(world: World) -> str | None:
    record, living = world.lease.record, world.living()
    staying = [life for life in living if not life.draining]
    if world.absent:
        return f"{world.absent} are still to come back"
    if any(life.draining for life in living):
        return f"{[str(life) for life in living if life.draining]} should have drained"
    if world.lease.store.deleted:
        return "there is no Lease"
    if record.holder is None or not world.lives[record.holder].alive:
        return f"the record names {record.holder}"
    if not world.lives[record.holder].node.is_leader:
        return f"the record names {record.holder}, which does not lead"
    if dead := [m for m in record.in_sync if not world.lives[m].alive]:
        return f"{dead} are dead and in the in-sync set"
    if len(record.in_sync) != min(world.plan.replicas, len(staying)):
        return f"{len(record.in_sync)} are in sync, of {len(staying)} pods"
    if busy := [client.player for client in world.clients if not client.idle]:
        refusals = {client.player: dict(client.refusals) for client in world.clients}
        return f"{busy} are not answered; refusals: {refusals}"
    if any(life.position != world.ledger.last for life in living):
        return f"positions: { {str(life): life.position for life in living} }, the end is {world.ledger.last}"
    if here := [client.player for client in world.clients if _is_still_here(world, client)]:
        return f"{here} have left, and are in the game"
    if waiting := {str(life): sorted(life.asked) for life in living if life.asked}:
        return f"requests are not answered: {waiting}"
    return None


def _is_still_here(world: World, client: Client) -> bool:
    """It has left, its pod lives, and the stay goes on by the very connection by which it left.

    Only where no message is lost: nobody waits for an answer to that, so it is not repeated in the same epoch.
    """
    gone = client.gone if isinstance(client, Guest) else None
    row = world.ledger.shadow.get(PLAYERS, {}).get(client.player)
    if not world.plan.ordered or gone is None or row is None or not world.lives[gone.pod].alive:
        return False
    return (row["stay"], row["node"], row["connection"]) == (gone.stay, gone.pod, gone.connection)


def ask_every_pod(world: World, probes: list[Client]) -> None:
    """I10: a new player's move is acknowledged on every pod."""
    for life, client in zip(world.living(), probes, strict=True):
        client.start_at(life.incarnation)
    deadline = world.now + PROBE_SECONDS
    while any(client.acknowledged < 2 for client in probes):
        if world.now >= deadline:
            slow = {client.player: (client.pod, dict(client.refusals)) for client in probes if client.acknowledged < 2}
            raise Violated("I10", f"no new move is acknowledged at {slow}")
        world.run_until(world.now + 0.1)
    for client in probes:
        client.stop()
    converge(world)


def check_nothing_happens(world: World) -> None:
    """I9: when nothing happens the record names the same leader, and the only writes are its renewals."""
    before, writes = world.lease.record, world.lease.writes
    world.run_until(world.now + QUIET_SECONDS)
    if before.holder and world.lives[before.holder].abandoned and world.lease.record.holder != before.holder:
        converge(world)  # the operator had yet to see that its pod was gone
        before, writes = world.lease.record, world.lease.writes
        world.run_until(world.now + QUIET_SECONDS)
    after, renewals = world.lease.record, world.lease.writes - writes
    same = (before.holder, before.epoch, before.in_sync) == (after.holder, after.epoch, after.in_sync)
    expected = QUIET_SECONDS / (world.plan.lease_duration / 3)
    if not same or not expected / 2 <= renewals <= expected * 1.5:
        raise Violated("I9", f"nothing happened for {QUIET_SECONDS:.0f} s; {before} became {after}, {renewals} writes")


def check_end(world: World) -> None:
    record = world.lease.record
    holder: Incarnation | None = record.holder
    if holder is None or not world.lives[holder].node.is_leader:
        raise Violated("I9", f"the record names {holder}, which does not lead")
    if others := [str(life) for life in world.living() if life.node.is_leader and life.incarnation != holder]:
        raise Violated("I1", f"{others} lead beside {holder}")
    check_stays(world.ledger)
    speakers = [client for client in world.clients if isinstance(client, Speaker)]
    if speakers and (wrong := check_lines(world.ledger.shadow, speakers)):
        raise Violated("stream", wrong)
    truth = visible(world.ledger.shadow)
    for life in world.living():
        tables = life.node.visible_tables()
        if tables != truth:
            raise Violated("I3", f"{life} has {tables} at {life.position}; the entries give {truth}")
    for client in world.clients:
        total = truth["totals"].get(client.player, {"value": 0})["value"]
        least, most = client.bounds()
        if not least <= total <= most:
            text = f"{client.player} has {total}; {least} were acknowledged, {most - least} are unknown"
            raise Violated("I5", text)
