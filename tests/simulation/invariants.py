"""What must hold at every step (design: I1–I7), and at the end of a run (progress, equality, exactly once)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gamecluster.core.authority import ANSWERS, ANSWERS_TABLE, PLAYERS
from gamecluster.core.effects import Answer, DeliverPatch, DeliverState, SendPeer
from gamecluster.core.messages import (
    Ack,
    Append,
    Entry,
    Fields,
    Hello,
    Incarnation,
    Install,
    Position,
    Promise,
    Promised,
    Record,
    Tables,
)

from . import probe

if TYPE_CHECKING:
    from gamecluster.core.replication import Log

    from .lease import LeaseApi
    from .life import Life


class Violated(AssertionError):
    """``invariant``: its short name; the text says what was seen."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant


@dataclass
class Stay:
    """One player's time in the game: from the entry that began it to the one that ended it, by their numbers."""

    player: str
    began: int
    ended: int | None = None


class Ledger:
    """The one true log: every entry as it was first committed by anybody, and who led which epoch."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.leaders: dict[int, Incarnation] = {}
        self.promises: dict[Incarnation, Promise] = {}
        self.shadow: Tables = {}
        self.last = Position(0, 0)
        self.stays: dict[str, Stay] = {}
        self.times: list[float] = []  # when each entry was committed first
        self.undone: dict[Position, Entry] = {}  # by total losses
        self.renamed: dict[Position, Entry] = {}  # restored, and called by another epoch since
        self.beginnings: dict[int, Incarnation] = {}  # epoch → who is to restore the game in it
        self.woken: set[int] = set()  # those of them in which nothing may be lost, for the game slept
        self.era = 0  # the epoch of the last restore, or new game
        self._past: list[list[Entry]] = []  # what there was before each of them

    def at(self, seq: int) -> Entry:
        return self.entries[seq - 1]

    def has(self, position: Position) -> bool:
        return 0 < position.seq <= len(self.entries) and self.at(position.seq).position == position

    def chain(self, position: Position) -> list[Entry]:
        """All entries up to one that was committed, be it undone since."""
        for entries in (self.entries, *reversed(self._past)):
            if 0 < position.seq <= len(entries) and entries[position.seq - 1].position == position:
                return entries[: position.seq]
        if position.seq:
            raise Violated("storage", f"{position} was never committed")
        return []

    def former(self, position: Position) -> Entry | None:
        """What was committed there before a total loss."""
        return self.undone.get(position) or self.renamed.get(position)

    def begin(self, epoch: int, chain: list[Entry], at: Position, now: float) -> list[Entry]:
        """After a total loss the game goes on from ``chain``, the end of which is called ``at`` from now on. Returns what is undone."""
        common = sum(1 for one, other in zip(self.entries, chain, strict=False) if one.position == other.position)
        lost = self.entries[common:]
        self._past.append(self.entries)
        self.undone |= {entry.position: entry for entry in lost}
        for entry in chain:
            self.undone.pop(entry.position, None)
        self.entries = list(chain)
        if at != (chain[-1].position if chain else Position(0, 0)):
            self.renamed[chain[-1].position] = chain[-1]
            self.entries[-1] = Entry(at.epoch, at.seq, chain[-1].ops, [], [])
        self.times = [*self.times[:common], *(now for _ in chain[common:])]
        self.last, self.era = at, epoch
        self.shadow, self.stays = {}, {}
        for entry in self.entries:
            _enter(self, entry)
        return lost


# --- after a step of one node ------------------------------------------------------------------------------------


def check_commits(ledger: Ledger, life: Life, lease: LeaseApi, lives: dict[Incarnation, Life], now: float) -> None:
    """I3, I6: what is committed is the same everywhere; I7, rule 2: when it is, all who may be in the set hold it."""
    before, position = life.position, life.node.position()
    if position == before:
        return
    is_undone = ledger.former(before) is not None or ledger.beginnings.get(position.epoch) == life.incarnation
    if (position.seq < before.seq and not is_undone) or position.epoch < before.epoch:
        raise Violated("I4", f"{life} went back from {before} to {position}")
    life.position = position
    if (
        ledger.beginnings.get(position.epoch) == life.incarnation
        and ledger.era < position.epoch
        and life.loaded is not None
    ):
        loaded = Position(position.epoch, life.loaded[-1].seq)  # it may have committed more in this very step
        life.undone = ledger.begin(position.epoch, life.loaded, loaded, now)
    for entry in life.committed:
        if ledger.former(entry.position) == entry:
            continue  # it follows one who led before the loss, or had not loaded yet
        if entry.seq > len(ledger.entries):
            if life.node.epoch < ledger.era:
                raise Violated(
                    "two games", f"{life} committed {entry}, and the game was begun anew in epoch {ledger.era}"
                )
            _commit(ledger, life, entry, now)
            check_held_by_all(ledger, entry.position, lease.possible_sets(), lives, f"{life} committed it")
        elif not _same(ledger.at(entry.seq), entry):
            raise Violated("I3", f"{life} committed {entry}, where {ledger.at(entry.seq)} was committed")
    life.committed.clear()
    if ledger.former(position) is not None:
        return
    if position.seq > len(ledger.entries):
        raise Violated("I3", f"{life} has a snapshot of {position}, and nobody committed that")
    if ledger.at(position.seq).position != position:
        raise Violated("I3", f"{life} is at {position}, where {ledger.at(position.seq).position} was committed")


def _commit(ledger: Ledger, life: Life, entry: Entry, now: float) -> None:
    if entry.seq != ledger.last.seq + 1 or entry.epoch < ledger.last.epoch:
        raise Violated("I3", f"{life} committed {entry} after {ledger.last}")
    ledger.entries.append(entry)
    ledger.times.append(now)
    ledger.last = entry.position
    _enter(ledger, entry)


def _enter(ledger: Ledger, entry: Entry) -> None:
    former = {key: ledger.shadow.get(PLAYERS, {}).get(key) for table, key, _ in entry.ops if table == PLAYERS}
    _apply(ledger.shadow, entry.ops)
    for player, row in former.items():
        _note_stay(ledger, entry, player, row)


def _note_stay(ledger: Ledger, entry: Entry, player: str, before: Fields | None) -> None:
    """A stay begins when none is, and nothing of it is left when it has ended."""
    row = ledger.shadow[PLAYERS].get(player)
    if before is not None and (row is None or row["stay"] != before["stay"]):
        ledger.stays[before["stay"]].ended = entry.seq
        answers = ledger.shadow.get(ANSWERS_TABLE, {})
        if kept := [key for slot in range(ANSWERS) if (key := f"{player}/{slot}") in answers]:
            raise Violated("stay", f"{entry} ended the stay of {player}, and these answers are kept: {kept}")
    if row is not None and (before is None or row["stay"] != before["stay"]):
        if before is not None or row["stay"] in ledger.stays:
            raise Violated("stay", f"{entry} began a stay of {player} in {before}")
        ledger.stays[row["stay"]] = Stay(player, entry.seq)


def check_played(ledger: Ledger, name: str, response: Fields) -> None:
    """A move that was answered ok was applied in the stay in which it was made."""
    stay, seq = ledger.stays[name], response["seq"]
    if not stay.began < seq < (stay.ended or seq + 1):
        raise Violated("stay", f"a move of {stay} was answered {response}")


def check_stays(ledger: Ledger) -> None:
    """The system's tables hold nothing but what the players who are in the game need."""
    players, answers = ledger.shadow.get(PLAYERS, {}), ledger.shadow.get(ANSWERS_TABLE, {})
    if strangers := [key for key in answers if key.rpartition("/")[0] not in players]:
        raise Violated("stay", f"answers of players who are not in the game: {strangers}")
    current = {row["stay"] for row in players.values()}
    if current != {name for name, stay in ledger.stays.items() if stay.ended is None}:
        raise Violated("stay", f"{players}, and the stays are {ledger.stays}")
    for player, row in ledger.shadow.get("visits", {}).items():
        if row["came"] - row["went"] != (player in players):
            raise Violated("stay", f"the game saw {row} of {player}, who is{'' if player in players else ' not'} in it")


