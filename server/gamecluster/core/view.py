"""What a pod knows of the cluster, for people and tools: the answer of ``GET /cluster``, field for field."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct, field

from .messages import Fields


class Status(StrEnum):
    serving = "Serving"
    electing = "Electing"
    no_leader = "NoLeader"
    stalled = "Stalled"


class StorageState(StrEnum):
    """``unknown``: it has not answered yet what it holds; ``failing``: it does not take what it is given, or give what it holds."""

    memory = "Memory"
    unknown = "Unknown"
    ready = "Ready"
    failing = "Failing"


class NodeView(Struct, frozen=True, rename="camel"):
    name: str
    incarnation: str
    role: str
    state: str
    ready: bool
    connections: int
    revision: str
    url: str | None
    draining: bool
    pid: int


class HeldView(Struct, frozen=True, rename="camel"):
    """The newest record with a holder that a pod knows of, though the Lease may be vacant now: all of it are incarnations."""

    version: int
    holder: str
    epoch: int
    in_sync: list[str]


class ClusterView(Struct, frozen=True, rename="camel"):
    """``players``: all who are in the game, or, without one, in rooms; also those whose socket is lost for the moment."""

    self: str
    leader: str | None
    epoch: int
    seq: int
    in_sync: list[str]
    status: Status
    reason: str
    ready: bool
    players: int
    nodes: list[NodeView]
    last_failover: Fields | None
    stored: dict[str, int] | None = None
    """Where what the asked pod's storage holds ends, ``{"epoch", "seq"}``; null: nothing, if ``storage`` is ready."""
    storage: StorageState = StorageState.memory
    held: HeldView | None = None
    last: dict[str, int] | None = None
    """Where the asked pod's log ends, ``{"epoch", "seq"}``: what it may have beyond ``seq`` is not committed, as far as it knows."""
    bound: list[str] = field(default_factory=list)
    """Incarnations of the seal that keeps the asked pod from writing the record (rule 10); empty: none does."""

    @property
    def has_another(self) -> bool:
        """There is a pod that clients can go to instead of this one when it goes."""
        return any(node.ready and not node.draining for node in self.nodes if node.name != self.self)
