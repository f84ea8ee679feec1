"""Broadcasts over a broker that the pods share: what is the same for each, whatever comes to pass with the way there.

| state      | event                                                | next       | what follows                                        |
| ---------- | ---------------------------------------------------- | ---------- | --------------------------------------------------- |
| connecting | linked, all topics subscribed, own message came back | up         | what waits is sent                                  |
| connecting | a step fails, or takes too long                      | down       | warning; joins that wait go on                      |
| up         | the link is lost; nothing comes back for seconds     | down       | warning; joins that wait go on                      |
| down       | the back-off is over; all steps of ``connecting``    | up         | info; what waits, and is not too old, is sent       |
| down       | they fail                                            | down       | a longer back-off                                   |
| any        | a first client wants a topic                         |            | up, connecting: it joins when the broker has said   |
|            |                                                      |            | so, or after half a second; down: at once           |

This pod's own clients are delivered to at once, in every state. A message that was handed to a link that broke is not sent again:
it may have come through. Nothing goes over the mesh instead: docs/decisions/one-carrier.md.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from ...core.effects import Deliver
from ...core.events import Published
from ...core.messages import Incarnation
from ..metrics import Metrics
from .link import BrokerError, Envelope, Heard, Link, decode, encode
from .outgoing import Letter, Outgoing
from .subscriptions import Subscriptions

log = logging.getLogger("gamecluster.pubsub")


@dataclass(frozen=True)
class Times:
    """Seconds. ``answer`` is the longest that anything asked of the broker may take, ``wait`` the longest that a join waits for it."""

    answer: float = 3.0
    wait: float = 0.5
    check: float = 5.0
    again: float = 0.1
    again_at_most: float = 5.0
    flush: float = 1.0


class State(StrEnum):
    connecting = "connecting"
    up = "up"
    down = "down"


class BrokerPubSub:
    """A ``PubSub``. ``connect`` makes a Link that is yet to be opened."""

    def __init__(
        self,
        connect: Callable[[Heard], Link],
        me: Incarnation,
        deliver: Callable[[Deliver], None],
        metrics: Metrics,
        random: random.Random,
        times: Times = Times(),
    ) -> None:
        self.state = State.connecting
        self._since = asyncio.get_running_loop().time()
        self._connect = connect
        self._me = me
        self._deliver = deliver
        self._metrics = metrics
        self._random = random
        self._times = times
        self._loop = asyncio.get_running_loop()
        self._own = f"pod:{me}"
        """The topic on which this pod hears itself, and so knows that the broker carries."""
        self._number = 0
        self._check_number = 0
        self._came_back = asyncio.Event()
        self._subscriptions = Subscriptions(self._own, self._loop.call_later, times.wait)
        self._outgoing = Outgoing()
        self._has_letters = asyncio.Event()
        self._all_sent = asyncio.Event()
        self._all_sent.set()
        self._sending = asyncio.Lock()

    # --- this pod's clients

    def publish(self, broadcast: Published) -> None:
        topic, event, payload, binary = broadcast.topic, broadcast.event, broadcast.payload, broadcast.binary
        self._hand_out(Deliver(topic, event, payload, binary))
        body = encode(Envelope(self._me, self._next_number(), topic, event, payload, binary))
        self._count_lost("overflow", self._outgoing.put(Letter(topic, body), self._loop.time()))
        self._has_letters.set()
        self._all_sent.clear()

    def want(self, topic: str, then: Callable[[], None]) -> None:
        self._subscriptions.want(topic, then, waits=self.state is not State.down)

    def want_no_more(self, topic: str) -> None:
        self._subscriptions.want_no_more(topic)

    async def flush(self) -> None:
        if self.state is State.up:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._times.flush):
                    await self._all_sent.wait()

    # --- the broker

    async def run(self) -> None:
        failures = 0
        while True:
            link = self._connect(self._heard)
            try:
                await self._use(link)
            except Exception as error:
                failures = 0 if self._was_steady() else failures + 1
                self._lost(link, _reason(error).rstrip("."))
            finally:
                await link.close()
            await asyncio.sleep(self._back_off(failures))

    async def _use(self, link: Link) -> None:
        """Ends only by raising."""
        await link.open()
        self._subscriptions.begin()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(link.listen())
            await self._follow_changes(link)
            await self._check(link)
            self._reached(link)
            tasks.create_task(self._keep_following(link))
            tasks.create_task(self._keep_sending(link))
            tasks.create_task(self._keep_checking(link))

    async def _keep_following(self, link: Link) -> None:
        while True:
            await self._subscriptions.has_changes.wait()
            await self._follow_changes(link)

    async def _follow_changes(self, link: Link) -> None:
        while any(changes := self._subscriptions.next_changes()):
            more, fewer = changes
            if more:
                await link.subscribe(more)
                self._subscriptions.subscribed(more)
            if fewer:
                await link.unsubscribe(fewer)

    async def _keep_sending(self, link: Link) -> None:
        while True:
            self._has_letters.clear()
            while len(self._outgoing):
                await self._send(link)
            self._all_sent.set()
            await self._has_letters.wait()

    async def _send(self, link: Link) -> None:
        self._count_lost("old", self._outgoing.drop_old(self._loop.time()))
        letters = self._outgoing.take()
        if not letters:
            return
        unsent = len(letters)
        try:
            async with self._sending:
                await link.send(letters)
            unsent = 0
        finally:
            self._count_lost("unsent", unsent)

    async def _keep_checking(self, link: Link) -> None:
        while True:
            await link.tend()
            await asyncio.sleep(self._times.check)
            await self._check(link)

    async def _check(self, link: Link) -> None:
        """What this pod says comes back to it: a broker that hangs, or lets it only listen, is no better than none."""
        self._came_back.clear()
        self._check_number = self._next_number()
        body = encode(Envelope(self._me, self._check_number, self._own, "check", b"", False))
        try:
            async with asyncio.timeout(self._times.answer):
                async with self._sending:
                    await link.send([Letter(self._own, body)])
                await self._came_back.wait()
        except TimeoutError:
            raise BrokerError(f"what it is sent does not come back within {self._times.answer:g} s") from None

    def _heard(self, body: bytes) -> None:
        try:
            envelope = decode(body)
        except msgspec.DecodeError as error:
            log.warning("what no node has sent came from the broker: %s", error)
            return
        if envelope.origin != self._me:
            self._hand_out(Deliver(envelope.topic, envelope.event, envelope.payload, envelope.binary))
        elif envelope.number == self._check_number:
            self._came_back.set()

    # --- up and down

    def _reached(self, link: Link) -> None:
        if self.state is State.down:
            log.info("%s is back after %.1f s", link.name, self._loop.time() - self._since)
        else:
            log.info("broadcasts travel over %s", link.name)
        self._turn(State.up)

    def _lost(self, link: Link, reason: str) -> None:
        if self.state is State.down:
            log.debug("%s is still down: %s", link.name, reason)
        else:
            log.warning(
                "%s is down: %s. Until it is back broadcasts reach this node's own clients only", link.name, reason
            )
            self._turn(State.down)
        self._subscriptions.give_up()

    def _turn(self, state: State) -> None:
        self.state = state
        self._since = self._loop.time()
        self._metrics.pubsub_up.set(state is State.up)

    def _was_steady(self) -> bool:
        return self.state is State.up and self._loop.time() - self._since > self._times.again_at_most

    def _back_off(self, failures: int) -> float:
        """Seconds, exponential; by up to half shorter, so that pods do not come all at once."""
        longest = min(self._times.again * (1 << min(failures, 16)), self._times.again_at_most)
        return longest * (0.5 + self._random.random() / 2)

    # --- inside

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    def _hand_out(self, deliver: Deliver) -> None:
        try:
            self._deliver(deliver)
        except Exception:  # one message must not end the way for all others
            log.exception("a broadcast on %r could not be delivered", deliver.topic)

    def _count_lost(self, why: str, count: int) -> None:
        if count:
            self._metrics.pubsub_lost.labels(why).inc(count)


def _reason(error: Exception) -> str:
    """Of the first of a group. What no link may raise is ours to mend, so that its traceback is logged."""
    while isinstance(error, ExceptionGroup):
        error = next((e for e in error.exceptions if isinstance(e, BrokerError)), error.exceptions[0])
    if isinstance(error, BrokerError):
        return str(error)
    if isinstance(error, TimeoutError):
        return "no answer"
    log.error("the link to the broker failed", exc_info=error)
    return f"{type(error).__name__}: {error}"
