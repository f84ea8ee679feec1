"""Which pod to replace next, so that all are of the StatefulSet's newest revision. Pure.

The StatefulSet replaces no pod itself (OnDelete): the operator deletes them, one at a time. Which step comes next, the first row that fits:

    what is seen                                         → step
    no pod of an older revision, all ready               → none: it is finished
    a pod is ending or not there yet                     → Wait
    a new pod can't start, keeps ending, or is not ready for STUCK_SECONDS → Stuck: no other one is touched
    … is not ready, and a pod leads                      → Wait
    an old pod is not ready and holds nothing            → Delete it: it is broken, and nothing is lost with it
    … and none of this, but a new pod is not ready       → Wait
    nobody leads                                         → Wait
    fewer copies than there should be, but for the next pod's if that is not ready → Wait
    the new pods have not been the same for SETTLE_SECONDS → Wait
    an old pod that does not lead                        → Delete it: those that hold no copy first, then the highest number
    only the leader's is old, a new one has a copy       → HandOver to that, for at most HAND_OVER_SECONDS
    … and the leader has not done it, or nobody has one  → Delete it: a pod hands over when it is told to end, too

Old, new: of another revision than the StatefulSet's newest, or of that. A copy: a ready pod in the in-sync set. There should be as many
as the leader keeps, or as there are pods; so never is more than one of them away by our doing, and a rollout costs one change of leader.
A game of one pod gets a second one for it, and the leader comes back from that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .observed import Observed, ObservedPod, ObservedSet
from .record import name_of, uid_of

HAND_OVER_SECONDS = 10.0
STUCK_SECONDS = 120.0
SETTLE_SECONDS = 5.0
RESTARTED_SECONDS = 60.0
"""Instead of SETTLE_SECONDS for a pod whose container has ended once already."""

PULLING = ("ErrImagePull", "ImagePullBackOff")
CRASHING = "CrashLoopBackOff"


@dataclass(frozen=True)
class Wait:
    """``about``: what for; while that stays the same, so does the clock that counts for it."""

    about: str
    reason: str


@dataclass(frozen=True)
class Stuck:
    """Nothing is touched any more until ``pod`` is ready, or the spec is another."""

    pod: ObservedPod
    trouble: str

    @property
    def about(self) -> str:
        return self.pod.uid

    @property
    def reason(self) -> str:
        return (
            f"{self.pod.name} does not become ready ({self.trouble}), so the others are left as they are: see `kubectl describe pod "
            f"{self.pod.name}`, and correct the spec"
        )


@dataclass(frozen=True)
class Delete:
    pod: ObservedPod
    reason: str

    @property
    def about(self) -> str:
        return self.pod.uid


@dataclass(frozen=True)
class HandOver:
    """Ask the pod that leads; ``to``: a pod's name."""

    leader: ObservedPod
    to: str

    @property
    def about(self) -> str:
        return self.leader.uid

    @property
    def reason(self) -> str:
        return f"next: {self.leader.name}, which is asked to hand the GameState over to {self.to}"


Step = Wait | Stuck | Delete | HandOver


@dataclass(frozen=True)
class Progress:
    """``updated`` of ``total`` pods are of the StatefulSet's newest ``revision``."""

    revision: str
    updated: int
    total: int
    step: Step

    @property
    def text(self) -> str:
        return f"{self.updated} of {self.total} pods are of the new revision; {self.step.reason}"


Waited = tuple[str, float]
"""What the last step was about, and for how many seconds now it has been that."""


def plan(observed: Observed, copies: int, is_rolling: bool, waited: Waited, same_seconds: float) -> Progress | None:
    """None: nothing to do.

    ``copies``: as many as the spec wants, for a leader that does not say how many it keeps; ``is_rolling``: pods were replaced before,
    so the last one is waited for; ``same_seconds``: for how long ``of_new_pods`` has been the same.
    """
    wanted = observed.stateful_set
    if wanted is None or not wanted.revision:
        return None
    new = [pod for pod in observed.pods if pod.revision == wanted.revision]
    is_complete = len(observed.pods) == wanted.replicas and all(pod.ready for pod in observed.pods)
    if len(new) == len(observed.pods) and (is_complete or not is_rolling):
        return None
    step = _Look(observed, wanted, new, copies, waited, same_seconds).step()
    return Progress(wanted.revision, len(new), wanted.replicas, step)


def needs_second(observed: Observed, is_rolling: bool) -> bool:
    """Whether a game that is to have one pod needs another for a while: to hand over to, and to try a new version on."""
    wanted = observed.stateful_set
    if wanted is None:
        return False
    if not wanted.revision:  # its controller has not seen the last change, which may be the second pod
        return wanted.replicas == 2
    is_there = wanted.replicas > 1
    has_old = any(pod.revision != wanted.revision for pod in observed.pods)
    return (has_old and (is_there or any(pod.ready for pod in observed.pods))) or (is_rolling and is_there)


