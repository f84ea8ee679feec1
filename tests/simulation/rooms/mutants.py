"""The rules of rooms, each broken in one place. Every one must be caught by an invariant within a bounded number of seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

from gamecluster.core.authority import Authority
from gamecluster.core.forwarding import Forwarding
from gamecluster.core.messages import Fields, Placement
from gamecluster.core.replication import Replication
from gamecluster.core.room import Room
from gamecluster.core.rooms import Rooms
from gamecluster.core.seen import Seen
from gamecluster.services import rooms as service
from gamecluster.services.outbox import IN, Outbox, RoomServices

from .schedule import Family

Break = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Mutant:
    """``family``: the trouble that shows it soonest. ``caught_by``: what may notice it (AssertionError: the room itself)."""

    name: str
    family: Family
    apply: Break
    caught_by: tuple[str, ...] = ("held", "same")
    first: int = 1


def commit_alone(patch: pytest.MonkeyPatch) -> None:
    """The holder waits for nobody."""
    patch.setattr(Replication, "advance", lambda self, waited_for: self.log.last.seq)


def suspected_not_waited_for(patch: pytest.MonkeyPatch) -> None:
    """A backup that the row names is not waited for while it is silent."""

    def waited_for(self: Room) -> set[Any]:
        assert self.placement is not None
        found: set[Any] = original(self)
        return {peer for peer in found if self._host.is_linked(peer)}

    original = vars(Room)["_waited_for"].fget
    patch.setattr(Room, "_waited_for", property(waited_for))


def added_not_waited_for(patch: pytest.MonkeyPatch) -> None:
    """Who was asked to be made a backup is waited for only when the row says so."""

    def waited_for(self: Room) -> set[Any]:
        assert self.placement is not None
        return set(self.placement.backups)

    patch.setattr(Room, "_waited_for", property(waited_for))


def older_epochs_accepted(patch: pytest.MonkeyPatch) -> None:
    """A copy acknowledges what a former holder sends."""
    patch.setattr(Room, "_accepts", lambda self, peer, epoch: self._wants_copy and peer != self._host.me)


def no_tenure(patch: pytest.MonkeyPatch) -> None:
    """A holder that hears nothing of the GameState goes on."""
    patch.setattr(Rooms, "has_sign", property(lambda self: True))


def added_before_caught_up(patch: pytest.MonkeyPatch) -> None:
    """A pod is asked to be made a backup as soon as it follows."""
    patch.setattr(Replication, "is_caught_up", lambda self, peer: self.has_promised(peer))


def added_unkept(patch: pytest.MonkeyPatch) -> None:
    """A pod that has everything is taken for a backup though it does not know that it is to keep it."""

    class Always(dict[Any, int]):
        room: Room

        def get(self, peer: Any, default: Any = None) -> Any:
            assert self.room.placement is not None
            return self.room.placement.version

    def begin_holding(self: Room, placement: Placement) -> None:
        original(self, placement)
        self._keeping = Always()
        self._keeping.room = self

    original = Room._begin_holding
    patch.setattr(Room, "_begin_holding", begin_holding)


def copies_outlive_the_room(patch: pytest.MonkeyPatch) -> None:
    """A new room of the same id goes on from what there is of the last one."""
    patch.setattr(Room, "_forget_copy", lambda self: None)


def numbers_begin_anew(patch: pytest.MonkeyPatch) -> None:
    """A pod asks under numbers that it has used for the same room before."""

    def begin(self: Forwarding, me: Any, numbers: Any = None) -> None:
        original(self, me, count(1))

    original = Forwarding.__init__
    patch.setattr(Forwarding, "__init__", begin)


def repeats_run_again(patch: pytest.MonkeyPatch) -> None:
    """A Forward that comes twice is run twice, and a move's n is not looked at."""
    patch.setattr(Seen, "is_new", lambda self, number: True)
    patch.setattr(Authority, "_again", lambda self, body, asked: self._move(_uncounted(body), asked))


def _uncounted(body: Any) -> Any:
    return type(body)(body.player, body.connection, body.event, body.payload, None)


def answers_not_replicated(patch: pytest.MonkeyPatch) -> None:
    """The holder alone knows what n the players are at."""

    def remember(self: Authority, *args: Any) -> Any:
        original(self, *args)
        return []

    original = Authority._remember
    patch.setattr(Authority, "_remember", remember)


def letters_taken_twice(patch: pytest.MonkeyPatch) -> None:
    """A letter that comes again is another one."""

    def deliver(self: RoomServices, from_: str, *args: Any, **kwargs: Any) -> Any:
        self.ledger.delete(IN, from_)
        return original(self, from_, *args, **kwargs)

    original = RoomServices._deliver
    patch.setattr(RoomServices, "_deliver", deliver)


