"""What a room says to the world outside its own log: letters to other rooms, and calls of the cluster's services.

| table   | key      | fields                                                                                                |
| ------- | -------- | ----------------------------------------------------------------------------------------------------- |
| ``$out``  | n        | to (a room; ``""``: the cluster), service, verb, args                                                  |
| ``$in``   | a room   | life and n of the newest letter of that room that was taken; refused: its refusal, or None             |
| ``$room`` | ``outbox`` | n: of the newest row of ``$out`` there ever was; life: of this room's log, as ids are used again         |
| ``$room`` | ``end``    | why: the room is over as soon as ``$out`` is empty, until when ``outbox.sent`` goes on                     |

A rule's rows are part of its own entry. Who delivers makes the call of each committed row, as it stands, until it is answered, and has
``outbox.sent`` remove the row. A letter's call goes to the room ``to``: ``letters.deliver``, which is taken once, however often it is
asked. What it is answered is final: a refusal is remembered, or a late repeat might run what its sender has back already.
So of two rows with the same ``to``, the second is asked when the first one's removal is committed.
"""

from __future__ import annotations

import random
import re
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from ..checks import json_object, text
from ..core.messages import Fields, Incarnation, Op, Tables
from ..rules import Outcome, Rejected, refused
from .ledger import Ledger, Mark

OUT, IN, ROOM = "$out", "$in", "$room"
OUT_AT_MOST = 1000
SENDERS_AT_MOST = 10_000
LARGEST_BYTES = 65_536
ID = re.compile(r"[A-Za-z0-9_.:-]{1,100}")


class Outbox:
    """Of one room, for its rules: everything here is part of what the rule changes, and undone with it."""

    __slots__ = ("_random", "ledger", "room")

    def __init__(self, room: str, ledger: Ledger, randomness: random.Random) -> None:
        self.room = room
        self.ledger = ledger
        self._random = randomness

    @property
    def is_ended(self) -> bool:
        return "end" in self.ledger.rows(ROOM)

    def end(self, why: str = "rules") -> None:
        if not self.is_ended:
            self.ledger.put(ROOM, "end", {"why": why})

    def send(self, to: str, event: str, payload: Fields) -> None:
        """A letter. Raises Rejected: ``overloaded``, ``too large``."""
        checked_id(to)
        letter = {"event": text(event), "payload": json_object(payload)}
        n, life = self._next()
        self._put(n, to, "letters", "deliver", {"from_": self.room, "n": n, "life": life, **letter})

    def call(self, service: str, verb: str, args: Fields) -> None:
        """Of one of the cluster's services. Nobody is told what becomes of it. Raises Rejected: ``overloaded``, ``too large``."""
        self._put(self._next()[0], "", service, verb, json_object(args))

    def _next(self) -> tuple[int, str]:
        """The number of a new row, and this life."""
        if len(self.ledger.rows(OUT)) >= OUT_AT_MOST:
            raise Rejected("overloaded", detail=f"{OUT_AT_MOST} letters and calls of this room are not delivered yet")
        row = self.ledger.rows(ROOM).get("outbox")
        if row is None:
            row = {"n": 0, "life": f"{self._random.getrandbits(64):016x}"}
            self.ledger.put(ROOM, "outbox", row)
        n: int = row["n"] + 1
        self.ledger.put(ROOM, "outbox", {"n": n})
        return n, row["life"]

    def _put(self, n: int, to: str, service: str, verb: str, args: Fields) -> None:
        if (size := len(msgspec.json.encode(args))) > LARGEST_BYTES:
            raise Rejected("too large", detail=f"a letter has up to {LARGEST_BYTES} bytes of JSON, this one {size}")
        self.ledger.put(OUT, str(n), {"to": to, "service": service, "verb": verb, "args": args})


class LetterRules(Protocol):
    """The room's rules about letters, as ``runtime.RoomRuntime`` runs them; what they refuse is undone back to ``kept``."""

    def letter(self, sender: str, event: str, payload: Fields, kept: Mark) -> Outcome: ...
    def returned(self, room: str, event: str, payload: Fields, kept: Mark) -> Outcome: ...


