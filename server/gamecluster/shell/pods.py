"""What this pod does with others beside the GameState: names that it holds and calls, calls that run once, copies that have come so far."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from ..core.messages import Fields, Incarnation, Op, Position
from ..services.once import SESSIONS
from .held_names import HeldNames
from .progress import Progress
from .questions import Questions
from .sessions import Sessions


class Pod(Protocol):
    """``driver.Driver``."""

    @property
    def me(self) -> Incarnation: ...

    def ask(self, service: str, verb: str, args: Fields) -> asyncio.Future[Fields]: ...

    def rows(self, table: str) -> Mapping[str, Fields]: ...

    def follow(self, follower: Callable[[list[Op] | None], None]) -> None: ...

    def position(self) -> Position: ...

    def reachable(self) -> list[Incarnation]: ...


class Pods:
    def __init__(self, pod: Pod, questions: Questions) -> None:
        loop = asyncio.get_running_loop()
        self.names = HeldNames(pod.me, pod.ask, pod.rows, pod.reachable, questions, loop.time)
        self.sessions = Sessions(pod.me, pod.ask, lambda session: session in pod.rows(SESSIONS))
        self.progress = Progress(pod.position, pod.reachable, questions, loop.call_later)
        for follower in (self.names.followed, self.sessions.followed, lambda ops: self.progress.look()):
            pod.follow(follower)
