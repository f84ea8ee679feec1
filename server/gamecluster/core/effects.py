"""What to do: the outputs of ``Node.handle``. Imperative, closed union; every interpreter ends in ``assert_never``."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from .messages import Entry, Fields, Incarnation, Message, Op, Position, Record, Tables

Presences = dict[str, dict[str, list[Fields]]]
"""As Phoenix has it: ``{key: {"metas": [{"phx_ref": …, **meta}]}}``."""


class Level(StrEnum):
    debug = "debug"
    info = "info"
    warning = "warning"


class SendPeer(Struct, frozen=True):
    """Send now, in order, on the link to ``peer``; drop if there is none."""

    peer: Incarnation
    message: Message


class FlushSoon(Struct, frozen=True):
    """Something waits for peers: tell TurnEnded when all that is to be done now has been done, so that it leaves together."""


class ReadRecord(Struct, frozen=True):
    """Read the Lease from its store; answered by RecordRead or RecordReadFailed."""


class WriteRecord(Struct, frozen=True):
    """Replace the Lease if its resourceVersion is still ``record.version``; answered by RecordWritten, -Conflicted or -Unanswered."""

    request: int
    record: Record


class Store(Struct, frozen=True):
    """Write down ``entries``, which follow ``base``; answered by Stored or StoreFailed. One is under way at a time.

    With ``tables``, the state at ``base``, all that was stored is replaced. ``writer``: the epoch that this pod leads, which fences
    off older leaders in a storage that pods share; 0 in a pod's own.
    """

    writer: int
    base: Position
    tables: Tables | None
    entries: list[Entry]

    @property
    def last(self) -> Position:
        return self.entries[-1].position if self.entries else self.base


class LoadStored(Struct, frozen=True):
    """Read back all that is stored; answered by StoredLoaded or StoredUnreadable."""


class Answer(Struct, frozen=True):
    """Answer PlayerJoined/PlayerMoved/Called ``request``. ``join``: an ok answer to a join, to which the shell adds token and state."""

    request: int
    ok: bool
    response: Fields
    join: bool = False


class DeliverPatch(Struct, frozen=True):
    """Event ``patch`` to every local subscriber of the game, or of ``room``. Comes after the answers of the same commit."""

    epoch: int
    seq: int
    ops: list[Op]
    room: str = ""


class DeliverState(Struct, frozen=True):
    """Event ``state`` to every local subscriber of the game, or of ``room``: the gap is too big for patches.

    State: ``node.visible_tables()``, or ``rooms.visible_tables(room)``. The services' tables are others as well, if it is the game's.
    """

    epoch: int
    seq: int
    room: str = ""


class DeliverRows(Struct, frozen=True):
    """Rows of the services' tables have changed, on every pod. Comes after the answers and broadcasts of the same commit."""

    ops: list[Op]


class Deliver(Struct, frozen=True):
    """A broadcast to the local subscribers of ``topic``. ``payload`` is JSON, unless it is ``binary``."""

    topic: str
    event: str
    payload: bytes
    binary: bool = False


class PresenceChanged(Struct, frozen=True):
    """Event ``presence_diff`` to the local subscribers of ``topic``, if anybody came or went.

    Those who have just come are told ``node.roster.presences(topic)`` instead.
    """

    topic: str
    joins: Presences
    leaves: Presences


class Replace(Struct, frozen=True):
    """Close the channel of the game, or of ``room``, of this connection: its player has joined by another one."""

    connection: int
    player: str
    room: str = ""


class Say(Struct, frozen=True):
    """A line for people: a decision with its reason."""

    level: Level
    text: str


class Drained(Struct, frozen=True):
    """Nothing depends on this pod any more: the process may end."""


Effect = (
    SendPeer
    | FlushSoon
    | ReadRecord
    | WriteRecord
    | Store
    | LoadStored
    | Answer
    | DeliverPatch
    | DeliverState
    | DeliverRows
    | Deliver
    | PresenceChanged
    | Replace
    | Say
    | Drained
)


# --- what only ``rooms.Rooms`` says


class CallService(Struct, frozen=True):
    """Have the GameState's leader run a call; answered by ServiceAnswered."""

    request: int
    service: str
    verb: str
    args: Fields


class EndRoom(Struct, frozen=True):
    """The room is no more: close its topic for all who are on it here."""

    room: str


RoomEffect = (
    SendPeer | FlushSoon | Answer | DeliverPatch | DeliverState | Deliver | Replace | Say | CallService | EndRoom
)
