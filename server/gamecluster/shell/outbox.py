"""What waits to be written to clients: bounded, and written once per client and turn of the event loop, however much it is.

A broadcast waits in its ``Group``, joined with others of the turn; at the turn's end the same bytes are written to every
member. What one client alone is sent waits in its ``Outbox``, behind what its groups have had for it until then, so the order of a
topic is the same for everyone. A client that does not read has all in its outbox until that is full.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .websocket import Opcode, frame

MAX_FRAMES = 4096
MAX_BYTES = 1_048_576
"""More than this waiting, and the client does not read: it is dropped, at no cost to the others."""


class ClientSocket(Protocol):
    """One client's accepted WebSocket, as this node needs it. Nothing here waits."""

    heard_at: float
    """When any bytes of the client came last, on the loop's clock."""

    @property
    def write(self) -> Callable[[bytes], None]:
        """Takes ready WebSocket frames, end to end. Not after the end, nor while the client does not read."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Says goodbye. Never with 1000: a Phoenix client would not come back."""

    def abort(self) -> None:
        """Ends it at once; what is unsent is lost."""


def text_frame(data: bytes) -> bytes:
    return frame(Opcode.text, data)


def binary_frame(data: bytes) -> bytes:
    return frame(Opcode.binary, data)


class Flusher:
    """One callback per turn of the event loop for all that have got something. ``call_soon``: the loop's."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self._is_due = False
        self._groups: list[Group] = []
        self._outboxes: list[Outbox] = []

    def add_group(self, group: Group) -> None:
        self._groups.append(group)
        self._call()

    def add(self, outbox: Outbox) -> None:
        self._outboxes.append(outbox)
        self._call()

    def _call(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._call_soon(self._flush)

    def _flush(self) -> None:
        groups, self._groups = self._groups, []
        for group in groups:
            group.flush(len(groups) > 1)
        outboxes, self._outboxes = self._outboxes, []
        for outbox in outboxes:
            outbox.flush()
        self._is_due = False
        if self._groups or self._outboxes:  # somebody was dropped, and others were told
            self._call()


class Outbox:
    """In ``_flusher`` from the first frame that waits until the end of the turn, or until the client reads again."""

    __slots__ = ("_bytes", "_flusher", "_frames", "groups", "is_full", "number", "waits", "write")

    def __init__(self, number: int, write: Callable[[bytes], None], flusher: Flusher) -> None:
        self.number = number
        self.write = write
        self.groups: list[Group] = []
        """That it is a member of."""
        self.waits = False
        """For the end of the turn, or for the client to read: nothing may be written past it."""
        self._flusher = flusher
        self._frames: list[bytes] = []
        self._bytes = 0
        self.is_full = False

    def send(self, frame: bytes) -> bool:
        """Queues a ready WebSocket frame. False: the client does not read, and is to be dropped."""
        for group in self.groups:
            if not group.hand_over(self):
                return False
        return self.add(frame)

    def add(self, frame: bytes) -> bool:
        """The same, past its groups."""
        if self._frames:
            if len(self._frames) >= MAX_FRAMES or self._bytes + len(frame) > MAX_BYTES:
                self.flush()
                if self._frames:
                    return False
        elif not self.is_full:
            self._flusher.add(self)
        self.waits = True
        self._frames.append(frame)
        self._bytes += len(frame)
        return True

    def flush(self) -> None:
        """Writes what waits, unless the client is behind."""
        if self._frames and not self.is_full:
            frames, self._frames, self._bytes, self.waits = self._frames, [], 0, False
            self.write(frames[0] if len(frames) == 1 else b"".join(frames))

    def finish(self) -> None:
        """Writes all that there is for the client, unless it is behind: a close follows."""
        if all(group.hand_over(self) for group in self.groups):
            self.flush()

    def full(self) -> None:
        """The kernel's and the transport's buffers are."""
        self.is_full = self.waits = True

    def writable(self) -> None:
        self.is_full, self.waits = False, bool(self._frames)
        self.flush()

    def close(self) -> None:
        """Nothing is written any more."""
        self._frames.clear()


class Group:
    """Who gets the same frames. ``drop`` is called, with its number, for a client that does not read; it calls ``leave``."""

    __slots__ = ("_bytes", "_done", "_drop", "_flusher", "_frames", "members")

    def __init__(self, flusher: Flusher, drop: Callable[[int], None]) -> None:
        self.members: dict[int, Outbox] = {}
        self._flusher = flusher
        self._drop = drop
        self._frames: list[bytes] = []
        self._bytes = 0
        self._done: dict[int, int] = {}
        """How many of ``_frames`` are no longer, or were never, for this member."""

    def join(self, outbox: Outbox) -> None:
        """From the next frame on."""
        self.members[outbox.number] = outbox
        outbox.groups.append(self)
        if self._frames:
            self._done[outbox.number] = len(self._frames)

    def leave(self, outbox: Outbox) -> None:
        if self.members.pop(outbox.number, None) is not None:
            outbox.groups.remove(self)
            self._done.pop(outbox.number, None)

    def send(self, frame: bytes) -> None:
        """To all members, at the end of the turn."""
        if not self._frames:
            self._flusher.add_group(self)
        elif len(self._frames) >= MAX_FRAMES or self._bytes + len(frame) > MAX_BYTES:
            self.flush(False)
            self._flusher.add_group(self)
        self._frames.append(frame)
        self._bytes += len(frame)

    def pass_over(self, number: int) -> bool:
        """The frame that was sent last is not for this member. False: it does not read, and is to be dropped."""
        return self._hand_over(self.members[number], len(self._frames) - 1)

    def hand_over(self, outbox: Outbox) -> bool:
        """Puts what waits for it into its outbox. False: it does not read, and is to be dropped."""
        return not self._frames or self._hand_over(outbox, len(self._frames))

    def _hand_over(self, outbox: Outbox, end: int) -> bool:
        done, self._done[outbox.number] = self._done.get(outbox.number, 0), len(self._frames)
        return all(outbox.add(waiting) for waiting in self._frames[done:end])

    def flush(self, are_several: bool) -> None:
        """``are_several``: other groups have something as well, so who is in more than one is written to later."""
        if not self._frames:
            return
        frames, self._frames, self._bytes = self._frames, [], 0
        done, self._done = self._done, {}
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        slow = []
        if done or are_several:
            for number, outbox in self.members.items():
                rest = data if number not in done else b"".join(frames[done[number] :])
                if outbox.waits or (are_several and len(outbox.groups) > 1):
                    if rest and not outbox.add(rest):
                        slow.append(number)
                elif rest:
                    outbox.write(rest)
        else:
            for outbox in self.members.values():
                if not outbox.waits:
                    outbox.write(data)
                elif not outbox.add(data):
                    slow.append(outbox.number)
        for number in slow:
            self._drop(number)
