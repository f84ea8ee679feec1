"""One pod: composes membership, leadership, replication, authority, forwarding and topics. ``handle(event, now) -> effects``.

A move's way: PlayerMoved → Forward to the leader → the rule runs once → Append to all → Ack → commit → Answer and DeliverPatch.
A failover's way: LinkDown → ``Leadership.decide`` → WriteRecord → RecordWritten → Follow → Promised → leading → waiting moves run.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from math import inf

import msgspec

from . import effects as do
from . import events as happened
from .authority import CLUSTER, OWN_TABLES, PLAYERS, Asked, Authority, Draft, Rules, Services
from .durability import Durability, Kept
from .effects import Effect, Level, Say, SendPeer
from .events import Event
from .forwarding import Forwarding, Refusal
from .insync import Facts
from .leadership import NAMED, Leadership, Role, Takeover
from .membership import Membership
from .messages import (
    Ack,
    Append,
    Bounce,
    Break,
    Broken,
    Call,
    Elect,
    Entry,
    Follow,
    Forward,
    HandOffTo,
    Held,
    Hello,
    Incarnation,
    Install,
    JoinGame,
    LeaveGame,
    MayGo,
    Message,
    Move,
    Named,
    Op,
    Position,
    Promise,
    Promised,
    Publish,
    Record,
    Refused,
    Reply,
    Request,
    Seal,
    SealAgreed,
    SealComplete,
    SealId,
    SealMessage,
    Tables,
    TrackedAll,
    TrackedAsked,
    TrackedDelta,
    name_of,
)
from .replication import Log, Outgoing, Replication
from .roster import Roster
from .seal import Sealing
from .seats import Seats
from .seen import Seen
from .topics import publish, published
from .tracker import Tracker
from .view import ClusterView, HeldView, NodeView, Status, StorageState

HELD_REQUESTS = 10_000
DIFF_EVERY_SECONDS = 0.1
"""Of who is present on a topic."""
TICK_AT_MOST_SECONDS = 0.03
"""Of the time between two ticks as much counts against others: in more of it this pod may have stood still itself."""


@dataclass(frozen=True, kw_only=True)
class NodeConfig:
    """Times in seconds. ``takeover`` off: only the backstop moves the GameState. ``durable``: a commit waits for the storage.

    ``stops_when_alone`` off: rule 11 does not hold; a pod left alone goes on though the game may be restored elsewhere.
    ``leave_alone_after``: how long a pod that is to go waits for others to come, where there were others before. inf: for ever, also
    when all whom it knows go with it. ``awaits_newcomers``: so it waits while there is a Lease: somebody sees to it that one comes.
    """

    suspect_after: float = 0.5
    replicas: int = 3
    renew_every: float = 5.0
    lease_duration: float = 15.0
    takeover: bool = True
    stops_when_alone: bool = True
    hello_every: float = 0.1
    hand_over_within: float = 3.0
    leave_alone_after: float = 3.0
    awaits_newcomers: bool = False
    disconnect_after: float = 2.0
    presence_grace: float = 0.5
    url: str | None = None
    revision: str = ""
    pid: int = 0
    storage: Kept = Kept.nowhere
    durable: bool = False


class Node:
    def __init__(
        self,
        me: Incarnation,
        config: NodeConfig,
        game: Rules | None,
        randomness: random.Random,
        now: float,
        services: Services | None = None,
    ) -> None:
        self.me = me
        self._config = config
        self._declared = tuple(game.tables()) if game else ()
        self._random = randomness
        self._members = Membership(me, config.suspect_after, now)
        self._seal = Sealing(me)
        self._leadership = Leadership(
            me,
            config.suspect_after,
            config.replicas,
            config.renew_every,
            config.lease_duration,
            config.takeover,
            config.stops_when_alone,
            self._seal,
            self._members.is_certified,
        )
        self._replication = Replication(resend_after=config.suspect_after / 2)
        self._durability = Durability(config.storage, config.durable)
        self._authority = Authority(game, randomness, services)
        self._forwarding = Forwarding(me)
        self._tracker = Tracker(me, config.presence_grace, DIFF_EVERY_SECONDS)
        self._now = now
        self._out: list[Effect] = []
        self._serving_epoch = 0
        self._hello_at = now
        self._expire_at = now
        self._ticked_at = now
        self._held: deque[tuple[Incarnation, Forward]] = deque()
        self._seen: dict[Incarnation, Seen] = {}  # in the epoch that this pod led last
        self._seen_epoch = 0
        self._is_flush_due = False
        self._ack: tuple[Incarnation, Ack] | None = None  # the newest that waits for the end of the turn
        self._acked: tuple[Incarnation, Ack] | None = None  # the newest that was sent
        self._connections = 0
        self._seats = Seats(me)
        self._drained = False
        self._asked_to_go = inf
        self._let_go: Promise | None = None  # by whom this pod was told that nobody counts on it
        self._accounted_seq = 0
        self._is_rolled_back = False  # restored, maybe without the last that was acknowledged, and not served since

    # --- views

    @property
    def log(self) -> Log:
        return self._replication.log

    @property
    def is_leader(self) -> bool:
        return self._serving_epoch > 0

    @property
    def record(self) -> Record | None:
        return self._leadership.record

    @property
    def epoch(self) -> int:
        return self._leadership.epoch

    def position(self) -> Position:
        """Of the committed state: what clients may know."""
        return self.log.committed

    def visible_tables(self) -> Tables:
        """The committed state without the system's tables; rows must not be changed. Declared tables are there when empty."""
        declared: Tables = {name: {} for name in self._declared}
        return declared | {name: rows for name, rows in self.log.tables.items() if not name.startswith("$")}

    @property
    def roster(self) -> Roster:
        """Who is where, on all pods."""
        return self._tracker.roster

    def reachable(self, now: float) -> list[Incarnation]:
        """Peers that are linked and not suspected."""
        return [peer for peer in self._members.linked() if not self._members.suspected(peer, now)]

    @property
    def suspect_after(self) -> float:
        """Seconds of silence."""
        return self._config.suspect_after

    def gone_for(self, peer: Incarnation, now: float) -> float:
        """Seconds since it was last heard."""
        return self._members.gone_for(peer, now)

    def staying(self, now: float) -> list[Incarnation]:
        """Pods that are heard and are not about to go; this one first, if it stays."""
        draining = self._members.draining()
        mine = [] if self._leadership.leaving else [self.me]
        return [*mine, *(peer for peer in self.reachable(now) if peer not in draining)]

    def url_of(self, pod: Incarnation) -> str | None:
        """Where clients reach it; None: nowhere of its own, or not known."""
        return self._config.url if pod == self.me else self._members.url(pod)

    @property
    def is_ready(self) -> bool:
        """In the mesh and caught up: what a client asks of this pod will be done."""
        return self._status()[0] is Status.serving

    def view(self) -> ClusterView:
        status, reason = self._status()
        record = self.record
        leader = self._leadership.leader
        return ClusterView(
            self=name_of(self.me),
            leader=name_of(leader) if leader and status is Status.serving else None,
            epoch=self.epoch,
            seq=self.position().seq,
            in_sync=[name_of(m) for m in record.in_sync] if record else [],
            status=status,
            reason=reason,
            ready=status is Status.serving,
            players=len(self.log.tables.get(PLAYERS, {})),
            nodes=self._node_views(),
            last_failover=self.log.tables.get(CLUSTER, {}).get("failover"),
            stored={"epoch": found.epoch, "seq": found.seq} if (found := self._durability.found) else None,
            storage=self._storage_state(),
            held=self._held_view(),
            last={"epoch": self.log.last.epoch, "seq": self.log.last.seq},
            bound=list(self._seal.members) if self._seal.binds else [],
        )

    # --- events

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Decides. ``now``: monotonic seconds of this pod. The effects are to be carried out in their order."""
        self._now = now
        self._out = []
        match event:
            case happened.PeerSaid(peer, message):
                self._members.heard(peer, now)
                self._on_message(peer, message)
            case happened.PlayerMoved(request, connection, player, name, payload, n):
                self._ask(request, Move(player, connection, name, payload, n))
            case happened.Ticked():
                self._on_tick()
            case happened.TurnEnded():
                self._on_turn_ended()
            case happened.PlayerJoined(request, connection, player, stay, nonce):
                nonce = nonce or f"{self._random.getrandbits(96):024x}"
                self._seats.asked(connection, player)
                self._ask(request, JoinGame(player, stay, nonce, connection))
            case happened.PlayerLeft(connection, player, wanted):
                self._seats.left(connection, player)
                self._ask(None, LeaveGame(player, connection, wanted))
            case happened.Called(request, service, verb, args):
                self._ask(request, Call(service, verb, args))
            case happened.Published(topic, name, data, binary):
                self._out += publish(topic, name, data, binary, self._members.linked())
            case happened.Tracked() | happened.Untracked() | happened.TrackerEnded() | happened.PresenceWatched():
                self._tracker.told(event, now)
            case happened.ConnectionsCounted(connections):
                self._connections = connections
            case happened.LinkUp(peer, url, revision):
                self._on_link_up(peer, url, revision)
            case happened.LinkDown(peer, reason):
                self._members.link_down(peer, reason, now)
                self._replication.forget(peer)
                self._tracker.link_down(peer, now)
                self._decide()
            case happened.RecordRead(record):
                self._leadership.read_done(record is not None)
                self._out += self._leadership.seen(record, now)
                self._decide()
            case happened.RecordReadFailed():
                self._leadership.read_failed(now)
            case happened.RecordWritten(request, version):
                self._on_written(request, version)
            case happened.RecordConflicted(request):
                self._leadership.unwritten(request, now, answered=True)
                self._decide()
            case happened.RecordUnanswered(request):
                self._leadership.unwritten(request, now, answered=False)
                self._decide()
            case happened.StorageLooked(position):
                self._durability.looked(position)
            case happened.Stored(last, entries):
                self._out += self._durability.stored(last, entries)
                self._commit()
                self._release_held()
                if self._leadership.closing:
                    self._decide()
            case happened.StoreFailed(reason):
                self._out += self._durability.failed(reason, now)
            case happened.StoredLoaded(position, tables):
                self._on_loaded(position, tables)
            case happened.StoredUnreadable(reason):
                self._out += self._durability.unreadable(reason, now)
            case happened.HandOffRequested(to):
                self._on_hand_off(to)
            case happened.DrainRequested():
                self._leadership.leaving = True
                self._asked_to_go = min(self._asked_to_go, now)
                self._say_hello()
                self._on_tick()
        self._flush_tracker_soon()
        leadership = self._leadership
        self._out += self._durability.write(self.log, self._serving_epoch, leadership.leaving, leadership.closing, now)
        return self._out

    def _on_message(self, peer: Incarnation, message: Message) -> None:
        match message:
            case Append():
                self._on_append(peer, message)
            case Ack():
                self._send_all(self._replication.acknowledged(peer, message, self._now))
                self._commit()
                if self._leadership.is_frozen or self._leadership.role is not Role.leading:
                    self._decide()
            case Forward():
                self._on_forward(peer, message)
            case Bounce(epoch, request):
                self._forwarding.bounced(request, epoch, self._now)
            case Publish():
                self._out += published(message)
            case TrackedDelta() | TrackedAll() | TrackedAsked():
                self._out += self._tracker.said(peer, message, self._now)
            case Hello():
                self._on_hello(peer, message)
            case Follow():
                self._on_follow(peer, message)
            case Held(record):
                self._leadership.held_before(record)
                self._decide()
            case Promised():
                self._leadership.promised(peer, message)
                self._send_all(self._replication.promised(peer, message, self._now))
                self._commit()
                self._decide()
            case Refused(_, promise):
                self._out += self._leadership.refused(promise)
                self._decide()
            case Install():
                self._on_install(peer, message)
            case Named(record):
                self._out += self._leadership.seen(record, self._now)
                self._decide()
            case HandOffTo(to):
                self._on_hand_off(to)
            case MayGo(epoch):
                self._let_go = Promise(epoch, peer)
            case Elect(epoch, id):
                self._on_elect(peer, epoch, id)
            case Seal() | SealAgreed() | SealComplete() | Break() | Broken():
                self._on_seal(peer, message)

    # --- time, links, record

    def _on_tick(self) -> None:
        now = self._now
        if stalled := self._members.ticked(now):
            self._say(Level.info, f"this pod's loop was stalled for {stalled * 1000:.0f} ms: nobody is accused")
        self._tracker.ticked(now, stalled, self._members.silent_since)
        if now >= self._hello_at:
            self._hello_at = now + self._config.hello_every
            self._say_hello()
        self._replication.ticked(min(now - self._ticked_at, TICK_AT_MOST_SECONDS))
        self._ticked_at = now
        self._send_all(self._replication.resend(now))
        if self._is_taking:
            self._lead(now)
        if now >= self._expire_at:
            self._expire_at = now + 0.1
            self._refuse(self._forwarding.expired(now))
        self._flush()
        self._decide()
        if self._leadership.leaving:
            self._leave(now)

    def _say_hello(self) -> None:
        leadership = self._leadership
        hello = Hello(
            promise=leadership.promise,
            draining=leadership.leaving,
            ready=self.is_ready,
            connections=self._connections,
            record=leadership.record,
            pid=self._config.pid,
            tracked=self._tracker.version,
        )
        for peer in self._members.linked():
            self._send(peer, hello)
            if self._replication.epoch and not self._replication.has_promised(peer):
                self._invite(peer)
        if self._replication.epoch:
            self._send_all(self._replication.announce())

    def _lead(self, now: float) -> None:
        for draft in self._authority.due(now):
            self._append(draft)
        gone = self._config.disconnect_after
        if cut := self._authority.disconnect_from(lambda p: self._members.gone_for(p, now) > gone, now):
            self._append(cut)
        if ticked := self._authority.tick(now):
            self._append(ticked)

    def _leave(self, now: float) -> None:
        """Goes when the leader says that nobody counts on this pod, or when all others go as well.

        Its own sight of the record is not enough: it may have been let in a moment ago. Others that left before were no
        part of this: one of them may be on its way back, and find the state here. The last one with a storage stores everything
        and leaves its word in the record; without one it plays on until a newcomer has everything, where newcomers are awaited.
        """
        if self._drained:
            return
        leadership, has_waited = self._leadership, now >= self._asked_to_go + self._config.leave_alone_after
        is_left_alone = self._members.everyone_else_is_leaving(self.record) and not self._awaits_newcomers(now)
        others_go = is_left_alone and (
            not self._members.has_met
            or (self._members.was_any_heard_since(self._asked_to_go) and self._config.leave_alone_after < inf)
            or has_waited
        )
        if self._has_to_store:
            is_alone = has_waited and not set(self._members.linked()) - self._members.draining()
            leadership.closing = self.is_leader and (leadership.has_sent_last_word or others_go or is_alone)
            others_go = False
        if others_go or self._may_go:
            self._drained = True
            self._out.append(do.Drained())
        elif self.is_leader and not leadership.closing:
            if self._has_successor() or not self._awaits_newcomers(now):
                leadership.ask_hand_over(None, now, self._config.hand_over_within)
            else:
                leadership.give_up_hand_over(now)

    def _awaits_newcomers(self, now: float) -> bool:
        """What is in memory only would go with this pod. Without a Lease nobody else could lead: the game is being deleted."""
        leadership = self._leadership
        return (
            self._config.awaits_newcomers
            and self._durability.kept is Kept.nowhere
            and (self.is_leader or leadership.may_be_in_sync)
            and not leadership.is_lease_gone(now, self._config.leave_alone_after)
        )

    def _has_successor(self) -> bool:
        """Who awaits one goes on without: a hand-over that is asked for holds moves up."""
        stay = set(self._members.linked()) - self._members.draining()
        return self.record is not None and not stay.isdisjoint(self.record.in_sync)

    @property
    def _may_go(self) -> bool:
        """Nobody counts on this pod: its leader has said so, or the game sleeps and nobody has led since, as far as it has promised."""
        record, promise = self.record, self._leadership.promise
        if self._let_go is not None and self._let_go == promise:
            return True
        return record is not None and record.asleep is not None and record.epoch > self.epoch

    @property
    def _has_to_store(self) -> bool:
        """There is a storage, and this pod leads, or would have to if the leader died before it has stored everything."""
        if self._durability.kept is Kept.nowhere or self.record is None:
            return False
        return self.is_leader or self._leadership.may_be_in_sync

    def _on_link_up(self, peer: Incarnation, url: str | None, revision: str) -> None:
        for dead in self._members.link_up(peer, url, revision, self._now):
            self._replication.forget(dead)
            self._tracker.link_down(dead, self._now)
        self._replication.forget(peer)
        self._tracker.link_up(peer)
        if self._replication.epoch:
            self._invite(peer)
        elif peer == self._leadership.leader:
            for number, pending in self._forwarding.sent_to(self.epoch):
                self._send(peer, Forward(self.epoch, number, pending.body))
        self._decide()

    def _on_hello(self, peer: Incarnation, hello: Hello) -> None:
        self._members.said_hello(peer, hello)
        self._out += self._tracker.hello(peer, hello.tracked, self._now)
        self._out += self._leadership.seen(hello.record, self._now)
        if hello.draining and self.is_leader and peer not in self._leadership.waited_for():
            self._send(peer, MayGo(self._serving_epoch))
        if hello.promise is not None and hello.promise.epoch > self.epoch:
            self._out += self._leadership.refused(hello.promise)
        self._settle_role()

    def _on_written(self, request: int, version: int) -> None:
        was = self.record
        self._out += self._leadership.written(request, version, self._now)
        record = self.record
        if record is not None and was is not None and record.holder not in (None, self.me) and was.holder == self.me:
            self._settle_role()  # handed over: what was held goes back to whoever sent it, before the successor is told
            for peer in self._members.linked():
                self._send(peer, Named(record))
        self._commit()
        self._decide()

    def _on_hand_off(self, to: str | None) -> None:
        leader = self._leadership.leader
        if self.is_leader:
            if to != name_of(self.me):
                self._leadership.ask_hand_over(to, self._now, self._config.hand_over_within)
                self._decide()
        elif leader is not None and self._members.is_linked(leader):
            self._send(leader, HandOffTo(to))

    # --- following

    def _on_follow(self, peer: Incarnation, follow: Follow) -> None:
        if follow.past is not None and (held := self._leadership.newer_than(follow.past)) is not None:
            self._send(peer, held)
        elif self._accepts(peer, follow.epoch):
            open = self._leadership.open_writes() if follow.past is not None else ()
            self._send(peer, Promised(follow.epoch, self.log.last, self.log.committed, False, open))

    def _on_elect(self, peer: Incarnation, epoch: int, id: SealId) -> None:
        """Rule 10: a promise without the record, only under the seal that holds here too."""
        if self._seal.may_promise_under(id) and self._accepts(peer, epoch):
            self._send(peer, Promised(epoch, self.log.last, self.log.committed, self._seal.is_complete))

    def _on_seal(self, peer: Incarnation, message: SealMessage) -> None:
        answer: Message | None = None
        match message:
            case Seal(id):
                answer = self._seal.asked(id, self._leadership.may_agree(id.epoch, peer))
            case SealAgreed(id):
                self._seal.agreed_by(peer, id)
            case SealComplete(id):
                self._seal.completed(id)
            case Break(id, epoch):
                answer = self._seal.break_asked(id, self.epoch <= epoch)
            case Broken(id):
                self._seal.broken_by(peer, id)
        if answer is not None:
            self._send(peer, answer)
        self._decide()

    def _invite(self, peer: Incarnation) -> None:
        """Asks for a promise: by the record, or under the seal."""
        if self._leadership.role is not Role.electing:
            self._send(peer, Follow(self._replication.epoch))
        elif peer in self._seal.members:
            self._send(peer, Elect(self._replication.epoch, self._seal.id))

    def _on_append(self, peer: Incarnation, message: Append) -> None:
        if not self._accepts(peer, message.epoch):
            return
        ack, committed = self._replication.follow_append(message)
        if ack.missing:
            self._send(peer, ack)
        elif message.entries or self._acked != (peer, ack):
            self._ack = peer, ack
            self._flush_soon()
        self._deliver(committed)
        if not ack.missing:
            self._refuse(self._forwarding.synced(message.epoch, self.log.tail()))
            self._flush()

    def _on_install(self, peer: Incarnation, message: Install) -> None:
        if not self._accepts(peer, message.epoch):
            return
        self._acked = None
        if self.log.has(message.position):  # late, or not needed: what follows it in the log stays
            self._on_append(peer, Append(message.epoch, message.position, [], message.position.seq))
            return
        ack, is_replaced = self._replication.follow_install(message)
        self._send(peer, ack)
        if is_replaced:
            self._deliver_state()

    def _deliver_state(self) -> None:
        """The state is another one at once: by a snapshot, or by what was stored."""
        self._refuse(self._forwarding.replaced())
        for player in self._seats.players():
            self._notice_connection(player)
        position = self.position()
        self._out.append(do.DeliverState(position.epoch, position.seq))

    def _on_loaded(self, position: Position, tables: Tables) -> None:
        """What was stored becomes the base of a log that everybody else has to take over, at the epoch of the restore."""
        record, is_wanted = self.record, self._is_restoring
        self._durability.loaded(record if is_wanted else None)
        if record is None or not is_wanted:
            return
        where = f"{position.epoch}/{position.seq}"
        self._say(Level.warning, f"restored what was stored at {where}, as epoch {record.epoch}")
        self.log.install(Position(record.epoch, position.seq), tables)
        self._is_rolled_back = record.asleep is None and not self._config.durable
        if self._replication.epoch:
            self._replication.lead(self._replication.epoch)
            for peer in self._members.linked():
                self._invite(peer)
        self._deliver_state()
        self._decide()

    def _accepts(self, peer: Incarnation, epoch: int) -> bool:
        accepted = self._leadership.accepts(epoch, peer, self._now)
        self._settle_role()
        if not accepted:
            promise = self._leadership.promise
            assert promise is not None
            self._send(peer, Refused(epoch, promise))
        return accepted

    # --- clients' requests

    def _ask(self, request: int | None, body: Request) -> None:
        if (refusal := self._forwarding.add(request, body, self._now)) is not None:
            self._refuse([refusal])
        self._flush()

    def _flush(self) -> None:
        """Sends what is queued to the leader, if this pod is in sync with one."""
        leader = self._leadership.leader
        if leader is None or self._replication.synced_epoch != self.epoch:
            return
        if leader == self.me:
            if not self._is_taking:
                return
        elif not self._members.is_linked(leader):
            return
        while (queued := self._forwarding.next_queued(self._now)) is not None:
            number, pending = queued
            self._forwarding.sent(number, self.epoch)
            if leader == self.me:
                self._run(self.me, Forward(self.epoch, number, pending.body))
            else:
                self._send(leader, Forward(self.epoch, number, pending.body))

    def _on_forward(self, peer: Incarnation, message: Forward) -> None:
        if message.epoch != self._seen_epoch:
            return  # of an epoch long gone: its sender finds in the log what became of it
        if not self._seen.setdefault(peer, Seen()).is_new(message.request):
            return  # run, held or bounced already: to bounce it now would say that it was not run
        if message.epoch != self._replication.epoch:
            self._send(peer, Bounce(message.epoch, message.request))
        elif self._is_taking and not self._held:
            self._run(peer, message)
        elif len(self._held) < HELD_REQUESTS:
            self._held.append((peer, message))
        else:
            self._send(peer, Bounce(message.epoch, message.request))

    @property
    def _is_restoring(self) -> bool:
        """Named to begin with what is stored: until that is loaded, nothing is decided."""
        return self._leadership.leader == self.me and self._durability.must_restore(self.record, self.me)

    @property
    def _is_taking(self) -> bool:
        """Leads, and takes moves: no hand-over is under way, and the storage keeps up."""
        return self.is_leader and not self._leadership.is_frozen and not self._durability.is_full(self.log)

    def _run(self, origin: Incarnation, message: Forward) -> None:
        """The rule runs here, once; what it changed and said travels as one entry."""
        asked = Asked(origin, message.request, self._serving_epoch, self.log.last.seq + 1)
        self._append(self._authority.run(message.body, asked, self._now))

    # --- leading

    def _append(self, draft: Draft) -> None:
        self._out += [Say(Level.warning, f"a rule of the game failed\n{e}") for e in self._authority.take_errors()]
        entry = Entry(self._serving_epoch, self.log.last.seq + 1, draft.ops, draft.replies, draft.broadcasts)
        self.log.append(entry)
        self._flush_soon()
        self._commit()

    def _flush_soon(self) -> None:
        if not self._is_flush_due and (self._ack is not None or self._replication.has_copies):
            self._is_flush_due = True
            self._out.append(do.FlushSoon())

    def _flush_tracker_soon(self) -> None:
        if self._tracker.has_news and not self._is_flush_due:
            self._is_flush_due = True
            self._out.append(do.FlushSoon())

    def _on_turn_ended(self) -> None:
        """An acknowledgement to one whom another was promised since would count what may be cut off already."""
        self._is_flush_due = False
        self._send_all(self._replication.flush(self._now))
        self._out += self._tracker.turn_ended(self._members.linked(), self._now)
        if self._ack is not None:
            (peer, ack), self._ack = self._ack, None
            if self._leadership.promise == Promise(ack.epoch, peer):
                self._acked = peer, ack
                self._send(peer, ack)

    def _commit(self) -> None:
        if not self.is_leader or not self._leadership.may_commit(self._now):
            return
        held_by_all = self._replication.advance(self._leadership.waited_for())
        seq = min(held_by_all, self._durability.committable(self.log))
        if seq > self.log.committed.seq:
            committed = self.log.commit(seq)
            self._flush_soon()
            if not self._is_flush_due:
                self.log.trim()
            self._deliver(committed)
            self._finish_account(seq)

    def _decide(self) -> None:
        self._settle_role()
        if self._is_restoring:
            self._out += self._durability.load(self._now)
            return
        was_frozen = self._leadership.is_frozen
        self._out += self._leadership.decide(self._facts())
        self._settle_role()
        if was_frozen and not self._leadership.is_frozen and self.is_leader:
            self._release_held()

    def _settle_role(self) -> None:
        """Makes log and rules follow the role. Called after whatever may have changed it."""
        role = self._leadership.role
        leads = self.epoch if role in (Role.starting, Role.leading, Role.electing) else 0
        if leads != self._replication.epoch:
            self._stop_serving()
            if leads:
                self._seen.clear()
                self._seen_epoch = leads
                self._replication.lead(leads)
                for peer in self._members.linked():
                    self._invite(peer)
            else:
                self._replication.stop_leading()
        if role is Role.leading and not self._serving_epoch:
            self._start_serving()
        elif role is not Role.leading and self._serving_epoch:
            self._stop_serving()

    def _start_serving(self) -> None:
        self._serving_epoch = self.epoch
        ahead = [op for entry in self.log.tail() for op in entry.ops]
        added = self._authority.load(self.log.head_tables(), self._now, ahead)
        if self._is_rolled_back:
            self._is_rolled_back = False
            added += self._authority.restored()
        self._refuse(self._forwarding.synced(self.epoch, self.log.tail()))
        self._append(Draft([(CLUSTER, "failover", None), (CLUSTER, "failover", self._account()), *added], [], []))
        self._release_held()

    def _stop_serving(self) -> None:
        self._serving_epoch = 0
        while self._held:
            peer, message = self._held.popleft()
            self._send(peer, Bounce(message.epoch, message.request))

    def _release_held(self) -> None:
        while self._held and self._is_taking:
            self._run(*self._held.popleft())
        self._flush()

    def _account(self) -> dict[str, object]:
        """The failover's own account, replicated with the state. ``to``: the pod that leads now."""
        account: dict[str, object] = {"to": name_of(self.me), "epoch": self.epoch}
        takeover = self._leadership.takeover
        if takeover is not None and takeover.previous not in (None, name_of(self.me)):
            account["from"] = takeover.previous
            account["reason"] = self._reason(takeover)
            account["detectMilliseconds"] = round((takeover.noticed_at - takeover.heard_at) * 1000)
            account["claimMilliseconds"] = round((takeover.claimed_at - takeover.noticed_at) * 1000)
            account["equaliseMilliseconds"] = round((self._now - takeover.claimed_at) * 1000)
            account["takeoverMilliseconds"] = round((self._now - takeover.noticed_at) * 1000)
            self._accounted_seq = self.log.last.seq + 1
        return account

    def _finish_account(self, seq: int) -> None:
        """The account's own entry is the first of the epoch that is committed."""
        takeover = self._leadership.takeover
        if takeover is None or not 0 < self._accounted_seq <= seq:
            return
        self._accounted_seq = 0
        passed = round((self._now - takeover.noticed_at) * 1000)
        self._append(Draft([(CLUSTER, "failover", {"firstCommitMilliseconds": passed})], [], []))

    def _reason(self, takeover: Takeover) -> str:
        """One who was named while its predecessor lives was handed the GameState; else the backstop named it."""
        former = self._members.names().get(takeover.previous or "")
        if takeover.reason != NAMED or former is None or self._members.suspected(former, self._now):
            return takeover.reason
        return f"handed over by {takeover.previous}"

    def _facts(self) -> Facts:
        members, now = self._members, self._now
        return Facts(
            now=now,
            silence=lambda peer: members.silence(peer, now),
            overdue=self._replication.overdue,
            reason=lambda peer: members.reason(peer, now),
            heard_at=lambda peer: members.heard_at(peer, now),
            linked=frozenset(members.linked()),
            draining=members.draining(),
            has_promised=self._replication.has_promised,
            knows_sealed=self._replication.knows_sealed,
            is_caught_up=self._replication.is_caught_up,
            revision=lambda peer: self._config.revision if peer == self.me else members.revision(peer),
            all_committed=self.log.committed == self.log.last,
            closed=self._durability.closed(self.log),
            can_wake=self._durability.can_wake(self.record.asleep if self.record else None, self.me),
        )

    # --- delivering what is committed

    def _deliver(self, entries: list[Entry]) -> None:
        if not entries:
            return
        ops: list[Op] = []
        rows: list[Op] = []
        for entry in entries:
            for reply in entry.replies:
                if reply.origin == self.me:
                    self._answer(reply)
            for said in entry.broadcasts:
                self._out.append(do.Deliver(said.topic, said.event, msgspec.json.encode(said.payload)))
            for op in entry.ops:
                if not op[0].startswith("$"):
                    ops.append(op)
                elif op[0] not in OWN_TABLES:
                    rows.append(op)
                elif op[0] == PLAYERS and op[1] in self._seats:
                    self._notice_connection(op[1])
        if rows:
            self._out.append(do.DeliverRows(rows))
        if ops:
            last = entries[-1]
            self._out.append(do.DeliverPatch(last.epoch, last.seq, ops))

    def _answer(self, reply: Reply) -> None:
        pending = self._forwarding.answered(reply.request)
        if pending is None:
            return
        is_join = isinstance(pending.body, JoinGame)
        if isinstance(pending.body, JoinGame) and (former := self._seats.answered(pending.body, reply.ok)) is not None:
            self._out.append(do.Replace(former, pending.body.player))
        if pending.request is not None:
            self._out.append(do.Answer(pending.request, reply.ok, reply.response, join=is_join and reply.ok))

    def _notice_connection(self, player: str) -> None:
        """A player of this pod plays by another connection now, or was taken for disconnected though the socket lives."""
        match self._seats.noticed(player, self.log.tables.get(PLAYERS, {}).get(player)):
            case JoinGame() as again:
                self._forwarding.add(None, again, self._now)
                self._flush()
            case int() as replaced:
                self._out.append(do.Replace(replaced, player))

    # --- sending and saying

    def _send(self, peer: Incarnation, message: Message) -> None:
        self._out.append(SendPeer(peer, message))

    def _send_all(self, messages: Outgoing) -> None:
        self._out += [SendPeer(peer, message) for peer, message in messages]

    def _refuse(self, refusals: list[Refusal]) -> None:
        self._out += [do.Answer(request, False, response) for request, response in refusals]

    def _say(self, level: Level, text: str) -> None:
        self._out.append(Say(level, text))

    def _status(self) -> tuple[Status, str]:
        leadership, record = self._leadership, self.record
        leader = leadership.leader
        if self.is_leader and not leadership.may_commit(self._now):
            return Status.stalled, "alone, and the API server does not answer: somebody may restore the game elsewhere"
        if self._durability.problem and (self._is_restoring or (self._durability.is_stalling and self.is_leader)):
            return Status.stalled, f"the storage fails: {self._durability.problem}"
        if self.is_leader:
            return Status.serving, f"leading epoch {self.epoch}"
        if leadership.role is Role.reclaiming:
            return Status.stalled, "the Lease was deleted, or lowered by hand: it is being reclaimed"
        if leadership.role in (Role.claiming, Role.starting):
            return Status.electing, "this pod is taking over"
        if record is None:
            return Status.no_leader, "the Lease was not read yet"
        if record.asleep is not None:
            return Status.no_leader, f"the game sleeps: waiting for what {name_of(record.asleep.by)} has stored"
        if leader is None or record.holder is None:
            return Status.no_leader, "nobody holds the Lease"
        if leader == self.me:
            return Status.electing, "this pod is named, but does not lead"
        if self._members.silence(leader, self._now) > self._config.suspect_after * 1.5:
            return Status.electing, f"{name_of(leader)}: {self._members.reason(leader, self._now)}"
        if self._replication.synced_epoch != self.epoch:
            return Status.electing, f"catching up with {name_of(leader)}"
        return Status.serving, f"following {name_of(leader)}"

    def _storage_state(self) -> StorageState:
        durability = self._durability
        if durability.kept is Kept.nowhere:
            return StorageState.memory
        if durability.problem:
            return StorageState.failing
        return StorageState.ready if durability.is_known else StorageState.unknown

    def _held_view(self) -> HeldView | None:
        held = self._leadership.last_held
        if held is None or held.holder is None:
            return None
        return HeldView(held.version, held.holder, held.epoch, list(held.in_sync))

    def _node_views(self) -> list[NodeView]:
        record, leader = self.record, self._leadership.leader

        def role(who: Incarnation) -> str:
            if who == leader:
                return "leader"
            return "replica" if record is not None and who in record.in_sync else "learner"

        mine = NodeView(
            name=name_of(self.me),
            incarnation=self.me,
            role=role(self.me),
            state="alive",
            ready=self.is_ready,
            connections=self._connections,
            revision=self._config.revision,
            url=self._config.url,
            draining=self._leadership.leaving,
            pid=self._config.pid,
        )
        others = [
            NodeView(
                name=name_of(p.incarnation),
                incarnation=p.incarnation,
                role=role(p.incarnation),
                state="alive" if not self._members.suspected(p.incarnation, self._now) else "suspected",
                ready=p.ready,
                connections=p.connections,
                revision=p.revision,
                url=p.url,
                draining=p.draining,
                pid=p.pid,
            )
            for p in self._members.peers()
            if p.linked or (record is not None and p.incarnation in record.in_sync)
        ]
        return sorted([mine, *others], key=lambda n: n.name)
