"""One room's copy on this pod.

Primary and backups under a configuration master (PacificA, Microsoft Research 2008): the placement is a row of the GameState, and a
room's holder commits what every backup of the row holds. So a backup that becomes holder has all that was acknowledged, and from the
moment on at which it knows the row, it acknowledges nothing of the former holder, who can commit nothing any more.

| this pod is          | event                                      | what follows                                                     |
| -------------------- | ------------------------------------------ | ---------------------------------------------------------------- |
| anything             | placed here, at a new epoch                | holder: the rules load the state, Follow to the copies           |
| wants a copy         | Follow of the holder that its row names    | follower: its promise                                            |
| anything             | Follow or Append of another                | refused, or passed over until the row is here                    |
| joining, and follows |                                            | Watch with the row's version: it keeps its copy                  |
| holder               | placed elsewhere                           | what came in vain is bounced; follower, or no copy               |
| holder               | a backup does not answer, or has no link   | call drop; it is waited for until the row says otherwise         |
| holder               | one that is joining keeps its copy, and    | it is waited for from now on; call caught_up                     |
|                      | has everything                             |                                                                  |
| holder               | ``to`` is named, and has everything        | requests are bounced, and once all is committed: call hand_over  |
| holder               | no sign of the GameState's leader          | nothing is committed: the room may have been given up for lost    |
| holder               | the game says that it is over, or is empty | once all that it sent is delivered: call end                     |
| follower             | Append, Install                            | as with the GameState's copies                                   |
| has clients, no copy | another holder                             | Watch: it follows, and is never waited for                       |
| anything             | the row is gone                            | no copy; clients are told                                        |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import inf
from typing import Protocol

import msgspec

from . import effects as do
from .authority import PLAYERS, Asked, Authority, Draft
from .authority import Rules as GameRules
from .authority import Services as GameServices
from .effects import Level
from .forwarding import Forwarding, Refusal
from .messages import (
    Ack,
    Append,
    Bounce,
    Call,
    Entry,
    Fields,
    Follow,
    Forward,
    Incarnation,
    InRoom,
    Install,
    JoinGame,
    LeaveGame,
    Message,
    Move,
    Op,
    Placement,
    Position,
    Promise,
    Promised,
    Refused,
    Reply,
    Request,
    RoomMessage,
    Tables,
    Watch,
    name_of,
)
from .replication import START, Log, Outgoing, Replication
from .seats import Seats
from .seen import Seen

HISTORY = 64
"""Committed entries that a room keeps for copies that fall behind."""
GONE_SECONDS = 2.0
"""After which the clients of a silent pod count as disconnected."""
AGAIN_SECONDS = 0.25
"""Until what was not answered is asked again."""
FREEZE_SECONDS = 0.5
"""How long a room that moves takes nothing; then it goes on where it is, and tries again later."""
LEAP = 1_000_000
OUT, ROOM = "$out", "$room"
"""What the room has sent and nobody has confirmed yet; what the room knows of itself."""
NOT_FINAL = frozenset({"no leader", "unknown", "overloaded", "stale"})
"""Refusals after which the same may be asked again."""


class Rules(GameRules, Protocol):
    """``empty_seconds``: the room ends when nobody was in it for so long; None: never. ``keep_seconds``: so long after a change the
    GameState is given a copy, from which the room goes on when all others are lost; None: it is given none."""

    @property
    def empty_seconds(self) -> float | None: ...
    @property
    def keep_seconds(self) -> float | None: ...
    @property
    def ticks_when_empty(self) -> bool: ...


class Host(Protocol):
    """``rooms.Rooms``: what a room needs of its pod."""

    me: Incarnation
    now: float
    suspect_after: float
    requests: Iterator[int]
    """Their numbers, of all rooms: a room that was forgotten here must not ask anew under numbers that its log knows."""

    def make(self, room: str, placement: Placement) -> tuple[Rules, GameServices | None] | None: ...
    def kept(self, room: str) -> Tables | None:
        """What the GameState has of it."""
        ...

    def authority(self, rules: Rules | None, services: GameServices | None) -> Authority: ...
    def do(self, effect: do.RoomEffect) -> None: ...
    def flush_soon(self, room: Room) -> None: ...
    def wake(self, room: Room, when: float) -> None: ...
    def call(self, verb: str, args: Fields) -> None:
        """Of the service of rooms; what becomes of it is seen in the row."""
        ...

    def keep(self, room: Room, epoch: int, then: Callable[[bool], None]) -> None:
        """Gives the GameState a copy."""
        ...

    def post(self, room: Room, n: int, letter: Fields) -> int:
        """Delivers what the room has sent, once; answered by ``room.posted``. Returns what ``unpost`` takes back."""
        ...

    def unpost(self, to: str, request: int) -> None:
        """What is not under way yet is not to be sent any more."""
        ...

    def answer(self, request: int, ok: bool, response: Fields, is_join: bool = False) -> None: ...
    def is_linked(self, peer: Incarnation) -> bool: ...
    def gone_for(self, peer: Incarnation) -> float: ...
    @property
    def has_sign(self) -> bool:
        """The GameState's leader has heard of this pod lately: what is held here is held nowhere else."""
        ...


