"""One timer for very many: what is to be looked at, by the second in which that is due."""

from __future__ import annotations

from typing import Protocol


class Timer(Protocol):
    """What the event loop gives for a callback that is to come."""

    def cancel(self) -> None: ...


class TimerWheel:
    """Of numbers, each in one slot. Looking at one that is gone meanwhile costs a lookup; nothing is ever searched."""

    def __init__(self) -> None:
        self._slots: dict[int, list[int]] = {}
        self._next: int | None = None

    def look_at(self, number: int, when: float) -> None:
        slot = int(when) + 1
        if self._next is not None:
            slot = max(slot, self._next)
        self._slots.setdefault(slot, []).append(number)

    def due(self, now: float) -> list[int]:
        """All whose time has come; at most a second later than they said."""
        end = int(now) + 1
        begin = min(self._slots, default=end) if self._next is None else self._next
        self._next = max(end, begin)
        slots = range(begin, end) if end - begin < len(self._slots) else sorted(s for s in self._slots if s < end)
        return [number for slot in slots for number in self._slots.pop(slot, ())]
