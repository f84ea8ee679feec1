"""How many pods the load asks for. Pure: it has no clock, and remembers only what it returned last.

    asked for = the larger of connections / targetConnectionsPerPod and players / targetPlayersPerPod, rounded up

That is followed once it has been above the present number for a whole window (then by the least of it), or below it for a whole
window (then by the most of it). So what is shorter than a window changes nothing, and after a change there is none for a window. A pod
whose connections are not known may have any number of them: while there is one, the number does not go down.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from .news import News
from .observed import Observed, ObservedPod, Telling
from .spec import Autoscaling, GameCluster

GAP_SECONDS = 60.0
"""Who has not looked for so long does not know what was asked for meanwhile."""
LIMITED_SECONDS = 60.0
"""For how long a limit stays told after it was last felt, so that it does not come and go with every player."""


@dataclass(frozen=True)
class Load:
    """``connections``: of each pod; None: it has not told. ``players``: in the GameState; None: no leader has told."""

    connections: tuple[int | None, ...] = ()
    players: int | None = None


@dataclass(frozen=True)
class Trend:
    """Since when another number than the present one has been asked for; ``replicas``: the nearest to it in that time."""

    since: float
    replicas: int


@dataclass(frozen=True)
class Decision:
    """``reason``: of the change to ``replicas``, if that was one; ``limited_at``: when more than allowed was asked for last;
    ``at``: when this was decided."""

    replicas: int
    at: float
    reason: str = ""
    trend: Trend | None = None
    limited_at: float | None = None

    def is_limited(self) -> bool:
        """By ``maxReplicas``, lately."""
        return self.limited_at is not None and self.at - self.limited_at <= LIMITED_SECONDS


def decide(wish: Autoscaling, now: float, load: Load, current: int, before: Decision | None) -> Decision:
    """``current``: the number that is aimed at now; ``before``: what was decided last, None: nothing is known."""
    asked = ask(wish, load)
    is_limited = asked > wish.max_replicas and current >= wish.max_replicas
    limited_at = now if is_limited else before.limited_at if before else None
    allowed = _bounded(wish, current)
    if allowed != current:
        text = f"autoscaling allows {wish.min_replicas} to {wish.max_replicas} pods"
        return Decision(allowed, now, text, limited_at=limited_at)
    wanted = _bounded(wish, asked)
    if not _is_known(wish, load):
        wanted = max(wanted, current)
    known = before.trend if before is not None and now - before.at <= GAP_SECONDS else None
    trend = _trend(known, now, wanted, current)
    if trend is None or now - trend.since < _window(wish, trend, current):
        return Decision(current, now, before.reason if before else "", trend, limited_at)
    return Decision(trend.replicas, now, _reason(wish, load, trend, current), limited_at=limited_at)


def ask(wish: Autoscaling, load: Load) -> int:
    """The pods that this load needs, as far as it is known; bounds are not looked at."""
    for_connections = _rounded_up(sum(count for count in load.connections if count), wish.connections_per_pod)
    return max(for_connections, _rounded_up(load.players or 0, wish.players_per_pod) if wish.players_per_pod else 0)


def load_of(pods: Iterable[ObservedPod], told: Telling | None) -> Load:
    """As the leader has told. A pod without a process has no connections, whoever tells of it or not."""
    counts = dict(told.loads) if told is not None else {}
    connections = tuple(counts.get(pod.name, None if pod.running else 0) for pod in pods)
    return Load(connections, told.players if told is not None else None)


def scale(
    cluster: GameCluster, observed: Observed, told: Telling | None, before: Decision | None, now: float
) -> Decision:
    """One more decision for a cluster that has ``autoscaling``; ``told``: by its leader. It begins, and wakes, with
    ``spec.replicas``."""
    wish = cluster.autoscaling
    assert wish is not None
    there = observed.stateful_set.replicas if observed.stateful_set is not None else None
    if not there:
        return Decision(_bounded(wish, cluster.replicas if before is None else before.replicas), now)
    if before is not None and before.replicas == there:
        before = replace(before, reason="")  # it is done, and told
    current = there if before is None else before.replicas
    return decide(wish, now, load_of(observed.pods, told), current, before)


def scaled(before: int, after: int, reason: str, version: str) -> News:
    """``version``: of the StatefulSet that was changed; the same numbers may come again."""
    text = f"from {before} to {after} pods{': ' if reason else ''}{reason}"
    return News("ScaledUp" if after > before else "ScaledDown", text, f"{version}/{before}/{after}")


def _trend(before: Trend | None, now: float, wanted: int, current: int) -> Trend | None:
    if wanted == current:
        return None
    if before is not None and before.replicas > current and wanted > current:
        return Trend(before.since, min(before.replicas, wanted))
    if before is not None and before.replicas < current and wanted < current:
        return Trend(before.since, max(before.replicas, wanted))
    return Trend(now, wanted)


def _window(wish: Autoscaling, trend: Trend, current: int) -> int:
    return wish.up_seconds if trend.replicas > current else wish.down_seconds


def _reason(wish: Autoscaling, load: Load, trend: Trend, current: int) -> str:
    connections = sum(count for count in load.connections if count)
    loads = [f"{connections} connections at {wish.connections_per_pod} for each pod"]
    if wish.players_per_pod:
        loads.append(f"{load.players or 0} players at {wish.players_per_pod}")
    side = f"{trend.replicas} or more" if trend.replicas > current else f"{trend.replicas} or fewer"
    return f"for {_window(wish, trend, current)} s the load asked for {side}, now with {' and '.join(loads)}"


def _is_known(wish: Autoscaling, load: Load) -> bool:
    return None not in load.connections and not (wish.players_per_pod and load.players is None)


def _bounded(wish: Autoscaling, replicas: int) -> int:
    return min(max(replicas, wish.min_replicas), wish.max_replicas)


def _rounded_up(count: int, per_pod: int) -> int:
    return -(-count // per_pod)