class RoomServices:
    """Fulfils ``core.authority.Services`` for one room. ``raise_errors``: exceptions of rules come through, with all undone."""

    __slots__ = ("_outbox", "_raise_errors", "_rules")

    def __init__(self, outbox: Outbox, rules: LetterRules, raise_errors: bool = False) -> None:
        self._outbox = outbox
        self._rules = rules
        self._raise_errors = raise_errors

    @property
    def ledger(self) -> Ledger:
        return self._outbox.ledger

    @property
    def is_ended(self) -> bool:
        return self._outbox.is_ended

    def load(self, tables: Tables, ahead: Sequence[Op] = ()) -> None:
        """Replaces all state; ``tables`` are this object's from now on."""
        self.ledger.load(tables)

    def call(self, service: str, verb: str, args: Fields, origin: Incarnation) -> Outcome:
        try:
            return self._verb(service, verb)(**args)
        except Rejected as refusal:
            self.ledger.undo()
            return refused(refusal.response)
        except Exception:
            self.ledger.undo()
            if self._raise_errors:
                raise
            return refused({"reason": "internal error"}, traceback.format_exc())

    def pods(self) -> set[Incarnation]:
        return set()

    def gone(self, pods: set[Incarnation]) -> Outcome:
        return Outcome(True, {}, [], [])

    def restored(self) -> Outcome:
        return Outcome(True, {}, [], [])

    def _verb(self, service: str, verb: str) -> Callable[..., Outcome]:
        match service, verb:
            case "letters", "deliver":
                return self._deliver
            case "outbox", "sent":
                return self._sent
            case "outbox", "end":
                return self._end
        known = "letters.deliver, outbox.sent and outbox.end"
        raise Rejected("unknown service", detail=f"a room has {known}, not {service}.{verb}")

    def _deliver(self, from_: str, n: int, event: str, payload: Fields, life: str = "") -> Outcome:
        """Response ``{}``, or ``{"refused": {"reason", …}}``, which a repeat is answered too."""
        ledger = self.ledger
        taken = ledger.rows(IN).get(from_)
        if taken is not None and taken["life"] == life and n <= taken["n"]:
            return Outcome(True, _answer(taken["refused"] if n == taken["n"] else None), [], [])
        self._forget_one(from_)
        ledger.put(IN, from_, {"life": life, "n": n, "refused": None})
        outcome = self._rules.letter(from_, event, payload, ledger.mark())
        refusal = None if outcome.ok else outcome.response
        if refusal is not None:
            ledger.put(IN, from_, {"refused": refusal})
        return self._done(outcome, _answer(refusal))

    def _forget_one(self, sender: str) -> None:
        """Keeps ``$in`` in the order of the last letter, and short: ids of matches are many."""
        rows = self.ledger.rows(IN)
        if sender in rows:
            self.ledger.delete(IN, sender)
        elif len(rows) >= SENDERS_AT_MOST:
            self.ledger.delete(IN, next(iter(rows)))

    def _sent(self, n: int, ok: bool, response: Fields) -> Outcome:
        """Row ``n`` was answered so. A letter that was refused is the business of the rule ``returned``, in this same entry."""
        row = self.ledger.rows(OUT).get(str(n))
        if row is None:
            return Outcome(True, {}, [], [])
        self.ledger.delete(OUT, str(n))
        refusal: Any = response.get("refused") if ok else response
        if refusal is None:
            return self._done(None, {})
        if not row["to"]:
            return self._done(
                refused({}, f"{self._outbox.room}: {row['service']}.{row['verb']} is refused: {refusal}"), {}
            )
        letter = row["args"]
        outcome = self._rules.returned(row["to"], letter["event"], letter["payload"], self.ledger.mark())
        if not outcome.ok and outcome.error is None:
            outcome = refused({}, f"{self._outbox.room}: returned raised Rejected: {outcome.response}")
        return self._done(outcome, {})

    def _end(self, why: str) -> Outcome:
        """It is over, though no rule has said so."""
        self._outbox.end(why)
        return self._done(None, {})

    def _done(self, of: Outcome | None, response: Fields) -> Outcome:
        """With what the rule changed, if it did, and what else there is."""
        ops, broadcasts = self.ledger.take()
        if of is None:
            return Outcome(True, response, ops, broadcasts)
        return Outcome(True, response, of.ops + ops, of.broadcasts + broadcasts, of.error)


def _answer(refusal: Fields | None) -> Fields:
    return {} if refusal is None else {"refused": refusal}


def checked_id(room: str) -> str:
    """Raises ValueError."""
    if not isinstance(room, str) or not ID.fullmatch(room):
        raise ValueError(f"a room's id has 1 to 100 letters, digits and _ . : -, not {room!r}")
    return room
