"""The operator, as far as it stands in for the pods: its own pure functions, shown what it would see of the simulated world.

It looks every second or two. What it sees is a little old: the pods and the Lease come from watches, and every pod is asked in
its own time. It writes as the pods do, conditional on the version that it has read. While the API server is away it sees what it
saw last, and writes nothing. A restarted operator has forgotten everything but the GameCluster's status.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from gamecluster.core import messages
from gamecluster.core.messages import Incarnation
from gamecluster_operator import backstop, restore
from gamecluster_operator.lease import LastKnown, new_lease
from gamecluster_operator.memory import Memory
from gamecluster_operator.observed import Observed, ObservedPod, Telling, telling
from gamecluster_operator.record import Asleep, Record
from gamecluster_operator.spec import GameCluster, parse

from .lease import Answer

if TYPE_CHECKING:
    from .lease import LeaseApi
    from .life import Life

OPERATOR = Incarnation("operator_0_1")
CLUSTER = "p"
KUBELET_SECONDS = 0.3
"""Until the API says that a container has ended."""


@dataclass(frozen=True)
class PodObject:
    """What the API server has of one pod. ``life``: its newest; None before the first."""

    name: str
    uid: str
    boots: int
    life: Life | None


class Cluster(Protocol):
    """What the operator needs of the world."""

    now: float
    lease: LeaseApi

    def at(self, when: float, do: Callable[..., object], *args: Any) -> None: ...

    def pods(self) -> list[PodObject]: ...

    def note(self, text: str) -> None: ...

    def decided(self, seen: messages.Record, lost: tuple[Incarnation, ...], stored: tuple[int, int] | None) -> None:
        """All of ``lost`` are taken for dead, and the game begins with what is ``stored``, or anew."""


@dataclass(frozen=True)
class Wishes:
    """Of the GameCluster. ``patience``: how long the operator leaves it to the pods; ``gone``: until a vanished pod is dead."""

    pods: int
    storage: str
    patience: float
    gone: float


class Operator:
    def __init__(self, cluster: Cluster, random: Random, wishes: Wishes) -> None:
        self.away = 0
        self.blind: Counter[Incarnation] = Counter()  # pods that do not answer it
        self.deafness = 0.05  # how often a pod's answer is lost
        self.slow = 1.0  # how old at most what it decides from is
        self._cluster = cluster
        self._random = random
        self._wishes = wishes
        self._rate = random.uniform(0.98, 1.02)
        self._memory = Memory("cluster")
        self._status = LastKnown(None, ())
        self._seen: tuple[Record | None, list[PodObject]] | None = None
        self._requests = 0
        cluster.at(random.uniform(0.0, 1.0), self._look)

    def restart(self) -> None:
        self._memory, self._seen = Memory("cluster"), None

    def quieten(self) -> None:
        self.away, self.deafness, self.slow = 0, 0.0, 0.2
        self.blind.clear()

    # --- looking

    def _look(self) -> None:
        cluster, random = self._cluster, self._random
        again = cluster.now + random.uniform(0.8, 2.0)
        if not self.away:
            if not self._is_cut_off:
                lease = cluster.lease
                self._seen = None if lease.store.deleted else from_core(lease.record), cluster.pods()
            if self._seen is not None:
                self._ask(*self._seen)
                again = max(again, cluster.now + self.slow)
        cluster.at(again, self._look)

    @property
    def _is_cut_off(self) -> bool:
        lease = self._cluster.lease
        return self._cluster.now < lease.away_until or bool(lease.unreachable_for[OPERATOR])

    def _ask(self, record: Record | None, pods: list[PodObject]) -> None:
        """Each pod answers at a moment of its own."""
        cluster, random, memory = self._cluster, self._random, self._memory
        tellings: dict[str, Telling | None] = {}
        for pod in pods:
            cluster.at(cluster.now + self.slow * random.random() * 0.8, self._answer, pod, tellings)
        cluster.at(cluster.now + self.slow * random.uniform(0.8, 1.0), self._decide, memory, record, pods, tellings)

    def _answer(self, pod: PodObject, tellings: dict[str, Telling | None]) -> None:
        life = next((p.life for p in self._cluster.pods() if p.uid == pod.uid), None)
        if life is None or not life.runs or self.blind[life.incarnation] or self._random.random() < self.deafness:
            return
        tellings[pod.uid] = telling(msgspec.to_builtins(life.node.view()))

    # --- deciding

    def _decide(
        self, memory: Memory, record: Record | None, pods: list[PodObject], tellings: dict[str, Telling | None]
    ) -> None:
        if self.away or memory is not self._memory:
            return
        observed = Observed(record=record, pods=self._show(pods)).with_tellings(tellings)
        now = self._cluster.now * self._rate
        memory.watch(observed, now)
        if record is not None:
            self._remember(record)
        if self._is_cut_off:
            return
        if record is None:
            self._make_lease(observed)
        else:
            fresh = Observed(record=record, pods=self._show(self._cluster.pods())).with_tellings(tellings)
            self._stand_in(record, observed, fresh, now)

    def _stand_in(self, record: Record, observed: Observed, fresh: Observed, now: float) -> None:
        sleeps = record.asleep is not None and not backstop.is_lost(record, observed.pods, self._memory.held)
        if sleeps or restore.is_undecided(record, observed.pods):
            self._begin(record, observed, now)
            return
        if self._backstop(record, observed, now) is None:
            return
        decision = self._backstop(record, fresh, now)
        if isinstance(decision, backstop.TotalLoss):
            if self._wishes.storage != "Memory":
                self._begin(record, observed, now)
            elif self._write(record, decision.record):
                self._cluster.decided(to_core(record), _core(decision.lost), None)
        elif decision is not None:
            self._write(record, decision)

    def _backstop(self, record: Record, observed: Observed, now: float) -> Record | backstop.TotalLoss | None:
        memory = self._memory
        since, gone = memory.idle_since, self._wishes.gone
        return backstop.backstop(record, observed.pods, now, since, memory.gone_since, gone, memory.held)

    def _begin(self, record: Record, observed: Observed, now: float) -> None:
        epoch = max([record.epoch, *(pod.told.epoch for pod in observed.pods if pod.told is not None)])
        begin = restore.begin if record.asleep is None else restore.wake
        waited = self._memory.waited(now, record.asleep is not None)
        beginning = begin(self._game_cluster(), record, observed.pods, epoch, waited)
        if beginning is not None and self._write(record, beginning.record):
            self._cluster.decided(to_core(record), _core(beginning.lost), beginning.stored)

    def _game_cluster(self) -> GameCluster:
        meta = {"namespace": "default", "name": CLUSTER, "uid": "cluster"}
        spec = {"image": "game", "targets": ["game"], "replicas": self._wishes.pods}
        return parse({"metadata": meta, "spec": {**spec, "storage": {"type": self._wishes.storage}}})

    # --- the Lease

    def _remember(self, record: Record) -> None:
        """In the status."""
        if record.holder is None and not record.in_sync and record.epoch == 0:
            return
        if record.epoch >= (self._status.epoch or 0):
            self._status = LastKnown(record.epoch, record.in_sync, record.never_held, record.asleep)

    def _make_lease(self, observed: Observed) -> None:
        new = new_lease(self._status, observed.pods)
        if new is not None:
            begins = new.never_held and self._wishes.storage == "Memory"
            asleep = _word(new.asleep, messages.Asleep)
            self._cluster.lease.create(messages.Record(0, None, new.epoch, _core(new.in_sync), begins, asleep=asleep))

    def _write(self, seen: Record, wanted: Record) -> bool:
        if from_core(self._cluster.lease.record) != seen or self._cluster.lease.store.deleted:
            return False
        self._requests += 1
        self._cluster.note(f"the operator writes {wanted}")
        self._cluster.lease.write(OPERATOR, self._requests, to_core(wanted), _forget)
        return True

    # --- pods

    def _show(self, pods: list[PodObject]) -> tuple[ObservedPod, ...]:
        return tuple(self._shown(pod) for pod in pods)

    def _shown(self, pod: PodObject) -> ObservedPod:
        life = pod.life
        ended = life is not None and life.ended_at is not None and self._cluster.now - life.ended_at > KUBELET_SECONDS
        return ObservedPod(
            pod.name, pod.uid, address="here", running=not ended, ended=ended, ready=not ended, restarts=pod.boots - 1
        )


def _forget(answer: Answer) -> None:
    """It looks again anyway."""


def _core(members: tuple[Any, ...]) -> tuple[Incarnation, ...]:
    return tuple(Incarnation(str(who)) for who in members)


def from_core(record: messages.Record) -> Record:
    values = {field.name: getattr(record, field.name) for field in fields(Record)}
    return Record(**{**values, "asleep": _word(record.asleep, Asleep)})


def to_core(record: Record) -> messages.Record:
    return messages.Record(**{**asdict(record), "asleep": _word(record.asleep, messages.Asleep)})


def _word(asleep: Any, kind: Any) -> Any:
    return kind(asleep.by, asleep.epoch, asleep.seq) if asleep is not None else None
