"""How far the pods' copies have come: what a cache's put waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from ..core.messages import Fields, Incarnation, Position, name_of
from .questions import Questions
from .questions import Then as Answer
from .timers import Timer

ANSWER_SECONDS = 1.0
LOOK_SECONDS = 0.02
WAITING_AT_MOST = 10_000
QUESTION = "position"


class Progress:
    """``position``: of this pod's committed state; ``reachable``: peers that are linked and not silent."""

    def __init__(
        self,
        position: Callable[[], Position],
        reachable: Callable[[], Iterable[Incarnation]],
        questions: Questions,
        call_later: Callable[[float, Callable[[], None]], Timer],
    ) -> None:
        self._position, self._reachable = position, reachable
        self._questions, self._call_later = questions, call_later
        self._waiting: list[tuple[Position, int, Answer]] = []
        self._timer: Timer | None = None
        questions.answer(QUESTION, self._asked)

    async def everywhere(self, epoch: int, seq: int) -> Fields:
        """``{"pods": how many have come that far}``, this one too, with ``missing``: names of those that have not said so in a second."""
        asked = {peer: self._ask(peer, {"epoch": epoch, "seq": seq}) for peer in self._reachable()}
        if asked:
            await asyncio.wait(asked.values())
        missing = sorted(name_of(peer) for peer, answer in asked.items() if not answer.result())
        return {"pods": 1 + len(asked) - len(missing), **({"missing": missing} if missing else {})}

    def look(self) -> None:
        """This pod's copy may have come further."""
        if not self._waiting:
            return
        here = self._position()
        reached = [answer for position, _, answer in self._waiting if position <= here]
        looked = [(at, looks + 1, answer) for at, looks, answer in self._waiting if at > here]
        self._waiting = [waiting for waiting in looked if waiting[1] * LOOK_SECONDS < 2 * ANSWER_SECONDS]
        for answer in reached:
            answer(True, {})

    def _ask(self, peer: Incarnation, body: Fields) -> asyncio.Future[bool]:
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def then(ok: bool, response: Fields) -> None:
            if not answer.done():
                answer.set_result(ok)

        self._questions.ask(peer, QUESTION, body, ANSWER_SECONDS, then)
        return answer

    def _asked(self, body: Fields, then: Answer) -> None:
        wanted = Position(body["epoch"], body["seq"])
        if wanted <= self._position():
            then(True, {})
        elif len(self._waiting) >= WAITING_AT_MOST:
            then(False, {"reason": "overloaded"})
        else:
            self._waiting.append((wanted, 0, then))
            self._look_again()

    def _look_again(self) -> None:
        if self._timer is None and self._waiting:
            self._timer = self._call_later(LOOK_SECONDS, self._looked)

    def _looked(self) -> None:
        self._timer = None
        self.look()
        self._look_again()
