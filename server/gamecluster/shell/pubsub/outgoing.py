"""What waits to be handed to a broker. Overflow policy: the oldest goes first, whether there is too much of it or it is too old."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

MESSAGES_AT_MOST = 10_000
BYTES_AT_MOST = 64 * 1024 * 1024
KEPT_SECONDS = 5.0
"""A broadcast that could not be sent for so long is of the past."""
BATCH_MESSAGES = 500
BATCH_BYTES = 1024 * 1024


class Letter(NamedTuple):
    topic: str
    body: bytes


class Outgoing:
    """In the order of ``put``. ``now``: monotonic seconds."""

    def __init__(self, messages: int = MESSAGES_AT_MOST, size: int = BYTES_AT_MOST, kept: float = KEPT_SECONDS) -> None:
        self._limits = messages, size, kept
        self._letters: deque[tuple[float, Letter]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._letters)

    def put(self, letter: Letter, now: float) -> int:
        """Says how many that were not too old had to go for it; one that is too large for the whole queue goes itself."""
        messages, size, _ = self._limits
        self.drop_old(now)
        self._letters.append((now, letter))
        self._bytes += len(letter.body)
        dropped = 0
        while len(self._letters) > messages or self._bytes > size:
            self._take()
            dropped += 1
        return dropped

    def drop_old(self, now: float) -> int:
        """Says how many were too old."""
        dropped = 0
        while self._letters and now - self._letters[0][0] > self._limits[2]:
            self._take()
            dropped += 1
        return dropped

    def take(self) -> list[Letter]:
        """The next to be sent together: one at least, if there is any."""
        batch: list[Letter] = []
        size = 0
        while self._letters and len(batch) < BATCH_MESSAGES and (not batch or size < BATCH_BYTES):
            batch.append(self._take())
            size += len(batch[-1].body)
        return batch

    def _take(self) -> Letter:
        _, letter = self._letters.popleft()
        self._bytes -= len(letter.body)
        return letter
