"""On the leader's pod: has rooms placed where ``gamecluster.placing`` would have them, those of silent pods first and at once.

It looks at what is committed, and what it asks for is skipped if it is not so any more: it does no harm if two pods look.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from ..core.messages import Fields, Incarnation, Op, name_of
from ..places import Step
from ..placing import Limits, Placer
from ..rules import Rejected
from ..services.placements import TABLE
from ..services.rooms import placement_of
from .questions import Then

LOOK_SECONDS, SOON_SECONDS = 0.05, 0.02
"""Between two looks; where something is under way."""
PLAYERS_SECONDS = 1.0
"""How often pods are asked for them, and how long they may take."""
OPENED_AT_ONCE = 100
LOST_AT_ONCE = 200
QUESTION = "rooms"

log = logging.getLogger("gamecluster.rooms")


class Pod(Protocol):
    """``driver.Driver``."""

    @property
    def is_leader(self) -> bool: ...

    @property
    def me(self) -> Incarnation: ...

    def reachable(self) -> list[Incarnation]: ...

    def staying(self) -> list[Incarnation]:
        """Pods that are heard and are not about to go, this one too."""
        ...

    def ask(self, service: str, verb: str, args: Fields) -> Awaitable[Fields]: ...

    def rows(self, table: str) -> Mapping[str, Fields]: ...

    def follow(self, follower: Callable[[list[Op] | None], None]) -> None: ...


class Kinds(Protocol):
    """``rooms.RoomKinds``."""

    def copies(self, kind: str) -> int: ...

    def declared(self) -> Mapping[str, str]: ...


class Asking(Protocol):
    """``questions.Questions``."""

    def answer(self, to: str, handler: Callable[[Fields, Then], None]) -> None: ...

    def ask(self, peer: Incarnation, to: str, body: Fields, seconds: float, then: Then) -> None: ...


class Placing:
    """``players``: how many there are in each room that this pod holds; those without any may be left out. ``clock``: monotonic
    seconds."""

    def __init__(
        self,
        pod: Pod,
        questions: Asking,
        kinds: Kinds,
        players: Callable[[], Mapping[str, int]],
        clock: Callable[[], float],
        limits: Limits | None = None,
    ) -> None:
        self._pod, self._questions, self._kinds = pod, questions, kinds
        self._players, self._clock = players, clock
        self._placer = Placer(kinds.copies, limits)
        self._changed: set[str] | None = None  # None: all may be different
        self._silent: set[Incarnation] = set()
        self._reset()
        pod.follow(self._followed)
        questions.answer(QUESTION, lambda body, then: then(True, {"players": dict(players())}))

    async def run(self) -> None:
        while True:
            await asyncio.sleep(SOON_SECONDS if self._placer.is_busy else LOOK_SECONDS)
            if not self._pod.is_leader:
                self._reset()
                continue
            try:
                await self.look()
            except Rejected as refusal:
                log.debug("rooms have to be looked at again: %s", refusal)

    @property
    def players(self) -> int:
        """In all rooms, as pods said a second ago; 0 where another pod leads."""
        return self._placer.players if self._pod.is_leader else 0

    async def look(self) -> None:
        self._catch_up()
        live = {self._pod.me, *self._pod.reachable()}
        silent = self._placer.silent_but(live)
        if silent - self._silent:
            await self._lose(silent)
        self._silent = silent
        self._placer.see(live, self._pod.staying())
        if self._placer.steps[Step.lost]:
            await self._lose(silent)
        self._ask_for_players()
        changes = self._placer.plan(self._clock(), balances=not self._unanswered)
        if changes:
            await self._pod.ask("rooms", "place", {"changes": changes})
        await self._open_missing()

    # --- parts

    async def _lose(self, silent: set[Incarnation]) -> None:
        """A part at a time: each is one entry, and what follows from it is done in one go on every pod."""
        answer: Fields = {"more": True}
        while answer["more"]:
            answer = await self._pod.ask("rooms", "lose", {"pods": sorted(silent), "at_most": LOST_AT_ONCE})
        names = ", ".join(sorted(map(name_of, silent)))
        log.info("%s: silent; the rooms there go to their backups, but for %d without one", names, answer["lost"])
        self._catch_up()

    async def _open_missing(self) -> None:
        """A room that was declared, or has ended though it is."""
        rows = self._pod.rows(TABLE)
        missing = [(room, kind) for room, kind in self._kinds.declared().items() if room not in rows]
        for answer in await asyncio.gather(
            *(self._open(room, kind) for room, kind in missing[:OPENED_AT_ONCE]), return_exceptions=True
        ):
            if isinstance(answer, Rejected):
                log.debug("a declared room could not be made: %s", answer)
            elif isinstance(answer, BaseException):
                raise answer

    def _open(self, room: str, kind: str) -> Awaitable[Fields]:
        pods = self._pod.staying() or [self._pod.me]
        args: Fields = {"id": room, "kind": kind, "pods": pods, "copies": self._kinds.copies(kind)}
        return self._pod.ask("rooms", "open", args)

    # --- what there is

    def _reset(self) -> None:
        """It leads no more; when it does again, everything is to be looked at."""
        self._changed = None
        self._silent = set()
        self._asked_at = float("-inf")
        self._unanswered: set[Incarnation] = {self._pod.me}

    def _followed(self, ops: list[Op] | None) -> None:
        if ops is None:
            self._changed = None
        elif self._changed is not None:
            self._changed.update(room for table, room, _ in ops if table == TABLE)

    def _catch_up(self) -> None:
        rows = self._pod.rows(TABLE)
        if self._changed is None:
            self._placer.load({room: placement_of(row) for room, row in rows.items()})
        else:
            for room in self._changed:
                self._placer.change(room, placement_of(rows[room]) if room in rows else None)
        self._changed = set()

    # --- players

    def _ask_for_players(self) -> None:
        now = self._clock()
        if now - self._asked_at < PLAYERS_SECONDS:
            return
        self._asked_at = now
        peers = self._pod.reachable()
        self._unanswered &= {self._pod.me}
        if self._unanswered:  # nobody has been asked before
            self._unanswered = set(peers)
        self._weigh(self._pod.me, self._players())
        for peer in peers:
            self._questions.ask(peer, QUESTION, {}, PLAYERS_SECONDS, self._answer_of(peer))

    def _answer_of(self, peer: Incarnation) -> Then:
        def then(ok: bool, response: Fields) -> None:
            self._unanswered.discard(peer)
            if ok:
                self._weigh(peer, response["players"])

        return then

    def _weigh(self, pod: Incarnation, players: Mapping[str, int]) -> None:
        self._placer.weigh({room: players.get(room, 0) for room in self._placer.held(pod)})
