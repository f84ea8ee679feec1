"""What the operator remembers of one cluster between two looks at it. All of it may be forgotten: only clocks start anew."""

from __future__ import annotations

from dataclasses import dataclass, field

from .autoscaling import Decision
from .backstop import is_lost, members
from .labels import Object
from .observed import Observed, ObservedPod, Telling
from .queue import backoff
from .record import Record, name_of, uid_of
from .spec import Problem


@dataclass(frozen=True)
class Refusal:
    """What could not be written, and when to try that again: later each time; at once when something else is wanted. ``problem``:
    it will never be accepted as it is."""

    wanted: str
    error: str
    problem: Problem | None
    failures: int
    again_at: float

    @staticmethod
    def after(
        before: Refusal | None,
        wanted: str,
        error: str,
        problem: Problem | None,
        now: float,
        at_least_seconds: float = 0.0,
    ) -> Refusal:
        failures = before.failures + 1 if before is not None and before.wanted == wanted else 1
        return Refusal(wanted, error, problem, failures, now + max(backoff(failures), at_least_seconds))

    def holds(self, wanted: str, now: float) -> bool:
        return self.wanted == wanted and now < self.again_at


@dataclass
class Memory:
    uid: str
    applied: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    """Kind and name → hash of what was applied, and of what the API server then said are our fields."""
    refusals: dict[tuple[str, str], Refusal] = field(default_factory=dict)
    """By kind and name: what is not tried again yet."""
    secret_data: Object | None = None
    tellings: dict[str, Telling | None] = field(default_factory=dict)
    asked_at: float = float("-inf")
    counted_at: float = float("-inf")
    not_leading_since: float | None = None
    pods_since: float | None = None
    """Since when there have been pods."""
    looked_since: float | None = None
    """Since when there has been a pod that says what its storage holds."""
    bound_since: float | None = None
    """Since when a seal binds whoever leads by the very same record."""
    shrinking_since: float | None = None
    autoscaling: Decision | None = None
    named_epoch: int | None = None
    """The epoch in which the operator itself named a leader last."""
    untold: tuple[Object, float] | None = None
    """A change of leader that was not told yet: the status before it, and since when."""
    held: Record | None = None
    """The newest record with a holder that was seen; None after one that lets any pod begin anew."""
    gone_since: dict[str, float] = field(default_factory=dict)
    ending_since: dict[str, float] = field(default_factory=dict)
    rolling_to: str | None = None
    """The revision that pods are being replaced by."""
    rollout_step: tuple[str, float] = ("", 0.0)
    """What the last step of the rollout was about, and since when."""
    new_pods: tuple[object, float] = (None, 0.0)
    """How the pods of the new revision are, and since when they are so."""
    stuck: str | None = None
    """The last standstill of a rollout that was told."""
    _asked_of: tuple[object, ...] | None = None
    _watched: Record | None = None

    def is_asking_due(self, observed: Observed, now: float, every_seconds: float) -> bool:
        return now - self.asked_at >= every_seconds or _leadership(observed) != self._asked_of

    def asked(self, observed: Observed, tellings: dict[str, Telling | None], now: float) -> None:
        self.tellings, self.asked_at, self._asked_of = tellings, now, _leadership(observed)

    def watch(self, observed: Observed, now: float) -> None:
        """Starts and stops the clocks. A record that changes, if only by a renewal, is a sign of life of its holder."""
        if confirms(observed):
            self.not_leading_since = None
        elif self.not_leading_since is None or observed.record != self._watched:
            self.not_leading_since = now
        self.pods_since = _going(self.pods_since, now, bool(observed.pods))
        self.looked_since = _going(self.looked_since, now, any(p.told and p.told.knows_stored for p in observed.pods))
        if not is_bound(observed):
            self.bound_since = None
        elif self.bound_since is None or observed.record != self._watched:
            self.bound_since = now
        self._watched = observed.record
        self._watch_held(observed)
        self._watch_gone(observed, now)
        self.ending_since = {pod.uid: self.ending_since.get(pod.uid, now) for pod in observed.pods if pod.deleting}

    def waited(self, now: float, asleep: bool) -> float:
        """Seconds for which pods might have begun by themselves. Those of a game that sleeps must have looked what is stored first."""
        clocks = [self.not_leading_since, self.pods_since]
        if asleep:
            clocks.append(now if self.looked_since is None else self.looked_since)
        return now - max((clock for clock in clocks if clock is not None), default=now)

    @property
    def idle_since(self) -> float | None:
        """Since when the record is as it is, though it should have changed."""
        return self.not_leading_since if self.not_leading_since is not None else self.bound_since

    def _watch_held(self, observed: Observed) -> None:
        record = observed.record
        if record is not None and not is_lost(record, observed.pods, self.held):
            self.held = record if record.holder is not None else None

    def _watch_gone(self, observed: Observed, now: float) -> None:
        """While nobody leads, those of older records and sets are kept in mind: a seal may bind somebody to them."""
        present = {pod.uid for pod in observed.pods} | observed.strangers
        wanted = {uid_of(who) for who in members(observed.record, observed.pods, self.held)}
        if self.idle_since is not None:
            wanted |= self.gone_since.keys()
        self.gone_since = {uid: self.gone_since.get(uid, now) for uid in wanted - present}

    def is_leading(self, observed: Observed, now: float, patience_seconds: float) -> bool:
        """As far as anybody can tell: a holder that does not answer the operator, but renews, leads."""
        if _denies(observed):
            return False
        return self.not_leading_since is None or now - self.not_leading_since < patience_seconds


def _leadership(observed: Observed) -> tuple[object, ...] | None:
    """What, when it changes, makes an earlier answer worthless."""
    record, pod = observed.record, holder_pod(observed)
    life = (pod.restarts, pod.running, pod.ready) if pod else None
    return (record.holder, record.epoch, life) if record else None


def confirms(observed: Observed) -> bool:
    """The pod that the record names answers, and says that it leads."""
    told = _of_holder(observed)
    record = observed.record
    if told is None or record is None or record.holder is None:
        return False
    return told.incarnation == record.holder and told.leader == name_of(record.holder)


def is_bound(observed: Observed) -> bool:
    """The pod that the record names can't write it, for a seal."""
    told = _of_holder(observed)
    return (
        told is not None
        and observed.record is not None
        and told.incarnation == observed.record.holder
        and bool(told.bound)
    )


def _denies(observed: Observed) -> bool:
    told, record = _of_holder(observed), observed.record
    return told is not None and record is not None and told.incarnation != record.holder


def _of_holder(observed: Observed) -> Telling | None:
    pod = holder_pod(observed)
    return pod.told if pod else None


def holder_pod(observed: Observed) -> ObservedPod | None:
    record = observed.record
    if record is None or record.holder is None:
        return None
    return next((pod for pod in observed.pods if pod.uid == uid_of(record.holder)), None)


def _going(since: float | None, now: float, is_so: bool) -> float | None:
    """A clock that begins when something is so, and ends when it is not."""
    return (now if since is None else since) if is_so else None
