"""One look at one GameCluster: observe → ask its pods → build and apply → stand in for its pods → tell. Level-triggered.

Whatever was the trigger, everything is looked at, from the store, and only differences are written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from . import autoscaling, news, rollout, scaling, spec, status
from . import labels as names
from .applier import Applier, Outcome
from .kube import Conflict, Kube, Refused
from .labels import Object
from .memory import Memory, confirms, holder_pod
from .news import News
from .observed import Observed, Telling, observe
from .pods import Pods
from .record import name_of, ordinal_of
from .rolling import Rolled, Roller
from .settings import Settings
from .spec import GameCluster, Problem, SpecError
from .standin import StandIn, StoodIn
from .status import Counters, Situation
from .store import Key, Store

log = logging.getLogger(__name__)

ASK_SECONDS = 10.0
UNSETTLED_SECONDS = 2.0
ACCOUNT_SECONDS = 4.0


@dataclass
class Reconciler:
    """``monotonic`` and ``wall``: the clocks."""

    kube: Kube
    pods: Pods
    store: Store
    settings: Settings
    monotonic: Callable[[], float]
    wall: Callable[[], datetime] = lambda: datetime.now(UTC)
    _memories: dict[Key, Memory] = field(default_factory=dict)
    _observed: dict[Key, tuple[int, Observed]] = field(default_factory=dict)
    """By the clusters that are being looked at."""

    async def reconcile(self, key: Key) -> float | None:
        """Returns after how many seconds to look again, if sooner than at the next resync. Raises KubeError to be retried."""
        try:
            return await self._reconcile(key)
        finally:
            self._observed.pop(key, None)

    async def _reconcile(self, key: Key) -> float | None:
        body = self.store.get("GameCluster", *key)
        if body is None or "deletionTimestamp" in body["metadata"]:
            self._memories.pop(key, None)
            return None
        memory = self._memory(key, body)
        cluster, problem = _read(body)
        observed = await self._ask(self._observe(body), memory)
        memory.watch(observed, self.monotonic())
        cluster = _doubled(self._autoscaled(cluster, problem, observed, memory), observed, memory)
        cluster = _with_heir(cluster, observed)
        applied = await self._apply(cluster, problem, body, observed, memory)
        stood_in = await StandIn(self.kube, self.store, self.wall).stand_in(
            key, cluster, observed, memory, self.monotonic()
        )
        rolled = await self._roll(body, cluster, problem, memory, applied)
        situation = replace(self._situation(body, observed, memory, applied, stood_in), rollout=rolled.progress)
        await self._tell(body, cluster, situation, [*applied.news, *stood_in.news, *rolled.news])
        waits = applied.trouble or applied.waiting or rolled.is_going_on
        unsettled = memory.idle_since is not None or memory.untold is not None or waits
        return UNSETTLED_SECONDS if (unsettled and observed.pods) or applied.trouble else None

    def _memory(self, key: Key, body: Object) -> Memory:
        memory = self._memories.get(key)
        if memory is None or memory.uid != body["metadata"]["uid"]:
            memory = self._memories[key] = Memory(body["metadata"]["uid"])
        return memory

    def _observe(self, body: Object) -> Observed:
        """Read from the store again only if anything changed there."""
        meta = body["metadata"]
        key = (meta["namespace"], meta["name"])
        change, known = self.store.change_of(key), self._observed.get(key)
        if known is None or known[0] != change:
            known = self._observed[key] = change, observe(meta["uid"], meta["name"], self.store.of_cluster(key))
        return known[1]

    async def _ask(self, observed: Observed, memory: Memory) -> Observed:
        """The leader every ten seconds, or until it has told how it came to lead; all of them when it does not answer as one,
        or when there is a new one."""
        if observed.admin_token is None:
            return observed
        now = self.monotonic()
        running = [pod for pod in observed.pods if pod.running and pod.address]
        holder = holder_pod(observed)
        if holder in running and memory.untold is None and not memory.is_asking_due(observed, now, ASK_SECONDS):
            known = observed.with_tellings(memory.tellings)
            if confirms(known):
                return known
        tellings = await self.pods.ask([holder], observed.admin_token) if holder in running and holder else {}
        if not confirms(observed.with_tellings(tellings)):
            tellings |= await self.pods.ask([pod for pod in running if pod.uid not in tellings], observed.admin_token)
        memory.asked(observed, tellings, now)
        return observed.with_tellings(tellings)

    def _autoscaled(
        self, cluster: GameCluster | None, problem: Problem | None, observed: Observed, memory: Memory
    ) -> GameCluster | None:
        """With as many replicas as its load asks for, if that is what counts."""
        if (
            cluster is None
            or cluster.autoscaling is None
            or problem is not None
            or cluster.paused
            or not cluster.replicas
        ):
            memory.autoscaling = None
            return cluster
        decided = autoscaling.scale(cluster, observed, _told(observed), memory.autoscaling, self.monotonic())
        memory.autoscaling = decided
        return replace(cluster, replicas=decided.replicas)

    async def _apply(
        self, cluster: GameCluster | None, problem: Problem | None, body: Object, observed: Observed, memory: Memory
    ) -> Outcome:
        if cluster is None or problem is not None or cluster.paused:
            return Outcome(problem=problem)
        applier = Applier(
            self.kube,
            self.pods,
            self.store,
            cluster,
            observed,
            memory,
            self.monotonic(),
            self.settings.admin_namespaces,
        )
        return await applier.apply(body)

    async def _roll(
        self, body: Object, cluster: GameCluster | None, problem: Problem | None, memory: Memory, applied: Outcome
    ) -> Rolled:
        """Not while pods are to be removed: the GameState moves one way at a time."""
        if cluster is None or problem is not None or cluster.paused or applied.waiting or cluster.replicas == 0:
            return Rolled()
        observed = self._observe(body).with_tellings(memory.tellings)
        return await Roller(self.kube, self.pods, cluster, memory, self.monotonic()).roll(observed)

    def _situation(
        self, body: Object, observed: Observed, memory: Memory, applied: Outcome, stood_in: StoodIn
    ) -> Situation:
        previous, now = body.get("status") or {}, self.monotonic()
        lease = self._observe(body).record
        patience = 15.0
        leading = memory.is_leading(observed, now, patience) and not stood_in.lost
        told = _told(observed)
        failover = None
        if lease is not None and lease.holder is not None:
            last = told.last_failover if told else None
            failover = news.failover(previous, name_of(lease.holder), lease.epoch, last)
        counters = None
        if told is not None and now - memory.counted_at >= self.settings.counters_seconds:
            counters = Counters(told.players, told.connections)
            if (previous.get("players"), previous.get("connections")) != (told.players, told.connections):
                memory.counted_at = now
        limited = memory.autoscaling.is_limited() if memory.autoscaling is not None else None
        return Situation(
            applied.problem,
            applied.trouble,
            applied.waiting,
            failover,
            counters,
            stood_in.lost,
            stood_in.restored,
            leading,
            limited,
            missing=stood_in.missing,
        )

    async def _tell(self, body: Object, cluster: GameCluster | None, situation: Situation, more: list[News]) -> None:
        meta, previous, now = body["metadata"], body.get("status") or {}, self.wall()
        generation = int(meta.get("generation") or 0)
        observed = self._observe(body)
        current = status.derive(meta["name"], generation, cluster, observed, previous, situation, now)
        memory = self._memory((meta["namespace"], meta["name"]), body)
        told = [*more, *self._leadership(previous, current, memory), *news.stalled(previous, current, generation)]
        told += news.hibernation(previous, current, generation)
        for item in told:
            await self._say(body, item, now)
        if current == previous:
            return
        identity = {"apiVersion": names.API_VERSION, "kind": "GameCluster"}
        where = {key: meta[key] for key in ("name", "namespace", "resourceVersion")}
        self.store.put(await self.kube.apply_status({**identity, "metadata": where, "status": current}))

    def _leadership(self, previous: Object, current: Object, memory: Memory) -> list[News]:
        """A change of leader is told with the new leader's own account; without it after a while."""
        if memory.untold is None:
            if not news.has_new_leader(previous, current):
                return []
            memory.untold = (previous, self.monotonic())
        before, since = memory.untold
        is_first = not (before.get("gameState") or {}).get("holder")
        if not (is_first or news.is_accounted_for(current) or self.monotonic() - since >= ACCOUNT_SECONDS):
            return []
        memory.untold = None
        return list(news.leadership(before, current, memory.named_epoch))

    async def _say(self, body: Object, item: News, now: datetime) -> None:
        meta = body["metadata"]
        level = logging.WARNING if item.warning else logging.INFO
        log.log(level, "%s/%s %s: %s", meta["namespace"], meta["name"], item.reason, item.message)
        try:
            await self.kube.create(news.event(body, item, now))
        except (Conflict, Refused) as error:  # said before; or Events are not allowed, which must not stop play
            log.debug("event not written: %s", error)


