"""The rules, each broken in one place. Every one of them must be caught by an invariant within a bounded number of seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest

from gamecluster.core.authority import ANSWERS_TABLE, Asked, Authority
from gamecluster.core.durability import Durability
from gamecluster.core.forwarding import Pending
from gamecluster.core.leadership import Leadership, Role
from gamecluster.core.messages import JoinGame, LeaveGame, Move, Promise
from gamecluster.core.node import Node, Seen
from gamecluster.core.past import Past
from gamecluster.core.replication import Log, Replication
from gamecluster.core.seal import Sealing
from gamecluster.core.tracker import Tracker
from gamecluster.services.streams import Streams
from gamecluster_operator import backstop, restore
from gamecluster_operator.record import Record as OperatorsRecord

from .schedule import Family

Break = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Mutant:
    """``family``: the trouble that shows it soonest. ``caught_by``: what may notice it (AssertionError: the node itself)."""

    name: str
    family: Family
    apply: Break
    caught_by: tuple[str, ...] = ("I1", "I2", "I3", "I4", "AssertionError")
    first: int = 1
    """The seed to begin with: what needs several coincidences shows only once in hundreds of seeds."""


def no_fence(patch: pytest.MonkeyPatch) -> None:
    """Rule 1: anything is accepted from anybody who says to lead."""
    patch.setattr(Leadership, "accepts", lambda self, epoch, leader, now: True)


def promise_without_name(patch: pytest.MonkeyPatch) -> None:
    """Rule 1: a promise names an epoch only."""

    def accepts(self: Leadership, epoch: int, leader: Any, now: float) -> bool:
        if self.promise is not None and epoch == self.promise.epoch and leader != self.promise.leader:
            self.promise = Promise(epoch, leader)
            self.role = Role.follower
        return original(self, epoch, leader, now)

    original = Leadership.accepts
    patch.setattr(Leadership, "accepts", accepts)


def commit_alone(patch: pytest.MonkeyPatch) -> None:
    """Rule 2: the leader waits for nobody."""
    patch.setattr(Replication, "advance", lambda self, waited_for: self.log.last.seq)


def commit_by_majority(patch: pytest.MonkeyPatch) -> None:
    """Rule 2: a majority is enough."""

    def advance(self: Replication, waited_for: set[Any]) -> int:
        held = [self.log.last.seq, *(_match(self, peer) for peer in waited_for)]
        return max(sorted(held, reverse=True)[len(held) // 2], self.log.committed.seq)

    patch.setattr(Replication, "advance", advance)


def learners_count(patch: pytest.MonkeyPatch) -> None:
    """Rule 2: as many as are in the set must hold an entry, whoever they are."""

    def advance(self: Replication, waited_for: set[Any]) -> int:
        held = sorted((_match(self, peer) for peer in self._copies), reverse=True)
        needed = len(waited_for)
        if len(held) < needed:
            return self.log.committed.seq
        return max(self.log.committed.seq, held[needed - 1] if needed else self.log.last.seq)

    patch.setattr(Replication, "advance", advance)


def go_on_without_the_suspected(patch: pytest.MonkeyPatch) -> None:
    """Rule 3: who is suspected is not waited for, though the record still has it."""

    def commit(self: Node) -> None:
        leadership, members, now = self._leadership, self._members, self._now
        if "waited_for" in vars(leadership):
            original(self)
            return
        waited_for = leadership.waited_for
        vars(leadership)["waited_for"] = lambda: {m for m in waited_for() if not members.suspected(m, now)}
        try:
            original(self)
        finally:
            vars(leadership).pop("waited_for")

    original = Node._commit
    patch.setattr(Node, "_commit", commit)


def no_union(patch: pytest.MonkeyPatch) -> None:
    """Rule 4: only the record's set is waited for, not those of writes without an answer."""

    def waited_for(self: Leadership) -> set[Any]:
        return set(self.record.in_sync if self.record else ()) - {self.me}

    patch.setattr(Leadership, "waited_for", waited_for)


def conflict_is_refusal(patch: pytest.MonkeyPatch) -> None:
    """Rule 4: after a 409 the write is taken for refused."""
    _forget_attempts(patch, answered=True)


def silence_is_refusal(patch: pytest.MonkeyPatch) -> None:
    """Rule 4: after a time-out the write is taken for lost."""
    _forget_attempts(patch, answered=False)


