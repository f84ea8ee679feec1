"""What pods say to each other over the mesh, and the values in it.

Every message is a tagged, array-like msgspec Struct: it is also its wire format (MessagePack).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NewType

from msgspec import Struct

Incarnation = NewType("Incarnation", str)
"""One life of one server process: ``<pod name>_<pod UID>_<boot number>``. A restarted process is a new one."""

Fields = dict[str, Any]
Tables = dict[str, dict[str, Fields]]
"""The GameState as plain data: ``{table: {key: {field: value}}}``. Tables whose name begins with ``$`` are the system's."""

Op = tuple[str, str, Fields | None]
"""One change: ``(table, key, fields set)``; ``None`` deletes the key. A key that is absent is created."""


def incarnation(name: str, uid: str, boot: int) -> Incarnation:
    return Incarnation(f"{name}_{uid}_{boot}")


def name_of(who: Incarnation) -> str:
    return who.split("_", 1)[0]


def pod_of(who: Incarnation) -> str:
    """Name and UID: what two lives of one pod have in common."""
    return who.rsplit("_", 1)[0]


def boot_of(who: Incarnation) -> int:
    return int(who.rsplit("_", 1)[1])


class Asleep(Struct, frozen=True, array_like=True):
    """The last word of the pod that led last: all that was acknowledged is in the storage, which ends there, and no pod holds it."""

    by: Incarnation
    epoch: int
    seq: int

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.seq)


class Record(Struct, frozen=True, array_like=True):
    """What the Lease says.

    ``version`` is the Lease's resourceVersion: what writes are conditional on, and the order of reads
    (Kubernetes KEP-5504 makes resource versions comparable as integers). ``holder`` is None on a vacant Lease;
    ``never_held`` is the operator's mark on a Lease of a cluster that has not played yet; ``restore``: all pods that held the
    GameState were lost, or all have gone, and ``holder`` is to begin with what its storage has. ``dead``: the operator's word that
    these have ended. ``asleep``: on a vacant Lease, where what is stored ends; who has stored just that may claim it.
    """

    version: int
    holder: Incarnation | None
    epoch: int
    in_sync: tuple[Incarnation, ...]
    never_held: bool = False
    restore: bool = False
    dead: tuple[Incarnation, ...] = ()
    asleep: Asleep | None = None


class Position(Struct, frozen=True, array_like=True, order=True):
    """Where a log ends: epoch of its last entry, then its number. Compared in this order, never by length alone."""

    epoch: int
    seq: int


class Promise(Struct, frozen=True, array_like=True, order=True):
    epoch: int
    leader: Incarnation


class Reply(Struct, frozen=True, array_like=True):
    """An answer that travels with its entry: ``origin`` is the pod whose client asked, ``request`` that pod's number for it."""

    origin: Incarnation
    request: int
    ok: bool
    response: Fields


class Broadcast(Struct, frozen=True, array_like=True):
    topic: str
    event: str
    payload: Fields


class Entry(Struct, frozen=True, array_like=True):
    """What one move, tick or join changed (``ops``), plus what to tell whom once it is committed."""

    epoch: int
    seq: int
    ops: list[Op]
    replies: list[Reply]
    broadcasts: list[Broadcast]

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.seq)


# --- what a client's pod asks of the leader ---------------------------------------------------------------------


class JoinGame(Struct, frozen=True, array_like=True, tag="join"):
    """``stay``: taken from the player's verified token, None without one. ``nonce`` makes a repeat of this join harmless."""

    player: str
    stay: str | None
    nonce: str
    connection: int


class LeaveGame(Struct, frozen=True, array_like=True, tag="leave"):
    """The player's socket is gone (``wanted`` False: the grace begins) or the player left on purpose (True: the stay ends)."""

    player: str
    connection: int
    wanted: bool


