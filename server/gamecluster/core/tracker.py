"""Who is where: the presences and group members of all pods. Each pod is the only writer of its own entries; all hold all of them.

| event                                  | what follows                                                                       |
| -------------------------------------- | ---------------------------------------------------------------------------------- |
| own entries change                     | at the turn's end one delta to all, of the next version                            |
| a delta of the version after the known | applied; an older one is ignored; a later one: its sender is asked for all          |
| Hello of a later version than known    | its sender is asked for all: a delta was lost, or the link is new                  |
| a socket is lost                       | its presences linger for the grace; its group memberships end                      |
| a link is lost, a peer is suspected    | its presences stay for the grace, then leave together; its group members at once   |
| it is heard again, version as known    | nothing has changed; its group members are back                                    |
| a key is tracked anew meanwhile        | what lingers under that key, or is of a lost pod, leaves in the same diff          |

So pods that hear each other hold the same, and nothing of one that is gone: a state-based CRDT whose replicas are the owners'
sets, each with a version (delta-CRDTs: arXiv:1603.01529; Phoenix.Tracker is one with dots instead of versions).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2s
from typing import assert_never

from msgspec.structs import replace

from .effects import PresenceChanged, SendPeer
from .events import Joined, PresenceWatched, Tracked, TrackerEnded, Untracked
from .messages import Incarnation, Item, Space, TrackedAll, TrackedAsked, TrackedDelta, name_of
from .roster import Entry, Owner, Roster

ITEMS_AT_ONCE = 1000
"""In one message. A channel's keys and metas are bounded, so that it stays far below what a link carries."""
ASK_AGAIN_SECONDS = 0.25

Told = Tracked | Untracked | TrackerEnded | PresenceWatched
Said = TrackedDelta | TrackedAll | TrackedAsked


