"""Players of a room: each adds 1 to its own total again and again, and never gives a counted move up. Some let others walk, or end it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from gamecluster.core.events import PlayerMoved
from gamecluster.core.messages import Fields, Incarnation

from ..clients import Answered, Client
from .truth import Chain

if TYPE_CHECKING:
    from .world import World


class Door:
    """``clients.Cluster``, for one of the rooms."""

    def __init__(self, world: World, room: str) -> None:
        self._world = world
        self._room = room

    @property
    def now(self) -> float:
        return self._world.now

    def at(self, when: float, do: Callable[..., None], *args: Any) -> None:
        self._world.at(when, do, *args)

    def doors(self) -> list[Incarnation]:
        return self._world.doors()

    def open(self, pod: Incarnation, client: Client) -> int:
        return self._world.open(pod, client)

    def ask(self, client: Client, make: Callable[[int], Any], answered: Answered) -> None:
        self._world.ask(client, self._room, self._embellished(client, make), answered)

    def tell(self, pod: Incarnation, event: Any) -> None:
        self._world.tell(pod, self._room, event)

    def played(self, stay: str, response: Fields) -> None:
        """Stays are of no interest here."""

    def was_undone(self, position: tuple[int, int]) -> bool:
        return position[0] > 0 and self._world.truth.of(self._room, position[0]).over is not None

    def violated(self, invariant: str, text: str) -> None:
        self._world.violated(invariant, f"{self._room}: {text}")

    def chain(self, epoch: int) -> Chain:
        return self._world.truth.of(self._room, epoch)

    def _embellished(self, client: Client, make: Callable[[int], Any]) -> Callable[[int], Any]:
        """Adds to a move that somebody is to walk, or that the room is to end; the same when it is repeated."""

        def made(request: int) -> Any:
            event = make(request)
            if not isinstance(event, PlayerMoved):
                return event
            event.payload.update(self._world.wish(client, self._room, event.n))
            return event

        return made


class Player(Client):
    """``chain``: the life of the room that it has joined last."""

    def __init__(self, world: World, random: Random, room: str, player: str, counted: bool) -> None:
        self.room = room
        self._door = Door(world, room)
        self.chain: Chain | None = None
        super().__init__(self._door, random, player, counted, world.plan.window, world.plan.think)

    def _was_joined(self, life: int, ok: bool, response: Fields) -> None:
        if life == self._life and ok:
            chain = self._door.chain(response["epoch"])
            if chain is not self.chain:
                if self.chain is not None:
                    self._begin_anew(self.chain, chain)
                self.chain = chain
        super()._was_joined(life, ok, response)

    def _begin_anew(self, before: Chain, chain: Chain) -> None:
        if before.over is None or chain.born < before.born:
            self._cluster.violated("exactly once", f"{self.player} joined {chain} after {before}, which is not over")
        self.rolled_back({})
        self.seen = (0, 0)

    def _check_stay(self, response: Fields) -> None:
        """It brings the same to each life of the room."""
        if self._stay not in (None, response["stay"]) and not self._stay_may_be_lost:
            self._cluster.violated("exactly once", f"{self.player} has {self._stay}, and was given {response}")
        self._stay_may_be_lost = False

    def _was_answered(self, life: int, n: int, attempt: int, ok: bool, response: Fields) -> None:
        """What a room that is over still says tells nothing about the next one."""
        if ok and life == self._life and self._door.chain(response["epoch"]) is not self.chain:
            self._cluster.violated("exactly once", f"{self.player} joined {self.chain} and was answered {response}")
        super()._was_answered(life, n, attempt, ok, response)

    def saw(self, epoch: int, seq: int) -> None:
        if self.chain is self._door.chain(epoch):
            super().saw(epoch, seq)
