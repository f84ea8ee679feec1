"""Where other nodes may be: the configured peers, what DNS says, what peers say; and which address is to be dialled when."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import logging
import random
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ..core.messages import Incarnation
from .mesh_link import Address

log = logging.getLogger(__name__)

FAST_SECONDS, SLOW_SECONDS = 1.0, 5.0
FAST_FOR_SECONDS = 60.0
"""How long a young node asks DNS every second: a cluster starts, and DNS lags."""


@dataclass
class Entry:
    """What is known of one address. ``good_at``: when it was learned, or last seen to work."""

    good_at: float
    not_before: float
    failures: int = 0
    dialling: bool = False
    peer: Incarnation | None = None
    last_failure: str = ""


@dataclass
class AddressBook:
    """Every address known, from where, who answered there, and when to try again. Pure: time comes as an argument.

    An address that nobody configures or publishes is forgotten when it has not worked for ``forget_seconds``.
    """

    random: random.Random
    forget_seconds: float = 60.0
    retry_seconds: float = 0.05
    retry_at_most_seconds: float = 1.0
    own_retry_seconds: float = 60.0
    learned_at_most: int = 1024
    _entries: dict[Address, Entry] = field(default_factory=dict)
    _published: dict[str, frozenset[Address]] = field(default_factory=dict)

    def publish(self, source: str, addresses: Iterable[Address], now: float) -> None:
        """``source`` (a configured peer, a DNS name) stands for exactly these addresses now."""
        self._published[source] = frozenset(addresses)
        for address in self._published[source]:
            self._entries.setdefault(address, Entry(now, now))

    def learn(self, address: Address, now: float) -> None:
        """A peer says that there is a node."""
        if is_address(address) and len(self._entries) < self.learned_at_most:
            self._entries.setdefault(address, Entry(now, now))

    def belongs(self, address: Address, peer: Incarnation, now: float) -> None:
        """``peer`` itself says, or showed by answering, that it is there."""
        self.learn(address, now)
        if entry := self._entries.get(address):
            entry.peer, entry.good_at, entry.last_failure = peer, now, ""

    def is_own(self, address: Address, now: float) -> None:
        if entry := self._entries.get(address):
            entry.not_before, entry.good_at = now + self.own_retry_seconds, now

    def due(self, now: float, linked_at: Callable[[Incarnation], Address | None]) -> list[Address]:
        """Addresses to dial now; each is out of the way until ``dialled``. Forgets those that are too old.

        ``linked_at``: the address of the peer's pod, if there is a link to it.
        """
        due = []
        for address, entry in list(self._entries.items()):
            linked = linked_at(entry.peer) if entry.peer is not None else None
            if linked == address:
                entry.good_at = now
            if self._is_forgotten(address, entry, now):
                del self._entries[address]
            elif linked is None and not entry.dialling and now >= entry.not_before:
                entry.dialling = True
                due.append(address)
        return due

    def dialled(self, address: Address, now: float, failure: str | None) -> bool:
        """How a dial ended. True if the failure is another one than last time, and worth a line for people."""
        entry = self._entries.get(address)
        if entry is None:
            return False
        entry.dialling = False
        if failure is None:
            entry.failures, entry.good_at, entry.last_failure = 0, now, ""
            entry.not_before = max(entry.not_before, now + self._back_off(0))
            return False
        entry.not_before = max(entry.not_before, now + self._back_off(entry.failures))
        entry.failures += 1
        is_new, entry.last_failure = entry.last_failure != failure, failure
        return is_new

    def lost(self, peer: Incarnation, now: float) -> None:
        """The link to ``peer`` is gone: its addresses are worth a try at once."""
        for entry in self._entries.values():
            if entry.peer == peer:
                entry.failures, entry.not_before = 0, now + self._back_off(0)

    def __contains__(self, address: Address) -> bool:
        return address in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def _is_forgotten(self, address: Address, entry: Entry, now: float) -> bool:
        if entry.dialling or now - entry.good_at < self.forget_seconds:
            return False
        return not any(address in published for published in self._published.values())

    def _back_off(self, failures: int) -> float:
        """Doubles up to the bound; between half of it and all of it, so that nodes do not dial in step."""
        bound = min(self.retry_seconds * 2.0 ** min(failures, 16), self.retry_at_most_seconds)
        return bound * self.random.uniform(0.5, 1.0)


async def discover(peers: Iterable[str], book: AddressBook) -> None:
    """Keeps ``book`` told of what the configured ``peers`` (``host:port`` or ``dns:<name>:<port>``) stand for; endless."""
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        for peer in peers:
            host, port = split(peer.removeprefix("dns:"))
            if is_address((host, port)):
                book.publish(peer, [(host, port)], loop.time())
            else:
                tasks.create_task(_follow_name(peer, host, port, book))


async def _follow_name(source: str, host: str, port: int, book: AddressBook) -> None:
    loop = asyncio.get_running_loop()
    began, last = loop.time(), "nothing yet"
    while True:
        try:
            addresses = await resolve(host, port)
            text = ", ".join(sorted(address for address, _ in addresses))
            book.publish(source, addresses, loop.time())
        except (OSError, UnicodeError) as error:
            text = f"no address ({error})"  # what it stood for before stays published: DNS may be down
        if text != last:
            log.info("%s is %s", source, text)
            last = text
        await asyncio.sleep(FAST_SECONDS if loop.time() - began < FAST_FOR_SECONDS else SLOW_SECONDS)


async def resolve(host: str, port: int) -> list[Address]:
    """All addresses of a name, by the system's resolver, which has time limits of its own. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return sorted({(str(entry[4][0]), port) for entry in found})


def split(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


@functools.lru_cache(maxsize=4096)
def is_address(address: Address) -> bool:
    """An IP address that can be dialled, with a port."""
    host, port = address
    try:
        return not ipaddress.ip_address(host).is_unspecified and 0 < port < 65536
    except ValueError:
        return False
