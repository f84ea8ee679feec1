"""One client's socket: which topics it has joined, and what a frame means in that light.

Sans-I/O: frames and the application's answers go in, frames to send and requests to the application come out, in order.
After phoenixframework/phoenix ``lib/phoenix/socket.ex`` (``handle_in``) and ``lib/phoenix/channel/server.ex``.

The state of one topic. A join is numbered (``channel``), so that an answer to a replaced join goes nowhere.

========= ========================= ========= =======================================================================
state     event                     next      out
========= ========================= ========= =======================================================================
(none)    phx_join                  joining   JoinRequested
(none)    phx_join, 100 topics      (none)    reply error "too many channels joined"
(none)    phx_leave                 (none)    reply ok
(none)    any other                 (none)    reply error "unmatched topic", join_ref null
joining   accept_join               joined    reply ok; phx_close of what it replaced; what was held
joining   refuse_join               (none)    reply error; phx_close of what it replaced; held: "unmatched topic"
joining   any event                 joining   held until the answer; above 100 held: reply error "join is pending"
joined    any event                 joined    Pushed
joined    reply, push               joined    phx_reply, the push
both      phx_join                  joining   LeftTopic(replaced), JoinRequested
both      phx_leave                 (none)    reply ok, phx_close, LeftTopic(left); held: "unmatched topic"
both      stale join_ref            same      nothing (a null join_ref is never stale)
both      close_topic               (none)    phx_close
both      crash_topic               (none)    phx_error; while joining: reply error "join crashed"
both      close (the socket's end)  (none)    LeftTopic(lost)
========= ========================= ========= =======================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from msgspec import Raw, Struct

from . import codec
from .codec import Data, Message, NotBinary, Payload, Ref, Vsn

MAX_CHANNELS = 100
MAX_HELD = 100
IDLE_AFTER_SECONDS = 60.0


class Leaving(StrEnum):
    left = "left"
    """The client said so."""
    replaced = "replaced"
    """The client joins the topic anew; a JoinRequested follows."""
    lost = "lost"
    """The socket is gone."""


class Send(Struct, frozen=True):
    """A frame for this client."""

    frame: bytes
    is_binary: bool = False


class JoinRequested(Struct, frozen=True):
    """To be answered by ``accept_join`` or ``refuse_join`` with this ``channel``."""

    channel: int
    topic: str
    payload: Data


class Pushed(Struct, frozen=True):
    """An event of a joined topic, to be answered by ``reply`` with this ``channel`` and ``ref``."""

    channel: int
    topic: str
    ref: Ref
    event: str
    payload: Data


class LeftTopic(Struct, frozen=True):
    """The join ``channel`` has ended from the client's side, whether or not it was answered yet."""

    channel: int
    topic: str
    why: Leaving


Output = Send | JoinRequested | Pushed | LeftTopic