def _forget_attempts(patch: pytest.MonkeyPatch, answered: bool) -> None:
    def unwritten(self: Leadership, request: int, now: float, **how: bool) -> Any:
        if how["answered"] is answered:
            self._attempts = [a for a in self._attempts if a.request != request]
        return original(self, request, now, **how)

    original = Leadership.unwritten
    patch.setattr(Leadership, "unwritten", unwritten)


def unchanged_read_settles(patch: pytest.MonkeyPatch) -> None:
    """Rule 4: reading the record back unchanged is taken for a proof that the write failed."""

    def seen(self: Leadership, record: Any, now: float) -> Any:
        if record is not None and self.record is not None and record.version == self.record.version:
            self._attempts = [a for a in self._attempts if a is self._in_flight]
        return original(self, record, now)

    original = Leadership.seen
    patch.setattr(Leadership, "seen", seen)


def stale_reads(patch: pytest.MonkeyPatch) -> None:
    """Rule 0: a read that is older than one already seen is believed."""

    def seen(self: Leadership, record: Any, now: float) -> Any:
        if record is not None and self.record is not None and record.version < self.record.version:
            self._attempts = []
            self.record = msgspec.structs.replace(self.record, version=record.version - 1)
        return original(self, record, now)

    original = Leadership.seen
    patch.setattr(Leadership, "seen", seen)


def append_at_once(patch: pytest.MonkeyPatch) -> None:
    """Rule 6: a new leader appends, and commits, before all of its set have answered."""

    def decide_starting(self: Leadership, record: Any, facts: Any) -> Any:
        self.role = Role.leading
        return []

    def advance(self: Replication, waited_for: set[Any]) -> int:
        return original(self, {peer for peer in waited_for if peer in self._copies})

    original = Replication.advance
    patch.setattr(Leadership, "_decide_starting", decide_starting)
    patch.setattr(Replication, "advance", advance)


def grow_before_caught_up(patch: pytest.MonkeyPatch) -> None:
    """Rule 4: a learner is let in when it is linked, not when it holds everything."""
    patch.setattr(Replication, "is_caught_up", lambda self, peer: True)


def positions_by_length(patch: pytest.MonkeyPatch) -> None:
    """Positions are compared by length, without the epoch."""

    def has(self: Log, position: Any) -> bool:
        return bool(self._before.seq <= position.seq <= self.last.seq)

    patch.setattr(Log, "has", has)


def show_on_receipt(patch: pytest.MonkeyPatch) -> None:
    """Rule 2: replicas deliver what they have, committed or not."""

    def follow_append(self: Replication, message: Any) -> Any:
        ack, committed = original(self, message)
        return ack, committed + self.log.commit(self.log.last.seq)

    original = Replication.follow_append
    patch.setattr(Replication, "follow_append", follow_append)


def answers_not_replicated(patch: pytest.MonkeyPatch) -> None:
    """Rule 13: the leader alone knows what n the players are at."""

    def remember(self: Authority, *args: Any) -> Any:
        original(self, *args)
        return []

    original = Authority._remember
    patch.setattr(Authority, "_remember", remember)


def repeats_run_again(patch: pytest.MonkeyPatch) -> None:
    """Rule 13: a Forward that comes twice is run twice."""
    patch.setattr(Seen, "is_new", lambda self, number: True)


def uncounted_moves_repeated(patch: pytest.MonkeyPatch) -> None:
    """Rule 13: a move without n is repeated after a snapshot, which may hold what it did."""
    patch.setattr(Pending, "is_repeatable", True)


def drained_too_early(patch: pytest.MonkeyPatch) -> None:
    """Rule 8: a pod that is to leave goes at once."""
    patch.setattr(Node, "_may_go", property(lambda self: True))


def take_over_without_being_in_sync(patch: pytest.MonkeyPatch) -> None:
    """Rule 5: a learner takes over as well."""

    def decide_follower(self: Leadership, record: Any, facts: Any) -> Any:
        if record.holder not in (None, self.me) and self.me not in record.in_sync:
            record = self.record = msgspec.structs.replace(record, in_sync=(*record.in_sync, self.me))
        return original(self, record, facts)

    original = Leadership._decide_follower
    patch.setattr(Leadership, "_decide_follower", decide_follower)


