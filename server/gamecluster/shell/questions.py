"""What one pod asks another beside the GameState, on their link: a question, its answer, a deadline.

| when                          | the asker is told                                                             |
| ----------------------------- | ----------------------------------------------------------------------------- |
| it is answered                | the answer                                                                    |
| its time is over              | ``timed out``: it may have been done                                          |
| the link is lost, or replaced | ``unknown``: it may have been done                                            |
| too many are open             | ``overloaded``: it was not asked                                              |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from msgspec import Struct

from ..core.messages import Fields, Incarnation
from .timers import Timer

OPEN_AT_MOST = 512
"""To one peer."""


class Question(Struct, frozen=True, array_like=True, tag=4):
    number: int
    to: str
    body: Fields


class Answered(Struct, frozen=True, array_like=True, tag=5):
    number: int
    ok: bool
    response: Fields


Then = Callable[[bool, Fields], None]
"""Whether it was done, and the response, with ``reason`` if not."""
Handler = Callable[[Fields, Then], None]


@dataclass
class _Open:
    peer: Incarnation
    then: Then
    timer: Timer


class Questions:
    """``send`` sends to a peer on its link, in order, or does nothing if there is none."""

    def __init__(
        self,
        call_later: Callable[[float, Callable[[], None]], Timer],
        send: Callable[[Incarnation, Question | Answered], None],
    ) -> None:
        self._call_later = call_later
        self._send = send
        self._handlers: dict[str, Handler] = {}
        self._open: dict[int, _Open] = {}
        self._counts: dict[Incarnation, int] = {}
        self._number = 0

    def answer(self, to: str, handler: Handler) -> None:
        """``handler`` answers what is asked ``to`` it; if it never does, the deadline does."""
        self._handlers[to] = handler

    def ask(self, peer: Incarnation, to: str, body: Fields, seconds: float, then: Then) -> None:
        """``then`` is called once."""
        if self._counts.get(peer, 0) >= OPEN_AT_MOST:
            then(False, {"reason": "overloaded"})
            return
        self._number = number = self._number + 1
        timer = self._call_later(seconds, lambda: self._settle(number, False, {"reason": "timed out"}))
        self._open[number] = _Open(peer, then, timer)
        self._counts[peer] = self._counts.get(peer, 0) + 1
        self._send(peer, Question(number, to, body))

    def link_changed(self, peer: Incarnation) -> None:
        """It is lost, or new: what was on its way may be lost."""
        for number in [number for number, asked in self._open.items() if asked.peer == peer]:
            self._settle(number, False, {"reason": "unknown"})

    def said(self, peer: Incarnation, message: Question | Answered) -> None:
        if isinstance(message, Answered):
            if (asked := self._open.get(message.number)) is not None and asked.peer == peer:
                self._settle(message.number, message.ok, message.response)
        elif (handler := self._handlers.get(message.to)) is None:
            self._send(peer, Answered(message.number, False, {"reason": "unknown question"}))
        else:
            number = message.number
            handler(message.body, lambda ok, response: self._send(peer, Answered(number, ok, response)))

    def _settle(self, number: int, ok: bool, response: Fields) -> None:
        asked = self._open.pop(number)
        asked.timer.cancel()
        self._counts[asked.peer] -= 1
        if not self._counts[asked.peer]:
            del self._counts[asked.peer]
        asked.then(ok, response)