class Session:
    """``serves`` says of a topic whether anybody answers for it; ``now`` is monotonic seconds throughout."""

    __slots__ = ("_by_number", "_by_topic", "_heard_at", "_next_channel", "_serves", "vsn")

    def __init__(self, vsn: Vsn, serves: Callable[[str], bool], now: float) -> None:
        self.vsn = vsn
        self._serves = serves
        self._heard_at = now
        self._next_channel = 1
        self._by_topic: dict[str, _Channel] = {}
        self._by_number: dict[int, _Channel] = {}

    # --- from the client ---------------------------------------------------------------------------------------------

    def decode(self, data: str | bytes, now: float) -> Message:
        """Reads a text frame. Raises ProtocolError: the client is to be disconnected."""
        self.heard(now)
        return codec.decode(data, self.vsn)

    def decode_binary(self, data: bytes, now: float) -> Message:
        """The same for a binary frame."""
        self.heard(now)
        return codec.decode_binary(data, self.vsn)

    def receive(self, message: Message) -> list[Output]:
        """What to do about a message of the client."""
        if message.topic == "phoenix" and message.event == "heartbeat":
            return [self._reply(None, message.ref, "phoenix", True, {})]
        channel = self._by_topic.get(message.topic)
        match message.event:
            case "phx_join":
                return self._join(message, channel)
            case "phx_leave":
                return self._leave(message, channel)
            case _:
                return self._event(message, channel)

    def refuse(self, message: Message, response: Payload) -> list[Output]:
        """Answers ``message`` with an error and does nothing else about it (a limit is exceeded)."""
        return [self._reply(message.join_ref, message.ref, message.topic, False, response)]

    def heard(self, now: float) -> None:
        """Any data of the client counts, also what is no message, such as a ping."""
        self._heard_at = max(self._heard_at, now)

    @property
    def idle_at(self) -> float:
        """60 s after the last data: then the socket is to be closed."""
        return self._heard_at + IDLE_AFTER_SECONDS

    def close(self) -> list[LeftTopic]:
        """The socket is gone, or about to be."""
        gone = [LeftTopic(c.number, c.topic, Leaving.lost) for c in self._by_number.values()]
        self._by_topic.clear()
        self._by_number.clear()
        return gone

    # --- from the application ----------------------------------------------------------------------------------------
    # A ``channel`` that has ended in the meantime is no error: nothing is sent.

    # A client that can't be sent a response of bytes gets an error that says so.

    def accept_join(self, channel: int, response: Data) -> list[Output]:
        if (c := self._by_number.get(channel)) is None or c.is_joined:
            return []
        c.is_joined = True
        out: list[Output] = [self._reply(c.join_ref, c.ref, c.topic, True, response), *self._close_replaced(c)]
        held, c.held = c.held, []
        for message in held:
            out += self.receive(message)
        return out

    def refuse_join(self, channel: int, response: Data) -> list[Output]:
        if (c := self._by_number.get(channel)) is None or c.is_joined:
            return []
        self._forget(c)
        refusal = self._reply(c.join_ref, c.ref, c.topic, False, response)
        return [refusal, *self._close_replaced(c), *self._unmatch_held(c)]

    def reply(self, channel: int, ref: Ref, ok: bool, response: Data) -> list[Output]:
        if (c := self._by_number.get(channel)) is None:
            return []
        return [self._reply(c.join_ref, ref, c.topic, ok, response)]

    def push(self, channel: int, event: str, payload: Data | Raw) -> list[Output]:
        """Raises NotBinary."""
        if (c := self._by_number.get(channel)) is None:
            return []
        if isinstance(payload, bytes):
            return [Send(codec.encode_binary_push(self.vsn, c.join_ref, c.topic, event, payload), is_binary=True)]
        return [Send(codec.encode_push(self.vsn, c.join_ref, c.topic, event, payload))]

    def close_topic(self, channel: int) -> list[Output]:
        if (c := self._by_number.get(channel)) is None:
            return []
        self._forget(c)
        return [*self._close_replaced(c), self._phx_close(c.join_ref, c.topic), *self._unmatch_held(c)]

    def crash_topic(self, channel: int) -> list[Output]:
        if (c := self._by_number.get(channel)) is None:
            return []
        if not c.is_joined:
            return self.refuse_join(channel, {"reason": "join crashed"})
        self._forget(c)
        return [Send(codec.encode_error(self.vsn, c.join_ref, c.topic))]

    # --- private -----------------------------------------------------------------------------------------------------

    def _join(self, message: Message, old: _Channel | None) -> list[Output]:
        if not self._serves(message.topic):
            return [self._unmatched(message)]
        if old is None and len(self._by_topic) >= MAX_CHANNELS:
            return self.refuse(message, {"reason": "too many channels joined"})
        new = _Channel(self._next_channel, message.topic, message.join_ref, message.ref)
        self._next_channel += 1
        out: list[Output] = []
        if old is not None:
            self._forget(old)
            new.replaces = [*old.replaces, old.join_ref][-MAX_CHANNELS:]
            out = [*self._unmatch_held(old), LeftTopic(old.number, old.topic, Leaving.replaced)]
        self._by_topic[new.topic] = self._by_number[new.number] = new
        return [*out, JoinRequested(new.number, new.topic, message.payload)]

    def _leave(self, message: Message, channel: _Channel | None) -> list[Output]:
        if channel is None:
            return [self._reply(message.join_ref, message.ref, message.topic, True, {})]
        if channel.is_stale(message):
            return []
        self._forget(channel)
        return [
            self._reply(channel.join_ref, message.ref, message.topic, True, {}),
            *self._close_replaced(channel),
            self._phx_close(channel.join_ref, channel.topic),
            *self._unmatch_held(channel),
            LeftTopic(channel.number, channel.topic, Leaving.left),
        ]

    def _event(self, message: Message, channel: _Channel | None) -> list[Output]:
        if channel is None:
            return [self._unmatched(message)]
        if channel.is_stale(message):
            return []
        if channel.is_joined:
            return [Pushed(channel.number, channel.topic, message.ref, message.event, message.payload)]
        if len(channel.held) >= MAX_HELD:
            return self.refuse(message, {"reason": "join is pending"})
        channel.held.append(message)
        return []

    def _forget(self, channel: _Channel) -> None:
        del self._by_topic[channel.topic]
        del self._by_number[channel.number]

    def _close_replaced(self, channel: _Channel) -> list[Output]:
        replaced, channel.replaces = channel.replaces, []
        return [self._phx_close(join_ref, channel.topic) for join_ref in replaced]

    def _unmatch_held(self, channel: _Channel) -> list[Output]:
        held, channel.held = channel.held, []
        return [self._unmatched(message) for message in held]

    def _unmatched(self, message: Message) -> Send:
        return self._reply(None, message.ref, message.topic, False, {"reason": "unmatched topic"})

    def _reply(self, join_ref: Ref, ref: Ref, topic: str, ok: bool, response: Data) -> Send:
        if isinstance(response, bytes):
            return self._binary_reply(join_ref, ref, topic, ok, response)
        return Send(codec.encode_reply(self.vsn, join_ref, ref, topic, "ok" if ok else "error", response))

    def _binary_reply(self, join_ref: Ref, ref: Ref, topic: str, ok: bool, response: bytes) -> Send:
        status: codec.Status = "ok" if ok else "error"
        try:
            frame = codec.encode_binary_reply(self.vsn, join_ref, ref, topic, status, response)
        except NotBinary as error:
            return self._reply(join_ref, ref, topic, False, {"reason": "not binary", "detail": str(error)})
        return Send(frame, is_binary=True)

    def _phx_close(self, join_ref: Ref, topic: str) -> Send:
        return Send(codec.encode_close(self.vsn, join_ref, topic))


@dataclass(slots=True)
class _Channel:
    """One join of one topic."""

    number: int
    topic: str
    join_ref: Ref
    ref: Ref
    """Of the phx_join."""
    is_joined: bool = False
    held: list[Message] = field(default_factory=list)
    """What came before the join's answer: Phoenix joins synchronously, so a client need not wait for it."""
    replaces: list[Ref] = field(default_factory=list)
    """join_refs of the topic's earlier joins, whose phx_close follows the answer to this one."""

    def is_stale(self, message: Message) -> bool:
        return message.join_ref is not None and message.join_ref != self.join_ref
