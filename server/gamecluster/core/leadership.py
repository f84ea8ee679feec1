"""Who may write: promises, the record, and the writes of it.

| role       | event                                              | next       | effects                                       |
| ---------- | -------------------------------------------------- | ---------- | --------------------------------------------- |
| follower   | the record names me, at an epoch I can promise     | starting   | Follow to all                                 |
| follower   | vacant and never held                              | claiming   | WriteRecord(me, {me})                         |
| follower   | in the set, and the leader is suspected (rule 5)   | claiming   | promise to myself, then WriteRecord           |
| claiming   | written                                            | starting   | Follow to all                                 |
| claiming   | conflict, no answer                                | follower   | ReadRecord                                    |
| starting   | all who may be in the set promised                 | leading    | (authority loads the state)                   |
| starting   | one of them is suspected                           | starting   | WriteRecord(without it)                       |
| starting,  | one of them has promised a higher epoch            | follower   | ReadRecord                                    |
| leading    |                                                    |            |                                               |
| leading    | member suspected / learner caught up / renewal due | leading    | WriteRecord                                   |
| leading    | the last one goes, and all is stored               | leading    | WriteRecord(vacant, asleep, epoch + 1)        |
| leading    | asleep was written                                 | follower   | (it may go)                                   |
| follower   | asleep, and my storage holds what it says          | claiming   | WriteRecord(me, {me}, to be restored)         |
| leading    | hand-over asked for, successor holds everything    | follower   | WriteRecord(successor, epoch + 1), then Named |
| leading,   | the Lease is lost: deleted, or lowered by hand     | reclaiming | promise to myself, Follow to the last set     |
| starting   |                                                    |            |                                               |
| follower   | the Lease is lost, in its last set, nobody leads   | reclaiming | promise to myself, Follow to the last set     |
| follower   | sealed, and the leader is certainly dead (rule 10) | electing   | promise to myself, Elect to the sealed        |
| electing   | all who live of the sealed promised, a majority    | leading    | (off the record, until its store is back)     |
| reclaiming | all of the last set promised (past.py)             | claiming   | WriteRecord(me, the set)                      |
| reclaiming | somebody knows a newer record, of a set without me | follower   |                                               |
| any        | a higher epoch is seen                             | follower   |                                               |

A write is *unresolved* until a record newer than the one it was conditional on has been seen: a time-out or a 409 proves nothing.
Until then everyone whom it would put into the set is waited for (rule 4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import Protocol

from msgspec.structs import replace

from .effects import Effect, Level, ReadRecord, Say, SendPeer, WriteRecord
from .insync import Facts, planned_set, stands_still, successor_of
from .messages import Asleep, Follow, Held, Incarnation, Message, Promise, Promised, Record, SealId, name_of
from .past import Past

STAGGER_SECONDS = 0.2
"""Between two that might take over: longer than a write of the record takes, or both lose an epoch."""
AWAY_SECONDS = 0.5
"""How long the record's store must not have answered before the leader has its set seal itself."""
SEAL_AGAIN_SECONDS = 0.1
ELECT_SECONDS = 1.0
SMALLEST = 3
"""Members that a seal needs: with fewer no death leaves a majority."""
MEET_SECONDS = 0.25
ASK_AGAIN_SECONDS = 0.1
RETRY_SECONDS = 0.2
"""Pause after a read or write that was not answered: a refused connection must not become a busy loop."""
REST_SECONDS = 2.0
"""For which one that stood still is not waited for; each time that it does so again, twice as long."""
REST_AT_MOST_SECONDS = 16.0
REST_FORGOTTEN_SECONDS = 60.0


NAMED = "named by the record"


class Role(StrEnum):
    follower = "follower"
    claiming = "claiming"
    starting = "starting"
    leading = "leading"
    reclaiming = "reclaiming"
    electing = "electing"


class SealState(Protocol):
    """``seal.Sealing``."""

    id: SealId

    @property
    def binds(self) -> bool: ...
    @property
    def is_complete(self) -> bool: ...
    @property
    def members(self) -> tuple[Incarnation, ...]: ...
    def survivors(self, certified: Callable[[Incarnation], bool]) -> list[Incarnation]: ...
    def has_majority(self, certified: Callable[[Incarnation], bool]) -> bool: ...
    def is_off(self, certified: Callable[[Incarnation], bool]) -> bool: ...
    def begin(self, epoch: int, members: tuple[Incarnation, ...]) -> None: ...
    def requests(self) -> list[tuple[Incarnation, Message]]: ...
    def break_requests(self, epoch: int) -> list[tuple[Incarnation, Message]]: ...
    def completed(self, id: SealId) -> None: ...
    def release(self) -> None: ...


