"""Players: each adds 1 to its own total again and again, through one pod at a time, and never gives a counted move up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, Protocol

from gamecluster.core.authority import PLAYERS
from gamecluster.core.events import Event, PlayerJoined, PlayerLeft, PlayerMoved
from gamecluster.core.messages import Fields, Incarnation, Tables

AHEAD = 24
"""How far a client's moves may be ahead of the first that is not answered: below the 32 answers that are kept."""

Answered = Callable[[bool, Fields], None]


class Cluster(Protocol):
    """What a player needs of the world."""

    now: float

    def at(self, when: float, do: Callable[..., None], *args: Any) -> None: ...

    def doors(self) -> list[Incarnation]:
        """Processes that a new connection may reach."""

    def open(self, pod: Incarnation, client: Client) -> int:
        """A new connection's number."""

    def ask(self, client: Client, make: Callable[[int], Event], answered: Answered) -> None:
        """Hands the client's pod an event with a fresh request number. The answer may never come."""

    def tell(self, pod: Incarnation, event: Event) -> None: ...

    def played(self, stay: str, response: Fields) -> None:
        """A move of that stay was answered so."""

    def was_undone(self, position: tuple[int, int]) -> bool:
        """By a total loss."""

    def violated(self, invariant: str, text: str) -> None: ...


