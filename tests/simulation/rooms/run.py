"""One run: trouble, then quiet; in the quiet everything must come right again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from gamecluster.core import room as core_room
from gamecluster.core.replication import Log

from ..invariants import Violated, visible
from ..transcript import Transcript
from .faults import Trouble
from .invariants import check_people, check_scores
from .players import Player
from .schedule import Plan
from .truth import OUT
from .world import Watched, World

CONVERGE_SECONDS = 12.0
PROBE_SECONDS = 4.0


class Failed(AssertionError):
    """``invariant``: its short name. The text has all that is needed to see it again."""

    def __init__(self, plan: Plan, invariant: str, text: str, world: World) -> None:
        lines = "\n".join(world.transcript.lines(60))
        replay = f"python -m tests.simulation.rooms --seed {plan.seed} --family {plan.family} --transcript"
        faults = "\n".join(f"  {index}: {fault}" for index, fault in enumerate(plan.faults))
        super().__init__(
            f"seed {plan.seed} ({plan.family}, {plan.pods} pods, {plan.rooms}+{plan.demanded} rooms, "
            f"{plan.copies} copies) at {world.now:.4f} s\n"
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
    entries: int
    counts: Counter[str]
    seconds: float


def run(plan: Plan, transcript: Transcript | None = None) -> Result:
    """Raises Failed."""
    with watched_logs(plan.history) as watched:
        world = World(plan, transcript, watched)
        try:
            return _run(world)
        except Violated as violation:
            raise Failed(plan, violation.invariant, str(violation), world) from violation
        except Exception as error:
            raise Failed(plan, type(error).__name__, f"{type(error).__name__}: {error}", world) from error


@contextmanager
def watched_logs(history: int) -> Iterator[Watched]:
    """All that any log does is noted; rooms keep that many committed entries, not hundreds."""
    watched = Watched()
    commit, install, kept = Log.commit, Log.install, core_room.HISTORY

    def noted_commit(self: Log, seq: int) -> list:  # type: ignore[type-arg]
        done = commit(self, seq)
        watched.committed(self, done)
        return done

    def noted_install(self: Log, position, tables) -> None:  # type: ignore[no-untyped-def]
        install(self, position, tables)
        watched.installed(self)

    Log.commit, Log.install = noted_commit, noted_install  # type: ignore[method-assign]
    core_room.HISTORY = history
    try:
        yield watched
    finally:
        Log.commit, Log.install = commit, install  # type: ignore[method-assign]
        core_room.HISTORY = kept


def _run(world: World) -> Result:
    plan, rooms = world.plan, world.kinds.all
    for index in range(plan.players + plan.uncounted):
        _add(world, rooms[index % len(rooms)], f"player{index}", index < plan.players).start()
    trouble = Trouble(world)
    world.run_until(plan.seconds)
    quieten(world, trouble)
    converge(world)
    ask_every_room(world)
    check_end(world)
    return Result(
        moves=sum(client.bounds()[0] for client in world.clients),
        entries=sum(len(chain.entries) for chains in world.truth.chains.values() for chain in chains),
        counts=world.counts,
        seconds=world.now,
    )


def _add(world: World, room: str, name: str, counted: bool) -> Player:
    client = Player(world, Random(f"{world.plan.seed}/{name}"), room, name, counted)
    world.clients.append(client)
    return client


def quieten(world: World, trouble: Trouble) -> None:
    world.note("all trouble ends")
    trouble.end()
    world.start_absent()
    world.network.weather.slow_share = 0.0
    world.master.flaky = 0.0
    world.master.away_until = min(world.master.away_until, world.now)
    world.is_quiet = True
    for client in world.clients:
        client.stop()


def converge(world: World) -> None:
    """With everything well again, whatever was under way comes to its end and all copies become equal."""
    deadline = world.now + CONVERGE_SECONDS
    while (reason := _unsettled(world)) is not None:
        if world.now >= deadline:
            raise Violated("settles", f"not settled {CONVERGE_SECONDS:.0f} s after all trouble ended: {reason}")
        world.run_until(world.now + 0.1)


def _unsettled(world: World) -> str | None:
    if world.absent:
        return f"{world.absent} are still to come back"
    if draining := [str(life) for life in world.living() if life.draining]:
        return f"{draining} should have drained"
    if busy := [client.player for client in world.clients if not client.idle]:
        refusals = {client.player: dict(client.refusals) for client in world.clients}
        return f"{busy} are not answered; refusals: {refusals}"
    if waiting := {str(life): sorted(life.asked) for life in world.living() if life.asked}:
        return f"requests are not answered: {waiting}"
    if missing := [room for room in world.kinds.declared if room not in world.master.placements]:
        return f"{missing} are not there"
    if late := [str(life) for life in world.living() if life.rooms.placements != world.master.placements]:
        return f"{late} have not heard where rooms are"
    for room in world.master.placements:
        if reason := _unsettled_room(world, room):
            return reason
    return None


def _unsettled_room(world: World, room: str) -> str | None:
    placement, chain = world.master.placements[room], world.truth.chains[room][-1]
    members = (placement.holder, *placement.backups)
    if dead := [who for who in members if not world.lives[who].alive]:
        return f"{dead} of {room} are dead: {placement}"
    if len(members) != min(world.plan.copies, len(world.living())) or placement.to is not None or placement.joining:
        return f"{room} is in {placement}, of {len(world.living())} pods"
    if OUT in chain.tables:
        return f"{room} has not delivered {dict(list(chain.tables[OUT].items())[:2])}, of {len(chain.tables[OUT])}"
    for who in members:
        log = world.log_of(world.lives[who], room)
        if chain.entries and (log is None or log.committed != chain.last):
            return f"{who} is at {log.committed if log else None} of {room}, the end is {chain.last}; {placement}"
    return None


def ask_every_room(world: World) -> None:
    """A new player's move is acknowledged in every room, through whichever pod; and every pod shows the same."""
    living = world.living()
    probes = [_add(world, room, f"probe-{room}", True) for room in world.kinds.all]
    for index, client in enumerate(probes):
        client.start_at(living[(world.plan.seed + index) % len(living)].incarnation)
    deadline = world.now + PROBE_SECONDS
    while any(client.acknowledged < 2 for client in probes):
        if world.now >= deadline:
            slow = {c.room: (c.pod, dict(c.refusals)) for c in probes if c.acknowledged < 2}
            raise Violated("settles", f"no new move is acknowledged in {slow}")
        world.run_until(world.now + 0.1)
    for client in probes:
        client.stop()
    converge(world)


def check_end(world: World) -> None:
    check_people(world.truth)
    check_scores(world)
    for room in world.master.placements:
        _check_copies(world, room)
    for client in world.clients:
        assert isinstance(client, Player)
        current = world.truth.current(client.room)
        if client.chain is None or client.chain is not current:
            continue
        total = current.tables["totals"].get(client.player, {"value": 0})["value"]
        least, most = client.bounds()
        if not least <= total <= most:
            text = f"{client.player} has {total} in {current}; {least} were acknowledged, {most - least} are unknown"
            raise Violated("exactly once", text)


def _check_copies(world: World, room: str) -> None:
    chain, placement = world.truth.chains[room][-1], world.master.placements[room]
    truth = {name: rows for name, rows in visible(chain.tables).items() if rows}
    holders = [str(life) for life in world.living() if room in life.rooms.held()]
    if holders != [placement.holder]:
        raise Violated("holder", f"{holders} hold {room}, and the row says {placement}")
    for who in (placement.holder, *placement.backups) if chain.entries else ():
        tables = {name: rows for name, rows in world.lives[who].rooms.visible_tables(room).items() if rows}
        if tables != truth:
            raise Violated("same", f"{who} has {tables} of {chain}; the entries give {truth}")
