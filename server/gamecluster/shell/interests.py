"""Which topics have somebody who hears them, pod by pod: a broadcast crosses only the links at whose end it is heard.

| when                                  | what follows                                                                             |
| ------------------------------------- | ---------------------------------------------------------------------------------------- |
| a link comes up                       | each side tells all its topics; until all have come, the peer is sent every broadcast    |
| a pod's first client wants a topic    | it is told to all peers, and the client joins when they have answered                    |
| a peer does not answer                | after 250 ms, or when its link is lost, nobody waits for it any more                     |
| a pod's last client has left a topic  | it is told to all peers; nobody waits for that                                           |

So who has joined misses nothing that is broadcast from then on, at whichever pod. A peer that stood still meanwhile may send
what it had begun to. Links keep their order, which is all that this counts on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec import Struct

from ..core.messages import Incarnation
from .timers import Timer

ANSWER_SECONDS = 0.25
TOPICS_AT_ONCE = 1000
"""In one message, when a link comes up."""


class Wants(Struct, frozen=True, array_like=True, tag=1):
    """To be answered with ``Noted(number)``. With ``more`` the sender has not told all its topics yet."""

    number: int
    topics: list[str]
    more: bool = False


class WantsNoMore(Struct, frozen=True, array_like=True, tag=2):
    topics: list[str]


class Noted(Struct, frozen=True, array_like=True, tag=3):
    number: int


Interest = Wants | WantsNoMore | Noted


CallLater = Callable[[float, Callable[[], None]], Timer]
"""The event loop's, with seconds."""


@dataclass
class _Peer:
    topics: set[str] = field(default_factory=set)
    is_known: bool = False
    """It has told all its topics."""


@dataclass
class _Asking:
    """A topic that peers have been told of. ``then``: what waits for their answers."""

    topic: str
    peers: set[Incarnation]
    then: list[Callable[[], None]]
    timer: Timer | None = None


class Interests:
    """``send`` sends to a peer on its link, in order, or does nothing if there is none."""

    def __init__(self, call_later: CallLater, send: Callable[[Incarnation, Interest], None]) -> None:
        self._call_later = call_later
        self._send = send
        self._mine: set[str] = set()
        self._peers: dict[Incarnation, _Peer] = {}
        self._asking: dict[int, _Asking] = {}
        self._by_topic: dict[str, int] = {}
        self._number = 0

    # --- this pod's clients

    def want(self, topic: str, then: Callable[[], None]) -> None:
        """Calls ``then`` when no broadcast on ``topic`` can pass this pod by any more: at once, or after a round trip."""
        if (number := self._by_topic.get(topic)) is not None:
            self._asking[number].then.append(then)
        elif topic in self._mine or not self._peers:
            self._mine.add(topic)
            then()
        else:
            self._mine.add(topic)
            self._number = number = self._number + 1
            asking = self._asking[number] = _Asking(topic, set(self._peers), [then])
            self._by_topic[topic] = number
            asking.timer = self._call_later(ANSWER_SECONDS, lambda: self._settle(number))
            for peer in self._peers:
                self._send(peer, Wants(number, [topic]))

    def want_no_more(self, topic: str) -> None:
        """This pod's last client has left it. Not while somebody waits for ``want``."""
        if topic in self._mine and topic not in self._by_topic:
            self._mine.remove(topic)
            for peer in self._peers:
                self._send(peer, WantsNoMore([topic]))

    # --- peers

    def hears(self, peer: Incarnation, topic: str) -> bool:
        """Whether a broadcast is to be sent there. True if that is not known (yet)."""
        known = self._peers.get(peer)
        return known is None or not known.is_known or topic in known.topics

    def link_up(self, peer: Incarnation) -> None:
        self._peers[peer] = _Peer()
        topics = sorted(self._mine)
        for start in range(0, max(len(topics), 1), TOPICS_AT_ONCE):
            more = start + TOPICS_AT_ONCE < len(topics)
            self._send(peer, Wants(0, topics[start : start + TOPICS_AT_ONCE], more))

    def link_down(self, peer: Incarnation) -> None:
        self._peers.pop(peer, None)
        for number in list(self._asking):
            self._answered(peer, number)

    def said(self, peer: Incarnation, interest: Interest) -> None:
        known = self._peers.get(peer)
        if known is None:
            return
        match interest:
            case Wants(number, topics, more):
                known.topics.update(topics)
                known.is_known = known.is_known or not more
                if number:
                    self._send(peer, Noted(number))
            case WantsNoMore(topics):
                known.topics.difference_update(topics)
            case Noted(number):
                self._answered(peer, number)

    # --- private

    def _answered(self, peer: Incarnation, number: int) -> None:
        asking = self._asking.get(number)
        if asking is not None:
            asking.peers.discard(peer)
            if not asking.peers:
                self._settle(number)

    def _settle(self, number: int) -> None:
        """The topic counts as waited for until the last one goes on: an earlier one may want it no more."""
        asking = self._asking.get(number)
        if asking is None:
            return
        if asking.timer is not None:
            asking.timer.cancel()
        while asking.then:
            then = asking.then.pop(0)
            if not asking.then:
                del self._asking[number], self._by_topic[asking.topic]
            then()
