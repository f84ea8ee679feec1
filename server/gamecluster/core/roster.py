"""What is shown of the tracker's entries, by topic and group, and the diffs of it. Part of tracker.

| event                                  | what follows                                                                       |
| -------------------------------------- | ---------------------------------------------------------------------------------- |
| what is shown of a topic changes       | at a turn's end one diff for the clients here, ten a second at most                |
| it changes back before that            | the diff says nothing of it                                                        |
| a member's owner is lost               | it is not shown, and is again when the owner is heard; presences stay              |
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .effects import PresenceChanged, Presences
from .messages import Fields, Item, Space

Place = tuple[Space, str]
Id = tuple[str, int]
"""The tag of an entry's owner, and its ref."""
Groups = dict[str, list[tuple[str, str]]]
"""Of each group its members, as (node, member), sorted. A group that was created is there without any, too."""


@dataclass(slots=True, eq=False)
class Entry:
    owner: Owner
    item: Item
    lingers: bool
    is_superseded: bool = False
    """Its key was tracked anew while it lingered, or its owner was lost; or it has ended."""
    is_shown: bool = False


@dataclass(slots=True, eq=False)
class Owner:
    """A pod's entries, as far as they are known here. ``lost_at``: since when it is not heard, None if it is."""

    name: str
    tag: str
    """What its refs begin with, for clients."""
    version: int = 0
    entries: dict[int, Entry] = field(default_factory=dict)
    is_linked: bool = True
    lost_at: float | None = None
    asked_at: float = float("-inf")
    parts: dict[int, list[Item]] = field(default_factory=dict)
    parts_version: int = 0


class Roster:
    """``diff_every``: seconds between two diffs of a topic at least; the first after a quiet time waits for nothing. So a crowd that
    comes is told of in bunches."""

    def __init__(self, diff_every: float) -> None:
        self._diff_every = diff_every
        self._places: dict[Place, dict[str, dict[Entry, None]]] = {}
        self._changes: dict[str, dict[Id, Entry]] = {}  # by topic: shown or hidden since the last diff
        self._next_at: dict[str, float] = {}  # topics that had a diff a moment ago
        self.is_diff_due = False

    # --- views

    def presences(self, topic: str) -> Presences:
        return _presences(self._shown((Space.presence, topic)))

    def groups(self) -> Groups:
        groups = [topic for space, topic in self._places if space is Space.group]
        return {group: self.members(group) for group in groups if self._shown((Space.group, group))}

    def members(self, group: str) -> list[tuple[str, str]]:
        shown = self._shown((Space.group, group))
        return sorted({(entry.owner.name, entry.item.key) for entry in shown if entry.item.key})

    def _shown(self, place: Place) -> list[Entry]:
        return [entry for same in self._places.get(place, {}).values() for entry in same if entry.is_shown]

    # --- entries

    def add(self, owner: Owner, item: Item) -> Entry:
        entry = owner.entries[item.ref] = Entry(owner, item, item.lingers)
        self._places.setdefault((item.space, item.topic), {}).setdefault(item.key, {})[entry] = None
        self.settle(entry)
        return entry

    def remove(self, entry: Entry) -> None:
        item = entry.item
        del entry.owner.entries[item.ref]
        keys = self._places[item.space, item.topic]
        del keys[item.key][entry]
        if not keys[item.key]:
            del keys[item.key]
            if not keys:
                del self._places[item.space, item.topic]
        self.supersede(entry)

    def supersede(self, entry: Entry) -> None:
        entry.is_superseded = True
        self.settle(entry)

    def lost_under(self, item: Item) -> list[Entry]:
        """The entries of the same key that linger, or are of a lost owner."""
        same = self._places[item.space, item.topic][item.key]
        return [entry for entry in same if entry.lingers or entry.owner.lost_at is not None]

    def settle_all(self, owner: Owner) -> None:
        for entry in owner.entries.values():
            self.settle(entry)

    def settle(self, entry: Entry) -> None:
        """After something that may show or hide it."""
        is_group = entry.item.space is Space.group
        is_shown = not (entry.is_superseded or (is_group and entry.owner.lost_at is not None))
        if is_shown == entry.is_shown:
            return
        entry.is_shown = is_shown
        if not is_group:
            changed = self._changes_of(entry.item.topic)
            id = entry.owner.tag, entry.item.ref  # an owner who was forgotten may be back with the same entries
            if changed.pop(id, None) is None:  # else it is again as after the last diff
                changed[id] = entry

    # --- diffs

    def watch(self, topic: str) -> None:
        """The next diff of ``topic`` is to come, though it may be empty."""
        self._changes_of(topic)

    def ticked(self, now: float) -> None:
        for topic in [topic for topic, at in self._next_at.items() if now >= at]:
            del self._next_at[topic]
            self.is_diff_due |= topic in self._changes

    def take_diffs(self, now: float) -> list[PresenceChanged]:
        self.is_diff_due = False
        diffs = []
        for topic in [topic for topic in self._changes if topic not in self._next_at]:
            changed = self._changes.pop(topic).values()
            joins = _presences(entry for entry in changed if entry.is_shown)
            leaves = _presences(entry for entry in changed if not entry.is_shown)
            diffs.append(PresenceChanged(topic, joins, leaves))
            if self._diff_every:
                self._next_at[topic] = now + self._diff_every
        return diffs

    def _changes_of(self, topic: str) -> dict[Id, Entry]:
        self.is_diff_due |= topic not in self._next_at
        return self._changes.setdefault(topic, {})


def _presences(entries: Iterable[Entry]) -> Presences:
    """In the same order on every pod."""
    found: Presences = {}
    for entry in sorted(entries, key=lambda e: (e.item.key, e.owner.tag, e.item.ref)):
        found.setdefault(entry.item.key, {"metas": []})["metas"].append(_meta(entry))
    return found


def _meta(entry: Entry) -> Fields:
    tag, item = entry.owner.tag, entry.item
    meta = {**item.meta, "phx_ref": f"{tag}-{item.ref:x}"}
    return meta | {"phx_ref_prev": f"{tag}-{item.previous:x}"} if item.previous else meta
