"""What goes wrong in one run, and when: made from the seed alone, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random
from typing import Any

from gamecluster.core.durability import Kept

from .standin import Wishes


class Family(StrEnum):
    """What kinds of trouble a run has. ``everything`` mixes all of them (but for lost Leases)."""

    kills = "kills"
    pauses = "pauses"
    partitions = "partitions"
    lease = "lease"
    handovers = "handovers"
    outage = "outage"  # the Lease's store is away for seconds on end, and pods crash meanwhile
    takeovers = "takeovers"  # leaders die and links break right after decisive steps, on a slow network
    everything = "everything"
    deleted = "deleted"  # somebody deletes the Lease, or lowers its epoch
    clocks = "clocks"  # every pod's clock has a speed of its own, and jumps
    scaling = "scaling"  # 5 → 1 → 3 pods while links break
    backstop = "backstop"  # pods that don't take over, or are lost for good, and Leases too: the operator stands in
    storage = "storage"  # all that have the GameState die at once, and it comes back from what is stored
    alone = "alone"  # a pod is left alone without the API server, and the game is begun again elsewhere
    hibernation = "hibernation"  # all pods go, one after another, and come back from what is stored
    streams = "streams"  # people say lines that are kept, and hear them wherever they are
    presence = "presence"  # sockets that are tracked on topics and in groups come and go, and so do their pods
    leaving = "leaving"  # players leave on purpose, or stay away for longer than the grace, and come back


class Kind(StrEnum):
    kill = "kill"  # the process dies, its sockets are closed by its kernel, the kubelet restarts it
    kill_most = "kill-most"  # all but one at one instant
    lose = "lose"  # the machine is gone: nothing but silence; later a new pod of the same name
    recreate = "recreate"  # the pod is force-deleted but runs on, cut off; a new one of its name starts
    pause = "pause"
    cut = "cut"  # one link is reset
    isolate = "isolate"
    halves = "halves"
    one_way = "one-way"
    ring = "ring"  # every pod reaches only its neighbours
    slow = "slow"  # messages take long
    lease_slow = "lease-slow"
    lease_away = "lease-away"
    lease_unreachable = "lease-unreachable"  # for some pods only
    lease_flaky = "lease-flaky"  # answers lost, late landings, repeated writes, errors
    lease_delete = "lease-delete"
    lease_lower = "lease-lower"
    hand_off = "hand-off"
    drain = "drain"
    scale_up = "scale-up"
    scale_down = "scale-down"
    reconnect = "reconnect"  # clients lose their connections
    kill_set = "kill-set"  # all that have the GameState at one instant
    hibernate = "hibernate"  # the game is told to sleep, and woken later, asleep or not
    abandon = "abandon"  # the leader is cut off, alone, and its pod deleted by force
    operator_away = "operator-away"  # it restarts
    operator_blind = "operator-blind"  # some pods do not answer it
    operator_slow = "operator-slow"  # what it sees is old
    storage_fail = "storage-fail"
    storage_flaky = "storage-flaky"  # writes refused, or landed unanswered, or late
    storage_slow = "storage-slow"
    storage_unreadable = "storage-unreadable"
    clock_jump = "clock-jump"  # forward: no monotonic clock goes back


class Moment(StrEnum):
    """A fault may wait, from its time on, for somebody to do this, and strikes right after it."""

    write = "write"  # a write of the record was sent
    land = "land"  # a write of the record landed
    promise = "promise"
    append = "append"
    acknowledge = "acknowledge"
    install = "install"
    answer = "answer"


@dataclass(frozen=True)
class Fault:
    at: float
    kind: Kind
    pick: int  # whom it strikes: see faults.py
    seconds: float
    moment: Moment | None = None

    def __str__(self) -> str:
        on = f" at the next {self.moment}" if self.moment else ""
        return f"{self.at:.3f} {self.kind} pick={self.pick} for {self.seconds:.3f} s{on}"


@dataclass(frozen=True)
class Plan:
    """Everything a run depends on."""

    seed: int
    family: Family
    pods: int
    replicas: int
    ordered: bool  # True: links as TCP gives them; False: loss, duplicates and reordering too
    seconds: float  # how long trouble lasts
    tick: float
    suspect_after: float
    typical_delay: float
    slow_share: float
    flaky: float  # share of the record's writes with an odd fate, all the time
    history: int  # committed entries that a log keeps: who is further behind gets a snapshot
    players: int
    uncounted: int  # how many more of them that send no n
    window: int  # outstanding moves of one player
    think: float
    clocks: tuple[float, float]  # how slow and how fast a pod's clock may run
    faults: tuple[Fault, ...]
    speakers: int = 0  # who say lines that are kept
    tracks: float = 0.0  # seconds between two deeds of those who are present somewhere; 0: nobody is
    leaves: float = 0.0  # how likely a player leaves after a move that was answered
    grace: float = 30.0  # how long a player may be away
    takeover: bool = True
    operator: Wishes | None = None  # without one, nobody does what only it may do
    lease_duration: float = 15.0
    storage: Kept = Kept.nowhere
    durable: bool = False

    def without(self, index: int) -> Plan:
        return replace(self, faults=self.faults[:index] + self.faults[index + 1 :])


_PROCESS = (Kind.kill, Kind.kill, Kind.kill, Kind.kill_most, Kind.lose, Kind.reconnect)
_PAUSE = (Kind.pause, Kind.pause, Kind.pause, Kind.slow, Kind.kill)
_LINKS = (Kind.cut, Kind.cut, Kind.isolate, Kind.isolate, Kind.halves, Kind.one_way, Kind.ring, Kind.slow)
_LEASE = (Kind.lease_slow, Kind.lease_away, Kind.lease_flaky, Kind.lease_flaky, Kind.kill, Kind.cut, Kind.isolate)
_OUTAGE = (
    Kind.lease_away,
    Kind.lease_away,
    Kind.lease_unreachable,
    Kind.kill,
    Kind.kill,
    Kind.kill_most,
    Kind.pause,
    Kind.cut,
)
_PLANNED = (Kind.hand_off, Kind.hand_off, Kind.drain, Kind.scale_up, Kind.scale_down, Kind.kill, Kind.pause)
_STANDIN = (Kind.operator_away, Kind.operator_blind, Kind.operator_slow, Kind.lease_away, Kind.lease_flaky)
_STORED = (Kind.storage_fail, Kind.storage_flaky, Kind.storage_slow, Kind.storage_unreadable)
_LOST = (Kind.lease_delete, Kind.lease_lower)

_KINDS: dict[Family, tuple[Kind, ...]] = {
    Family.kills: _PROCESS,
    Family.pauses: _PAUSE,
    Family.partitions: _LINKS,
    Family.lease: _LEASE,
    Family.handovers: _PLANNED,
    Family.outage: (*_OUTAGE, Kind.isolate, Kind.one_way, Kind.slow, Kind.hand_off),
    Family.takeovers: (Kind.kill, Kind.kill, Kind.cut, Kind.cut, Kind.lose, Kind.one_way),
    Family.deleted: (*_LOST, *_LOST, *_PAUSE[:-1], *_LEASE[:4], Kind.cut, Kind.isolate, Kind.one_way, Kind.hand_off),
    Family.clocks: (*_PAUSE, Kind.clock_jump, Kind.clock_jump, Kind.clock_jump, Kind.isolate, Kind.lease_away),
    Family.scaling: _LINKS,
    Family.backstop: (
        *_STANDIN,
        *_PROCESS,
        *_PROCESS,
        Kind.lease_delete,
        Kind.lease_delete,
        Kind.pause,
        Kind.cut,
        Kind.isolate,
    ),
    Family.storage: (*_STORED, *_STORED, *_STANDIN, Kind.kill, Kind.kill, Kind.pause, Kind.cut, Kind.reconnect),
    Family.alone: (*_STANDIN, Kind.pause, Kind.pause, Kind.cut, Kind.slow, Kind.kill),
    Family.hibernation: (
        *_STORED,
        *_STANDIN,
        Kind.kill,
        Kind.kill,
        Kind.pause,
        Kind.cut,
        Kind.isolate,
        Kind.one_way,
        Kind.lease_slow,
        Kind.hand_off,
    ),
    Family.leaving: (
        *_PROCESS,
        Kind.reconnect,
        Kind.pause,
        Kind.cut,
        Kind.isolate,
        Kind.one_way,
        Kind.hand_off,
        Kind.drain,
    ),
    Family.presence: (
        *_PROCESS,
        *_LINKS,
        Kind.pause,
        Kind.pause,
        Kind.hand_off,
        Kind.drain,
        Kind.scale_up,
        Kind.scale_down,
    ),
    Family.streams: _PROCESS + _PAUSE + _LINKS + _LEASE + _PLANNED,
    Family.everything: _PROCESS + _PAUSE + _LINKS + _LEASE + _PLANNED + (Kind.recreate, Kind.lease_unreachable),
}


_AFTER = (Family.streams,)
_LAST = (Family.presence,)
_NEWEST = (Family.hibernation,)
_LATEST = (Family.backstop, Family.storage, Family.alone, Family.leaving)
_LATER = (Family.deleted, Family.clocks, Family.scaling)
"""All drawn apart from the others, so that the seeds from before they were there mean what they meant."""

USUAL = (
    *(f for f in Family if f not in (*_LATER, *_LATEST, *_NEWEST, *_LAST, *_AFTER)),
    Family.everything,
    Family.everything,
)


def plan(seed: int, family: Family | None = None) -> Plan:
    random = Random(f"{seed}/plan")
    drawn = random.choice(USUAL)
    later = Random(f"{seed}/lost")
    if later.random() < 0.1 * len(_LATER):
        drawn = later.choice(_LATER)
    latest = Random(f"{seed}/latest")
    if latest.random() < 0.07 * len(_LATEST):
        drawn = latest.choice(_LATEST)
    newest = Random(f"{seed}/newest")
    if newest.random() < 0.07 * len(_NEWEST):
        drawn = newest.choice(_NEWEST)
    last = Random(f"{seed}/last")
    if last.random() < 0.07 * len(_LAST):
        drawn = last.choice(_LAST)
    after = Random(f"{seed}/after")
    if after.random() < 0.07 * len(_AFTER):
        drawn = after.choice(_AFTER)
    kind = family or drawn  # drawn in any case: a seed means the same plan whether its family is named or not
    least, most = _SECONDS.get(kind, (2.5, 7.0))
    seconds = random.uniform(least, most)
    ordered = random.random() < 0.6
    made = Plan(
        seed=seed,
        family=kind,
        pods=random.choice(_PODS.get(kind, (2, 3, 3, 3, 4, 5))),
        replicas=random.choice((3, 3, 5) if kind is Family.outage else (2, 3, 3, 3)),
        ordered=ordered,
        seconds=seconds,
        tick=0.02,
        suspect_after=0.5,
        typical_delay=random.choice((0.01,) if kind is Family.takeovers else (0.0005, 0.002, 0.01)),
        slow_share=random.choice((0.1, 0.3) if kind is Family.takeovers else (0.0, 0.01, 0.1)),
        flaky=random.choice((0.0, 0.0, 0.1, 0.3)) if kind in (Family.lease, Family.everything) else 0.0,
        history=random.choice((1, 8, 4096) if ordered else (40, 4096)),
        players=random.choice((1, 2, 3)),
        uncounted=random.choice((0, 1, 1, 3)),
        window=random.choice((1, 1, 4)),
        think=random.choice((0.02, 0.1, 0.3)),
        clocks=(0.7, 1.4) if kind is Family.clocks else (0.98, 1.02),
        faults=_MAKE.get(kind, _faults)(random, _KINDS[kind], seconds),
    )
    settle = _SETTLE.get(kind)
    if settle is None:
        return made
    made = replace(made, **settle(Random(f"{seed}/{kind}")))
    return replace(made, operator=replace(made.operator, pods=made.pods)) if made.operator else made


def _standing_in(random: Random) -> dict[str, Any]:
    return {"think": 0.3, "takeover": random.random() < 0.6, "operator": Wishes(0, "Memory", 3.0, 6.0)}


def _stored(random: Random) -> dict[str, Any]:
    kept, name = random.choice(((Kept.own, "Volume"), (Kept.shared, "Redis")))
    durable = random.random() < 0.6
    return {"think": 0.2, "operator": Wishes(0, name, 2.0, 4.0), "storage": kept, "durable": durable}


def _alone(random: Random) -> dict[str, Any]:
    kept, name = random.choice(((Kept.nowhere, "Memory"), (Kept.shared, "Redis")))
    duration = random.uniform(2.0, 4.0)
    durable = kept is Kept.shared and random.random() < 0.5
    wishes = Wishes(0, name, 1.0, 2 * duration)
    return {
        "think": 0.2,
        "tick": 0.04,
        "lease_duration": duration,
        "operator": wishes,
        "storage": kept,
        "durable": durable,
    }


def _leaving(random: Random) -> dict[str, Any]:
    return {"leaves": random.choice((0.02, 0.1, 0.3)), "grace": random.choice((0.5, 1.0, 2.0, 30.0))}


def _speaking(random: Random) -> dict[str, Any]:
    return {
        "speakers": random.choice((2, 3, 5)),
        "players": 1,
        "uncounted": 0,
        "think": random.choice((0.01, 0.05, 0.2)),
    }


def _present(random: Random) -> dict[str, Any]:
    return {"tracks": random.choice((0.01, 0.05, 0.2)), "think": 0.3}


def _faults(random: Random, kinds: tuple[Kind, ...], seconds: float) -> tuple[Fault, ...]:
    count = random.randint(2, int(seconds * random.choice((2, 3, 5))))
    faults = [_fault(random, random.choice(kinds), random.uniform(0.3, seconds)) for _ in range(count)]
    return tuple(sorted(faults, key=lambda f: f.at))


def _outage(random: Random, kinds: tuple[Kind, ...], seconds: float) -> tuple[Fault, ...]:
    """Long enough for the set to seal itself; crashed processes are back soon, as a kubelet brings them."""
    begin = random.uniform(0.5, 1.5)
    away = Fault(begin, Kind.lease_away, 0, random.uniform(4.0, seconds))
    leader = 4 * random.randrange(1 << 14)
    crash = Fault(begin + random.uniform(1.0, 4.0), Kind.kill, leader, random.uniform(0.05, 1.0))
    others = [replace(f, seconds=min(f.seconds, 1.0)) for f in _faults(random, kinds, seconds)]
    return tuple(sorted([away, crash, *others], key=lambda f: f.at))


def _takeovers(random: Random, kinds: tuple[Kind, ...], seconds: float) -> tuple[Fault, ...]:
    """One blow after another, most at the leader, most right after a step that decides something."""
    moments = (Moment.append, Moment.append, Moment.land, Moment.promise, Moment.acknowledge, None)
    faults, at = [], 0.4
    while at < seconds:
        pick = 4 * random.randrange(1 << 14) + random.choice((0, 0, 1, 2))
        faults.append(Fault(at, random.choice(kinds), pick, random.uniform(0.2, 1.0), random.choice(moments)))
        at += random.uniform(0.0, 0.6)
    return tuple(faults)


def _scaling(random: Random, kinds: tuple[Kind, ...], seconds: float) -> tuple[Fault, ...]:
    down = [random.uniform(0.8, 2.5) for _ in range(4)]
    up = [random.uniform(3.0, 5.0) for _ in range(2)]
    steps = [Fault(at, Kind.scale_down, random.randrange(1 << 16), 0.0) for at in down]
    steps += [Fault(at, Kind.scale_up, random.randrange(1 << 16), 0.0) for at in up]
    return tuple(sorted([*steps, *_faults(random, kinds, seconds)], key=lambda f: f.at))


def _total_losses(random: Random, kinds: tuple[Kind, ...], seconds: float) -> tuple[Fault, ...]:
    """Later ones strike those who have just begun again."""
    first = random.uniform(1.5, 4.0)
    again = [random.uniform(first, first + 20.0) for _ in range(random.choice((0, 0, 1, 2)))]
    losses = [_fault(random, Kind.kill_set, at) for at in (first, *again)]
    return tuple(sorted([*losses, *_faults(random, kinds, seconds)], key=lambda f: f.at))


def _sleeps(random: Random, kinds: tuple[Kind, ...], seconds: float) -> tuple[Fault, ...]:
    first = random.uniform(1.0, 3.0)
    again = [random.uniform(first, seconds) for _ in range(random.choice((1, 2, 3)))]
    sleeps = [Fault(at, Kind.hibernate, random.randrange(1 << 16), random.uniform(0.2, 8.0)) for at in (first, *again)]
    losses = [_fault(random, Kind.kill_set, random.uniform(first, seconds)) for _ in range(random.choice((0, 0, 1)))]
    return tuple(sorted([*sleeps, *losses, *_faults(random, kinds, seconds)[::2]], key=lambda f: f.at))


def _left_alone(random: Random, kinds: tuple[Kind, ...], seconds: float) -> tuple[Fault, ...]:
    abandoned = Fault(random.uniform(1.0, 2.5), Kind.abandon, 4 * random.randrange(1 << 14), random.uniform(14.0, 22.0))
    others = [_fault(random, random.choice(kinds), random.uniform(0.3, seconds)) for _ in range(random.randint(0, 8))]
    return tuple(sorted([abandoned, *others], key=lambda f: f.at))


def _fault(random: Random, kind: Kind, at: float) -> Fault:
    # shorter and longer than a suspicion takes
    seconds = random.choice((random.uniform(0.05, 0.4), random.uniform(0.4, 1.2), random.uniform(1.0, 4.0)))
    if kind in (Kind.lease_away, Kind.lease_unreachable):
        seconds += random.choice((0.0, random.uniform(1.0, 4.0)))
    if kind is Kind.operator_blind:
        seconds += random.uniform(0.0, 8.0)
    moment = random.choice(list(Moment)) if random.random() < 0.5 else None
    return Fault(at, kind, random.randrange(1 << 16), seconds, moment)


_SECONDS = {
    Family.outage: (6.0, 10.0),
    Family.backstop: (5.0, 12.0),
    Family.storage: (8.0, 24.0),
    Family.alone: (14.0, 22.0),
    Family.hibernation: (10.0, 24.0),
}
_PODS = {
    Family.outage: (3, 3, 4, 5),
    Family.takeovers: (3, 4, 5),
    Family.scaling: (5,),
    Family.alone: (2, 3, 3, 4),
    Family.hibernation: (1, 2, 3, 3, 4),
}
_MAKE = {
    Family.outage: _outage,
    Family.takeovers: _takeovers,
    Family.scaling: _scaling,
    Family.storage: _total_losses,
    Family.alone: _left_alone,
    Family.hibernation: _sleeps,
}
_SETTLE = {
    Family.backstop: _standing_in,
    Family.storage: _stored,
    Family.hibernation: _stored,
    Family.alone: _alone,
    Family.leaving: _leaving,
    Family.presence: _present,
    Family.streams: _speaking,
}
"""What a family needs beyond the others' plans."""
