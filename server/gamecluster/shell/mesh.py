"""The mesh: one authenticated link to every other node, what is said on it, and whom to dial.

A full mesh over TCP. Everyone dials everyone it finds; which of two crossing links stays is ``mesh_links``' decision, the
handshake is ``handshake``'s, framing is ``mesh_link``'s, addresses are ``discovery``'s. Peers tell each other where their
peers are, so a node that knows one finds all.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from ..core.events import LinkDown, LinkUp, PeerSaid
from ..core.messages import Incarnation, Install, Message, Publish
from ..errors import ConfigurationError
from ..settings import Settings
from .discovery import AddressBook, discover, is_address
from .handshake import Greeting, Handshake
from .interests import Interests
from .keys import read_key
from .mesh_install import Incoming, InstallBegun, InstallEnded, InstallRows, Outgoing, is_large
from .mesh_link import MESSAGE_LIMIT_BYTES, Address, Aside, Link
from .mesh_links import DUPLICATE, ITSELF, LinkTable
from .questions import Answered, Question, Questions

log = logging.getLogger(__name__)

MeshEvent = LinkUp | LinkDown | PeerSaid

STRANGERS_AT_MOST = 256
"""Connections without a finished handshake."""


@dataclass(frozen=True)
class Times:
    """Seconds."""

    connect: float = 1.0
    handshake: float = 2.0
    silence: float = 5.0
    gossip: float = 30.0
    forget: float = 60.0
    tend: float = 0.05


@dataclass(frozen=True)
class PeerView:
    incarnation: Incarnation
    url: str | None
    revision: str
    address: Address
    dialled: bool
    unsent_bytes: int


class Mesh:
    """Events go to ``on_event`` in order, from within the loop; ``send`` may be called from there.

    After a ``LinkUp`` nothing comes that was said on an earlier link of that peer; what was sent before it may be lost.
    """

    def __init__(
        self,
        settings: Settings,
        me: Incarnation,
        on_event: Callable[[MeshEvent], None],
        times: Times = Times(),
    ) -> None:
        """Raises ConfigurationError if the key file can't be read. Without a key there is no mesh: no port, no peers."""
        self._settings = settings
        self._me = me
        self._on_event = on_event
        self._times = times
        key_file = settings.mesh_key_file
        self._key = read_key(key_file, "GAMECLUSTER_MESH_KEY_FILE") if key_file else None
        self._greeting = Greeting(
            settings.name, me, _told_host(settings.host), settings.mesh_port, settings.url or None, settings.revision
        )
        self._table: LinkTable[Link] = LinkTable(me)
        self._book = AddressBook(random.Random(), forget_seconds=times.forget)
        self._strangers: set[Link] = set()
        self._encode = msgspec.msgpack.Encoder().encode
        self._last: tuple[Message, bytes] | None = None
        self._is_stopping = False
        self._before_turn_ends: list[Callable[[], None]] = []
        self._waiting: list[Link] = []
        self._is_turn_ending = False
        self._outgoing: dict[Link, Outgoing] = {}
        self._incoming: dict[Link, Incoming] = {}
        self.interests = Interests(lambda seconds, then: self._loop.call_later(seconds, then), self._tell)
        self.questions = Questions(lambda seconds, then: self._loop.call_later(seconds, then), self._tell)

    async def run(self) -> None:
        """Listens, dials and tends the links until cancelled. Raises ConfigurationError if the port can't be had."""
        self._loop = asyncio.get_running_loop()
        if self._key is None:
            await asyncio.Event().wait()
        server = await self._listen()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(discover(self._settings.peers, self._book))
                tasks.create_task(self._tend(tasks))
        finally:
            self._is_stopping = True
            server.close()
            for link in [*self._strangers, *(held.link for held in self._table)]:
                link.close("this node stops")

    def send(self, peer: Incarnation, message: Message) -> None:
        """On the link to ``peer``, in order; dropped if there is none, or if it is a broadcast that nobody hears there."""
        link = self._table.get(peer)
        if link is None or (isinstance(message, Publish) and not self.interests.hears(peer, message.topic)):
            return
        if (large := self._outgoing.get(link)) is not None and large.takes(message):
            return
        if isinstance(message, Install) and is_large(message):
            self._send_large(peer, link, message)
            return
        encoded = self._encoded(message)
        if len(encoded) > MESSAGE_LIMIT_BYTES:
            log.error(
                "%s of %d bytes for %s is too long for the mesh: dropped", type(message).__name__, len(encoded), peer
            )
            return
        link.send(encoded)

    def before_turn_ends(self, then: Callable[[], None]) -> None:
        """Calls it once, when all that is ready now has been done: what it sends leaves with all that was sent until then."""
        self._before_turn_ends.append(then)
        self._end_turn_soon()

    def peers(self) -> list[PeerView]:
        """Everyone there is a link to."""
        views = []
        for held in self._table:
            said, link = held.link.peer, held.link
            assert said is not None
            views.append(
                PeerView(held.peer, said.url, said.revision, _address_of(link), held.dialled, link.unsent_bytes)
            )
        return views

    # --- what a Link asks and tells

    def link_made(self, link: Link) -> str | None:
        if self._is_stopping:
            return "this node stops"
        if not link.dialled and len(self._strangers) >= STRANGERS_AT_MOST:
            return "too many handshakes at once"
        self._strangers.add(link)
        return None

    def link_greeted(self, link: Link, peer: Greeting) -> str | None:
        now = self._loop.time()
        if link.target is None:
            return self._table.accept(peer.incarnation)
        if peer.incarnation == self._me:
            self._book.is_own(link.target, now)
        else:
            self._book.belongs(link.target, peer.incarnation, now)
        return self._table.confirm(peer.incarnation, link)

    def link_up(self, link: Link, peer: Greeting) -> None:
        self._strangers.discard(link)
        if late := self._table.refusal(peer.incarnation):
            link.close(late, abort=True)
            return
        address = _address_of(link)
        self._book.belongs(address, peer.incarnation, self._loop.time())
        before = self._table.up(peer.incarnation, link, link.dialled)
        if before.replaced:
            before.replaced.close("replaced by another link", abort=True)
        if before.ended:
            log.info("%s has ended: its pod greets as %s", before.ended, peer.incarnation)
            self.interests.link_down(before.ended)
            self.questions.link_changed(before.ended)
            self._on_event(LinkDown(before.ended, f"its pod has begun a new life, {peer.incarnation}"))
        log.info("link to %s at %s:%d (%s)", peer.incarnation, *address, "dialled" if link.dialled else "accepted")
        link.gossip(self._addresses_but(peer.incarnation))
        self.interests.link_up(peer.incarnation)
        self.questions.link_changed(peer.incarnation)
        self._on_event(LinkUp(peer.incarnation, peer.url, peer.revision))

    def link_said(self, link: Link, messages: list[Message]) -> None:
        assert link.peer is not None
        for message in messages:
            if link.is_closed:
                return
            self._on_event(PeerSaid(link.peer.incarnation, message))

    def link_gossiped(self, link: Link, addresses: list[Address]) -> None:
        for address in addresses:
            self._book.learn(address, self._loop.time())

    def link_said_aside(self, link: Link, asides: list[Aside]) -> None:
        assert link.peer is not None
        for aside in asides:
            if isinstance(aside, Question | Answered):
                self.questions.said(link.peer.incarnation, aside)
            elif isinstance(aside, InstallBegun | InstallRows | InstallEnded):
                install = self._incoming.setdefault(link, Incoming()).take(aside)
                if install is not None and not link.is_closed:
                    self._on_event(PeerSaid(link.peer.incarnation, install))
            else:
                self.interests.said(link.peer.incarnation, aside)

    def link_waits(self, link: Link) -> None:
        self._waiting.append(link)
        self._end_turn_soon()

    def link_lost(self, link: Link, reason: str) -> None:
        self._strangers.discard(link)
        self._incoming.pop(link, None)
        if (large := self._outgoing.pop(link, None)) is not None:
            large.drop()
        if link.peer is None:
            log.debug("no link with %s: %s", link.target or link.remote_host, reason)
            return
        if self._table.down(link.peer.incarnation, link) and not self._is_stopping:
            log.info("no link to %s any more: %s", link.peer.incarnation, reason)
            self._book.lost(link.peer.incarnation, self._loop.time())
            self.interests.link_down(link.peer.incarnation)
            self.questions.link_changed(link.peer.incarnation)
            self._on_event(LinkDown(link.peer.incarnation, reason))

    # --- inside

    def _end_turn_soon(self) -> None:
        if not self._is_turn_ending:
            self._is_turn_ending = True
            self._loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        callbacks, self._before_turn_ends = self._before_turn_ends, []
        for then in callbacks:
            then()
        waiting, self._waiting = self._waiting, []
        self._is_turn_ending = False
        self._last = None
        for link in waiting:
            link.flush()
        if self._before_turn_ends or self._waiting:
            self._end_turn_soon()

    async def _listen(self) -> asyncio.Server:
        host, port = self._settings.host, self._settings.mesh_port
        try:
            return await self._loop.create_server(lambda: self._new_link(None), host, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ConfigurationError(
                    f"GAMECLUSTER_MESH_PORT={port} is in use on {host}: give another one, or stop what holds it"
                ) from error
            raise ConfigurationError(
                f"GAMECLUSTER_MESH_PORT={port}: can't listen on GAMECLUSTER_HOST={host} ({error.strerror or error})"
            ) from error

    def _new_link(self, target: Address | None) -> Link:
        assert self._key is not None
        return Link(self, Handshake(self._key, self._greeting, dialling=target is not None), self._loop, target)

    async def _tend(self, tasks: asyncio.TaskGroup) -> None:
        """Dials what is due, ends what is silent or slow, spreads addresses."""
        last = gossiped = self._loop.time()
        while True:
            now = self._loop.time()
            if now - last > self._times.silence / 5:
                self._excuse(now)  # this node's own loop stood still: it accuses nobody
            last = now
            self._end_silent(now)
            for address in self._book.due(now, self._linked_at):
                tasks.create_task(self._dial(address))
            if now - gossiped > self._times.gossip:
                gossiped = now
                for held in self._table:
                    held.link.gossip(self._addresses_but(held.peer))
            await asyncio.sleep(self._times.tend)

    async def _dial(self, address: Address) -> None:
        link = self._new_link(address)
        failure: str | None
        try:
            async with asyncio.timeout(self._times.connect):
                await self._loop.create_connection(lambda: link, *address)
            async with asyncio.timeout(self._times.handshake):
                failure = await asyncio.shield(link.settled)
        except TimeoutError:
            failure = "no answer"
        except OSError as error:
            failure = error.strerror or str(error)
        if failure:
            link.close(failure, abort=True)
        is_news = self._book.dialled(address, self._loop.time(), failure)
        if failure and is_news and DUPLICATE not in failure and ITSELF not in failure:
            log.info("no link to %s:%d: %s", *address, failure)

    def _end_silent(self, now: float) -> None:
        for held in self._table:
            if now - held.link.heard > self._times.silence:
                held.link.close(f"silent for {self._times.silence:g} s", abort=True)
        for link in list(self._strangers):
            if now - link.began > self._times.handshake + (self._times.connect if link.dialled else 0):
                link.close("the handshake takes too long", abort=True)

    def _excuse(self, now: float) -> None:
        for held in self._table:
            held.link.heard = now

    def _linked_at(self, peer: Incarnation) -> Address | None:
        link = self._table.of_pod(peer)
        return _address_of(link) if link else None

    def _addresses_but(self, peer: Incarnation) -> list[Address]:
        """Of those linked now: hearsay is not passed on, so a dead address dies out."""
        return [view.address for view in self.peers() if view.incarnation != peer]

    def _tell(self, peer: Incarnation, aside: Aside) -> None:
        if (link := self._table.get(peer)) is not None:
            link.tell(aside)

    def _send_large(self, peer: Incarnation, link: Link, install: Install) -> None:
        def done(behind: deque[Message]) -> None:
            del self._outgoing[link]
            for message in behind:
                self.send(peer, message)

        self._outgoing[link] = Outgoing(install, link.tell, lambda: link.unsent_bytes, self._loop.call_later, done)

    def _encoded(self, message: Message) -> bytes:
        """Encodes a message once, though it may go to every peer; it is forgotten at the turn's end."""
        if self._last is None or self._last[0] is not message:
            self._end_turn_soon()
            self._last = message, self._encode(message)
        return self._last[1]


def _told_host(host: str) -> str:
    """The host for the greeting; empty if only the peer can see it."""
    try:
        return "" if ipaddress.ip_address(host).is_unspecified else host
    except ValueError:
        return ""


def _address_of(link: Link) -> Address:
    greeting = link.peer
    assert greeting is not None
    told = (greeting.host, greeting.port)
    return told if is_address(told) else (link.remote_host, greeting.port)