def letters_forgotten(patch: pytest.MonkeyPatch) -> None:
    """What nobody knows to have arrived is taken for delivered."""

    def posted(self: Room, n: int, to: str, epoch: int, ok: bool, response: Fields) -> None:
        original(self, n, to, epoch, True, response if ok else {})

    original = Room.posted
    patch.setattr(Room, "posted", posted)


def letters_to_the_dead(patch: pytest.MonkeyPatch) -> None:
    """A room that is over takes letters."""
    patch.setattr(Outbox, "is_ended", property(lambda self: False))


def calls_run_twice(patch: pytest.MonkeyPatch) -> None:
    """A call of the cluster that a room makes again is run again."""

    def deliver(self: service.Rooms, origin: Any, id: str, n: int, **more: Any) -> Any:
        self._placements.put(id, {"done": n - 1})
        return original(self, origin, id, n, **more)

    original = service.Rooms.deliver
    patch.setattr(service.Rooms, "deliver", deliver)


def joining_inherit(patch: pytest.MonkeyPatch) -> None:
    """A room of a silent pod goes to one that is only about to be a backup."""

    def lose(self: service.Rooms, silent: set[Any], *more: Any, **and_more: Any) -> list[str]:
        for id in self._placements.rooms_of(silent):
            row = self._found(id)
            if row["holder"] in silent and (heirs := [pod for pod in row["joining"] if pod not in silent]):
                changed = {"backups": [*heirs, *row["backups"]], "joining": [], "version": row["version"] + 1}
                self._placements.put(id, changed)
        return original(self, silent, *more, **and_more)

    original = service.Rooms._lose
    patch.setattr(service.Rooms, "_lose", lose)


def versions_unchecked(patch: pytest.MonkeyPatch) -> None:
    """What a holder asks is done, however old the row was that it knew."""

    def caught_up(self: service.Rooms, origin: Any, id: str, version: int, pod: Any) -> None:
        row = self._held_by(origin, id)
        if pod not in row["backups"]:
            joining = [other for other in row["joining"] if other != pod]
            changed = {"backups": [*row["backups"], pod], "joining": joining, "version": row["version"] + 1}
            self._placements.put(id, changed)

    patch.setattr(service.Rooms, "caught_up", caught_up)


def epochs_come_again(patch: pytest.MonkeyPatch) -> None:
    """A room that is made again begins with the first epoch again."""

    def delete(self: service.Rooms, id: str, *more: Any) -> None:
        self._placements.delete(id)

    patch.setattr(service.Rooms, "_delete", delete)


def links_not_made_good(patch: pytest.MonkeyPatch) -> None:
    """Who follows a room takes its copy for good, though the link to the holder was lost, and does not ask for more of it."""

    def link_up(self: Room, peer: Any) -> None:
        if self.is_holder or self._promise is None or self._promise.leader != peer:
            up(self, peer)

    def link_down(self: Room, peer: Any) -> None:
        synced = self._replication.synced_epoch
        down(self, peer)
        self._replication.synced_epoch = synced

    up, down = Room.link_up, Room.link_down
    patch.setattr(Room, "link_up", link_up)
    patch.setattr(Room, "link_down", link_down)


_MOVES = ("exactly once", "I5")

MUTANTS = (
    Mutant("commit alone", Family.kills, commit_alone),
    Mutant("the suspected are not waited for", Family.partitions, suspected_not_waited_for),
    Mutant("the added are not waited for", Family.placer, added_not_waited_for),
    Mutant(
        "older epochs are accepted", Family.placer, older_epochs_accepted, ("promise", "same", "held", "AssertionError")
    ),
    Mutant("no tenure", Family.partitions, no_tenure, ("over",)),
    Mutant("added before caught up", Family.placer, added_before_caught_up),
    Mutant("added unkept", Family.everything, added_unkept),
    Mutant("copies outlive the room", Family.ends, copies_outlive_the_room, ("same", "AssertionError", "settles")),
    Mutant("numbers begin anew", Family.walks, numbers_begin_anew, ("settles", "KeyError", "people"), first=40),
    Mutant("repeats run again", Family.partitions, repeats_run_again, _MOVES),
    Mutant("answers are not replicated", Family.kills, answers_not_replicated, _MOVES),
    Mutant("letters are taken twice", Family.walks, letters_taken_twice, ("people",)),
    Mutant("letters are forgotten", Family.walks, letters_forgotten, ("people", "calls")),
    Mutant("letters to the dead", Family.ends, letters_to_the_dead, ("people", "over")),
    Mutant("calls run twice", Family.master, calls_run_twice, ("calls",)),
    Mutant("the joining inherit", Family.placer, joining_inherit),
    Mutant("versions are not checked", Family.master, versions_unchecked),
    Mutant("epochs come again", Family.ends, epochs_come_again, ("epoch",)),
    Mutant("links are not made good", Family.partitions, links_not_made_good, ("settles",)),
)
