"""Players who leave: on purpose, or for longer than the grace; then they come back, to their stay or to a new one."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Protocol

from gamecluster.core.events import Event, PlayerLeft
from gamecluster.core.messages import Fields, Incarnation

from .clients import Client, Cluster

SURE = 0.9
"""Of the grace, by the leader's clock, which may be a little fast."""


@dataclass(frozen=True)
class Gone:
    """A stay that its player has left on purpose, and by which connection."""

    stay: str
    pod: Incarnation
    connection: int


class House(Cluster, Protocol):
    """What one needs of the world who leaves and comes back."""

    def tell_in_order(self, client: Client, event: Event) -> None:
        """Hands the client's pod an event after all that the client has asked it before."""


class Guest(Client):
    """``leaves``: how likely it goes after a move that was answered; ``grace``: of the game, in seconds.

    With ``reuses`` it may come back by the connection by which it left: only where requests of one connection keep their order.
    """

    def __init__(
        self,
        cluster: House,
        random: Random,
        player: str,
        counted: bool,
        window: int,
        think: float,
        leaves: float,
        grace: float,
        reuses: bool,
    ) -> None:
        super().__init__(cluster, random, player, counted, window, think)
        self._house = cluster
        self.gone: Gone | None = None
        self._leaves = leaves
        self._grace = grace
        self._reuses = reuses
        self._sent: dict[int, tuple[str | None, float]] = {}  # try → the stay that it belongs to, and when it was sent
        self._join_sent = 0.0
        self._sure_until = 0.0
        self._least = self._most = 0  # how many of the moves of earlier stays were applied
        self._base: int | None = None  # the total when this stay began, once an answer has told it

    def bounds(self) -> tuple[int, int]:
        if not self.counted:
            return super().bounds()
        return self._least + max([self.acknowledged, *self._answers]), self._most + self._made

    # --- going

    def _was_applied(self, n: int, response: Fields) -> None:
        super()._was_applied(n, response)
        if self.playing and self._random.random() < self._leaves:
            self._cluster.at(self._cluster.now + self._random.uniform(0.0, 0.05), self._go, self._life)

    def _go(self, life: int) -> None:
        if life != self._life or not self.joined or not self.playing or self.pod is None:
            return
        wanted = self._grace > 5.0 or self._random.random() < 0.6
        pod, connection, stay = self.pod, self.connection, self._stay
        self._house.tell_in_order(self, PlayerLeft(connection, self.player, wanted))
        life = self._leave_behind()
        if wanted and stay is not None:
            self.gone = Gone(stay, pod, connection)
        wait = self._random.choice((0.01, 0.5, 2.0)) * self._random.random()
        if not wanted:
            wait += self._grace * self._random.random() * 2
        if wanted and self._reuses and self._random.random() < 0.5:
            self._cluster.at(self._cluster.now + wait, self._join_again, life, pod, connection)
        else:
            self._cluster.at(self._cluster.now + wait, self._connect, life)

    def _join_again(self, life: int, pod: Incarnation, connection: int) -> None:
        if life != self._life:
            return
        if pod not in self._cluster.doors() or not self.playing:
            self._connect(life)
            return
        self.pod, self.connection = pod, connection
        self._join(life)

    def _connect(self, life: int, only: Incarnation | None = None) -> None:
        if self.playing or self._waiting or life != self._life:
            super()._connect(life, only)

    def hang_up(self) -> None:
        """Its pod learns sooner or later that this connection is gone: what it left unread may begin a stay until then."""
        if self.pod is not None:
            gone = PlayerLeft(self.connection, self.player, False)
            wait = self._random.uniform(0, 0.5) if self._random.random() < 0.7 else self._random.uniform(0.5, 4.0)
            self._cluster.at(self._cluster.now + wait, self._cluster.tell, self.pod, gone)
        self.lost()

    # --- coming back

    def _join(self, life: int) -> None:
        if life == self._life:
            self._join_sent = self._cluster.now
        super()._join(life)

    def _check_stay(self, response: Fields) -> None:
        stay = response["stay"]
        if stay != self._stay:
            if self._stay is not None and self.gone is None and self._cluster.now < self._sure_until:
                text = f"{self.player} came back within the grace, and its stay was another: {response}"
                self._cluster.violated("I5", text)
            self._begin_anew()
        self.gone = None
        self._is_sure_from(self._join_sent)

    def _begin_anew(self) -> None:
        self._base = None
        if not self.counted:
            return
        self._least, self._most = self.bounds()
        self.acknowledged = self._made = 0
        self._answers.clear()
        self._waiting.clear()

    def _is_sure_from(self, sent: float) -> None:
        """The leader took what was sent then, and that player's pod for alive: the grace can't have begun before."""
        self._sure_until = max(self._sure_until, sent + self._grace * SURE)

    # --- moves

    def _send(self, life: int, n: int) -> None:
        super()._send(life, n)
        self._sent[self._tries] = self._stay, self._cluster.now

    def _was_answered(self, life: int, n: int, attempt: int, ok: bool, response: Fields) -> None:
        stay, sent = self._sent.pop(attempt)
        if ok and stay is not None:
            self._cluster.played(stay, response)
            if stay == self._stay:
                self._is_sure_from(sent)
        super()._was_answered(life, n, attempt, ok, response)

    def _check_total(self, n: int, response: Fields) -> None:
        base = response["value"] - n
        if self._base is None and self._least <= base <= self._most:
            self._base = self._least = self._most = base
        if base != self._base:
            text = f"the {n}th add of this stay of {self.player} was answered {response}, after {self._least} to {self._most} before it"
            self._cluster.violated("I5", text)