class Move(Struct, frozen=True, array_like=True, tag="move"):
    """``n``: the player's own count of moves (rule 13), None if the client does not count."""

    player: str
    connection: int
    event: str
    payload: Fields
    n: int | None


class Call(Struct, frozen=True, array_like=True, tag="call"):
    """To one of the cluster's services, which makes a repeated call harmless: one whose fate is unknown is asked again."""

    service: str
    verb: str
    args: Fields


Request = JoinGame | LeaveGame | Move | Call


# --- messages ---------------------------------------------------------------------------------------------------


class Hello(Struct, frozen=True, array_like=True, tag="hello"):
    """Heartbeat, every 100 ms on every link: says that the sender's loop runs, and what others should know of it."""

    promise: Promise | None
    draining: bool
    ready: bool
    connections: int
    record: Record | None
    pid: int = 0
    tracked: int = 0
    """The version of the sender's own entries of the tracker."""


class Follow(Struct, frozen=True, array_like=True, tag="follow"):
    """The leader of ``epoch`` asks for a promise and for the position of the receiver's log (rule 6).

    ``past``: the sender does not lead yet, it reclaims a Lease that was lost (rule 12), and this is the newest record it knew.
    """

    epoch: int
    past: Record | None = None


class Promised(Struct, frozen=True, array_like=True, tag="promised"):
    """``sealed``: the sender knows that the seal under which it was asked is complete. ``open``: to one who reclaims the Lease,
    what the sender tried to write before the Lease was lost, without ever hearing whether it landed."""

    epoch: int
    last: Position
    committed: Position
    sealed: bool = False
    open: tuple[Record, ...] = ()


class Held(Struct, frozen=True, array_like=True, tag="held"):
    """To one who reclaims the Lease: there was a newer record before it was lost. No promise."""

    record: Record


class Refused(Struct, frozen=True, array_like=True, tag="refused"):
    """Rule 1: the receiver has promised ``promise`` and takes nothing older, nor of another leader in the same epoch."""

    epoch: int
    promise: Promise


class Append(Struct, frozen=True, array_like=True, tag="append"):
    """Entries that come after ``previous``, and how far everything is committed."""

    epoch: int
    previous: Position
    entries: list[Entry]
    committed: int


class Install(Struct, frozen=True, array_like=True, tag="install"):
    """A snapshot at ``position`` (everything in it is committed); Appends continue from there."""

    epoch: int
    position: Position
    tables: Tables


class Ack(Struct, frozen=True, array_like=True, tag="ack"):
    """The sender's log equals the leader's of ``epoch`` up to ``last``. ``missing``: an Append did not fit; send from ``last`` on."""

    epoch: int
    last: Position
    missing: bool


class Forward(Struct, frozen=True, array_like=True, tag="forward"):
    """A request on its way to the leader of ``epoch``; in any other epoch it is bounced, so a late one does no harm."""

    epoch: int
    request: int
    body: Request


class Bounce(Struct, frozen=True, array_like=True, tag="bounce"):
    """The receiver of a Forward does not lead, or is handing over: the rule did not run, and it may be asked elsewhere."""

    epoch: int
    request: int


class Publish(Struct, frozen=True, array_like=True, tag="publish"):
    """PubSub: crosses each link once, is fanned out by the receiver. ``payload`` is JSON, unless it is ``binary``."""

    topic: str
    event: str
    payload: bytes
    binary: bool = False


class Space(StrEnum):
    """What an entry of the tracker is for: its topic is a channel's, or a group's name."""

    presence = "p"
    group = "g"


class Item(Struct, frozen=True, array_like=True):
    """One entry of a pod's own. ``ref``: its number at that pod, never used again; ``previous``: of the entry that it took the place of.

    ``lingers``: its socket is lost, and it stays for the grace.
    """

    ref: int
    space: Space
    topic: str
    key: str
    meta: Fields
    previous: int = 0
    lingers: bool = False