class Tracker:
    """``grace``: seconds that presence stays when its socket, or its pod, is lost. ``diff_every``: see roster."""

    def __init__(self, me: Incarnation, grace: float, diff_every: float = 0.0) -> None:
        self._grace = grace
        self.roster = Roster(diff_every)
        """What is shown of the entries."""
        self._mine = _owner(me)
        self._owners: dict[Incarnation, Owner] = {}
        self._by: dict[Joined, dict[tuple[Space, str, str], Entry]] = {}
        self._lingering: dict[Entry, float] = {}  # of this pod's own → since when
        self._last_ref = 0
        self._new: dict[int, Entry] = {}  # what the next delta says
        self._ended: list[int] = []
        self._newly_lingering: dict[int, None] = {}
        self._asking: dict[Incarnation, None] = {}

    # --- views

    @property
    def version(self) -> int:
        """Of this pod's own entries; 0 if it never had any."""
        return self._mine.version

    @property
    def has_news(self) -> bool:
        """Something is to be said when the turn ends."""
        return bool(self.roster.is_diff_due or self._new or self._ended or self._newly_lingering or self._asking)

    # --- from this pod's channels

    def told(self, event: Told, now: float) -> None:
        match event:
            case Tracked():
                self._track(event)
            case Untracked(space, topic, key, by):
                if (entry := self._by.get(by, {}).get((space, topic, key))) is not None:
                    self._end_mine(entry, by)
            case TrackerEnded(by, wanted):
                self._end_join(by, wanted, now)
            case PresenceWatched(topic):
                self.roster.watch(topic)
            case _:
                assert_never(event)

    def _track(self, event: Tracked) -> None:
        place = event.space, event.topic, event.key
        before = self._by.setdefault(event.by, {}).get(place)
        if before is not None and before.item.meta == event.meta:
            return
        self._last_ref += 1
        item = Item(self._last_ref, *place, event.meta, self._told_ref(before))
        entry = self._add(self._mine, item)
        self._by[event.by][place] = entry
        self._new[item.ref] = entry
        if before is not None:
            self._end_mine(before, None)

    def _told_ref(self, entry: Entry | None) -> int:
        """The ref by which others know what ``entry`` is about."""
        if entry is None:
            return 0
        return entry.item.previous if entry.item.ref in self._new else entry.item.ref

    def _end_join(self, by: Joined, wanted: bool, now: float) -> None:
        for entry in self._by.pop(by, {}).values():
            if wanted or self._grace <= 0 or entry.item.space is Space.group:
                self._end_mine(entry, None)
            else:
                entry.lingers = True
                self._lingering[entry] = now
                if entry.item.ref not in self._new:
                    self._newly_lingering[entry.item.ref] = None

    def _end_mine(self, entry: Entry, by: Joined | None) -> None:
        if by is not None:
            joined = self._by[by]
            del joined[entry.item.space, entry.item.topic, entry.item.key]
            if not joined:
                del self._by[by]
        ref = entry.item.ref
        self._lingering.pop(entry, None)
        self._newly_lingering.pop(ref, None)
        if self._new.pop(ref, None) is None:
            self._ended.append(ref)
        self.roster.remove(entry)

    # --- from peers

    def link_up(self, peer: Incarnation) -> None:
        """What it has is asked for when its Hello says that there is something."""
        self._owners.setdefault(peer, _owner(peer)).is_linked = True

    def link_down(self, peer: Incarnation, now: float) -> None:
        owner = self._owners.get(peer)
        if owner is None or not owner.is_linked:
            return
        owner.is_linked = False
        owner.parts.clear()
        if owner.entries:
            self._lose(owner, now)
        else:
            del self._owners[peer]

    def hello(self, peer: Incarnation, version: int, now: float) -> list[SendPeer]:
        """``peer`` says of which version its own entries are."""
        owner = self._owners.get(peer)
        if owner is None or not owner.is_linked or version < owner.version:
            return []
        if version > owner.version:
            return self._ask(peer, owner, now)
        self._regain(owner)
        return []

    def said(self, peer: Incarnation, message: Said, now: float) -> list[SendPeer]:
        owner = self._owners.get(peer)
        if owner is None or not owner.is_linked:  # late, of a link that is no more
            return []
        match message:
            case TrackedDelta(version):
                if version == owner.version + 1:
                    self._apply(owner, message)
                elif version > owner.version:
                    return self._ask(peer, owner, now)
            case TrackedAll(version, part, parts, items):
                self._gather(owner, version, part, parts, items)
            case TrackedAsked():
                self._asking[peer] = None
            case _:
                assert_never(message)
        return []

    def _ask(self, peer: Incarnation, owner: Owner, now: float) -> list[SendPeer]:
        if now < owner.asked_at + ASK_AGAIN_SECONDS:
            return []
        owner.asked_at = now
        return [SendPeer(peer, TrackedAsked())]

    def _apply(self, owner: Owner, delta: TrackedDelta) -> None:
        owner.version = delta.version
        for item in delta.items:
            self._add(owner, item)
        for ref in delta.ended:
            self.roster.remove(owner.entries[ref])
        for ref in delta.lingering:
            owner.entries[ref].lingers = True
        self._regain(owner)

    def _gather(self, owner: Owner, version: int, part: int, parts: int, items: list[Item]) -> None:
        if version <= owner.version or version < owner.parts_version:
            return
        if version > owner.parts_version:
            owner.parts_version = version
            owner.parts.clear()
        owner.parts[part] = items
        if len(owner.parts) == parts:
            everything = {item.ref: item for gathered in owner.parts.values() for item in gathered}
            owner.parts.clear()
            owner.version = version
            self._replace(owner, everything)

    def _replace(self, owner: Owner, items: dict[int, Item]) -> None:
        for ref, item in items.items():
            if (entry := owner.entries.get(ref)) is None:
                self._add(owner, item)
            else:
                entry.lingers = item.lingers
        for entry in [entry for ref, entry in owner.entries.items() if ref not in items]:
            self.roster.remove(entry)
        self._regain(owner)

    # --- time

    def ticked(self, now: float, stalled: float, silent_since: Callable[[Incarnation, float], float | None]) -> None:
        """``stalled``: how long this pod's own loop stood still, which is held against nobody.

        ``silent_since``: when a linked peer was last heard, if it is suspected.
        """
        if stalled:
            self._excuse(stalled, now)
        for entry in [entry for entry, since in self._lingering.items() if now - since >= self._grace]:
            self._end_mine(entry, None)
        for peer, owner in list(self._owners.items()):
            since = silent_since(peer, now) if owner.is_linked and owner.entries else None
            if since is not None:
                self._lose(owner, since)
            if owner.lost_at is not None and now - owner.lost_at >= self._grace:
                self._forget(peer, owner)
        self.roster.ticked(now)

    def _excuse(self, stalled: float, now: float) -> None:
        """What was lost only when this pod went on has its grace from then."""
        for entry, since in self._lingering.items():
            self._lingering[entry] = min(since + stalled, now)
        for owner in self._owners.values():
            if owner.lost_at is not None:
                owner.lost_at = min(owner.lost_at + stalled, now)

    def _lose(self, owner: Owner, since: float) -> None:
        if owner.lost_at is None:
            owner.lost_at = since
            self.roster.settle_all(owner)

    def _regain(self, owner: Owner) -> None:
        if owner.lost_at is None:
            return
        owner.lost_at = None
        for entry in owner.entries.values():
            entry.is_superseded = entry.is_superseded and entry.lingers
        self.roster.settle_all(owner)

    def _forget(self, peer: Incarnation, owner: Owner) -> None:
        """Should it be heard again, all of its entries come anew."""
        for entry in list(owner.entries.values()):
            self.roster.remove(entry)
        owner.version, owner.lost_at = 0, None
        owner.parts.clear()
        owner.parts_version = 0
        if not owner.is_linked:
            del self._owners[peer]

    # --- the end of a turn

    def turn_ended(self, linked: Sequence[Incarnation], now: float) -> list[SendPeer | PresenceChanged]:
        """One diff per topic; what is new here goes to all, and everything to those who asked for it."""
        deltas = self._take_deltas()
        asking, self._asking = self._asking, {}
        sent: list[SendPeer] = []
        for peer in linked:
            messages = self._everything() if peer in asking else deltas
            sent += [SendPeer(peer, message) for message in messages]
        return [*sent, *self.roster.take_diffs(now)]

    def _take_deltas(self) -> list[TrackedDelta]:
        items = [_as_it_is(entry) for entry in self._new.values()]
        ended, lingering = self._ended, list(self._newly_lingering)
        self._new, self._ended, self._newly_lingering = {}, [], {}
        longest = max(len(items), len(ended), len(lingering))
        deltas = []
        for start in range(0, longest, ITEMS_AT_ONCE):
            part = slice(start, start + ITEMS_AT_ONCE)
            self._mine.version += 1
            deltas.append(TrackedDelta(self._mine.version, items[part], ended[part], lingering[part]))
        return deltas

    def _everything(self) -> Iterator[TrackedAll]:
        items = [_as_it_is(entry) for entry in self._mine.entries.values()]
        starts = range(0, max(len(items), 1), ITEMS_AT_ONCE)
        for part, start in enumerate(starts):
            yield TrackedAll(self._mine.version, part, len(starts), items[start : start + ITEMS_AT_ONCE])

    # --- entries

    def _add(self, owner: Owner, item: Item) -> Entry:
        entry = self.roster.add(owner, item)
        if item.space is Space.presence and not item.lingers:
            for lost in self.roster.lost_under(item):
                self._supersede(lost)
        return entry

    def _supersede(self, entry: Entry) -> None:
        if entry.owner is self._mine:
            self._end_mine(entry, None)
        else:
            self.roster.supersede(entry)


def _owner(who: Incarnation) -> Owner:
    return Owner(name_of(who), blake2s(who.encode(), digest_size=5).hexdigest())


def _as_it_is(entry: Entry) -> Item:
    return replace(entry.item, lingers=True) if entry.lingers else entry.item
