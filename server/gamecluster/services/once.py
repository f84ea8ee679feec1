"""Calls that run once, though they may be asked again: ``$sessions``: session → ``{"pod"}``, ``$calls``: ``session/slot`` → last answer.

As NFSv4.1 has it (RFC 8881, 2.10.6): a pod opens a session, and asks each call in a slot of its own, with the slot's next number, so
one answer for each slot is all that must be kept. A session ends with its pod, or when the pod was away; a repeated call that finds its
session gone is refused with ``no session``: nobody knows (any more) whether it ran.
"""

from __future__ import annotations

from collections.abc import Callable

from ..core.messages import Fields, Incarnation
from ..rules import Rejected
from .ledger import Ledger
from .service import Service

SESSIONS, CALLS = "$sessions", "$calls"
SLOTS = 64
"""Of a session: so many calls of a pod may be under way."""

Run = Callable[[Incarnation, str, str, Fields], Fields | None]


class Once(Service):
    """``run(origin, service, verb, args)``: a call of another service, which is undone when it raises."""

    name = "once"
    verbs = frozenset({"open", "call"})
    holders = SESSIONS

    def __init__(self, ledger: Ledger, run: Run) -> None:
        super().__init__(ledger)
        self._run = run

    def open(self, origin: Incarnation, session: str) -> None:
        if session not in self._ledger.rows(SESSIONS):
            self._ledger.put(SESSIONS, session, {"pod": origin})

    def call(
        self, origin: Incarnation, session: str, slot: int, n: int, service: str, verb: str, args: Fields
    ) -> Fields:
        """``n`` counts the calls of the slot. A refusal has changed nothing, and is not kept: a repeat runs anew."""
        opened = self._ledger.rows(SESSIONS).get(session)
        if opened is None or opened["pod"] != origin or not 0 <= slot < SLOTS:
            raise Rejected("no session")
        key = f"{session}/{slot}"
        last = self._ledger.rows(CALLS).get(key)
        if last is not None and n <= last["n"]:
            return _again(last, n)
        response = self._run(origin, service, verb, args) or {}
        self._ledger.put(CALLS, key, {"n": n, "response": response})
        return response

    def gone(self, pods: set[Incarnation]) -> None:
        for session, row in list(self._ledger.rows(SESSIONS).items()):
            if row["pod"] in pods:
                self._ledger.delete(SESSIONS, session)
                for slot in range(SLOTS):
                    self._ledger.delete(CALLS, f"{session}/{slot}")


def _again(last: Fields, n: int) -> Fields:
    if n < last["n"]:
        raise Rejected("unknown", detail="the slot has been used since")
    response: Fields = last["response"]
    return response