@dataclass(frozen=True)
class Attempt:
    """A write of mine that is not resolved."""

    request: int
    record: Record
    purpose: str
    sent_at: float


@dataclass
class HandOver:
    """A hand-over that was asked for. While it lasts no move is taken."""

    to: str | None
    until: float


@dataclass
class Takeover:
    """How the last change of leader went, for people: all times in monotonic seconds."""

    previous: str | None
    reason: str
    heard_at: float
    noticed_at: float
    claimed_at: float


@dataclass(frozen=True)
class Rest:
    """Of a member that stood still: for ``seconds``, up to ``until``."""

    seconds: float
    until: float


@dataclass
class Leadership:
    me: Incarnation
    suspect_after: float
    replicas: int
    renew_every: float
    lease_duration: float
    may_take_over: bool
    stops_when_alone: bool
    seal: SealState
    certified: Callable[[Incarnation], bool]
    role: Role = Role.follower
    record: Record | None = None
    promise: Promise | None = None
    leaving: bool = False
    hand_over: HandOver | None = None
    closing: bool = False
    """This pod goes, and nobody is there to hand over to: it stores everything, and the record is to say so."""
    takeover: Takeover | None = None
    _attempts: list[Attempt] = field(default_factory=list)
    _in_flight: Attempt | None = None
    _reading: bool = False
    _read_wanted: bool = False
    _is_missing: bool = False
    _renew_at: float = 0.0
    _requests: int = 0
    _past: Past = field(default_factory=Past)
    _ask_at: float = 0.0
    _lost_since: float | None = None
    _dead: set[Incarnation] = field(default_factory=set)
    _suspicious_since: float | None = None
    _vacant_since: float | None = None
    _retry_at: float = 0.0
    _renewed_at: float = -inf
    _is_alone_by_choice: bool = True
    _floor: int = 0
    _led_at: float = -inf
    _away_since: float | None = None
    _seal_at: float = 0.0
    _elect_since: float | None = None
    _rests: dict[Incarnation, Rest] = field(default_factory=dict)

    # --- what others ask

    @property
    def epoch(self) -> int:
        """The epoch promised to whoever leads; 0 before the first."""
        return self.promise.epoch if self.promise else 0

    @property
    def is_leading(self) -> bool:
        return self.role is Role.leading

    @property
    def is_frozen(self) -> bool:
        return self.hand_over is not None or self.closing

    @property
    def has_sent_last_word(self) -> bool:
        """It may have landed: then nothing may be committed any more."""
        return any(attempt.record.asleep is not None for attempt in self._attempts)

    @property
    def leader(self) -> Incarnation | None:
        return self.promise.leader if self.promise else None

    @property
    def last_held(self) -> Record | None:
        return self._past.held

    def is_certainly_dead(self, member: Incarnation) -> bool:
        """A later life of its pod has greeted, or the operator has said so in the record."""
        return member in self._dead or self.certified(member)

    def waited_for(self) -> set[Incarnation]:
        """Everyone who may be in the in-sync set, but me: the record's set and those of unresolved writes."""
        members = set(self.record.in_sync) if self.record else set()
        if self.is_off_record:
            members = set(self.seal.members)
        for attempt in self._attempts:
            members.update(attempt.record.in_sync)
        members.discard(self.me)
        if (self.seal.is_complete or self.is_off_record) and self.seal.has_majority(self.is_certainly_dead):
            members = {m for m in members if not self.is_certainly_dead(m)}
        return members

    @property
    def may_be_in_sync(self) -> bool:
        """By the record, or by a write of mine that may have landed."""
        records = [*([self.record] if self.record else []), *(attempt.record for attempt in self._attempts)]
        return any(self.me in record.in_sync for record in records)

    def is_lease_gone(self, now: float, patience: float) -> bool:
        """Deleted, or its store has not answered for ``patience`` seconds."""
        is_away = self._away_since is not None and now - self._away_since >= patience
        return self.record is None or self._is_missing or is_away

    @property
    def is_off_record(self) -> bool:
        """I lead, or am about to, by promises under a seal, and the record does not say so yet."""
        return self.role is Role.electing or (
            self.role is Role.leading and self.record is not None and self.record.epoch < self.epoch
        )

    def may_commit(self, now: float) -> bool:
        """Rule 11: who is left alone against its will commits only while it can know that nobody restores elsewhere.

        ``now`` is read after whatever led to the commit. The clock is this pod's own, and counts from the sending of the
        last write that was accepted. With ``stops_when_alone`` off it goes on all the same.
        """
        if not self.stops_when_alone or self._is_alone_by_choice:
            return True
        if self.record is None or self.record.in_sync != (self.me,):
            return True
        return now - self._renewed_at < self.lease_duration

    def accepts(self, epoch: int, leader: Incarnation, now: float) -> bool:
        """Rule 1. Promises on the way, if nothing as high was promised yet."""
        if self.promise is None or epoch > self.promise.epoch:
            self._promise(epoch, leader)
            if leader != self.me:
                self.role = Role.follower
                self.hand_over = None
        accepted = self.promise == Promise(epoch, leader)
        if accepted:
            self._led_at = now
        return accepted

    # --- what happened

    def seen(self, record: Record | None, now: float) -> list[Effect]:
        """A record that existed: read, written by me, or shown by a peer. Older ones than the newest seen are ignored."""
        if record is None or (self.record is not None and record.version <= self.record.version):
            return []
        self._dead.update(record.dead)
        self._past.saw(record, (a.record for a in self._attempts))
        if self._past.is_lost(record) and self.role is Role.leading and self.is_off_record:
            self._past.led(self.epoch, (self.me, *self._others_sealed()))
        self._attempts = [a for a in self._attempts if a.record.version >= record.version]
        former, self.record, self._is_missing = self.record, record, False
        return self._follow_record(record, former, now)

    def read_done(self, found: bool) -> None:
        """``found``: there is a Lease. Without one nothing can be written, and trying would only burn epochs."""
        self._reading, self._is_missing = False, not found
        self._away_since = None

    def read_failed(self, now: float) -> None:
        self._note_away(now)
        self._reading, self._read_wanted = False, True
        self._retry_at = now + RETRY_SECONDS

    def written(self, request: int, version: int, now: float) -> list[Effect]:
        attempt = self._settle(request)
        if attempt is None:
            return []
        self._renewed_at = attempt.sent_at
        self._away_since = None
        return self.seen(replace(attempt.record, version=version), now)

    def unwritten(self, request: int, now: float, answered: bool) -> None:
        """Conflict (``answered``) or no answer. Either way nothing is known but by a newer record."""
        if self._settle(request) is None:
            return
        if self.role is Role.claiming:
            self.role = Role.follower
        self._read_wanted = True
        if answered:
            self._away_since = None
        else:
            self._note_away(now)
            self._retry_at = now + RETRY_SECONDS

    def refused(self, promise: Promise) -> list[Effect]:
        """Someone has promised more than my epoch: I do not lead any more (rule 7), and need a higher one to go on."""
        if self.promise is None or promise.epoch < self.promise.epoch or promise == self.promise:
            return []
        if self.role not in (Role.starting, Role.leading, Role.reclaiming, Role.electing):
            return []
        was = self.role
        self.role = Role.follower
        self.hand_over = None
        self._lost_since = None
        self._floor = max(self._floor, promise.epoch)
        self._read_wanted = True
        said = f"stepped down: epoch {promise.epoch} seen from {name_of(promise.leader)}"
        return [Say(Level.info, said)] if was is Role.leading else []

    def ask_hand_over(self, to: str | None, now: float, seconds: float) -> None:
        if self.role is Role.leading and self.hand_over is None:
            self.hand_over = HandOver(to, now + seconds)

    def give_up_hand_over(self, now: float) -> None:
        """Once no write of it is under way."""
        if self.hand_over is not None:
            self.hand_over.until = min(self.hand_over.until, now)

    # --- what to do: level-triggered, called after whatever may matter

    def decide(self, facts: Facts) -> list[Effect]:
        if self.replicas > 1 and facts.linked - facts.draining:
            self._is_alone_by_choice = False
        effects = [*self._decide_seal(facts), *self._ask_promises(facts)]
        if facts.now < self._retry_at:
            return effects
        if self._read_wanted and not self._reading:
            self._read_wanted, self._reading = False, True
            effects.append(ReadRecord())
        if self._in_flight is not None or self.record is None or self._reading or self._is_missing:
            return effects
        match self.role:
            case Role.follower:
                effects += self._decide_follower(self.record, facts)
            case Role.starting:
                effects += self._decide_starting(self.record, facts)
            case Role.leading:
                effects += self._decide_leading(self.record, facts)
            case Role.reclaiming:
                effects += self._decide_reclaiming(self.record, facts)
            case Role.claiming:
                self.role = Role.follower  # its write is settled, and did not make me leader
            case Role.electing:
                pass
        return effects

    def _decide_follower(self, record: Record, facts: Facts) -> list[Effect]:
        if self.seal.binds or self._away_since is not None:
            return []  # a claim that can't be written would only fence off a leader that comes back
        if self._past.is_lost(record):
            return self._decide_lost(record, facts)
        if record.holder == self.me and (self.promise is None or record.epoch > self.promise.epoch):
            return self._named(record, None, facts.now)
        if record.holder is None:
            return self._decide_vacant(record, facts)
        if record.holder == self.me:
            if facts.now - self._led_at <= self.suspect_after * 1.5:
                return []  # somebody leads in a newer epoch than the record that I have
            self.takeover = Takeover(None, "named by the record, but not leading", facts.now, facts.now, facts.now)
            return self._claim(record, self.me, "take over from myself", facts)
        if self.me not in record.in_sync or not self.may_take_over:
            return []
        if not self._suspects_leader(record, facts):
            return []
        reason = facts.reason(record.holder)
        noticed = self._suspicious_since if self._suspicious_since is not None else facts.now
        self.takeover = Takeover(name_of(record.holder), reason, facts.heard_at(record.holder), noticed, noticed)
        said = f"taking over from {name_of(record.holder)}: {reason}"
        return [Say(Level.info, said), *self._claim(record, record.holder, "take over", facts)]

    def _suspects_leader(self, record: Record, facts: Facts) -> bool:
        """Rule 5: a reset link at once, silence later; the more others are missing too, the later; one after another."""
        holder = record.holder
        assert holder is not None
        current = self.leader if self.promise and self.promise.epoch > record.epoch else holder
        if current not in (None, self.me, holder) and not self._is_silent(current, facts):
            return False  # somebody leads in a newer epoch than the record that I have
        if not self._is_silent(holder, facts):
            self._suspicious_since = None
            return False
        if self._suspicious_since is None:
            self._suspicious_since = facts.now
        others = [m for m in record.in_sync if m != holder]
        missing = [m for m in others if facts.silence(m) > self.suspect_after]
        rank = [m for m in others if m not in missing].index(self.me)
        delay = len(missing) * self.suspect_after + rank * STAGGER_SECONDS
        if self.leaving:  # only if nobody who stays does it
            delay += self.suspect_after
        return facts.now - self._suspicious_since >= delay

    def _is_silent(self, leader: Incarnation | None, facts: Facts) -> bool:
        return leader is None or facts.silence(leader) > self.suspect_after * 1.5

    def _decide_vacant(self, record: Record, facts: Facts) -> list[Effect]:
        """Pods meet first; then the first by name claims, the others a little after one another: a lost race would cost an epoch.

        A sleeping game is for who has it in its storage, and begins with that.
        """
        if self.leaving or not (record.never_held or facts.can_wake):
            return []
        if self._vacant_since is None:
            self._vacant_since = facts.now
        rank = max(sum(1 for p in facts.linked if p < self.me), _ordinal(self.me))
        turn = self._vacant_since + MEET_SECONDS + MEET_SECONDS / 2 * rank
        return self._claim_vacant(record, facts) if facts.now >= turn else []

    def _decide_starting(self, record: Record, facts: Facts) -> list[Effect]:
        if self._floor > self.epoch:
            self.role = Role.follower
            return []
        missing = [m for m in self.waited_for() if not facts.has_promised(m)]
        if not missing:
            self.role = Role.leading
            self._suspicious_since = None
            self._renew_at = self._renewed_at + self.renew_every
            return [Say(Level.info, f"leading epoch {self.epoch}, in sync: {_names(record.in_sync)}")]
        gone = [m for m in record.in_sync if m in missing and facts.silence(m) > self.suspect_after]
        stuck = [m for m in missing if m not in record.in_sync]
        if gone or (stuck and all(facts.silence(m) > self.suspect_after for m in stuck)):
            return self._write_set(record, [m for m in record.in_sync if m not in gone], "shrink", facts)
        return []

    def _decide_leading(self, record: Record, facts: Facts) -> list[Effect]:
        if self._floor > self.epoch:
            self.role = Role.follower
            return []
        if self.is_off_record:
            return self._put_on_record(record, facts)
        if self.closing:
            return self._decide_closing(record, facts)
        if self.hand_over is not None:
            return self._decide_hand_over(record, facts)
        planned = self._planned_set(record, facts)
        if planned != list(record.in_sync):
            return self._write_set(record, planned, "in-sync set", facts)
        # a write of mine on this version settles an unanswered one
        if facts.now >= self._renew_at or self._attempts or not self.may_commit(facts.now):
            return self._write_set(record, planned, "renew", facts)
        return []

    def _planned_set(self, record: Record, facts: Facts) -> list[Incarnation]:
        """Under a seal nobody may change it."""
        if self.seal.binds:
            return list(record.in_sync)
        resting = frozenset(member for member, rest in self._rests.items() if facts.now < rest.until)
        return planned_set(record, facts, self.me, self.leaving, self.replicas, self.suspect_after, resting)

    def _decide_hand_over(self, record: Record, facts: Facts) -> list[Effect]:
        assert self.hand_over is not None
        planned = self._planned_set(record, facts)
        wanted = self.hand_over.to
        successor = None if self.seal.binds else successor_of(self.me, wanted, record, facts, self.suspect_after)
        if successor is not None and facts.all_committed and facts.is_caught_up(successor) and not self._attempts:
            members = list(record.in_sync)  # me too: the successor may be dead, and takes me out itself when it leads
            epoch = self._next_epoch(record)
            return self._write(record, successor, epoch, members, f"hand over to {name_of(successor)}", facts)
        if planned != list(record.in_sync):
            return self._write_set(record, planned, "in-sync set", facts)
        if facts.now >= self.hand_over.until:
            self.hand_over = None
            said = f"no hand-over to {wanted or 'anyone'}: no such pod holds everything, or it is about to go"
            return [Say(Level.warning, said)]
        if self._attempts:
            return self._write_set(record, planned, "renew", facts)
        return []

    def _decide_closing(self, record: Record, facts: Facts) -> list[Effect]:
        """First I am the only one in the set. Then nobody but me can have anything acknowledged, and I take nothing any more."""
        planned = self._planned_set(record, facts)
        if planned != list(record.in_sync):
            return self._write_set(record, planned, "in-sync set", facts)
        if planned == [self.me] and facts.all_committed and facts.closed is not None and not self.seal.binds:
            self.hand_over = None
            asleep = Asleep(self.me, facts.closed.epoch, facts.closed.seq)
            return self._write(record, None, self._next_epoch(record), [], "last word", facts, asleep=asleep)
        if facts.now >= self._renew_at or self._attempts or not self.may_commit(facts.now):
            return self._write_set(record, planned, "renew", facts)
        return []

    # --- the Lease is lost (rule 12)

    def _decide_lost(self, record: Record, facts: Facts) -> list[Effect]:
        """Who led goes on at once; if nobody does, the last set's members try, one after another."""
        held = self._past.held
        if held is None or self.me not in held.in_sync or not self.may_take_over:
            return []
        if self._lost_since is None:
            self._lost_since = facts.now
        delay = self.suspect_after * 1.5 + held.in_sync.index(self.me) * STAGGER_SECONDS
        if record.epoch > self.epoch or self.leaving:  # another may know better
            delay += self.suspect_after * 2
        if facts.now - max(self._lost_since, self._led_at) < delay:
            return []
        return self._begin_reclaim(record)

    def _begin_reclaim(self, record: Record) -> list[Effect]:
        self._promise(max(self._next_epoch(record), self._past.highest_epoch() + 1), self.me)
        self.role, self.hand_over, self.takeover = Role.reclaiming, None, None
        self._past.ask_anew()
        self._ask_at = 0.0
        lost = "was deleted" if record.holder is None else f"went back to epoch {record.epoch}"
        return [Say(Level.warning, f"the Lease {lost}: reclaiming it with epoch {self.epoch}")]

    def _ask_promises(self, facts: Facts) -> list[Effect]:
        """Again and again, of those who have promised too: they see that somebody is at it."""
        if self.role is not Role.reclaiming or facts.now < self._ask_at:
            return []
        self._ask_at = facts.now + ASK_AGAIN_SECONDS
        return [SendPeer(m, Follow(self.epoch, self._past.held)) for m in sorted(self._past.wanted()) if m != self.me]

    def _decide_reclaiming(self, record: Record, facts: Facts) -> list[Effect]:
        held = self._past.held
        if held is None or self.me not in held.in_sync or not self._past.is_lost(record):
            self.role, self._lost_since = Role.follower, None
            return []
        if self._past.highest_epoch() >= self.epoch:
            return self._begin_reclaim(record)
        if self.seal.binds or self._past.missing(self.me):
            return []
        self.role = Role.claiming
        members = [self.me, *(m for m in held.in_sync if m != self.me)]
        return self._write(record, self.me, self.epoch, members, "reclaim", facts)

    def newer_than(self, past: Record) -> Held | None:
        """What one who reclaims has to know before anybody promises."""
        newer = self._past.newer_than(past)
        return Held(newer) if newer is not None else None

    def open_writes(self) -> tuple[Record, ...]:
        """What I tried to write since the last record that I know of, and may have landed."""
        return (*self._past.open, *(a.record for a in self._attempts))

    def promised(self, peer: Incarnation, said: Promised) -> None:
        if self.role is Role.reclaiming and said.epoch == self.epoch:
            self._past.promised(peer, said.open)

    def held_before(self, record: Record) -> None:
        if self.role is Role.reclaiming:
            self._past.learn(record)

    # --- the seal (rule 10)

    def _decide_seal(self, facts: Facts) -> list[Effect]:
        """Needs no store, and so waits for none."""
        if self.role is Role.electing:
            return self._decide_electing(facts)
        if self.seal.binds and self._away_since is None and self._wants_to_write(facts):
            return self._decide_break(facts)
        if self.role is Role.follower and self.seal.binds:
            return self._decide_election(facts)
        if self.role is not Role.leading or self.is_off_record or self.hand_over is not None or self.record is None:
            return []
        if not self.seal.binds and self._may_seal(self.record, facts):
            self.seal.begin(self.epoch, self.record.in_sync)
            self._seal_at = 0.0
        if facts.now < self._seal_at:
            return []
        self._seal_at = facts.now + SEAL_AGAIN_SECONDS
        return [SendPeer(peer, message) for peer, message in self.seal.requests()]

    def _may_seal(self, record: Record, facts: Facts) -> bool:
        """The store is away, the set is worth it, and nothing but renewals is unresolved."""
        if self._away_since is None or facts.now - self._away_since < AWAY_SECONDS or len(record.in_sync) < SMALLEST:
            return False
        return all(a.record.holder == self.me and a.record.in_sync == record.in_sync for a in self._attempts)

    def may_agree(self, epoch: int, leader: Incarnation) -> bool:
        return self.promise == Promise(epoch, leader) and self.role is Role.follower and not self._attempts

    def _wants_to_write(self, facts: Facts) -> bool:
        if self.role in (Role.leading, Role.reclaiming):
            return True
        if self.role is not Role.follower or self.record is None or self.me not in self.seal.members:
            return False
        return self.record.holder == self.me or facts.now - self._led_at > self.suspect_after * 1.5

    def _decide_break(self, facts: Facts) -> list[Effect]:
        if facts.now < self._seal_at:
            return []
        self._seal_at = facts.now + SEAL_AGAIN_SECONDS
        requests = self.seal.break_requests(self.epoch)
        if self.seal.is_off(self.is_certainly_dead):
            self.seal.release()
        return [SendPeer(peer, message) for peer, message in requests]

    def _decide_election(self, facts: Facts) -> list[Effect]:
        """The leader is certainly dead, and so is everyone of the sealed who does not answer."""
        leader = self.leader
        alive = self.seal.survivors(self.is_certainly_dead)
        may = (
            self._away_since is not None
            and leader is not None
            and self.is_certainly_dead(leader)
            and self.me in alive
            and self.seal.has_majority(self.is_certainly_dead)
            and all(facts.silence(m) <= self.suspect_after for m in alive)
        )
        if not may or leader is None:
            self._elect_since = None
            return []
        if self._elect_since is None:
            self._elect_since = facts.now
        if facts.now - self._elect_since < alive.index(self.me) * STAGGER_SECONDS:
            return []
        self._elect_since = facts.now
        self._promise(max(self.epoch, self._floor, self.record.epoch if self.record else 0) + 1, self.me)
        self.role = Role.electing
        noticed = facts.now
        self.takeover = Takeover(
            name_of(leader), "restarted, and the record's store is away", noticed, noticed, noticed
        )
        return [
            Say(Level.info, f"taking over from {name_of(leader)} by the others' promises: the Lease's store is away")
        ]

    def _decide_electing(self, facts: Facts) -> list[Effect]:
        alive = self.seal.survivors(self.is_certainly_dead)
        promised = all(m == self.me or facts.has_promised(m) for m in alive)
        if self._floor > self.epoch or (
            self._elect_since is not None and facts.now - self._elect_since > ELECT_SECONDS
        ):
            self.role, self._elect_since = Role.follower, None
            return []
        knows = self.seal.is_complete or any(facts.knows_sealed(m) for m in alive)
        if not (promised and knows and self.seal.binds and self.seal.has_majority(self.is_certainly_dead)):
            return []
        self.role, self._elect_since = Role.leading, None
        self.seal.completed(self.seal.id)
        return [Say(Level.info, f"leading epoch {self.epoch} off the record, with {_names(alive)}")]

    def _put_on_record(self, record: Record, facts: Facts) -> list[Effect]:
        if self.seal.binds or self._away_since is not None:
            return []
        return self._write_set(record, [self.me, *self._others_sealed()], "on record", facts)

    def _others_sealed(self) -> list[Incarnation]:
        return [m for m in self.seal.survivors(self.is_certainly_dead) if m != self.me]

    def _note_away(self, now: float) -> None:
        if self._away_since is None:
            self._away_since = now

    # --- claims and writes

    def _claim_vacant(self, record: Record, facts: Facts) -> list[Effect]:
        epoch = self._next_epoch(record)
        self._promise(epoch, self.me)
        self.role = Role.claiming
        self.takeover = None
        self._is_alone_by_choice = True
        purpose = "wake" if record.asleep else "first claim"
        return self._write(record, self.me, epoch, [self.me], purpose, facts, restore=record.asleep is not None)

    def _claim(self, record: Record, old: Incarnation, purpose: str, facts: Facts) -> list[Effect]:
        """The promise to myself comes before the write is sent."""
        epoch = self._next_epoch(record)
        self._promise(epoch, self.me)
        self.role = Role.claiming
        members = [self.me, *(m for m in record.in_sync if m not in (self.me, old))]
        self._is_alone_by_choice = old == self.me and self._is_alone_by_choice
        return self._write(record, self.me, epoch, members, purpose, facts)

    def _write_set(self, record: Record, members: list[Incarnation], purpose: str, facts: Facts) -> list[Effect]:
        self._renew_at = facts.now + self.renew_every
        said: list[Effect] = []
        if len(members) > 1 or set(record.in_sync) - facts.draining - {self.me}:
            self._is_alone_by_choice = False
        elif len(record.in_sync) > 1:  # all others have left in an orderly way
            self._is_alone_by_choice = True
        if gone := [m for m in record.in_sync if m not in members]:
            said.append(Say(Level.info, f"out of the in-sync set: {', '.join(self._why(m, facts) for m in gone)}"))
            self._let_rest([m for m in gone if self._only_stands_still(m, facts)], facts.now)
        if new := [m for m in members if m not in record.in_sync]:
            said.append(Say(Level.info, f"into the in-sync set: {_names(new)}"))
        return [*said, *self._write(record, self.me, self.epoch, members, purpose, facts)]

    def _why(self, member: Incarnation, facts: Facts) -> str:
        if member in facts.draining and facts.silence(member) <= self.suspect_after:
            return f"{name_of(member)} (leaving)"
        if self._only_stands_still(member, facts):
            return f"{name_of(member)} (stands still for {facts.overdue(member) * 1000:.0f} ms)"
        return f"{name_of(member)} ({facts.reason(member)})"

    def _only_stands_still(self, member: Incarnation, facts: Facts) -> bool:
        return facts.silence(member) <= self.suspect_after and stands_still(member, facts, self.suspect_after)

    def _let_rest(self, members: list[Incarnation], now: float) -> None:
        self._rests = {m: r for m, r in self._rests.items() if now < r.until + REST_FORGOTTEN_SECONDS}
        for member in members:
            last = self._rests.get(member)
            seconds = REST_SECONDS if last is None else min(last.seconds * 2, REST_AT_MOST_SECONDS)
            self._rests[member] = Rest(seconds, now + seconds)

    def _write(
        self,
        record: Record,
        holder: Incarnation | None,
        epoch: int,
        members: list[Incarnation],
        purpose: str,
        facts: Facts,
        restore: bool = False,
        asleep: Asleep | None = None,
    ) -> list[Effect]:
        self._requests += 1
        wanted = Record(record.version, holder, epoch, tuple(members), restore=restore, asleep=asleep)
        attempt = Attempt(self._requests, wanted, purpose, facts.now)
        self._in_flight = attempt
        self._attempts.append(attempt)
        return [WriteRecord(attempt.request, wanted)]

    def _settle(self, request: int) -> Attempt | None:
        if self._in_flight is None or self._in_flight.request != request:
            return None
        attempt, self._in_flight = self._in_flight, None
        return attempt

    def _next_epoch(self, record: Record) -> int:
        return max(record.epoch, self.epoch, self._floor) + 1

    def _promise(self, epoch: int, leader: Incarnation) -> None:
        assert self.promise is None or epoch > self.promise.epoch, f"promise {self.promise}, then {epoch}"
        self.promise = Promise(epoch, leader)
        self._suspicious_since = None

    def _follow_record(self, record: Record, former: Record | None, now: float) -> list[Effect]:
        if record.holder is None or self._past.is_lost(record):
            return self._lease_lost(record)
        self._lost_since = None
        if record.holder == self.me:
            return self._named(record, former, now)
        if self.promise is None or record.epoch > self.promise.epoch:
            was, handed = self.role, self.hand_over is not None
            self._promise(record.epoch, record.holder)
            self.role, self.hand_over = Role.follower, None
            if was is Role.leading:
                verb = "handed over" if handed else "stepped down"
                return [Say(Level.info, f"{verb}: {name_of(record.holder)} leads epoch {record.epoch}")]
        elif self.role not in (Role.follower, Role.claiming) and record.epoch >= self.epoch:
            self.role, self.hand_over = Role.follower, None
        return []

    def _named(self, record: Record, former: Record | None, now: float) -> list[Effect]:
        if self.seal.binds and self.promise != Promise(record.epoch, self.me):
            return []  # the seal has to be broken first
        if self.promise is None or record.epoch > self.promise.epoch:
            if self.takeover is None or self.role is not Role.claiming:
                previous = name_of(former.holder) if former and former.holder else None
                self.takeover = Takeover(previous, NAMED, now, now, now)
            self.takeover.claimed_at = now
            self._promise(record.epoch, self.me)
            self._is_alone_by_choice = False
            self.role, self.hand_over = Role.starting, None
        elif self.promise == Promise(record.epoch, self.me) and self.role in (Role.claiming, Role.follower):
            if self.takeover is not None:
                self.takeover.claimed_at = now
            self.role = Role.starting
        return []

    def _lease_lost(self, record: Record) -> list[Effect]:
        """Who leads reclaims, unless somebody else has led since, or the game is to begin anew (a total loss)."""
        if self.role not in (Role.leading, Role.starting, Role.reclaiming):
            return []
        if record.epoch < self.epoch and self.role is Role.reclaiming:
            return []
        if record.never_held and record.epoch <= self.epoch:
            return []
        if record.asleep is not None and record.epoch > self.epoch:
            self.role, self.hand_over, self.closing = Role.follower, None, False
            at = f"{record.asleep.epoch}/{record.asleep.seq}"
            return [Say(Level.info, f"the game sleeps: {name_of(record.asleep.by)} has stored everything, up to {at}")]
        if record.epoch <= self.epoch:
            return self._begin_reclaim(record)
        self.role, self.hand_over = Role.follower, None
        return [Say(Level.info, f"stepped down: the Lease is vacant, and epoch {record.epoch} has been")]


def _ordinal(who: Incarnation) -> int:
    """Of a StatefulSet's pod, by its name; at most 9, so that the last pod alone need not wait long."""
    digits = name_of(who).rpartition("-")[2]
    return min(int(digits), 9) if digits.isdigit() else 0


def _names(members: Iterable[Incarnation]) -> str:
    return ", ".join(name_of(m) for m in members)