def certificate_replaces_the_write(patch: pytest.MonkeyPatch) -> None:
    """Rule 3: the certainly dead are not waited for, seal or not."""

    def waited_for(self: Leadership) -> set[Any]:
        return {m for m in original(self) if not self.certified(m)}

    original = Leadership.waited_for
    patch.setattr(Leadership, "waited_for", waited_for)


def sealed_by_majority(patch: pytest.MonkeyPatch) -> None:
    """Rule 10: a seal is complete when a majority has agreed."""

    def agreed_by(self: Sealing, peer: Any, id: Any) -> None:
        original(self, peer, id)
        if id == self.id and len(self._agreed) > len(self.members) // 2:
            self.completed(id)

    original = Sealing.agreed_by
    patch.setattr(Sealing, "agreed_by", agreed_by)


def seal_binds_nobody(patch: pytest.MonkeyPatch) -> None:
    """Rule 10: who is sealed writes the record all the same."""
    patch.setattr(Sealing, "is_off", lambda self, certified: True)


def election_without_certificates(patch: pytest.MonkeyPatch) -> None:
    """Rule 10: under a seal, whoever is silent is taken for dead."""

    def facts(self: Node) -> Any:
        found = original(self)
        self._leadership.certified = lambda m: (
            self._members.is_certified(m) or found.silence(m) > self._config.suspect_after
        )
        return found

    original = Node._facts
    patch.setattr(Node, "_facts", facts)


def reclaimed_unasked(patch: pytest.MonkeyPatch) -> None:
    """Rule 12: who thinks to lead claims the vacant Lease at once."""
    patch.setattr(Past, "missing", lambda self, me: set())


def newer_past_kept_back(patch: pytest.MonkeyPatch) -> None:
    """Rule 12: a pod that knows a newer record promises all the same."""
    patch.setattr(Leadership, "newer_than", lambda self, past: None)


def lowered_epoch_followed(patch: pytest.MonkeyPatch) -> None:
    """Rule 12: an epoch that somebody lowered is taken as it is."""
    patch.setattr(Past, "is_lost", lambda self, record: record.holder is None and not record.never_held)


def answers_outlive_the_stay(patch: pytest.MonkeyPatch) -> None:
    """Rule 13: what the former stay was answered is kept."""

    def end_stay(self: Authority, player: str) -> Any:
        draft = original(self, player)
        return replace(draft, ops=[op for op in draft.ops if op[0] != ANSWERS_TABLE])

    original = Authority._end_stay
    patch.setattr(Authority, "_end_stay", end_stay)


def any_connection_leaves(patch: pytest.MonkeyPatch) -> None:
    """Rule 13: a late word of a connection that was replaced ends the stay."""

    def leave(self: Authority, body: LeaveGame, asked: Asked, now: float) -> Any:
        row = self._players.get(body.player)
        if row is not None:
            asked = replace(asked, origin=row["node"])
            body = LeaveGame(body.player, row["connection"], body.wanted)
        return original(self, body, asked, now)

    original = Authority._leave
    patch.setattr(Authority, "_leave", leave)


def any_connection_moves(patch: pytest.MonkeyPatch) -> None:
    """Rule 13: a move that was made in the former stay is run in the new one."""

    def move(self: Authority, body: Move, asked: Asked) -> Any:
        row = self._players.get(body.player)
        if row is None:
            return original(self, body, asked)
        draft = original(
            self,
            Move(body.player, row["connection"], body.event, body.payload, body.n),
            replace(asked, origin=row["node"]),
        )
        return replace(draft, replies=[asked.reply(r.ok, r.response) for r in draft.replies])

    original = Authority._move
    patch.setattr(Authority, "_move", move)


def the_grace_goes_on(patch: pytest.MonkeyPatch) -> None:
    """Rule 13: who comes back within the grace is put out when it is over."""

    def join(self: Authority, body: JoinGame, asked: Asked) -> Any:
        until = self._leave_at.get(body.player)
        draft = original(self, body, asked)
        if until is not None and body.player in self._players:
            self._leave_at[body.player] = until
        return draft

    original = Authority._join
    patch.setattr(Authority, "_join", join)