def check_held_by_all(
    ledger: Ledger,
    position: Position,
    sets: list[tuple[Incarnation, ...]],
    lives: dict[Incarnation, Life],
    why: str,
) -> None:
    """I3: every member, dead ones too, of every set that may be in force holds every acknowledged entry.

    But for those who died under a seal (rule 10): bound to write nothing, they are not waited for once that is certain.
    """
    for members in sets:
        for member in members:
            if not probe.holds(lives[member].log, position) and not _is_excused(lives[member]):
                end = lives[member].log.last
                raise Violated(
                    "I3", f"{member} may be in the set {members} and lacks {position} (its log ends at {end}); {why}"
                )


def _is_excused(member: Life) -> bool:
    return member.is_certified_dead and not member.alive and probe.is_sealed(member.node)


def check_message(ledger: Ledger, life: Life, effect: SendPeer) -> None:
    """I1: one incarnation leads an epoch; I2: promises never go back, and are to one incarnation per epoch; rule 1."""
    message = effect.message
    match message:
        case Append() | Install():
            leader = ledger.leaders.setdefault(message.epoch, life.incarnation)
            if leader != life.incarnation:
                raise Violated("I1", f"{leader} leads epoch {message.epoch}, and {life} sent {message}")
            _check_promise(ledger, life, Promise(message.epoch, life.incarnation))
        case Ack() | Promised():
            _check_promise(ledger, life, Promise(message.epoch, effect.peer))
        case Hello() if message.promise is not None:
            _check_promise(ledger, life, message.promise)