def of_new_pods(observed: Observed) -> frozenset[tuple[str, int, bool]]:
    """What must stay the same for a while before the next pod is replaced: UID, restarts and readiness of those that were."""
    revision = observed.stateful_set.revision if observed.stateful_set else ""
    return frozenset((pod.uid, pod.restarts, pod.ready) for pod in observed.pods if pod.revision == revision)


@dataclass(frozen=True)
class _Look:
    observed: Observed
    wanted: ObservedSet
    new: list[ObservedPod]
    copies: int
    waited: Waited
    same_seconds: float

    def step(self) -> Step:
        away = _away(self.observed.pods, self.wanted.replicas)
        if away:
            return Wait(f"away {away}", f"{away} is being replaced")
        leader = _leader(self.observed)
        unready = next((pod for pod in self.new if not pod.ready), None)
        waiting = self._not_ready(unready) if unready is not None else None
        if waiting is not None and (leader is not None or isinstance(waiting, Stuck)):
            return waiting
        broken = next((pod for pod in reversed(self._old) if self._holds_nothing(pod, leader)), None)
        if broken is not None:
            return Delete(broken, f"next: {broken.name}, which does not work")
        if waiting is not None:
            return waiting
        if leader is None:
            return Wait("leader", "waiting until a pod leads: none that may hold the GameState is replaced before")
        return self._replace(leader)

    @property
    def _old(self) -> list[ObservedPod]:
        return [pod for pod in self.observed.pods if pod not in self.new]

    @property
    def _members(self) -> set[str]:
        return {uid_of(who) for who in self.observed.record.in_sync} if self.observed.record else set()

    def _not_ready(self, pod: ObservedPod) -> Wait | Stuck:
        trouble = _trouble(pod)
        if trouble is None and self._seconds(pod.uid) >= STUCK_SECONDS:
            trouble = "Unschedulable" if pod.unplaced else f"not ready for {STUCK_SECONDS:.0f} s"
        return Stuck(pod, trouble) if trouble else Wait(pod.uid, f"waiting until {pod.name} is ready")

    def _holds_nothing(self, pod: ObservedPod, leader: ObservedPod | None) -> bool:
        """It is not ready, and has no process, so no memory; or is certainly not in sync. While nobody leads, what it knows may count."""
        if pod.ready or pod == leader:
            return False
        if leader is not None:
            return not pod.running or pod.uid not in self._members
        if not self._members:
            return True
        return not pod.running and (pod.uid not in self._members or pod.waiting != "")

    def _replace(self, leader: ObservedPod) -> Step:
        held = [pod for pod in self.observed.pods if pod.ready and pod.uid in self._members]
        copies = min(leader.copies or self.copies, self.wanted.replicas)
        others = [pod for pod in self._old if pod != leader]
        chosen = min(others, key=lambda pod: (pod.ready, pod in held, -pod.ordinal), default=leader)
        if len(held) < copies - (not chosen.ready):
            return Wait("copies", f"waiting until {copies} pods hold every acknowledged move")
        if self._is_too_soon():
            return Wait("settle", f"next: {chosen.name}, if the new ones stay ready")
        return self._lead_on(leader, held) if chosen == leader else Delete(chosen, f"next: {chosen.name}")

    def _is_too_soon(self) -> bool:
        """A new pod that ends soon after it was ready is noticed before the next one is replaced."""
        has_restarted = any(pod.restarts for pod in self.new)
        return bool(self.new) and self.same_seconds < (RESTARTED_SECONDS if has_restarted else SETTLE_SECONDS)

    def _lead_on(self, leader: ObservedPod, held: list[ObservedPod]) -> Step:
        to = next((pod for pod in held if pod in self.new), None)
        if to is None or self._seconds(leader.uid) >= HAND_OVER_SECONDS:
            return Delete(leader, f"next: {leader.name}, which leads")
        return HandOver(leader, to.name)

    def _seconds(self, about: str) -> float:
        return self.waited[1] if self.waited[0] == about else 0.0


def _away(pods: Sequence[ObservedPod], wanted: int) -> str:
    ending = [pod.name for pod in pods if pod.deleting]
    if ending or len(pods) == wanted:
        return ", ".join(ending)
    present = {pod.ordinal for pod in pods}
    return ", ".join(f"pod {ordinal}" for ordinal in range(wanted) if ordinal not in present) or "a pod too many"


def _leader(observed: Observed) -> ObservedPod | None:
    """The pod that the record names, unless it says itself that it does not lead."""
    record = observed.record
    if record is None or record.holder is None:
        return None
    pod = next((pod for pod in observed.pods if pod.uid == uid_of(record.holder)), None)
    if pod is None or not pod.running or pod.deleting:
        return None
    denies = pod.told is not None and (pod.told.incarnation, pod.told.leader) != (record.holder, name_of(record.holder))
    return None if denies else pod


def _trouble(pod: ObservedPod) -> str | None:
    """The same word all the time, though a container that keeps ending runs now and then."""
    if pod.waiting == CRASHING or pod.restarts >= 2:
        return CRASHING
    return PULLING[1] if pod.waiting in PULLING else pod.waiting or None