def named_outside_the_set(patch: pytest.MonkeyPatch) -> None:
    """Rule 9: the operator names whoever answers first."""

    def after_failure(record: Any, pods: Any, dead: Any) -> Any:
        decision = original(record, pods, dead)
        told = [pod.told.incarnation for pod in pods if pod.told is not None]
        if isinstance(decision, OperatorsRecord) and told:
            return replace(decision, holder=told[0], in_sync=(told[0],))
        return decision

    original = backstop._after_failure
    patch.setattr(backstop, "_after_failure", after_failure)


def unreachable_is_dead(patch: pytest.MonkeyPatch) -> None:
    """Rule 9: the operator takes who does not answer for dead."""

    def is_certainly_dead(who: Any, pods: Any, gone: Any) -> bool:
        return not backstop.is_alive(who, pods)

    patch.setattr(backstop, "is_certainly_dead", is_certainly_dead)


def never_stopped_by_the_clock(patch: pytest.MonkeyPatch) -> None:
    """Rule 11: who is left alone goes on."""
    patch.setattr(Leadership, "may_commit", lambda self, now: True)


def restored_at_once(patch: pytest.MonkeyPatch) -> None:
    """Rule 11: a pod that is gone is taken for dead at once."""

    def decide(record: Any, pods: Any, now: float, idle: Any, gone: Any, gone_seconds: float, known: Any) -> Any:
        return original(record, pods, now, idle, gone, 0.0, known)

    original = backstop.backstop
    patch.setattr(backstop, "backstop", decide)


def storage_not_awaited(patch: pytest.MonkeyPatch) -> None:
    """Durability Storage: a commit does not wait for it."""
    patch.setattr(Durability, "committable", lambda self, log: log.last.seq)


def failed_store_is_done(patch: pytest.MonkeyPatch) -> None:
    """A write that the storage refused, or did not answer, is taken for done."""

    def failed(self: Durability, reason: str, now: float) -> Any:
        assert self._writing is not None
        return self.stored(self._writing, 1)

    patch.setattr(Durability, "failed", failed)


def poorest_is_restored(patch: pytest.MonkeyPatch) -> None:
    """The operator restores what the pod with the least has stored."""

    def begin(cluster: Any, record: Any, pods: Any, epoch: int, waited: float) -> Any:
        poorest = min((pod.told.stored for pod in pods if pod.told and pod.told.stored), default=None)
        some = [replace(pod, told=None) if pod.told and pod.told.stored != poorest else pod for pod in pods]
        return original(
            cluster, record, some, epoch, waited if original(cluster, record, pods, epoch, waited) is None else 99.0
        )

    original = restore.begin
    patch.setattr(restore, "begin", begin)


def restored_state_not_loaded(patch: pytest.MonkeyPatch) -> None:
    """Who is named to restore goes on with what it has in memory."""
    patch.setattr(Durability, "must_restore", lambda self, record, me: False)


def last_word_unstored(patch: pytest.MonkeyPatch) -> None:
    """Rule 8: who goes last says that everything is stored before it is."""
    patch.setattr(Durability, "closed", lambda self, log: log.committed if log.committed == log.last else None)


def last_word_and_more(patch: pytest.MonkeyPatch) -> None:
    """Rule 8: who goes last takes moves until it is gone."""
    patch.setattr(Leadership, "is_frozen", property(lambda self: self.hand_over is not None))


def anything_wakes(patch: pytest.MonkeyPatch) -> None:
    """Rule 12: a sleeping game is begun by who has anything stored, be it older."""
    patch.setattr(Durability, "can_wake", lambda self, asleep, me: asleep is not None and self.found is not None)


def only_the_leader_stays(patch: pytest.MonkeyPatch) -> None:
    """Rule 8: of all who are to go the others don't wait until the leader has stored everything, and the leader dies."""
    patch.setattr(Node, "_has_to_store", property(lambda self: self.is_leader))


def lost_deltas_stay_lost(patch: pytest.MonkeyPatch) -> None:
    """Who has missed something of who is where asks nobody."""
    patch.setattr(Tracker, "_ask", lambda self, peer, owner, now: [])


def the_dead_stay(patch: pytest.MonkeyPatch) -> None:
    """Who was on a pod that was lost is shown for ever."""
    patch.setattr(Tracker, "_forget", lambda self, peer, owner: None)