class TrackedDelta(Struct, frozen=True, array_like=True, tag="tracked"):
    """Makes the sender's own entries of ``version`` - 1 those of ``version``. ``ended``, ``lingering``: refs."""

    version: int
    items: list[Item]
    ended: list[int]
    lingering: list[int]


class TrackedAll(Struct, frozen=True, array_like=True, tag="trackedAll"):
    """One of ``parts`` that together are all of the sender's own entries at ``version``; ``part`` counts from 0."""

    version: int
    part: int
    parts: int
    items: list[Item]


class TrackedAsked(Struct, frozen=True, array_like=True, tag="trackedAsked"):
    """Asks the receiver for all of its own entries."""


class Named(Struct, frozen=True, array_like=True, tag="named"):
    """A record that the receiver should know at once (hand-over)."""

    record: Record


class HandOffTo(Struct, frozen=True, array_like=True, tag="handoff"):
    """Asks the leader to hand over; ``to`` a pod's name, or None for the leader's choice."""

    to: str | None


class SealId(Struct, frozen=True, array_like=True):
    """One seal: the epoch and set that it holds for, and the leader's count of seals (see seal)."""

    epoch: int
    round: int
    members: tuple[Incarnation, ...]


class Seal(Struct, frozen=True, array_like=True, tag="seal"):
    id: SealId


class SealAgreed(Struct, frozen=True, array_like=True, tag="sealAgreed"):
    id: SealId


class SealComplete(Struct, frozen=True, array_like=True, tag="sealComplete"):
    id: SealId


class Break(Struct, frozen=True, array_like=True, tag="break"):
    """``epoch``: the highest that the sender has promised."""

    id: SealId
    epoch: int


class Broken(Struct, frozen=True, array_like=True, tag="broken"):
    id: SealId


class MayGo(Struct, frozen=True, array_like=True, tag="mayGo"):
    """To a draining pod, by the leader of ``epoch``: it is in no set that may be in force, and will not be again."""

    epoch: int


class Elect(Struct, frozen=True, array_like=True, tag="elect"):
    """A member of a sealed set asks for promises of a new epoch without the record."""

    epoch: int
    id: SealId


# --- rooms


class Placement(Struct, frozen=True, array_like=True):
    """Where a room is: to the room what the Record is to the GameState.

    ``epoch`` rises with each change of ``holder``, ``version`` with those of ``backups`` or ``joining`` too. A backup has all that was
    acknowledged; who is joining becomes one once it has. ``to``: the backup that the holder is to hand over to. ``kind``: the
    room's class. ``players``: who may join; nobody named: everybody. ``born``: the epoch that it began with; epochs never come again,
    so it tells this room from an earlier one of the same id.
    """

    kind: str
    epoch: int
    version: int
    holder: Incarnation
    backups: tuple[Incarnation, ...] = ()
    joining: tuple[Incarnation, ...] = ()
    to: Incarnation | None = None
    players: tuple[str, ...] = ()
    born: int = 0


class Watch(Struct, frozen=True, array_like=True, tag="watch"):
    """To a room's holder: the sender wants a copy, or (False) no more.

    ``version``: it follows, and keeps its copy by the row of that version, which names it; 0: its clients' sake alone, or not yet.
    """

    wanted: bool
    version: int = 0


RoomMessage = Follow | Promised | Refused | Append | Install | Ack | Forward | Bounce | Watch


class InRoom(Struct, frozen=True, array_like=True, tag="room"):
    """Of one room's copies among themselves; its epochs and positions are the room's own."""

    room: str
    body: RoomMessage


SealMessage = Seal | SealAgreed | SealComplete | Break | Broken

Message = (
    Hello
    | Follow
    | Promised
    | Refused
    | Append
    | Install
    | Ack
    | Forward
    | Bounce
    | Publish
    | Named
    | HandOffTo
    | SealMessage
    | Elect
    | MayGo
    | Held
    | TrackedDelta
    | TrackedAll
    | TrackedAsked
    | InRoom
)
