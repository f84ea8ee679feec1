"""The requests of one pod that a leader has taken, so that a repeated Forward is not run again."""

from __future__ import annotations

from collections import deque

REMEMBERED = 16_384


class Seen:
    def __init__(self) -> None:
        self._numbers: set[int] = set()
        self._order: deque[int] = deque()

    def is_new(self, number: int) -> bool:
        if number in self._numbers:
            return False
        self._numbers.add(number)
        self._order.append(number)
        if len(self._order) > REMEMBERED:
            self._numbers.discard(self._order.popleft())
        return True