class Client:
    """``counted``: moves carry n, and the last of them is repeated until it is answered (rule 13)."""

    def __init__(self, cluster: Cluster, random: Random, player: str, counted: bool, window: int, think: float) -> None:
        self.player = player
        self.counted = counted
        self.acknowledged = 0  # counted: all n up to this one
        self.unknown = 0
        self.refusals: Counter[str] = Counter()
        self.pod: Incarnation | None = None
        self.connection = 0
        self.joined = False
        self.seen = (0, 0)
        self.playing = True
        self.sending = self.receiving = 0.0  # when the last message each way arrives: a connection keeps their order
        self._cluster = cluster
        self._random = random
        self._window = window
        self._think = think
        self._stay: str | None = None
        self._nonce = f"{random.getrandbits(64):016x}"
        self._made = 0  # highest n, or number of moves without
        self._waiting: dict[int, int] = {}  # n (or number) -> try that is on its way; 0: to be sent (again)
        self._answers: dict[int, Fields] = {}
        self._tries = 0
        self._life = 0  # counts connections: what belongs to an earlier one is ignored
        self._last_value = 0
        self._fills = False  # a fill is planned
        self._stay_may_be_lost = False

    # --- state

    @property
    def idle(self) -> bool:
        """Nothing is left to do."""
        return not self.playing and not self._waiting

    @property
    def _is_far_ahead(self) -> bool:
        return self.counted and self._made >= self.acknowledged + AHEAD

    def bounds(self) -> tuple[int, int]:
        """The least and the most that its total may be."""
        return self.acknowledged, self.acknowledged + self.unknown

    def start(self) -> None:
        self._connect(self._life)

    def start_at(self, pod: Incarnation) -> None:
        self._connect(self._life, pod)

    def stop(self) -> None:
        """Makes no further moves; repeats what was not answered."""
        self.playing = False

    # --- connection

    def _connect(self, life: int, only: Incarnation | None = None) -> None:
        if life != self._life:
            return
        doors = self._cluster.doors()
        if not doors:
            self._soon(0.1, self._connect)
            return
        self.pod = only if only in doors else self._random.choice(doors)
        self.connection = self._cluster.open(self.pod, self)
        self._join(life)

    def _join(self, life: int) -> None:
        if life != self._life or self.pod is None:
            return
        player, connection, stay, nonce = self.player, self.connection, self._stay, self._nonce
        self._cluster.at(self._cluster.now + self._random.uniform(0.4, 3.0), self._miss_join, life)
        self._cluster.ask(
            self,
            lambda request: PlayerJoined(request, connection, player, stay, nonce),
            lambda ok, response: self._was_joined(life, ok, response),
        )

    def _was_joined(self, life: int, ok: bool, response: Fields) -> None:
        if life != self._life:
            return
        if not ok:
            self.refusals[str(response.get("reason"))] += 1
            if response.get("reason") == "player taken":
                self._cluster.violated("I5", f"{self.player} was refused its own name: {response}")
            self._soon(self._random.uniform(0.05, 0.3), self._join)
            return
        self._check_stay(response)
        self._stay = response["stay"]
        self.joined = True
        self.saw(response["epoch"], response["seq"])
        self._fill(life)

    def _check_stay(self, response: Fields) -> None:
        is_lost, self._stay_may_be_lost = self._stay_may_be_lost, False
        if self._stay not in (None, response["stay"]) and not is_lost:
            self._cluster.violated(
                "I5", f"{self.player} came back within the grace, and its stay was another: {response}"
            )

    def rolled_back(self, tables: Tables) -> None:
        """After a total loss the game goes on with ``tables``: what was acknowledged since is made anew."""
        row = tables.get(PLAYERS, {}).get(self.player)
        total = tables.get("totals", {}).get(self.player, {"value": 0})["value"]
        self._stay_may_be_lost = row is None or row["stay"] != self._stay
        if not self.counted:
            self.acknowledged, self._last_value = min(self.acknowledged, total), 0
            return
        n = row["n"] if row is not None else 0
        if n >= self.acknowledged and not any(answered > n for answered in self._answers):
            return
        self.acknowledged, self._made = min(self.acknowledged, n), min(self._made, n + AHEAD)
        self._answers = {k: answer for k, answer in self._answers.items() if k <= n}
        self._waiting = {k: self._waiting.get(k, 0) for k in range(n + 1, self._made + 1)}
        if self.joined:
            self._fill_soon(0.05)

    def lost(self) -> None:
        """The connection is gone: the pod died, reset it, or closed the topic."""
        life = self._leave_behind()
        self._cluster.at(self._cluster.now + self._random.uniform(0.005, 0.2), self._connect, life)

    def hang_up(self) -> None:
        """Its side of the connection is gone. The pod may learn it, or not."""
        if self.pod is not None and self._random.random() < 0.7:
            gone = PlayerLeft(self.connection, self.player, False)
            self._cluster.at(self._cluster.now + self._random.uniform(0, 0.5), self._cluster.tell, self.pod, gone)
        self.lost()

    def _miss_join(self, life: int) -> None:
        if life == self._life and not self.joined:
            self.hang_up()

    def _miss_answer(self, life: int, n: int, attempt: int) -> None:
        if life == self._life and self._waiting.get(n) == attempt:
            self.hang_up()

    def _leave_behind(self) -> int:
        self._life += 1
        self._fills = False  # what was planned is of an earlier life
        self.joined = False
        self.pod = None
        if not self.counted:
            self.unknown += sum(1 for sent in self._waiting.values() if sent)
            self._waiting.clear()
        for n in self._waiting:
            self._waiting[n] = 0
        return self._life

    def hears(self, topic: str, payload: bytes) -> None:
        """A broadcast on its pod."""

    def begins_again(self) -> None:
        """Its pod's copy of the state was replaced."""

    def saw(self, epoch: int, seq: int) -> None:
        """A frame of topic ``game``: what a client sees never goes back, through whichever pods it goes."""
        if epoch < self.seen[0] or (seq < self.seen[1] and not self._cluster.was_undone(self.seen)):
            self._cluster.violated("I4", f"{self.player} saw {self.seen} and then ({epoch}, {seq}) at {self.pod}")
        self.seen = (epoch, seq)

    # --- moves

    def _fill(self, life: int) -> None:
        """Sends what is to be repeated, in order, then new moves up to the window."""
        if life == self._life:
            self._fills = False
        if life != self._life or not self.joined:
            return
        for n in sorted(self._waiting):
            if not self._waiting[n]:
                self._send(life, n)
        while self.playing and len(self._waiting) < self._window and not self._is_far_ahead:
            self._made += 1
            self._send(life, self._made)
            if self._random.random() < 0.5:
                break

    def _send(self, life: int, n: int) -> None:
        assert self.pod is not None
        self._tries += 1
        attempt = self._waiting[n] = self._tries
        player, connection, counted = self.player, self.connection, self.counted
        self._cluster.at(self._cluster.now + self._random.uniform(0.4, 3.0), self._miss_answer, life, n, attempt)
        self._cluster.ask(
            self,
            lambda request: PlayerMoved(request, connection, player, "add", {"amount": 1}, n if counted else None),
            lambda ok, response: self._was_answered(life, n, attempt, ok, response),
        )

    def _was_answered(self, life: int, n: int, attempt: int, ok: bool, response: Fields) -> None:
        if life != self._life or self._waiting.get(n) != attempt:
            return
        if ok and self._cluster.was_undone((response["epoch"], response["seq"])):
            self._was_undone(n)
        elif ok:
            del self._waiting[n]
            self._was_applied(n, response)
        if ok:
            self._fill_soon(self._think * self._random.random() * 2)
            return
        self.refusals[str(response.get("reason"))] += 1
        if self.counted:
            self._waiting[n] = 0
            self._check_refusal(n, response)
        else:
            del self._waiting[n]
            self.unknown += response.get("reason") == "unknown"
        if response.get("reason") == "not joined":
            self.hang_up()
        else:
            self._fill_soon(self._random.uniform(0.02, 0.2))

    def _was_undone(self, n: int) -> None:
        """It was answered, and a total loss has undone it meanwhile."""
        if self.counted:
            self._waiting[n] = 0
        else:
            del self._waiting[n]
            self.unknown += 1

    def _was_applied(self, n: int, response: Fields) -> None:
        value = response["value"]
        if not self.counted:
            self.acknowledged += 1
            if value <= self._last_value or not self.acknowledged <= value <= self._made:
                text = f"{self.player} was answered {value} after {self._last_value}, {self.acknowledged} acknowledged"
                self._cluster.violated("I5", text)
            self._last_value = value
            return
        self._check_total(n, response)
        self._answers[n] = response
        while self.acknowledged + 1 in self._answers:
            self.acknowledged += 1

    def _check_total(self, n: int, response: Fields) -> None:
        if response["value"] != n:
            self._cluster.violated(
                "I5", f"the {n}th add of {self.player} was answered {response}: lost or doubled moves"
            )

    def _check_refusal(self, n: int, response: Fields) -> None:
        reason = response.get("reason")
        if reason == "gap" and not self.acknowledged < response["expected"] < n:
            text = f"{self.player} has {self.acknowledged} acknowledged, sent {n}, and was told {response}"
            self._cluster.violated("I5", text)
        if reason == "forgotten":
            self._cluster.violated("I5", f"{self.player}'s answer to {n} was forgotten: {response}")

    def _fill_soon(self, seconds: float) -> None:
        if not self._fills:
            self._fills = True
            self._soon(seconds, self._fill)

    def _soon(self, seconds: float, do: Callable[[int], None]) -> None:
        self._cluster.at(self._cluster.now + seconds, do, self._life)
