"""Which link to a peer counts, when both sides may dial. Pure: no socket, no clock.

For each pair the node with the lower name decides, alone, so both sides end with the same link whatever crosses:

===================== ============================================ ===============================================
a link comes up from  at the lower node                            at the higher node
===================== ============================================ ===============================================
its own dial          not when a link is live or a dial confirmed  not when a link is live or a dial confirmed
the peer's dial       not when its own dial is live or confirmed   always: the lower one has decided
===================== ============================================ ===============================================

A dialler confirms a link only while it holds none with that incarnation. So a second link dialled by the same side means
that it lost the first one, which is replaced. A later life of a pod replaces an earlier one, whose late greeting is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..core.messages import Incarnation, boot_of, name_of, pod_of

L = TypeVar("L")

PODS_REMEMBERED = 4096

DUPLICATE = "duplicate"
ITSELF = "it is this very node"
"""How the refusals begin that are nobody's fault."""


@dataclass(frozen=True)
class Held(Generic[L]):
    peer: Incarnation
    link: L
    dialled: bool


@dataclass(frozen=True)
class CameUp(Generic[L]):
    """What a new link put out: the link to close, and, if an earlier life of the pod had it, that life."""

    replaced: L | None
    ended: Incarnation | None


class LinkTable(Generic[L]):
    """The live link to each pod, the dials on their way to be one, and the newest life seen of each pod."""

    def __init__(self, me: Incarnation) -> None:
        self._me = me
        self._held: dict[str, Held[L]] = {}
        self._confirmed: dict[str, L] = {}
        self._newest: dict[str, int] = {}

    def __iter__(self) -> Iterator[Held[L]]:
        return iter(list(self._held.values()))

    def get(self, peer: Incarnation) -> L | None:
        held = self._held.get(pod_of(peer))
        return held.link if held and held.peer == peer else None

    def of_pod(self, peer: Incarnation) -> L | None:
        """The link to whatever life of the peer's pod."""
        held = self._held.get(pod_of(peer))
        return held.link if held else None

    def confirm(self, peer: Incarnation, link: L) -> str | None:
        """May this node's dial become a link? None: yes, and until ``up`` or ``down`` no other dial may."""
        pod = pod_of(peer)
        reason = self.refusal(peer)
        if reason is None and self._is_held(peer):
            reason = f"{DUPLICATE}: there is a live link"
        elif reason is None and pod in self._confirmed:
            reason = f"{DUPLICATE}: another dial is under way"
        if reason is None:
            self._confirmed[pod] = link
        return reason

    def accept(self, peer: Incarnation) -> str | None:
        """May the peer's dial become a link? None: yes."""
        pod = pod_of(peer)
        reason = self.refusal(peer)
        if reason is not None or not self._decides(peer):
            return reason
        if self._is_held(peer) and self._held[pod].dialled:
            return f"{DUPLICATE}: there is a live link"
        if pod in self._confirmed:
            return f"{DUPLICATE}: this node's own dial is under way"
        return None

    def refusal(self, peer: Incarnation) -> str | None:
        """Why no link with ``peer`` is wanted at all; remembers its boot number otherwise."""
        pod, boot = pod_of(peer), boot_of(peer)
        if pod == pod_of(self._me):
            return ITSELF if peer == self._me else "another life of this node's own pod"
        newest = self._newest.pop(pod, 0)
        self._newest[pod] = max(newest, boot)
        while len(self._newest) > PODS_REMEMBERED:
            del self._newest[next(iter(self._newest))]
        return f"an older life: boot {newest} of this pod is known" if boot < newest else None

    def up(self, peer: Incarnation, link: L, dialled: bool) -> CameUp[L]:
        pod = pod_of(peer)
        if self._confirmed.get(pod) is link:
            del self._confirmed[pod]
        old = self._held.get(pod)
        self._held[pod] = Held(peer, link, dialled)
        return CameUp(old.link if old else None, old.peer if old and old.peer != peer else None)

    def down(self, peer: Incarnation, link: L) -> bool:
        """Forgets the link. True if it was the one that counted."""
        pod = pod_of(peer)
        if self._confirmed.get(pod) is link:
            del self._confirmed[pod]
        held = self._held.get(pod)
        if held is None or held.link is not link:
            return False
        del self._held[pod]
        return True

    def _is_held(self, peer: Incarnation) -> bool:
        held = self._held.get(pod_of(peer))
        return held is not None and held.peer == peer

    def _decides(self, peer: Incarnation) -> bool:
        return (name_of(self._me), pod_of(self._me)) < (name_of(peer), pod_of(peer))
