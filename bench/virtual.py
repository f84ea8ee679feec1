"""An event loop in virtual time, with hosts and a network between them in memory, that counts what each host costs.

Time goes from turn to turn: all that is due until then happens in it, and all that a connection is given arrives a whole number of
turns later. Nothing waits, no system call is made. CPU time is that of the host's own callbacks; the loop itself and the
network are nobody's.
"""

from __future__ import annotations

import asyncio
import errno
import math
import selectors
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass
from typing import Any, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Address = tuple[str, int]

_host: ContextVar[Host | None] = ContextVar("host", default=None)


@dataclass
class Counts:
    """``cpu_seconds``: of callbacks. ``turns``: of the loop, in which the host did anything. A write is one for a connection and turn, a
    read one for a connection and moment: the system calls that there would be."""

    cpu_seconds: float = 0.0
    turns: int = 0
    writes: int = 0
    reads: int = 0
    bytes_out: int = 0
    bytes_in: int = 0


class Host:
    """What is begun by ``run``, or with ``context``, is this host's, and so is all that follows from it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.counts = Counts()
        self.context: Context = copy_context()
        self.context.run(_host.set, self)
        self._turn = -1

    def run(self, do: Callable[..., T], *args: Any) -> T:
        return self.context.run(do, *args)

    def ran(self, turn: int, cpu_seconds: float) -> None:
        self.counts.cpu_seconds += cpu_seconds
        if turn != self._turn:
            self._turn = turn
            self.counts.turns += 1


class VirtualLoop(asyncio.SelectorEventLoop):
    """``turn_seconds``: the steps of its time. ``delay_seconds``: how long data is on its way."""

    def __init__(self, turn_seconds: float, delay_seconds: float) -> None:
        self.delay_seconds = delay_seconds
        self._posted: list[tuple[Wire, bytes | None]] = []
        self._listeners: dict[Address, tuple[Callable[[], asyncio.Protocol], Host]] = {}
        self._steps = _Steps(turn_seconds, self._ship)
        super().__init__(self._steps)

    def time(self) -> float:
        return self._steps.now

    @property
    def turn(self) -> int:
        return self._steps.turn

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        return super().call_soon(self._measured, callback, args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return super().call_at(when, self._measured, callback, args, context=context)

    def post(self, to: Wire, data: bytes | None) -> None:
        """Sends when the turn is over, at nobody's expense. None: the end."""
        self._posted.append((to, data))

    async def create_server(self, *args: Any, **kwargs: Any) -> Any:
        """``(protocol_factory, host, port)``, on the host whose task this is."""
        factory, address, port = args
        host = _host.get()
        assert host is not None
        self._listeners[address, port] = factory, host
        return _Listening(lambda: self._listeners.pop((address, port), None))

    async def create_connection(self, *args: Any, **kwargs: Any) -> Any:
        """``(protocol_factory, host, port)``, from the host whose task this is. Raises ConnectionRefusedError."""
        factory, address, port = args
        near_host = _host.get()
        assert near_host is not None
        await asyncio.sleep(2 * self.delay_seconds)
        if (address, port) not in self._listeners:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        accept, far_host = self._listeners[address, port]
        near, far = Wire(self, near_host, (address, port)), Wire(self, far_host, (near_host.address, 0))
        near.other, far.other = far, near
        self.call_soon(lambda: far.open(accept()), context=far_host.context)
        protocol = factory()
        near.open(protocol)
        return near, protocol

    def _measured(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        host = _host.get()
        if host is None:
            callback(*args)
            return
        began = time.thread_time()
        try:
            callback(*args)
        finally:
            host.ran(self._steps.turn, time.thread_time() - began)

    def _ship(self) -> float:
        """Says after how many seconds the next data arrives."""
        if not self._posted:
            return math.inf
        posted, self._posted = self._posted, []
        for wire, data in posted:
            wire.coming.append(data)
            self.call_at(self.time() + self.delay_seconds, wire.arrive, context=wire.host.context)
        return self.delay_seconds


class Wire(asyncio.Transport):
    """One end of a connection."""

    other: Wire

    def __init__(self, loop: VirtualLoop, host: Host, remote: Address) -> None:
        super().__init__({"socket": _Socket(), "peername": remote})
        self.host = host
        self.coming: deque[bytes | None] = deque()
        self._loop = loop
        self._protocol: asyncio.Protocol
        self._is_closing = False
        self._wrote_in, self._read_at = -1, -1.0

    def open(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol
        protocol.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closing:
            return
        counts = self.host.counts
        counts.bytes_out += len(data)
        if self._wrote_in != self._loop.turn:
            self._wrote_in = self._loop.turn
            counts.writes += 1
        self._loop.post(self.other, bytes(data))

    def arrive(self) -> None:
        data = self.coming.popleft()
        if self._is_closing:
            return
        if data is None:
            self._is_closing = True
            self._protocol.connection_lost(None)
            return
        counts = self.host.counts
        counts.bytes_in += len(data)
        if self._read_at != self._loop.time():
            self._read_at = self._loop.time()
            counts.reads += 1
        self._protocol.data_received(data)

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._loop.post(self.other, None)
            self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._is_closing

    def get_write_buffer_size(self) -> int:
        return 0


class _Steps(selectors.DefaultSelector):
    """Instead of waiting it sets the time. ``ship`` says in how many seconds the next data comes."""

    def __init__(self, turn_seconds: float, ship: Callable[[], float]) -> None:
        super().__init__()
        self.now = 0.0
        self.turn = 0
        self._turn_seconds = turn_seconds
        self._ship = ship
        self._passed = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.turn += 1
        wait = min(math.inf if timeout is None else timeout, self._ship())
        if wait == math.inf:
            raise RuntimeError("nothing will ever happen any more")
        self._passed += math.ceil(wait / self._turn_seconds - 1e-6)
        self.now = self._passed * self._turn_seconds
        return []


class _Listening:
    def __init__(self, close: Callable[[], object]) -> None:
        self.close = close


class _Socket:
    def setsockopt(self, *args: int) -> None:
        """There is nothing to set."""