def _doubled(cluster: GameCluster | None, observed: Observed, memory: Memory) -> GameCluster | None:
    """With a second pod as long as the only one is being replaced, or goes with all that there is of the game."""
    if cluster is None or cluster.replicas != 1:
        return cluster
    needs_second = rollout.needs_second(observed, memory.rolling_to is not None)
    if cluster.storage.type == "Memory":
        needs_second = needs_second or scaling.needs_second(observed.stateful_set, observed.pods)
    return replace(cluster, replicas=2) if needs_second else cluster


def _with_heir(cluster: GameCluster | None, observed: Observed) -> GameCluster | None:
    """With the pod that went last, if only its volume has what was stored."""
    asleep = observed.record.asleep if observed.record is not None else None
    if cluster is None or asleep is None or cluster.replicas == 0 or cluster.storage.type != "Volume":
        return cluster
    return replace(cluster, replicas=max(cluster.replicas, ordinal_of(name_of(asleep.by)) + 1))


def _told(observed: Observed) -> Telling | None:
    """What the leader says, if it says that it leads."""
    pod = holder_pod(observed)
    return pod.told if pod is not None and confirms(observed) else None


def _read(body: Object) -> tuple[GameCluster | None, Problem | None]:
    try:
        cluster = spec.parse(body)
    except SpecError as error:
        return None, Problem("InvalidSpec", f"{error}: correct it, see `kubectl explain gamecluster.spec`")
    found = spec.problems(body)
    if not found:
        return cluster, None
    return cluster, Problem(found[0].reason, "; ".join(problem.message for problem in found))
