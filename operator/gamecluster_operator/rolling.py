"""Replaces a cluster's pods when its template has changed: does what ``rollout`` says, and remembers for how long it has said so."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace

from . import labels as names
from . import news, rollout
from .kube import Conflict, Kube, list_all
from .memory import Memory
from .news import News
from .observed import Observed, observe
from .pods import Pods
from .rollout import Delete, HandOver, Progress, Stuck
from .spec import GameCluster

log = logging.getLogger(__name__)


@dataclass
class Rolled:
    progress: Progress | None = None
    news: list[News] = field(default_factory=list)

    @property
    def is_going_on(self) -> bool:
        """Something is to be looked at again by the clock, not only when an object changes."""
        return self.progress is not None and not isinstance(self.progress.step, Stuck)


@dataclass
class Roller:
    kube: Kube
    pods: Pods
    cluster: GameCluster
    memory: Memory
    now: float

    async def roll(self, observed: Observed) -> Rolled:
        """One step at most. Raises KubeError."""
        wanted = observed.stateful_set
        if wanted is None or not wanted.revision or wanted.replicas != self.cluster.replicas:
            return Rolled()
        progress = self._plan(observed)
        if progress is not None and isinstance(progress.step, Delete | HandOver):
            observed = await self._fresh(observed)  # nothing is decided on the word of a watch that may lag
            progress = self._plan(observed)
        if progress is not None:
            await self._do(progress, observed)
        return Rolled(progress, self._tell(progress))

    def _plan(self, observed: Observed) -> Progress | None:
        memory, same = self.memory, rollout.of_new_pods(observed)
        if same != memory.new_pods[0]:
            memory.new_pods = (same, self.now)
        waited = (memory.rollout_step[0], self.now - memory.rollout_step[1])
        is_rolling = memory.rolling_to is not None
        copies = self.cluster.game_state.replicas
        progress = rollout.plan(observed, copies, is_rolling, waited, self.now - memory.new_pods[1])
        about = progress.step.about if progress else ""
        if about != memory.rollout_step[0]:
            memory.rollout_step = (about, self.now)
        return progress

    async def _fresh(self, observed: Observed) -> Observed:
        namespace, name = self.cluster.key
        stateful_set = await self.kube.get("StatefulSet", namespace, name)
        lease = await self.kube.get("Lease", namespace, names.lease_name(name))
        pods = await list_all(self.kube, "Pod", namespace, f"{names.INSTANCE}={name}")
        found = observe(self.cluster.uid, name, [obj for obj in (stateful_set, lease, *pods) if obj is not None])
        return replace(found.with_tellings(self.memory.tellings), admin_token=observed.admin_token)

    async def _do(self, progress: Progress, observed: Observed) -> None:
        match progress.step:
            case Delete(pod):
                try:
                    await self.kube.delete("Pod", self.cluster.namespace, pod.name, pod.uid)
                    log.info("%s/%s: deleted %s: %s", *self.cluster.key, pod.name, progress.text)
                except Conflict:
                    log.debug("%s is another pod by now", pod.name)
            case HandOver(leader, to) if observed.admin_token is not None:
                await self.pods.hand_off(leader, observed.admin_token, to)

    def _tell(self, progress: Progress | None) -> list[News]:
        memory, generation = self.memory, self.cluster.generation
        if progress is None:
            before, memory.rolling_to = memory.rolling_to, None
            return [news.rollout_finished(before, generation)] if before is not None else []
        told = []
        if memory.rolling_to != progress.revision:
            memory.rolling_to = progress.revision
            told.append(news.rollout_started(progress.total - progress.updated, progress.revision, generation))
        if isinstance(progress.step, Stuck):
            once = f"{progress.revision}/{progress.step.pod.uid}/{progress.step.trouble}"
            if memory.stuck != once:
                told.append(news.rollout_stuck(progress.text, once))
            memory.stuck = once
        return told
