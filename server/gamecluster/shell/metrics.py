"""What Prometheus scrapes. One registry per node, so that several nodes fit into one process (as in tests)."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from ..account import is_hand_over
from ..core.messages import Fields
from ..core.view import ClusterView, StorageState

CONTENT_TYPE = CONTENT_TYPE_LATEST
disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series each, that nobody asked for

REASONS = frozenset(
    {"gap", "no leader", "unknown", "rate limited", "overloaded", "unknown event", "bad payload", "internal error"}
)
"""Outcomes of moves with a label of their own. What a game's rules say is theirs: it all counts as ``rejected``."""

PHASES = {
    "detect": "detectMilliseconds",
    "claim": "claimMilliseconds",
    "equalise": "equaliseMilliseconds",
    "first_commit": "firstCommitMilliseconds",
}
"""Parts of a failover, by the label of their histogram; the leader tells of its first commit a moment later than of the others."""

BLACKOUT = ("detectMilliseconds", "takeoverMilliseconds")


class Tally:
    """A counter that is raised for every message: a plain number, until somebody looks."""

    __slots__ = ("_help", "_name", "count")

    def __init__(self, name: str, text: str, registry: CollectorRegistry) -> None:
        self.count = 0
        self._name = name
        self._help = text
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """``prometheus_client.registry.Collector``"""
        yield CounterMetricFamily(self._name, self._help, value=self.count)


class Metrics:
    """Counters are raised where it happens; gauges are set from the node's view when somebody looks."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        r = self._registry
        self.connections = Gauge("gamecluster_connections", "Client sockets of this node.", registry=r)
        self.messages_in = Tally("gamecluster_messages_in", "Frames that clients have sent.", r)
        self.messages_out = Tally("gamecluster_messages_out", "Frames queued for clients.", r)
        self.moves = Counter("gamecluster_moves", "Answers to moves of this node's clients.", ["outcome"], registry=r)
        self.closed = Counter("gamecluster_connections_closed", "Sockets that this node closed.", ["why"], registry=r)
        self.slow_consumers = Counter(
            "gamecluster_slow_consumers_dropped", "Clients dropped because they did not read.", registry=r
        )
        self.lease_requests = Counter(
            "gamecluster_lease_requests", "Reads and writes of the Lease.", ["verb", "outcome"], registry=r
        )
        self.stalls = Counter(
            "gamecluster_loop_stalls", "Times that the event loop stood still for 250 ms.", registry=r
        )
        self.storage_requests = Counter(
            "gamecluster_storage_requests", "Writes to and reads of the storage.", ["verb", "outcome"], registry=r
        )
        self.storage_seconds = Histogram(
            "gamecluster_storage_write_seconds",
            "Until the storage had answered a write.",
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
            registry=r,
        )
        self._storage_failing = Gauge(
            "gamecluster_storage_failing", "1 while the storage does not take what it is given.", registry=r
        )
        self._unstored = Gauge(
            "gamecluster_storage_unstored_entries",
            "Committed entries that no storage has yet (0 if none is set).",
            registry=r,
        )
        self.pubsub_up = Gauge(
            "gamecluster_pubsub_up",
            "1 while broadcasts of other nodes reach this one, and its own reach them.",
            registry=r,
        )
        self.pubsub_lost = Counter(
            "gamecluster_pubsub_lost",
            "Broadcasts that were not handed to the broker: too many waited, too old when it was back, or the link broke.",
            ["why"],
            registry=r,
        )
        self._rooms = Gauge(
            "gamecluster_rooms", "Rooms of which this node has a copy, as holder or as backup.", ["role"], registry=r
        )
        self.room_moves = Counter(
            "gamecluster_room_moves", "Rooms that came to this node: taken over, or handed over to it.", registry=r
        )
        self.have_rooms(0, 0)
        self._players = Gauge("gamecluster_players", "Players in the game, in the whole cluster.", registry=r)
        self._epoch = Gauge("gamecluster_epoch", "Epoch that this node follows or leads.", registry=r)
        self._is_leader = Gauge("gamecluster_is_leader", "1 on the node that holds the GameState.", registry=r)
        self._is_ready = Gauge("gamecluster_is_ready", "1 when in the mesh and caught up.", registry=r)
        self._in_sync = Gauge("gamecluster_in_sync_members", "Size of the in-sync set.", registry=r)
        self._committed = Gauge("gamecluster_committed_seq", "Number of the last committed entry.", registry=r)
        self._failovers = Counter("gamecluster_failovers", "Changes of leader seen by this node.", registry=r)
        self._blackout = Histogram(
            "gamecluster_failover_blackout_seconds",
            "From the last sign of the old leader until the new one served.",
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=r,
        )
        self._failover_seconds = Histogram(
            "gamecluster_failover_seconds",
            "How long each part of a failover took, as the new leader tells it; hand-overs are not in it.",
            ["phase"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=r,
        )
        self._failover_epoch: int | None = None
        self._phases_to_come: set[str] = set()

    def moved(self, ok: bool, response: Fields) -> None:
        reason = response.get("reason")
        self.moves.labels("ok" if ok else reason if reason in REASONS else "rejected").inc()

    def have_rooms(self, held: int, backed_up: int) -> None:
        self._rooms.labels("holder").set(held)
        self._rooms.labels("backup").set(backed_up)

    def seen(self, view: ClusterView) -> None:
        """Takes over what the node knows. Cheap: called on a timer and by each scrape."""
        self._players.set(view.players)
        self._epoch.set(view.epoch)
        self._is_leader.set(view.leader == view.self)
        self._is_ready.set(view.ready)
        self._in_sync.set(len(view.in_sync))
        self._committed.set(view.seq)
        self._storage_failing.set(view.storage is StorageState.failing)
        is_writing = view.leader == view.self and view.storage is not StorageState.memory
        self._unstored.set(max(0, view.seq - (view.stored or {"seq": 0})["seq"]) if is_writing else 0)
        if view.last_failover:
            self._failed_over(view.last_failover)

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def _failed_over(self, account: Fields) -> None:
        """The first account that a node sees is of before its time, or of the cluster's beginning."""
        before, self._failover_epoch = self._failover_epoch, account["epoch"]
        if before is not None and before != account["epoch"]:
            self._phases_to_come.clear()
            if account.get("from"):
                self._failovers.inc()
                self._blackout.observe(sum(account.get(part) or 0 for part in BLACKOUT) / 1000)
                self._phases_to_come.update(() if is_hand_over(account) else PHASES)
        for phase in sorted(self._phases_to_come):
            if (milliseconds := account.get(PHASES[phase])) is not None:
                self._failover_seconds.labels(phase).observe(milliseconds / 1000)
                self._phases_to_come.discard(phase)
