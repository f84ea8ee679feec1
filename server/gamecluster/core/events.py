"""What happened: the inputs of ``Node.handle(event, now)``. Past tense, closed union."""

from __future__ import annotations

from msgspec import Struct

from .messages import Fields, Incarnation, InRoom, Message, Placement, Position, Record, Space, Tables

Joined = tuple[int, int]
"""One join of a channel in this process: its connection's number, and the channel's there. (0, 0): the process itself."""


class Ticked(Struct, frozen=True):
    """Sent every 20 ms. A gap far above that tells the node that its own loop was stalled."""


class TurnEnded(Struct, frozen=True):
    """Answers FlushSoon, once, within milliseconds."""


class LinkUp(Struct, frozen=True):
    """An authenticated link to ``peer`` works (again). Sent anew when a link replaces another of the same peer."""

    peer: Incarnation
    url: str | None
    revision: str


class LinkDown(Struct, frozen=True):
    """The last link to ``peer`` is gone: reset, closed, or silent for so long that it was given up."""

    peer: Incarnation
    reason: str


class PeerSaid(Struct, frozen=True):
    peer: Incarnation
    message: Message


class RecordRead(Struct, frozen=True):
    """A read of the Lease that went to its store (never a cache). None: there is no Lease."""

    record: Record | None


class RecordReadFailed(Struct, frozen=True):
    reason: str


class RecordWritten(Struct, frozen=True):
    """Write ``request`` was accepted; ``version`` is the Lease's new resourceVersion."""

    request: int
    version: int


class RecordConflicted(Struct, frozen=True):
    """409. Not a proof that the write did not land: its first try may have (a repeated request)."""

    request: int


class RecordUnanswered(Struct, frozen=True):
    """Timed out, reset or 5xx: it may have landed, or land later."""

    request: int
    reason: str


class StorageLooked(Struct, frozen=True):
    """What this pod's storage holds, at the start and now and then: where its log ends, None if there is nothing."""

    position: Position | None


class Stored(Struct, frozen=True):
    """The Store that ends with ``last``, of ``entries`` entries, is done and will outlive all pods."""

    last: Position
    entries: int


class StoreFailed(Struct, frozen=True):
    """The Store under way was refused, or not answered in time: it may have landed, or land later."""

    reason: str


class StoredLoaded(Struct, frozen=True):
    """What LoadStored asked for. Entries that come after the snapshot are applied to ``tables`` already."""

    position: Position
    tables: Tables


class StoredUnreadable(Struct, frozen=True):
    reason: str


class PlayerJoined(Struct, frozen=True):
    """A client's join of the game, or of ``room``. ``stay`` comes from a verified token. ``request`` is unique in this process."""

    request: int
    connection: int
    player: str
    stay: str | None
    nonce: str | None
    room: str = ""


class PlayerMoved(Struct, frozen=True):
    """A client's push in the game, or in ``room``. Answered by exactly one ``Answer`` with this ``request``."""

    request: int
    connection: int
    player: str
    event: str
    payload: Fields
    n: int | None
    room: str = ""


class PlayerLeft(Struct, frozen=True):
    """The player's connection is gone, or (``wanted``) the player left the topic. Not answered."""

    connection: int
    player: str
    wanted: bool
    room: str = ""


class Called(Struct, frozen=True):
    """This pod asks one of the cluster's services. Answered by exactly one ``Answer`` with this ``request``, which is below 0."""

    request: int
    service: str
    verb: str
    args: Fields


class Published(Struct, frozen=True):
    """A local channel broadcasts to everyone on ``topic``, on every pod. ``payload`` is JSON, unless it is ``binary``."""

    topic: str
    event: str
    payload: bytes
    binary: bool = False


class Tracked(Struct, frozen=True):
    """A local channel is present on a topic under ``key``, or member ``key`` of a group; again: with another ``meta``.

    ``by``: the join that this is tied to, unique in this process.
    """

    space: Space
    topic: str
    key: str
    by: Joined
    meta: Fields


class Untracked(Struct, frozen=True):
    space: Space
    topic: str
    key: str
    by: Joined


class TrackerEnded(Struct, frozen=True):
    """The join ``by`` is over: on purpose (``wanted``), or its socket is lost, so that presence lingers for the grace."""

    by: Joined
    wanted: bool


class PresenceWatched(Struct, frozen=True):
    """Clients have come to ``topic``: answered by a PresenceChanged at the end of the turn, after which they are told all."""

    topic: str


class ConnectionsCounted(Struct, frozen=True):
    """How many client sockets this pod has; sent on change, at most once a second."""

    connections: int


class HandOffRequested(Struct, frozen=True):
    """By an operator or user: the GameState should move to pod ``to``, or wherever (None)."""

    to: str | None


class DrainRequested(Struct, frozen=True):
    """SIGTERM or POST /drain: this pod is about to go. ``Drained`` follows when nothing depends on it any more."""


Event = (
    Ticked
    | TurnEnded
    | LinkUp
    | LinkDown
    | PeerSaid
    | RecordRead
    | RecordReadFailed
    | RecordWritten
    | RecordConflicted
    | RecordUnanswered
    | StorageLooked
    | Stored
    | StoreFailed
    | StoredLoaded
    | StoredUnreadable
    | PlayerJoined
    | PlayerMoved
    | PlayerLeft
    | Called
    | Published
    | Tracked
    | Untracked
    | TrackerEnded
    | PresenceWatched
    | ConnectionsCounted
    | HandOffRequested
    | DrainRequested
)


# --- what only ``rooms.Rooms`` is told


class Placed(Struct, frozen=True):
    """The table of rooms says so now; None: there is no such room (any more)."""

    room: str
    placement: Placement | None


class SaidInRoom(Struct, frozen=True):
    peer: Incarnation
    message: InRoom


class ServiceAnswered(Struct, frozen=True):
    """What became of CallService ``request``."""

    request: int
    ok: bool
    response: Fields


RoomEvent = (
    Ticked
    | TurnEnded
    | LinkUp
    | LinkDown
    | PlayerJoined
    | PlayerMoved
    | PlayerLeft
    | DrainRequested
    | Placed
    | SaidInRoom
    | ServiceAnswered
)