@dataclass
class _Post:
    """``n`` is on its way; ``outcome``: it has arrived, or never will, and the room is to write that down."""

    n: int
    request: int = 0
    outcome: Fields | None = None


class Room:
    def __init__(self, id: str, host: Host) -> None:
        self.id = id
        self.placement: Placement | None = None
        self._host = host
        self._promise: Promise | None = None
        self._replication = Replication(host.suspect_after / 2, HISTORY)
        self._authority: Authority | None = None
        self._rules: Rules | None = None
        self._forwarding: Forwarding | None = None
        self._seats: Seats | None = None
        self._seen: dict[Incarnation, Seen] = {}
        self._seen_epoch = 0
        self._watchers: set[Incarnation] = set()
        self._early: dict[
            Incarnation, int
        ] = {}  # who watch already, by the row of which version: they know it sooner than this pod
        self._keeping: dict[Incarnation, int] = {}  # who keep their copies, by the row of which version
        self._told = 0  # by the row of which version this copy is kept, as the holder was told
        self._adding: dict[Incarnation, int] = {}  # asked to be made backups, at which version
        self._silent_since: dict[Incarnation, float] = {}
        self._posts: dict[str, _Post] = {}
        self._ack: tuple[Incarnation, Ack] | None = None
        self._acked: tuple[Incarnation, Ack] | None = None
        self._again_at = -inf
        self._frozen_until = -inf
        self._moves_at = -inf
        self._asked_at = -inf
        self._end_at = -inf
        self._empty_since: float | None = None
        self._keep_at: float | None = None
        self._ticked_at = host.now
        self._checked_for_gone = False
        self._is_over = self._is_committing = False

    # --- views

    @property
    def log(self) -> Log:
        return self._replication.log

    @property
    def is_holder(self) -> bool:
        return self._authority is not None

    @property
    def is_used(self) -> bool:
        """Clients of this pod play here, or something of this pod is asked."""
        return bool(self._seats) or bool(self._forwarding)

    @property
    def players(self) -> int:
        return len(self.log.tables.get(PLAYERS, {}))

    def visible_tables(self) -> Tables:
        """The committed state without the system's tables; rows must not be changed."""
        return {name: rows for name, rows in self.log.tables.items() if not name.startswith("$")}

    @property
    def is_busy(self) -> bool:
        """It is to be ticked each time."""
        if self._forwarding or self._posts:
            return True
        rules, placement = self._rules, self.placement
        if placement is None:
            return self.is_used
        authority = self._authority
        if authority is None:
            return self.is_used and not self._is_synced
        return (
            self.log.committed != self.log.last
            or placement.to is not None
            or OUT in self.log.tables
            or bool(rules and rules.tick_rate > 0 and (authority.players or rules.ticks_when_empty))
        )

    @property
    def is_waiting(self) -> bool:
        """It is to be ticked now and then."""
        authority, placement = self._authority, self.placement
        if authority is None or placement is None:
            return self._wants_copy and (not self._is_synced or self._is_joining)
        return (
            authority.is_waiting
            or bool(placement.joining or self._adding or self._silent_since)
            or self._is_over
            or not self._checked_for_gone
            or any(not self._replication.has_promised(p) for p in placement.backups)
        )

    # --- where it is

    def placed(self, placement: Placement | None) -> None:
        before, self.placement = self.placement, placement
        if placement is None or (before is not None and before.born != placement.born):
            self._end()
        if placement is None:
            return
        self._again_at = -inf
        self._adding = {p: v for p, v in self._adding.items() if placement.version <= v}
        if self._promise is None or placement.epoch > self._promise.epoch:
            self._follow(placement.epoch, placement.holder)
        self._settle()
        if self.is_holder:
            self._invite_all()
            self._commit()
            self._manage()
        else:
            self._watch()
            self._forget_copy_unless_wanted()

    def _follow(self, epoch: int, holder: Incarnation) -> None:
        self._promise = Promise(epoch, holder)
        self._ack = self._acked = None
        self._settle()

    def _settle(self) -> None:
        """Makes log and rules follow the placement."""
        placement, me = self.placement, self._host.me
        holds = placement is not None and placement.holder == me and self._promise == Promise(placement.epoch, me)
        if placement is not None and holds and self._replication.epoch != placement.epoch:
            self._stop_holding()
            self._begin_holding(placement)
        elif not holds:
            self._stop_holding()

    def _begin_holding(self, placement: Placement) -> None:
        host, replication = self._host, self._replication
        replication.lead(placement.epoch)
        self._seen, self._seen_epoch = {}, placement.epoch
        self._watchers, self._keeping, self._early = set(self._early), self._early, {}
        self._silent_since, self._posts, self._end_at = {}, {}, -inf
        self._frozen_until, self._empty_since, self._keep_at, self._checked_for_gone = -inf, None, None, False
        if self.log.last == START and (kept := host.kept(self.id)) is not None:
            self.log.install(Position(placement.epoch, 0), _leapt(kept))
        made = host.make(self.id, placement)
        self._rules, services = made or (None, None)
        self._authority = host.authority(self._rules, services)
        head = self.log.head_tables()
        self._is_over = "end" in head.get(ROOM, {})
        added = self._authority.load(head, host.now)
        if self._forwarding is not None:
            self._refuse(self._forwarding.synced(placement.epoch, self.log.tail()))
        where: Fields = {"node": name_of(host.me), "epoch": placement.epoch}
        self._append(Draft([(ROOM, "holder", where), *added], [], []))
        self._post()
        self._send_queued()

    def _stop_holding(self) -> None:
        if self._authority is None:
            return
        self._authority = self._rules = None
        self._frozen_until = -inf
        self._replication.stop_leading()
        for to, post in self._posts.items():
            self._host.unpost(to, post.request)
        self._posts.clear()

    def _end(self) -> None:
        """There is no such room any more."""
        self._stop_holding()
        if self._forwarding is not None:
            for request in self._forwarding.dropped():
                self._host.answer(request, False, {"reason": "room ended"})
        if self._seats is not None:
            self._host.do(do.EndRoom(self.id))
            self._seats = None
        self._forget_copy()
        self._promise = None

    @property
    def _is_joining(self) -> bool:
        return self.placement is not None and self._host.me in self.placement.joining

    @property
    def _wants_copy(self) -> bool:
        """As a backup, or to become one, or for its clients."""
        placement = self.placement
        if placement is None:
            return False
        return self._is_named_by(placement) or self.is_used

    def _is_named_by(self, placement: Placement) -> bool:
        return self._host.me in (placement.holder, *placement.backups, *placement.joining)

    def _forget_copy_unless_wanted(self) -> None:
        if not self._wants_copy:
            self._forget_copy()

    def _forget_copy(self) -> None:
        if self.log.last.seq or self._replication.synced_epoch:
            self._replication = Replication(self._host.suspect_after / 2, HISTORY)
            self._ack = self._acked = None

    # --- time and links

    def ticked(self) -> None:
        host = self._host
        if self.is_holder:
            self._lead()
        elif self._again_at <= host.now:
            self._again_at = host.now + AGAIN_SECONDS
            self._watch()
        if self._forwarding is not None:
            self._refuse(self._forwarding.expired(host.now))
            self._send_queued()
        self._ticked_at = host.now

    def unused(self) -> bool:
        """Nobody here has any use for it: it may be forgotten. Asked now and then."""
        if self.is_used or self.is_holder or self._wants_copy:
            return False
        if self._replication.synced_epoch and self._promise is not None:
            self._send(self._promise.leader, Watch(False))
        self._forget_copy()
        return True

    def turn_ended(self) -> None:
        self._send_all(self._replication.flush(self._host.now))
        if self._ack is not None:
            (peer, ack), self._ack = self._ack, None
            if self._promise == Promise(ack.epoch, peer):
                self._acked = peer, ack
                self._send(peer, ack)

    def link_up(self, peer: Incarnation) -> None:
        self._replication.forget(peer)
        placement, promise = self.placement, self._promise
        if self.is_holder and placement is not None:
            if peer in placement.backups or peer in placement.joining or peer in self._watchers:
                self._send(peer, Follow(placement.epoch))
        elif promise is not None and promise.leader == peer:
            self._replication.synced_epoch = 0
            self._watch()
            for number, pending in self._forwarding.sent_to(promise.epoch) if self._forwarding is not None else ():
                self._send(peer, Forward(promise.epoch, number, pending.body))

    def link_down(self, peer: Incarnation) -> None:
        self._replication.forget(peer)
        self._watchers.discard(peer)
        self._early.pop(peer, None)
        self._checked_for_gone = False
        if self._promise is not None and self._promise.leader == peer:
            self._replication.synced_epoch = 0  # it may stop sending, also what nobody here waits for at the moment
        if self.is_holder and self.placement is not None and peer in self.placement.backups:
            self._silent_since.setdefault(peer, self._host.now)

    def signed(self) -> None:
        """The leader has heard of this pod: what waits for that may be committed."""
        self._commit()

    # --- what this pod's clients ask

    def joined(self, request: int, body: JoinGame) -> None:
        self._seats = self._seats or Seats(self._host.me)
        self._seats.asked(body.connection, body.player)
        self.ask(request, body)

    def left(self, body: LeaveGame) -> None:
        if self._seats is not None:
            self._seats.left(body.connection, body.player)
        if self.placement is not None:
            self.ask(None, body)

    def ask(self, request: int | None, body: Request) -> None:
        if self._forwarding is None:
            self._forwarding = Forwarding(self._host.me, self._host.requests)
        if (refusal := self._forwarding.add(request, body, self._host.now)) is not None:
            self._refuse([refusal])
        self._watch()
        self._send_queued()

    def forget(self, request: int) -> None:
        """It is not to be asked any more."""
        if self._forwarding is not None:
            self._forwarding.forget(request)

    def refuse_all(self, response: Fields) -> None:
        """There is no such room, and will not be."""
        if self._forwarding is not None:
            for request in self._forwarding.dropped():
                self._host.answer(request, False, response)
        self._seats = None

    @property
    def _is_synced(self) -> bool:
        """This pod's copy follows the holder, or is the holder's."""
        return self._promise is not None and self._replication.synced_epoch == self._promise.epoch

    def _watch(self) -> None:
        """Has the holder send what this pod wants, and says that it keeps that."""
        promise, placement = self._promise, self.placement
        if promise is None or placement is None or promise.leader == self._host.me:
            return
        if self._wants_copy and not self._is_synced:
            self._send(promise.leader, Watch(True))
        elif self._is_synced and self._is_joining:
            self._told = placement.version
            self._send(promise.leader, Watch(True, placement.version))

    def _send_queued(self) -> None:
        forwarding, promise = self._forwarding, self._promise
        if forwarding is None or promise is None or not self._is_synced:
            return
        is_mine = promise.leader == self._host.me
        if not (self._is_taking if is_mine else self._host.is_linked(promise.leader)):
            return
        while (queued := forwarding.next_queued(self._host.now)) is not None:
            number, pending = queued
            forwarding.sent(number, promise.epoch)
            forward = Forward(promise.epoch, number, pending.body)
            if is_mine:
                self._run(self._host.me, forward)
            else:
                self._send(promise.leader, forward)

    # --- what other copies say

    def said(self, peer: Incarnation, body: RoomMessage) -> None:
        match body:
            case Append():
                self._on_append(peer, body)
            case Ack():
                self._send_all(self._replication.acknowledged(peer, body, self._host.now))
                self._silent_since.pop(peer, None)
                self._commit()
                if self._is_frozen or self._comes_in(peer):
                    self._manage()
            case Forward():
                self._on_forward(peer, body)
            case Bounce(epoch, request):
                if self._forwarding is not None:
                    self._forwarding.bounced(request, epoch, self._host.now)
            case Follow(epoch):
                if self._accepts(peer, epoch):
                    self._send(peer, Promised(epoch, self.log.last, self.log.committed))
            case Promised():
                if self.is_holder:
                    self._send_all(self._replication.promised(peer, body, self._host.now))
                    self._silent_since.pop(peer, None)
                    self._commit()
            case Install():
                self._on_install(peer, body)
            case Watch():
                self._on_watch(peer, body)
            case Refused():
                pass  # the row that tells of another holder is on its way

    def _accepts(self, peer: Incarnation, epoch: int) -> bool:
        """What is acknowledged is kept: so only by who knows the row, which may say that this is another room than the copy is of."""
        promise = self._promise
        if promise is None or epoch > promise.epoch or not self._wants_copy:
            return False
        if promise == Promise(epoch, peer):
            return peer != self._host.me
        self._send(peer, Refused(epoch, promise))
        return False

    def _on_watch(self, peer: Incarnation, watch: Watch) -> None:
        placement = self.placement
        if not self.is_holder or placement is None:
            self._early.pop(peer, None)
            if watch.wanted:
                self._early[peer] = watch.version
            return
        if not watch.wanted:
            self._watchers.discard(peer)
            self._keeping.pop(peer, None)
            if peer not in placement.backups:
                self._replication.forget(peer)
            return
        self._watchers.add(peer)
        self._keeping[peer] = watch.version
        if not watch.version or not self._replication.has_promised(peer):
            self._send(peer, Follow(placement.epoch))
        self._manage()

    def _on_append(self, peer: Incarnation, message: Append) -> None:
        if not self._accepts(peer, message.epoch):
            return
        ack, committed = self._replication.follow_append(message)
        if ack.missing:
            self._send(peer, ack)
        elif message.entries or self._acked != (peer, ack):
            self._ack = peer, ack
            self._host.flush_soon(self)
        self._deliver(committed)
        if ack.missing:
            return
        if self._forwarding is not None:
            self._refuse(self._forwarding.synced(message.epoch, self.log.tail()))
            self._send_queued()
        if self.placement is not None and self._is_joining and self._told != self.placement.version:
            self._watch()

    def _on_install(self, peer: Incarnation, message: Install) -> None:
        if not self._accepts(peer, message.epoch):
            return
        self._acked = None
        if self.log.has(message.position):
            self._on_append(peer, Append(message.epoch, message.position, [], message.position.seq))
            return
        ack, is_replaced = self._replication.follow_install(message)
        self._send(peer, ack)
        if is_replaced:
            self._deliver_state()

    def _on_forward(self, peer: Incarnation, message: Forward) -> None:
        if message.epoch != self._seen_epoch:
            return
        if not self._seen.setdefault(peer, Seen()).is_new(message.request):
            return
        if message.epoch == self._replication.epoch and self._is_taking:
            self._run(peer, message)
        else:
            self._send(peer, Bounce(message.epoch, message.request))

    # --- holding

    @property
    def _is_frozen(self) -> bool:
        """It moves: what comes now is to go to the next holder."""
        return self._host.now < self._frozen_until

    @property
    def _is_taking(self) -> bool:
        return self.is_holder and not self._is_frozen

    def _run(self, origin: Incarnation, message: Forward) -> None:
        """A letter to a room that is over runs too: only the room's services know whether it was taken before, which a repeat is told."""
        authority = self._authority
        assert authority is not None
        asked = Asked(origin, message.request, self._replication.epoch, self.log.last.seq + 1)
        body = message.body
        if self._is_over and isinstance(body, JoinGame | Move):
            self._append(asked.refuse("room ended"))
        elif isinstance(body, JoinGame) and not self._is_invited(body):
            self._append(asked.refuse("not invited"))
        else:
            self._append(authority.run(message.body, asked, self._host.now))

    def _is_invited(self, body: JoinGame) -> bool:
        """Only a token tells who somebody is."""
        assert self.placement is not None
        invited = self.placement.players
        return not invited or (body.stay is not None and body.player in invited)

    def _append(self, draft: Draft) -> None:
        authority = self._authority
        assert authority is not None
        for error in authority.take_errors():
            self._host.do(do.Say(Level.warning, f"a rule of room {self.id} failed\n{error}"))
        self._is_over = self._is_over or any(op[0] == ROOM and op[1] == "end" for op in draft.ops)
        self.log.append(
            Entry(self._replication.epoch, self.log.last.seq + 1, draft.ops, draft.replies, draft.broadcasts)
        )
        if self._replication.has_copies:
            self._host.flush_soon(self)
        self._commit()

    @property
    def _waited_for(self) -> set[Incarnation]:
        assert self.placement is not None
        return {*self.placement.backups, *self._adding} - {self._host.me}

    def _commit(self) -> None:
        """All that may be. What follows from a delivery is committed after it, so that it is delivered after it."""
        if self._is_committing:
            return
        self._is_committing = True
        while committed := self._committable():
            if self._replication.has_copies:
                self._host.flush_soon(self)
            else:
                self.log.trim()
            self._deliver(committed)
            self._note_empty()
            self._note_change()
            self._end_if_over()
        self._is_committing = False

    def _committable(self) -> list[Entry]:
        """Commits them."""
        if not self.is_holder or self.log.committed == self.log.last or not self._host.has_sign:
            return []
        return self.log.commit(self._replication.advance(self._waited_for))

    def _lead(self) -> None:
        host, authority, rules = self._host, self._authority, self._rules
        assert authority is not None
        self._replication.ticked(min(host.now - self._ticked_at, 0.03))
        self._send_all(self._replication.resend(host.now))
        if self._is_taking:
            for draft in authority.due(host.now):
                self._append(draft)
            is_awake = rules is not None and (authority.players or rules.ticks_when_empty)
            if is_awake and (ticked := authority.tick(host.now)) is not None:
                self._append(ticked)
            self._disconnect_gone(authority)
        self._commit()
        self._post()
        if self._again_at <= host.now:
            self._again_at = host.now + AGAIN_SECONDS
            self._invite_all()
            self._manage()
        elif self._is_frozen:
            self._manage()

    def _disconnect_gone(self, authority: Authority) -> None:
        if self._checked_for_gone:
            return
        if cut := authority.disconnect_from(lambda pod: self._host.gone_for(pod) > GONE_SECONDS, self._host.now):
            self._append(cut)
        self._checked_for_gone = all(self._host.gone_for(pod) < GONE_SECONDS / 2 for pod in authority.pods)

    def _invite_all(self) -> None:
        placement = self.placement
        assert placement is not None
        for peer in (*placement.backups, *placement.joining, *sorted(self._watchers)):
            if not self._replication.has_promised(peer) and self._host.is_linked(peer):
                self._send(peer, Follow(placement.epoch))

    def _manage(self) -> None:
        """Asks for the changes of its placement that are due; each again until the row has changed."""
        placement = self.placement
        assert placement is not None
        where: Fields = {"id": self.id, "version": placement.version}
        for peer in placement.joining:
            is_kept = self._keeping.get(peer) == placement.version
            if is_kept and self._replication.is_caught_up(peer):
                self._adding[peer] = placement.version
                self._host.call("caught_up", {**where, "pod": peer})
        for peer in sorted(self._waited_for):
            if self._has_lost(peer):
                self._host.call("drop", {**where, "pod": peer})
        if placement.to is not None:
            self._move(placement.to, where)
        self._end_if_over()

    def _end_if_over(self) -> None:
        """At a moment at which all is committed: those who ask in vain may leave few of these."""
        now, placement = self._host.now, self.placement
        if not self._is_over or placement is None or now < self._end_at:
            return
        if OUT not in self.log.tables and self.log.committed == self.log.last:
            self._end_at = now + AGAIN_SECONDS
            self._host.call("end", {"id": self.id, "epoch": placement.epoch})

    def _has_lost(self, peer: Incarnation) -> bool:
        """It has no copy that answers, for twice as long as the leader needs to suspect a pod."""
        now, patience = self._host.now, 2 * self._host.suspect_after
        if not self._replication.has_promised(peer):
            return now - self._silent_since.setdefault(peer, now) > patience
        return self._replication.overdue(peer) > patience

    def _comes_in(self, peer: Incarnation) -> bool:
        """It keeps its copy, and is to become a backup."""
        placement = self.placement
        return placement is not None and peer in placement.joining and peer not in self._adding

    def _move(self, to: Incarnation, where: Fields) -> None:
        """Takes nothing more from when the next holder has nearly everything until it has all of it, and the row says so."""
        now = self._host.now
        if not self._is_frozen:
            assert self.placement is not None
            if now < self._moves_at or to not in self.placement.backups or not self._replication.is_caught_up(to):
                return
            self._frozen_until, self._moves_at, self._asked_at = now + FREEZE_SECONDS, now + 4 * FREEZE_SECONDS, -inf
        if self.log.committed == self.log.last and not self._adding and now >= self._asked_at + AGAIN_SECONDS:
            self._asked_at = now
            self._host.call("hand_over", {**where, "to": to})

    def _note_empty(self) -> None:
        """Sees to it that a room which nobody is in ends in time."""
        rules, authority, now = self._rules, self._authority, self._host.now
        if rules is None or authority is None or rules.empty_seconds is None or authority.players:
            self._empty_since = None
        elif self._empty_since is None:
            self._empty_since = now
            self._host.wake(self, now + rules.empty_seconds)

    def _note_change(self) -> None:
        """Sees to it that the GameState is given a copy in time."""
        if self._rules is not None and self._rules.keep_seconds is not None and self._keep_at is None:
            self._keep_at = self._host.now + self._rules.keep_seconds
            self._host.wake(self, self._keep_at)

    def woken(self) -> None:
        """Something of what was noted may be due."""
        if self._keep_at is not None and self._host.now >= self._keep_at:
            self.keep()
        rules, since = self._rules, self._empty_since
        if rules is None or since is None or rules.empty_seconds is None or self._is_over:
            return
        if not self._is_taking:
            self._host.wake(self, self._host.now + FREEZE_SECONDS)
        elif self._host.now - since >= rules.empty_seconds:
            self._run(self._host.me, Forward(self._replication.epoch, 0, Call("outbox", "end", {"why": "empty"})))
            self._manage()

    def keep(self) -> None:
        """Gives the GameState a copy, if what it has is older."""
        if self._keep_at is None or self.placement is None or not self.is_holder:
            return
        self._keep_at = None

        def then(ok: bool) -> None:
            if not ok and self.is_holder:
                self._note_change()

        self._host.keep(self, self.placement.epoch, then)

    # --- what the room has sent

    def _post(self) -> None:
        """The oldest to each destination is on its way; the next follows when that has arrived and is written down.

        Not before what the former holder may have written down is committed: it would be sent again.
        """
        if not self.is_holder or self.log.committed.epoch != self._replication.epoch:
            return
        rows = self.log.tables.get(OUT, {})
        for to, post in list(self._posts.items()):
            if str(post.n) not in rows:
                del self._posts[to]
            elif post.outcome is not None and self._is_taking:
                outcome, post.outcome = post.outcome, None
                self._run(self._host.me, Forward(self._replication.epoch, 0, Call("outbox", "sent", outcome)))
        for key, row in list(rows.items()):
            if row["to"] not in self._posts and key in rows:
                post = self._posts[row["to"]] = _Post(int(key))
                post.request = self._host.post(self, int(key), row)

    def posted(self, n: int, to: str, epoch: int, ok: bool, response: Fields) -> None:
        """It has arrived, was refused for good, or nobody knows: then it is sent again."""
        post = self._posts.get(to)
        if post is None or post.n != n or epoch != self._replication.epoch:
            return
        if ok or response.get("reason") not in NOT_FINAL:
            post.outcome = {"n": n, "ok": ok, "response": response}
            self._post()
        else:
            del self._posts[to]  # the next tick sends it again

    # --- delivering what is committed

    def _deliver(self, entries: list[Entry]) -> None:
        ops: list[Op] = []
        has_sent = False
        for entry in entries:
            for reply in entry.replies:
                if reply.origin == self._host.me:
                    self._answer(reply)
            for said in entry.broadcasts:
                self._host.do(do.Deliver(said.topic, said.event, msgspec.json.encode(said.payload)))
            for op in entry.ops:
                if not op[0].startswith("$"):
                    ops.append(op)
                elif op[0] == OUT or (op[0] == ROOM and op[1] == "holder"):
                    has_sent = True
                elif op[0] == PLAYERS and self._seats is not None and op[1] in self._seats:
                    self._notice_connection(op[1])
        if ops:
            self._host.do(do.DeliverPatch(entries[-1].epoch, entries[-1].seq, ops, self.id))
        if has_sent:
            self._post()

    def _deliver_state(self) -> None:
        if self._forwarding is not None:
            self._refuse(self._forwarding.replaced())
        for player in self._seats.players() if self._seats is not None else ():
            self._notice_connection(player)
        position = self.log.committed
        self._host.do(do.DeliverState(position.epoch, position.seq, self.id))

    def _answer(self, reply: Reply) -> None:
        pending = self._forwarding.answered(reply.request) if self._forwarding is not None else None
        if pending is None:
            return
        body = pending.body
        if isinstance(body, JoinGame) and self._seats is not None:
            former = self._seats.answered(body, reply.ok)
            if former is not None:
                self._host.do(do.Replace(former, body.player, self.id))
        if pending.request is not None:
            self._host.answer(pending.request, reply.ok, reply.response, isinstance(body, JoinGame) and reply.ok)

    def _notice_connection(self, player: str) -> None:
        assert self._seats is not None
        match self._seats.noticed(player, self.log.tables.get(PLAYERS, {}).get(player)):
            case JoinGame() as again:
                self.ask(None, again)
            case int() as replaced:
                self._host.do(do.Replace(replaced, player, self.id))

    # --- sending

    def _send(self, peer: Incarnation, body: RoomMessage) -> None:
        self._host.do(do.SendPeer(peer, InRoom(self.id, body)))

    def _send_all(self, messages: Outgoing) -> None:
        """One that goes to several is the same object, which the mesh encodes once."""
        wrapped: dict[int, InRoom] = {}
        for peer, body in messages:
            if (message := wrapped.get(id(body))) is None:
                message = wrapped[id(body)] = InRoom(self.id, _room_message(body))
            self._host.do(do.SendPeer(peer, message))

    def _refuse(self, refusals: Iterable[Refusal]) -> None:
        for request, response in refusals:
            self._host.answer(request, False, response)


def _leapt(kept: Tables) -> Tables:
    """What the room sent after it was kept has numbers that must not come again."""
    outbox = kept.get(ROOM, {}).get("outbox")
    if outbox is None:
        return kept
    return {**kept, ROOM: {**kept[ROOM], "outbox": {**outbox, "n": outbox["n"] + LEAP}}}


def _room_message(body: Message) -> RoomMessage:
    assert isinstance(body, Append | Install)
    return body
