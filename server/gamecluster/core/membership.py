"""Who is there: links, silence, and what pods say of themselves.

| event              | what follows                                                                         |
| ------------------ | ------------------------------------------------------------------------------------ |
| link up            | the peer is heard from; a later life of a pod ends the earlier one for good          |
| link down          | the peer is suspected at once                                                        |
| message            | the peer is heard from                                                               |
| own loop stalled   | nobody is accused: every peer gets the lost time back (Lifeguard, arXiv:1707.00788)  |

Suspicion is never proof: it costs at most a hand-over (see leadership).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from .messages import Hello, Incarnation, Record, boot_of, name_of, pod_of

STALL_SECONDS = 0.2
MAX_PODS = 1024
"""Pods whose newest life is remembered."""


@dataclass
class Peer:
    incarnation: Incarnation
    linked: bool = False
    heard: float = 0.0
    down_since: float = 0.0
    down_reason: str = "not linked yet"
    url: str | None = None
    revision: str = ""
    draining: bool = False
    ready: bool = False
    connections: int = 0
    pid: int = 0


class Membership:
    """Every peer ever linked, by incarnation; the dead ones are forgotten after a while."""

    FORGET_SECONDS = 60.0

    def __init__(self, me: Incarnation, suspect_after: float, now: float) -> None:
        self._me = me
        self._suspect_after = suspect_after
        self._started = now
        self._ticked = now
        self._peers: dict[Incarnation, Peer] = {}
        self._awaited: dict[Incarnation, float] = {}
        self._boots = {pod_of(me): boot_of(me)}
        self.has_met = False
        """Another pod has been linked to this one."""

    def link_up(self, peer: Incarnation, url: str | None, revision: str, now: float) -> list[Incarnation]:
        """Returns the earlier lives of the same pod, which this greeting certifies as dead."""
        self.has_met = True
        self._boots[pod_of(peer)] = max(boot_of(peer), self._boots.pop(pod_of(peer), 0))
        if len(self._boots) > MAX_PODS:
            del self._boots[next(iter(self._boots))]
        earlier = [p for p in self._peers if pod_of(p) == pod_of(peer) and boot_of(p) < boot_of(peer)]
        for dead in earlier:
            del self._peers[dead]
        state = self._peers.setdefault(peer, Peer(peer))
        state.linked, state.heard, state.url, state.revision = True, now, url, revision
        return earlier

    def is_certified(self, who: Incarnation) -> bool:
        """A later life of the same pod has greeted: ``who`` is certainly dead. Nothing else proves a death."""
        return self._boots.get(pod_of(who), 0) > boot_of(who)

    def link_down(self, peer: Incarnation, reason: str, now: float) -> None:
        if state := self._peers.get(peer):
            state.linked, state.down_since, state.down_reason = False, now, reason

    def heard(self, peer: Incarnation, now: float) -> None:
        if state := self._peers.get(peer):
            state.heard = now

    def said_hello(self, peer: Incarnation, hello: Hello) -> None:
        if state := self._peers.get(peer):
            state.draining, state.ready, state.connections = hello.draining, hello.ready, hello.connections
            state.pid = hello.pid

    def ticked(self, now: float) -> float:
        """Returns by how much this pod's own loop was stalled, in seconds; 0 when it was not."""
        gap, self._ticked = now - self._ticked, now
        stalled = gap if gap > STALL_SECONDS else 0.0
        if stalled:
            for peer in self._peers.values():
                peer.heard += stalled
            for waited in self._awaited:
                self._awaited[waited] += stalled
        for peer in list(self._peers.values()):
            if not peer.linked and now - peer.down_since > self.FORGET_SECONDS:
                del self._peers[peer.incarnation]
        return stalled

    def silence(self, peer: Incarnation, now: float) -> float:
        """Seconds since ``peer`` was heard from; infinite once its link has gone down."""
        if peer == self._me:
            return 0.0
        state = self._peers.get(peer)
        if state is None:  # named by the record, never linked: it has as long as anyone who falls silent
            return now - self._awaited.setdefault(peer, now)
        self._awaited.pop(peer, None)
        return now - state.heard if state.linked else inf

    def suspected(self, peer: Incarnation, now: float) -> bool:
        return self.silence(peer, now) > self._suspect_after

    def silent_since(self, peer: Incarnation, now: float) -> float | None:
        """When a peer that is suspected though it is linked was last heard."""
        return self._peers[peer].heard if self.is_linked(peer) and self.suspected(peer, now) else None

    def heard_at(self, peer: Incarnation, now: float) -> float:
        return self._peers[peer].heard if peer in self._peers else self._awaited.get(peer, now)

    def reason(self, peer: Incarnation, now: float) -> str:
        state = self._peers.get(peer)
        if state is not None and not state.linked:
            return state.down_reason
        return f"silent for {self.silence(peer, now) * 1000:.0f} ms"

    def is_linked(self, peer: Incarnation) -> bool:
        return peer in self._peers and self._peers[peer].linked

    def linked(self) -> list[Incarnation]:
        return [p.incarnation for p in self._peers.values() if p.linked]

    def peers(self) -> list[Peer]:
        return list(self._peers.values())

    def draining(self) -> frozenset[Incarnation]:
        return frozenset(p.incarnation for p in self._peers.values() if p.draining)

    def revision(self, peer: Incarnation) -> str:
        return self._peers[peer].revision if peer in self._peers else ""

    def url(self, peer: Incarnation) -> str | None:
        return self._peers[peer].url if peer in self._peers else None

    def gone_for(self, peer: Incarnation, now: float) -> float:
        """How long no message came from ``peer``, links or not: after a while its clients count as disconnected."""
        if peer == self._me:
            return 0.0
        state = self._peers.get(peer)
        return now - max(state.heard, self._started) if state else now - self._started

    def everyone_else_is_leaving(self, record: Record | None) -> bool:
        """True when every pod seen lately, and every other one in the record, was draining when last heard from."""
        others = set(self._peers) | (set(record.in_sync) if record else set())
        return all(p in self._peers and self._peers[p].draining for p in others if p != self._me)

    def was_any_heard_since(self, moment: float) -> bool:
        return any(p.heard >= moment for p in self._peers.values())

    def names(self) -> dict[str, Incarnation]:
        return {name_of(p.incarnation): p.incarnation for p in self._peers.values() if p.linked}
