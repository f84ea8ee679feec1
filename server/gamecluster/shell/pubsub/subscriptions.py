"""The topics that this pod's clients want, those that the broker has been told of, and who waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..interests import CallLater
from ..timers import Timer

log = logging.getLogger("gamecluster.pubsub")

TOPICS_AT_ONCE = 500


@dataclass
class _Waiting:
    timer: Timer
    then: list[Callable[[], None]]


class Subscriptions:
    """``wait_seconds``: the longest that somebody waits for the broker. ``always``: a topic that is wanted whatever clients do."""

    def __init__(self, always: str, call_later: CallLater, wait_seconds: float) -> None:
        self.has_changes = asyncio.Event()
        self._always = always
        self._call_later = call_later
        self._wait_seconds = wait_seconds
        self._wanted: set[str] = {always}
        self._done: set[str] = set()
        self._changes: set[str] = set()
        self._waiting: dict[str, _Waiting] = {}

    # --- clients

    def want(self, topic: str, then: Callable[[], None], waits: bool) -> None:
        """Calls ``then`` when the topic is subscribed, or it has taken too long; at once if it is, or without ``waits``."""
        self._wanted.add(topic)
        if topic in self._waiting:
            self._waiting[topic].then.append(then)
        elif topic in self._done:
            then()
        else:
            self._change(topic)
            if waits:
                timer = self._call_later(self._wait_seconds, lambda: self._settle(topic))
                self._waiting[topic] = _Waiting(timer, [then])
            else:
                then()

    def want_no_more(self, topic: str) -> None:
        """Not while somebody waits for ``want``."""
        if topic in self._wanted and topic not in self._waiting and topic != self._always:
            self._wanted.remove(topic)
            self._change(topic)

    # --- the broker

    def begin(self) -> None:
        """A broker that knows of nothing yet."""
        self._done.clear()
        self._changes = set(self._wanted)

    def give_up(self) -> None:
        """There is no broker: nobody waits for one."""
        self._done.clear()
        for topic in list(self._waiting):
            self._settle(topic)

    def next_changes(self) -> tuple[list[str], list[str]]:
        """What to subscribe, and what to give up, next. What is wanted again meanwhile is subscribed after that."""
        self.has_changes.clear()
        more = [topic for topic in self._changes & self._wanted if topic not in self._done][:TOPICS_AT_ONCE]
        fewer = [topic for topic in self._changes - self._wanted if topic in self._done][:TOPICS_AT_ONCE]
        is_all = len(more) < TOPICS_AT_ONCE and len(fewer) < TOPICS_AT_ONCE
        self._changes = set() if is_all else self._changes.difference(more, fewer)
        self._done.difference_update(fewer)
        return more, fewer

    def subscribed(self, topics: Iterable[str]) -> None:
        for topic in topics:
            self._done.add(topic)
            self._settle(topic)

    # --- private

    def _change(self, topic: str) -> None:
        self._changes.add(topic)
        self.has_changes.set()

    def _settle(self, topic: str) -> None:
        """Who waits for ``topic`` goes on. It counts as waited for until the last one goes: an earlier one may want it no more."""
        waiting = self._waiting.get(topic)
        if waiting is None:
            return
        waiting.timer.cancel()
        while waiting.then:
            then = waiting.then.pop(0)
            if not waiting.then:
                del self._waiting[topic]
            try:
                then()
            except Exception:  # one client's way in must not end the link for all others
                log.exception("a client could not be let into %r", topic)
