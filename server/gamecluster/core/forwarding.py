"""What this pod's clients have asked for and were not answered yet.

| state  | event                                      | next   | what is sent or said                                   |
| ------ | ------------------------------------------ | ------ | ------------------------------------------------------ |
| queued | a leader is known                          | sent   | Forward                                                |
| sent   | Bounce                                     | queued |                                                        |
| sent   | its entry is committed                     | done   | the entry's reply                                      |
| sent   | in sync with a new leader, not in the log  | queued | with ``n``, a join or a leave; else "unknown" (rule 13) |
| sent   | the copy was replaced by a snapshot        | queued | the same                                               |
| queued | waited too long                            | done   | "no leader": the rule did not run                      |
| sent   | waited too long                            | done   | "unknown"                                              |

Requests of one pod stay in their order: one that must wait holds back those behind it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

from .messages import Entry, Fields, Incarnation, Move, Request

LIMIT = 10_000
QUEUED_SECONDS = 2.0
SENT_SECONDS = 8.0
UNHEARD_SECONDS = 60.0
REST_SECONDS = 0.02


@dataclass
class Pending:
    """``request``: the shell's number, None when nobody waits for the answer. ``epoch``: whose leader it was sent to, 0 if queued."""

    request: int | None
    body: Request
    order: int
    since: float
    epoch: int = 0
    rest_until: float = 0.0

    @property
    def is_repeatable(self) -> bool:
        return not (isinstance(self.body, Move) and self.body.n is None)


Refusal = tuple[int, Fields]
"""The shell's request, and the response to refuse it with."""


class Forwarding:
    def __init__(self, me: Incarnation, numbers: Iterator[int] | None = None) -> None:
        """``numbers``: those of this pod's requests; no other ``Forwarding`` of the same log has had them."""
        self._me = me
        self._pending: dict[int, Pending] = {}
        self._queue: deque[int] = deque()
        self._numbers = numbers or count(1)
        self._orders = 0
        self._epoch = 0
        self._has_older = False

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, request: int | None, body: Request, now: float) -> Refusal | None:
        if request is not None and len(self._pending) >= LIMIT:
            return request, {"reason": "overloaded"}
        self._orders += 1
        self._queue.append(self._put(Pending(request, body, self._orders, now)))
        return None

    def next_queued(self, now: float) -> tuple[int, Pending] | None:
        """The first in the queue, unless it rests after a Bounce."""
        if not self._queue:
            return None
        number = self._queue[0]
        pending = self._pending[number]
        return None if now < pending.rest_until else (number, pending)

    def sent(self, number: int, epoch: int) -> None:
        assert self._queue[0] == number
        self._queue.popleft()
        self._pending[number].epoch = epoch
        self._epoch = max(self._epoch, epoch)

    def bounced(self, number: int, epoch: int, now: float) -> None:
        pending = self._pending.get(number)
        if pending is not None and pending.epoch == epoch:
            pending.epoch, pending.rest_until = 0, now + REST_SECONDS
            self._queue = deque(sorted([*self._queue, number], key=self._order))

    def answered(self, number: int) -> Pending | None:
        pending = self._pending.pop(number, None)
        if pending is not None and pending.epoch == 0:
            self._queue.remove(number)
        return pending

    def forget(self, request: int) -> None:
        for number in [number for number, pending in self._pending.items() if pending.request == request]:
            self.answered(number)

    def synced(self, epoch: int, tail: list[Entry]) -> list[Refusal]:
        """In sync with the leader of ``epoch``: what an earlier one was sent is in the log's tail, or is asked again.

        A move without ``n`` is not: another pod's tail may still hold its entry, and lead later.
        """
        if self._epoch >= epoch and not self._has_older:
            return []
        in_log = {reply.request for entry in tail for reply in entry.replies if reply.origin == self._me}
        older = [n for n, p in self._pending.items() if 0 < p.epoch < epoch]
        refusals = self._again_or_unknown([n for n in older if n not in in_log])
        self._has_older = any(n in in_log for n in older)
        self._epoch = max(self._epoch, epoch)
        for number in self._queue:
            self._pending[number].rest_until = 0.0  # what another leader has refused
        return refusals

    def replaced(self) -> list[Refusal]:
        """The copy was replaced by a snapshot: the answers to what was sent may have been in what it skipped."""
        return self._again_or_unknown([n for n, p in self._pending.items() if p.epoch > 0])

    def dropped(self) -> list[int]:
        """Forgets everything; returns the shell's requests, which are to be refused."""
        requests = [p.request for p in self._pending.values() if p.request is not None]
        self._pending.clear()
        self._queue.clear()
        return requests

    def _again_or_unknown(self, numbers: list[int]) -> list[Refusal]:
        lost = [n for n in numbers if not self._pending[n].is_repeatable]
        self._again([n for n in numbers if n not in lost])
        dropped = [self._pending.pop(n) for n in lost]
        return [(p.request, {"reason": "unknown"}) for p in dropped if p.request is not None]

    def sent_to(self, epoch: int) -> list[tuple[int, Pending]]:
        """What the leader of ``epoch`` was sent, in order: for a link that replaced another. It drops what it has."""
        return sorted(((n, p) for n, p in self._pending.items() if p.epoch == epoch), key=lambda item: item[1].order)

    def expired(self, now: float) -> list[Refusal]:
        refusals: list[Refusal] = []
        for number, pending in list(self._pending.items()):
            age, is_queued = now - pending.since, pending.epoch == 0
            if pending.request is None:
                if is_queued and age > UNHEARD_SECONDS:
                    self.answered(number)
            elif age > (QUEUED_SECONDS if is_queued else SENT_SECONDS):
                self.answered(number)
                refusals.append((pending.request, {"reason": "no leader" if is_queued else "unknown"}))
        return refusals

    def _again(self, numbers: list[int]) -> None:
        """Queued anew under fresh numbers, so that no earlier copy of the request is taken for this one."""
        if not numbers:
            return
        fresh = [self._put(replace(self._pending.pop(number), epoch=0)) for number in numbers]
        self._queue = deque(sorted([*self._queue, *fresh], key=self._order))

    def _put(self, pending: Pending) -> int:
        number = next(self._numbers)
        self._pending[number] = pending
        return number

    def _order(self, number: int) -> int:
        return self._pending[number].order
