"""What the operator does in the pods' place: names a leader, begins anew after a total loss, marks the leader, frees lost pods."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from . import backstop, news, record, restore
from . import labels as names
from .kube import Conflict, Kube, list_all
from .memory import Memory, confirms
from .news import News
from .observed import Observed, ObservedPod, Position, sort_pods
from .record import Asleep, Incarnation, Record, name_of, uid_of
from .spec import GameCluster
from .store import Key, Store

log = logging.getLogger(__name__)

FREE_AFTER_SECONDS = 5.0
"""After the pod's own grace period."""


@dataclass
class StoodIn:
    news: list[News] = field(default_factory=list)
    lost: tuple[Incarnation, ...] = ()
    restored: Position | None = None
    missing: Asleep | None = None
    """Of a game that slept: what its last pod had stored, and is not there any more."""


@dataclass
class StandIn:
    kube: Kube
    store: Store
    wall: Callable[[], datetime]

    async def stand_in(
        self, key: Key, cluster: GameCluster | None, observed: Observed, memory: Memory, now: float
    ) -> StoodIn:
        result = StoodIn()
        if observed.record is not None:
            duration = cluster.game_state.lease_duration_seconds if cluster else 15
            gone_seconds = max(backstop.GONE_SECONDS, 2.0 * duration)
            await self._backstop(key, cluster, observed, memory, now, gone_seconds, result)
        await self._mark_leader(key, observed)
        await self._free_lost_pods(key, observed, memory, now, result)
        return result

    async def _backstop(
        self,
        key: Key,
        cluster: GameCluster | None,
        observed: Observed,
        memory: Memory,
        now: float,
        gone_seconds: float,
        result: StoodIn,
    ) -> None:
        seen = observed.record
        assert seen is not None

        def decide(pods: tuple[ObservedPod, ...]) -> Record | backstop.TotalLoss | None:
            since = memory.idle_since
            return backstop.backstop(seen, pods, now, since, memory.gone_since, gone_seconds, memory.held)

        sleeps = seen.asleep is not None and not backstop.is_lost(seen, observed.pods, memory.held)
        if sleeps or restore.is_undecided(seen, observed.pods):
            await self._begin(key, cluster, observed, memory, now, result)
            return
        if decide(observed.pods) is None:
            return
        pods = await self._fresh_pods(key, observed, memory)
        decision = decide(pods)
        if decision is None:
            return
        if isinstance(decision, backstop.TotalLoss):
            if cluster is None or cluster.storage.type != "Memory":
                await self._begin(key, cluster, observed, memory, now, result)
            elif await self._write(key, seen, decision.record):
                result.lost = decision.lost
                result.news.append(news.total_loss(decision.lost, decision.record.epoch))
        elif await self._write(key, seen, decision):
            self._tell(seen, decision, backstop.is_lost(seen, pods, memory.held), memory, result)

    def _tell(self, seen: Record, written: Record, was_lost: bool, memory: Memory, result: StoodIn) -> None:
        assert written.holder is not None
        if written.holder == seen.holder and written.epoch == seen.epoch:
            dead = tuple(who for who in written.dead if who not in seen.dead)
            result.news.append(news.freed_from_seal(written.holder, dead))
            return
        memory.named_epoch = written.epoch
        named = news.reclaimed if was_lost else news.backstop_named
        result.news.append(named(written.holder, seen.holder, written.epoch))

    async def _begin(
        self, key: Key, cluster: GameCluster | None, observed: Observed, memory: Memory, now: float, result: StoodIn
    ) -> None:
        """Nobody has the GameState in memory: from the storage, or anew."""
        seen = observed.record
        if seen is None or cluster is None:  # without its spec nobody knows where its storage is
            return
        epoch = max([seen.epoch, *(pod.told.epoch for pod in observed.pods if pod.told is not None)])
        begin = restore.begin if seen.asleep is None else restore.wake
        beginning = begin(cluster, seen, observed.pods, epoch, memory.waited(now, seen.asleep is not None))
        if beginning is None or not await self._write(key, seen, beginning.record):
            return
        result.lost, result.restored = beginning.lost, beginning.stored
        result.missing = seen.asleep if beginning.lost else None
        if beginning.record.holder is not None and beginning.stored is not None:
            memory.named_epoch = beginning.record.epoch
            told = news.restored(beginning.record.holder, beginning.lost, beginning.stored, result.missing)
            result.news.append(told)
        elif beginning.lost:
            result.news.append(news.total_loss(beginning.lost, beginning.record.epoch, result.missing))

    async def _fresh_pods(self, key: Key, observed: Observed, memory: Memory) -> tuple[ObservedPod, ...]:
        """Nothing is decided on the word of a watch that may lag."""
        namespace, name = key
        listed = await list_all(self.kube, "Pod", namespace, f"{names.INSTANCE}={name}")
        mine, _ = sort_pods(listed, observed.objects.get(("StatefulSet", name)))
        return tuple(replace(pod, told=memory.tellings.get(pod.uid)) for pod in mine)

    async def _write(self, key: Key, seen: Record, wanted: Record) -> bool:
        """Only if the Lease, read from the API server now, still says what the decision was made from."""
        namespace, name = key
        lease = await self.kube.get("Lease", namespace, names.lease_name(name))
        if lease is None or record.read(lease) != seen:
            return False
        try:
            self.store.put(await self.kube.replace(record.write(lease, wanted, self.wall())))
        except Conflict:
            return False
        return True

    async def _mark_leader(self, key: Key, observed: Observed) -> None:
        """The label that ``kubectl get pods -l gamecluster.dev/role=leader`` finds."""
        held_by = observed.record.holder if observed.record else None
        for pod in observed.pods:
            leads = held_by is not None and uid_of(held_by) == pod.uid and name_of(held_by) == pod.name
            role = "leader" if leads else None
            if pod.role == role or pod.deleting:
                continue
            patch = {"metadata": {"uid": pod.uid, "labels": {names.ROLE: role}}}
            try:
                self.store.put(await self.kube.merge("Pod", key[0], pod.name, patch))
            except Conflict:
                log.debug("%s is another pod by now", pod.name)

    async def _free_lost_pods(self, key: Key, observed: Observed, memory: Memory, now: float, result: StoodIn) -> None:
        """A StatefulSet never replaces a pod on a lost node by itself. One that is not in sync, while another leads, can't harm."""
        if observed.record is None or not confirms(observed):
            return
        in_sync = {uid_of(who) for who in observed.record.in_sync}
        for pod in observed.pods:
            overdue = now - memory.ending_since.get(pod.uid, now) > pod.grace_seconds + FREE_AFTER_SECONDS
            if not (pod.deleting and overdue and not pod.ready and pod.uid not in in_sync):
                continue
            try:
                await self.kube.delete("Pod", key[0], pod.name, pod.uid, grace_seconds=0)
                result.news.append(news.pod_freed(pod.name, pod.uid))
            except Conflict:
                log.debug("%s is another pod by now", pod.name)
