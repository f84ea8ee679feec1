"""What goes wrong in one run, and when: made from the seed alone, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random


class Family(StrEnum):
    """What kinds of trouble a run has."""

    kills = "kills"
    pauses = "pauses"
    partitions = "partitions"
    placer = "placer"  # pods are suspected wrongly, rooms are handed over again and again
    master = "master"  # the GameState answers late, twice, or not at all
    scaling = "scaling"  # pods come, drain and go
    ends = "ends"  # rooms end, and are made again
    walks = "walks"  # people walk from room to room, while their pods die
    losses = "losses"  # all pods of a room die at once
    everything = "everything"


class Kind(StrEnum):
    kill = "kill"  # the process dies, its sockets are closed by its kernel, the kubelet restarts it
    lose = "lose"  # the machine is gone: nothing but silence; later a new pod of the same name
    kill_room = "kill-room"  # all that have one of the rooms at one instant
    pause = "pause"
    cut = "cut"  # one link is reset
    isolate = "isolate"
    halves = "halves"
    one_way = "one-way"
    slow = "slow"  # messages take long
    cut_master = "cut-master"  # a pod is on the wrong side of a partition of the GameState
    master_away = "master-away"  # another pod leads the GameState now; it took a while
    master_flaky = "master-flaky"  # calls are run late, twice, or their answers are lost
    suspect = "suspect"  # a pod that is well is taken for lost
    hand_over = "hand-over"  # a room is moved
    shed = "shed"  # a backup is dropped, another one is to join
    drain = "drain"
    join = "join"
    reconnect = "reconnect"  # clients lose their connections


class Moment(StrEnum):
    """A fault may wait, from its time on, for somebody to do this, and strikes right after it."""

    append = "append"
    acknowledge = "acknowledge"
    promise = "promise"
    install = "install"
    answer = "answer"
    call = "call"
    placed = "placed"


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
    rooms: int  # declared ones
    demanded: int  # rooms that are made by the first join
    copies: int
    seconds: float  # how long trouble lasts
    tick: float
    suspect_after: float
    typical_delay: float
    slow_share: float
    flaky: float  # share of the calls with an odd fate, all the time
    history: int  # committed entries that a log keeps: who is further behind gets a snapshot
    players: int
    uncounted: int  # how many of them send no n
    window: int  # outstanding moves of one player
    think: float
    people: int
    walks: float  # share of the moves that let somebody walk
    ends: float  # share of the moves that end a room
    tick_rate: int
    planned: bool  # by gamecluster.placing; else by one that does what it likes
    faults: tuple[Fault, ...]

    def without(self, index: int) -> Plan:
        return replace(self, faults=self.faults[:index] + self.faults[index + 1 :])


_PROCESS = (Kind.kill, Kind.kill, Kind.kill, Kind.lose, Kind.reconnect)
_PAUSE = (Kind.pause, Kind.pause, Kind.pause, Kind.slow, Kind.kill)
_LINKS = (Kind.cut, Kind.cut, Kind.isolate, Kind.isolate, Kind.halves, Kind.one_way, Kind.slow, Kind.cut_master)
_PLACER = (Kind.suspect, Kind.suspect, Kind.hand_over, Kind.hand_over, Kind.hand_over, Kind.shed)
_MASTER = (Kind.master_away, Kind.master_flaky, Kind.master_flaky, Kind.cut_master)
_SCALING = (Kind.drain, Kind.drain, Kind.join)

_KINDS: dict[Family, tuple[Kind, ...]] = {
    Family.kills: _PROCESS,
    Family.pauses: _PAUSE,
    Family.partitions: (*_LINKS, Kind.cut_master),
    Family.placer: (*_PLACER, Kind.cut, Kind.kill, Kind.pause),
    Family.master: (*_MASTER, Kind.suspect, Kind.hand_over, Kind.kill, Kind.pause),
    Family.scaling: (*_SCALING, *_SCALING, Kind.hand_over, Kind.kill, Kind.cut, Kind.pause),
    Family.ends: (*_PROCESS, *_PLACER, Kind.cut, Kind.pause, Kind.master_flaky, Kind.cut_master),
    Family.walks: (*_PROCESS, *_PLACER, Kind.cut, Kind.pause, Kind.isolate, Kind.master_flaky),
    Family.losses: (Kind.kill_room, Kind.kill_room, Kind.kill, Kind.cut, Kind.pause, Kind.suspect, Kind.cut_master),
    Family.everything: _PROCESS + _PAUSE + _LINKS + _PLACER + _MASTER + _SCALING,
}


def plan(seed: int, family: Family | None = None) -> Plan:
    random = Random(f"{seed}/rooms/plan")
    drawn = random.choice((*Family, Family.everything))
    kind = family or drawn  # drawn in any case: a seed means the same plan whether its family is named or not
    seconds = random.uniform(2.0, 5.0)
    return Plan(
        seed=seed,
        family=kind,
        pods=random.choice((2, 3, 3, 3, 4, 5)),
        rooms=random.choice((1, 2, 3)),
        demanded=random.choice((0, 1, 2)),
        copies=random.choice((1, 2) if kind is Family.losses else (1, 2, 2, 2, 3)),
        seconds=seconds,
        tick=0.02,
        suspect_after=0.5,
        typical_delay=random.choice((0.0005, 0.002, 0.01)),
        slow_share=random.choice((0.0, 0.01, 0.1)),
        flaky=random.choice((0.1, 0.3) if kind is Family.master else (0.0, 0.0, 0.1)),
        history=random.choice((1, 8, 256)),
        players=random.choice((2, 3, 4)),
        uncounted=random.choice((0, 1, 1, 2)),
        window=random.choice((1, 1, 4)),
        think=random.choice((0.02, 0.1, 0.3)),
        people=random.choice((2, 4)),
        walks=random.choice((0.2, 0.5) if kind is Family.walks else (0.0, 0.05, 0.2)),
        ends=random.choice((0.02, 0.1)) if kind is Family.ends else random.choice((0.0, 0.0, 0.01)),
        tick_rate=random.choice((0, 0, 10)),
        planned=random.random() < 0.5,
        faults=_faults(random, _KINDS[kind], seconds),
    )


def _faults(random: Random, kinds: tuple[Kind, ...], seconds: float) -> tuple[Fault, ...]:
    count = random.randint(2, int(seconds * random.choice((2, 3, 5))))
    faults = [_fault(random, random.choice(kinds), random.uniform(0.3, seconds)) for _ in range(count)]
    return tuple(sorted(faults, key=lambda f: f.at))


def _fault(random: Random, kind: Kind, at: float) -> Fault:
    # shorter and longer than a suspicion, a tenure, and until a pod is taken for gone
    seconds = random.choice((random.uniform(0.05, 0.4), random.uniform(0.4, 1.2), random.uniform(1.0, 4.0)))
    moment = random.choice(list(Moment)) if random.random() < 0.5 else None
    return Fault(at, kind, random.randrange(1 << 16), seconds, moment)