def _match(replication: Replication, peer: Any) -> int:
    copy = replication._copies.get(peer)
    return copy.match.seq if copy is not None and copy.match is not None else 0


def forget_nonces(patch: pytest.MonkeyPatch) -> None:
    """A repeated line is another one."""
    patch.setattr(Streams, "_earlier", lambda self, topic, nonce: None)


MUTANTS = (
    Mutant("no fence", Family.partitions, no_fence),
    Mutant("promise without a name", Family.everything, promise_without_name),
    Mutant("commit alone", Family.kills, commit_alone),
    Mutant("commit by majority", Family.kills, commit_by_majority),
    Mutant("learners count", Family.everything, learners_count),
    Mutant("go on without the suspected", Family.partitions, go_on_without_the_suspected),
    Mutant("no union", Family.lease, no_union),
    Mutant("a conflict is a refusal", Family.lease, conflict_is_refusal),
    Mutant("silence is a refusal", Family.lease, silence_is_refusal),
    Mutant("an unchanged read settles", Family.lease, unchanged_read_settles),
    Mutant("stale reads", Family.lease, stale_reads),
    Mutant("append at once", Family.kills, append_at_once),
    Mutant("grow before caught up", Family.kills, grow_before_caught_up),
    Mutant("positions by length", Family.everything, positions_by_length),
    Mutant("show on receipt", Family.kills, show_on_receipt),
    Mutant("answers not replicated", Family.kills, answers_not_replicated, ("I5",)),
    Mutant("repeats run again", Family.takeovers, repeats_run_again, ("I5",)),
    Mutant("uncounted moves repeated", Family.partitions, uncounted_moves_repeated, ("I5",)),
    Mutant("a learner takes over", Family.kills, take_over_without_being_in_sync),
    Mutant("drained too early", Family.handovers, drained_too_early, ("drain",)),
    Mutant("a certificate replaces the write", Family.kills, certificate_replaces_the_write),
    Mutant("sealed by a majority", Family.outage, sealed_by_majority, first=690),
    Mutant("a seal that binds nobody", Family.outage, seal_binds_nobody, first=2800),
    Mutant("an election without certificates", Family.outage, election_without_certificates),
    Mutant("a lost Lease is claimed unasked", Family.deleted, reclaimed_unasked),
    Mutant("a newer past is kept back", Family.deleted, newer_past_kept_back),
    Mutant("a lowered epoch is followed", Family.deleted, lowered_epoch_followed),
    Mutant("named outside the set", Family.backstop, named_outside_the_set),
    Mutant("the unreachable are dead", Family.backstop, unreachable_is_dead, ("rule 9",), first=80),
    Mutant("never stopped by the clock", Family.alone, never_stopped_by_the_clock, ("two games",)),
    Mutant("restored at once", Family.alone, restored_at_once, ("two games",)),
    Mutant("the storage is not awaited", Family.storage, storage_not_awaited, ("durability",)),
    Mutant("a failed store is done", Family.storage, failed_store_is_done, ("durability", "storage"), first=16),
    Mutant("the poorest is restored", Family.storage, poorest_is_restored, ("durability",)),
    Mutant("what is stored is not loaded", Family.storage, restored_state_not_loaded, ("I3", "I4", "durability")),
    Mutant("the last word comes before its truth", Family.hibernation, last_word_unstored, ("asleep",)),
    Mutant("moves after the last word", Family.hibernation, last_word_and_more, ("asleep",)),
    Mutant("anything wakes a sleeping game", Family.hibernation, anything_wakes, ("asleep",)),
    Mutant(
        "only the leader stays until all is stored", Family.hibernation, only_the_leader_stays, ("drain",), first=60
    ),
    Mutant("answers outlive the stay", Family.leaving, answers_outlive_the_stay, ("stay",)),
    Mutant("any connection leaves", Family.leaving, any_connection_leaves, ("I5", "stay")),
    Mutant("any connection moves", Family.leaving, any_connection_moves, ("I5", "stay"), first=190),
    Mutant("lost deltas stay lost", Family.presence, lost_deltas_stay_lost, ("presence",)),
    Mutant("the dead stay", Family.presence, the_dead_stay, ("presence",)),
    Mutant("the grace goes on", Family.leaving, the_grace_goes_on, ("I5", "stay")),
    Mutant("forget nonces", Family.streams, forget_nonces, ("stream",)),
)
