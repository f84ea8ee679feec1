"""The seal: what makes a failover possible while the Lease's store is away (rule 10).

Without the store nobody can know whether a dead pod had changed the record before it died, so the others could not go on. Hence, as
soon as the store stops answering, the leader has *all* of its set bind themselves not to write holder or set:

| bond     | event                                              | next     | what is sent                         |
| -------- | -------------------------------------------------- | -------- | ------------------------------------ |
| none     | the store is away (leader)                         | agreed   | Seal to all members                  |
| none     | Seal, from the leader that I follow; no open write | agreed   | SealAgreed                           |
| agreed   | all have agreed (leader)                           | complete | SealComplete to all members          |
| agreed   | SealComplete                                       | complete |                                      |
| agreed,  | Break, from one who has seen no lower epoch than I | broken   | Broken                               |
| complete |                                                    |          |                                      |
| agreed,  | I want to write, or am named by the record         | same     | Break to all members, until it is off |
| complete |                                                    |          |                                      |

Under a complete seal the certified dead are not waited for while a majority of the sealed lives, and a member may lead by promises alone,
if every member has promised or is certified dead, the living are a majority of the sealed set, and one of them knows that the seal is
complete. The seal is *off* when those who broke it and the certified dead leave no majority that could still use it. Who broke it never
promises under it again.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from .messages import Break, Broken, Incarnation, Message, Seal, SealAgreed, SealComplete, SealId

Certified = Callable[[Incarnation], bool]
"""Whether that incarnation is certainly dead: a later life of the same pod has greeted."""


class Bond(StrEnum):
    none = "none"
    agreed = "agreed"
    complete = "complete"
    broken = "broken"


class Sealing:
    """The newest seal that this pod has to do with."""

    def __init__(self, me: Incarnation) -> None:
        self._me = me
        self.id = SealId(0, 0, ())
        self.bond = Bond.none
        self._rounds = 0
        self._agreed: set[Incarnation] = set()
        self._broken: set[Incarnation] = set()

    @property
    def binds(self) -> bool:
        """This pod may write neither holder nor set, and may start no epoch of the record."""
        return self.bond in (Bond.agreed, Bond.complete)

    @property
    def is_complete(self) -> bool:
        return self.bond is Bond.complete

    @property
    def members(self) -> tuple[Incarnation, ...]:
        return self.id.members

    def survivors(self, certified: Certified) -> list[Incarnation]:
        return [m for m in self.members if not certified(m)]

    def has_majority(self, certified: Certified) -> bool:
        return len(self.survivors(certified)) > len(self.members) // 2

    def is_off(self, certified: Certified) -> bool:
        """Nobody can lead under it any more, so the record may be written again."""
        able = [m for m in self.survivors(certified) if m not in self._broken]
        return len(able) <= len(self.members) // 2

    # --- whoever seals

    def begin(self, epoch: int, members: tuple[Incarnation, ...]) -> None:
        """The leader binds itself first."""
        self._rounds += 1
        self._take(SealId(epoch, self._rounds, members))
        self._agreed = {self._me}

    def requests(self) -> list[tuple[Incarnation, Message]]:
        """To be sent again and again, until all have agreed and know it."""
        if not self.binds or not self._agreed:
            return []
        message: Message = SealComplete(self.id) if self.is_complete else Seal(self.id)
        return [(m, message) for m in self.members if m != self._me]

    def agreed_by(self, peer: Incarnation, id: SealId) -> None:
        if id == self.id and self._agreed and self.bond is Bond.agreed:
            self._agreed.add(peer)
            if self._agreed >= set(self.members):
                self.bond = Bond.complete

    # --- whoever is asked to

    def asked(self, id: SealId, may_agree: bool) -> Message | None:
        """``may_agree``: I follow the leader of that epoch, and none of my writes is open."""
        if id == self.id:
            return SealAgreed(id) if self.binds else None
        if not may_agree or (id.epoch, id.round) < (self.id.epoch, self.id.round):
            return None
        self._take(id)
        return SealAgreed(id)

    def completed(self, id: SealId) -> None:
        if id == self.id and self.bond is Bond.agreed:
            self.bond = Bond.complete

    def may_promise_under(self, id: SealId) -> bool:
        return id == self.id and self.binds

    # --- breaking

    def break_requests(self, epoch: int) -> list[tuple[Incarnation, Message]]:
        """I break it myself, and ask the others: ``epoch`` is the highest that I have promised."""
        self._broken.add(self._me)
        return [(m, Break(self.id, epoch)) for m in self.members if m != self._me and m not in self._broken]

    def break_asked(self, id: SealId, may_break: bool) -> Message | None:
        """``may_break``: I have promised no higher epoch than whoever asks."""
        if not may_break:
            return None
        if id != self.id:
            if (id.epoch, id.round) < (self.id.epoch, self.id.round):
                return Broken(id)  # long replaced: I can't promise under it any more
            self._take(id)
        self.bond = Bond.broken
        self._broken.add(self._me)
        return Broken(id)

    def broken_by(self, peer: Incarnation, id: SealId) -> None:
        if id == self.id:
            self._broken.add(peer)

    def release(self) -> None:
        """It is off."""
        self.bond = Bond.broken

    def _take(self, id: SealId) -> None:
        self.id, self.bond = id, Bond.agreed
        self._agreed, self._broken = set(), set()
