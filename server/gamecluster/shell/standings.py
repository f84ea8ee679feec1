"""What follows this pod's copy of leaderboards and notifications: the order of boards, and what clients are told at once.

A large board that is another one (this pod is new, or was far behind) is put in order for some milliseconds of every ten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from ..core.effects import Deliver
from ..core.messages import Fields, Op
from ..leaderboard import PREFIX as BOARD_TOPIC
from ..leaderboard import TOP
from ..phoenix.codec import encode_json
from ..player_topic import NOTIFICATION
from ..player_topic import PREFIX as PLAYER_TOPIC
from ..rules import Rejected
from ..services.boards import Boards, read
from ..services.notices import LAST, TABLE, kept_in, told
from ..services.standings import BOARDS, PREFIX, Standings, season_of

SLICE_SECONDS = 0.003
PAUSE_SECONDS = 0.003
ROWS_AT_A_TIME = 200
TOP_SECONDS = 0.5

Follower = Callable[[list[Op] | None], None]


class Clock(Protocol):
    """The event loop."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], None], /) -> object: ...


class Pod(Protocol):
    """``driver.Driver``."""

    standings: Standings

    def rows(self, table: str) -> Mapping[str, Fields]: ...

    def follow(self, follower: Follower) -> None: ...


class Clients(Protocol):
    """``clients.Hub``."""

    def has(self, topic: str) -> bool: ...

    def topics(self, beginning: str) -> list[str]: ...

    def deliver(self, effect: Deliver) -> None: ...


def follow(pod: Pod, clients: Clients, boards: Boards, clock: Clock) -> None:
    """``boards``: the service, which reads the same order when this pod leads."""
    boards.standings = pod.standings
    pod.follow(Tops(pod, clients, clock).changed)  # sees the order as it was before
    pod.follow(Order(pod.standings, boards, clock).changed)
    pod.follow(Notifications(pod, clients).changed)


class Order:
    """Has the standings follow what is committed."""

    def __init__(self, standings: Standings, boards: Boards, clock: Clock) -> None:
        self._standings = standings
        self._boards = boards
        self._clock = clock
        self._is_due = False
        standings.wake = self._go_on

    def changed(self, ops: list[Op] | None) -> None:
        self._standings.changed(ops)
        self._boards.committed(ops)
        self._go_on()

    def _go_on(self) -> None:
        if self._standings.is_building and not self._is_due:
            self._is_due = True
            self._clock.call_at(self._clock.time() + PAUSE_SECONDS, self._build)

    def _build(self) -> None:
        self._is_due = False
        end = self._clock.time() + SLICE_SECONDS
        while self._standings.is_building and self._clock.time() < end:
            self._standings.build(ROWS_AT_A_TIME)
        self._go_on()


class Tops:
    """``top`` to clients on a board's topic, twice a second at most, if the first ten are others than before."""

    def __init__(self, pod: Pod, clients: Clients, clock: Clock) -> None:
        self._pod = pod
        self._clients = clients
        self._clock = clock
        self._before: dict[str, Fields | None] = {}  # of boards that have changed

    def changed(self, ops: list[Op] | None) -> None:
        """To be told before the standings."""
        begun = {
            key for table, key, _ in ops or () if table == BOARDS
        }  # their season that was is not known here any more
        for name in self._boards_in(ops) | begun:
            if name not in self._before and self._clients.has(BOARD_TOPIC + name):
                self._before[name] = None if ops is None or name in begun else self._top(name)
                self._clock.call_at(self._clock.time() + TOP_SECONDS, lambda name=name: self._send(name))  # type: ignore[misc]

    def _boards_in(self, ops: list[Op] | None) -> set[str]:
        if ops is None:
            return {topic.removeprefix(BOARD_TOPIC) for topic in self._clients.topics(BOARD_TOPIC)}
        return {season_of(table)[0] for table in {table for table, _, _ in ops if table.startswith(PREFIX)}}

    def _send(self, name: str) -> None:
        before = self._before.pop(name)
        topic = BOARD_TOPIC + name
        if not self._clients.has(topic):
            return
        top = self._top(name)
        if top is None:  # being put in order: later
            self._before[name] = None
            self._clock.call_at(self._clock.time() + TOP_SECONDS, lambda: self._send(name))
        elif top != before:
            self._clients.deliver(Deliver(topic, "top", encode_json(top)))

    def _top(self, name: str) -> Fields | None:
        boards = self._pod.rows(BOARDS)
        try:
            entries = read(self._pod.standings, boards, name).top(TOP)
        except Rejected:
            return None
        return {"season": boards[name]["season"] if name in boards else 1, "entries": entries}


class Notifications:
    """Those of players whose clients are here, once each: ids rise, so what is above the last one is new."""

    def __init__(self, pod: Pod, clients: Clients) -> None:
        self._pod = pod
        self._clients = clients
        self._last = 0

    def changed(self, ops: list[Op] | None) -> None:
        if ops is None:
            for topic in self._clients.topics(PLAYER_TOPIC):
                self._tell(topic, self._pod.rows(TABLE).get(topic.removeprefix(PLAYER_TOPIC), {}))
            self._last = self._pod.rows(LAST).get("id", {}).get("n", self._last)
            return
        for table, player, fields in ops:
            if table == TABLE and fields is not None:
                self._tell(PLAYER_TOPIC + player, fields)
                self._last = max([self._last, *(int(id) for id in fields)])

    def _tell(self, topic: str, notices: Fields) -> None:
        if not self._clients.has(topic):
            return
        for id, notice in kept_in(notices).items():
            if int(id) > self._last:
                self._clients.deliver(Deliver(topic, NOTIFICATION, encode_json(told(id, notice))))