def _check_promise(ledger: Ledger, life: Life, promise: Promise) -> None:
    before = ledger.promises.get(life.incarnation)
    if before is None or promise.epoch > before.epoch:
        ledger.promises[life.incarnation] = promise
    elif promise != before:
        raise Violated("I2", f"{life} has promised {before} and acted on {promise}")


def check_answer(ledger: Ledger, life: Life, answer: Answer) -> None:
    """Rule 2: an ok answer is of a committed entry, and goes out where it was asked when that pod has it too."""
    if not answer.ok or "seq" not in answer.response:
        return
    epoch, seq = answer.response["epoch"], answer.response["seq"]
    if not ledger.has(Position(epoch, seq)) and ledger.former(Position(epoch, seq)) is None:
        raise Violated("I4", f"{life} answered {answer.response}, which is not committed (the end is {ledger.last})")


def check_delivery(ledger: Ledger, life: Life, effect: DeliverPatch | DeliverState) -> None:
    """I4: what subscribers are shown is what was committed, in order."""
    at = (effect.epoch, effect.seq)
    if at < life.delivered:
        raise Violated("I4", f"{life} delivered {at} after {life.delivered}")
    life.delivered = at
    position = Position(*at)
    if not ledger.has(position) and ledger.former(position) is None:
        raise Violated("I4", f"{life} delivered {at}, which is not committed (the end is {ledger.last})")
    if isinstance(effect, DeliverPatch):
        _apply(life.shown, effect.ops)


def check_shown(ledger: Ledger, life: Life) -> None:
    """I4: a subscriber who applied every patch has the pod's state; at the ledger's end that is the one true state."""
    tables = life.node.visible_tables()
    if not _equal(tables, life.shown):
        raise Violated("I4", f"a subscriber at {life} has {life.shown} by its patches, the pod has {tables}")
    if life.position == ledger.last and not _equal(tables, visible(ledger.shadow)):
        raise Violated("I3", f"{life} is at {life.position} with {tables}; the entries give {visible(ledger.shadow)}")


# --- when the record changes --------------------------------------------------------------------------------------


def check_record(
    ledger: Ledger, before: Record, after: Record, writer: Incarnation, lives: dict[Incarnation, Life], now: float
) -> None:
    """I2: the record's epoch never decreases, and is one leader's; I3: its new members hold everything acknowledged."""
    if after.epoch < before.epoch or (after.epoch == before.epoch and after.holder != before.holder):
        raise Violated("I2", f"{writer} replaced {before} by {after}")
    if after.restore and after.holder is not None:
        ledger.beginnings[after.epoch] = after.holder
        if before.asleep is not None:
            ledger.woken.add(after.epoch)
        return
    if after.holder is None:
        return
    if before.never_held and ledger.entries:
        chain = _kept_by(ledger, lives[after.holder].log)
        at = chain[-1].position if chain else Position(0, 0)
        lives[after.holder].undone = ledger.begin(after.epoch, chain, at, now)
    if dead := [who for who in after.dead if lives[who].alive and not lives[who].abandoned]:
        raise Violated("rule 9", f"{writer} wrote that {dead} are dead: {after}")
    for who in after.dead:
        lives[who].is_certified_dead |= not lives[who].alive
    if after.holder not in after.in_sync:
        raise Violated("I2", f"{writer} wrote a holder that is not in sync: {after}")
    if len(set(after.in_sync)) != len(after.in_sync):
        raise Violated("I2", f"{writer} wrote somebody twice: {after}")
    if ledger.entries:
        check_held_by_all(ledger, ledger.last, [after.in_sync], lives, f"the record of {writer} landed")


def _kept_by(ledger: Ledger, log: Log) -> list[Entry]:
    """What was committed and is in its log: who begins anew goes on from there."""
    chain = ledger.chain(log.committed)
    for entry in log.tail():
        if not (ledger.has(entry.position) or ledger.former(entry.position)):
            break
        chain.append(entry)
    return chain


# --- helpers ------------------------------------------------------------------------------------------------------


def visible(tables: Tables) -> Tables:
    return {name: rows for name, rows in tables.items() if not name.startswith("$")}


def _same(one: Entry, other: Entry) -> bool:
    return one is other or one == other


def _equal(one: Tables, other: Tables) -> bool:
    return one == other or _filled(one) == _filled(other)


def _filled(tables: Tables) -> Tables:
    return {name: rows for name, rows in tables.items() if rows}


def _apply(tables: Tables, ops: list[Any]) -> None:
    for table, key, fields in ops:
        rows: dict[str, Fields] = tables.setdefault(table, {})
        if fields is None:
            rows.pop(key, None)
        else:
            rows[key] = {**rows.get(key, {}), **fields}
