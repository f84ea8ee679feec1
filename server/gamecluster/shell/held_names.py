"""The names that this pod holds, and calls of names wherever they live.

| when                                                 | what follows                                                              |
| ---------------------------------------------------- | ------------------------------------------------------------------------- |
| a handler registers                                  | the leader is asked; from its answer on the handler is called              |
| names are held                                       | every 400 ms the leader is asked for a sign (see ``services.tenure``)      |
| no sign for 1.5 s                                    | nothing is called: ``unreachable``                                        |
| this pod's copy says that it has a name no more       | its handler is told (``lost``) and forgotten                              |
| ... that it has one that no handler of it wants       | it is given back: an answer was lost, or nobody waited for it              |
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..core.effects import Deliver
from ..core.messages import Fields, Incarnation, Op, name_of
from ..facades.names import LOST, Said, Target
from ..rules import Rejected, rejected
from ..services.names import TABLE
from ..services.tenure import RENEW_SECONDS, Tenure
from .questions import Questions
from .questions import Then as Answer
from .seat import Line

CALL_SECONDS = 3.0
LOOK_SECONDS = 0.1
"""So often is looked whether a node that was called is still heard."""
LARGEST_PAYLOAD_BYTES = 65_536
SIGNS_AT_MOST = 4
"""Under way at a time."""
QUESTION = "name"

log = logging.getLogger("gamecluster.names")


@dataclass(eq=False)
class _Holder:
    name: str
    id: str
    target: Target
    line: Line[Said] = field(init=False)
    is_registered: bool = False

    def __post_init__(self) -> None:
        self.line = Line(f"name {self.name!r}", lambda response: Said(False, response))


class HeldNames:
    """``ask``: calls a service; ``rows``: of this pod's copy; ``reachable``: peers that are linked and not silent; ``clock``: monotonic
    seconds. ``followed`` and ``delivered`` are to be told what the node says."""

    def __init__(
        self,
        me: Incarnation,
        ask: Callable[[str, str, Fields], Awaitable[Fields]],
        rows: Callable[[str], Mapping[str, Fields]],
        reachable: Callable[[], Iterable[Incarnation]],
        questions: Questions,
        clock: Callable[[], float],
    ) -> None:
        self._me, self._ask, self._rows, self._reachable = me, ask, rows, reachable
        self._questions, self._clock = questions, clock
        self._holders: dict[str, _Holder] = {}
        self._mine: dict[str, str] = {}
        """What this pod's copy says that this pod holds: name → id."""
        self._tenure = Tenure()
        self._ids = 0
        self._signs = 0
        self._returning: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeping: asyncio.Task[None] | None = None
        questions.answer(QUESTION, self._asked)

    # --- what facades ask for

    async def register(self, name: str, target: Target) -> None:
        if name in self._holders:
            raise Rejected("name taken", node=name_of(self._me))
        self._ids += 1
        holder = self._holders[name] = _Holder(name, f"{self._ids}", target)
        try:
            asked_at = self._clock()
            await self._ask("names", "register", {"name": name, "id": holder.id})
            if not self._is_held(holder):
                raise Rejected("unknown", detail="the name was taken away again at once")
        except BaseException:
            self._forget(holder)
            raise
        self._tenure.confirmed(asked_at)
        holder.is_registered = True
        self._keep()

    async def unregister(self, name: str, target: Target) -> None:
        holder = self._holders.get(name)
        if holder is not None and holder.target is target:
            self._forget(holder)
            await self._ask("names", "unregister", {"name": name, "id": holder.id})

    def give_back(self, name: str, target: Target) -> None:
        holder = self._holders.get(name)
        if holder is not None and holder.target is target:
            self._forget(holder)
            self._give_back(name, holder.id)

    async def call(self, name: str, event: str, payload: Fields) -> Fields:
        if (size := len(msgspec.json.encode(payload))) > LARGEST_PAYLOAD_BYTES:
            raise Rejected("too large", detail=f"a payload has at most {LARGEST_PAYLOAD_BYTES} bytes, not {size}")
        row = self._rows(TABLE).get(name)
        if row is None:
            raise Rejected("unknown name")
        pod = Incarnation(row["pod"])
        answer: asyncio.Future[Fields] = asyncio.get_running_loop().create_future()

        def then(ok: bool, response: Fields) -> None:
            if not answer.done():
                answer.set_result(response) if ok else answer.set_exception(_refusal(response, pod))

        if pod == self._me:
            self._run(name, event, payload, then)
        elif pod not in self._reachable():
            raise Rejected("unreachable", node=name_of(pod))
        else:
            body: Fields = {"name": name, "event": event, "payload": payload}
            self._questions.ask(pod, QUESTION, body, CALL_SECONDS, then)
        try:
            async with asyncio.timeout(CALL_SECONDS):
                while not (await asyncio.wait((answer,), timeout=LOOK_SECONDS))[0]:
                    if pod != self._me and pod not in self._reachable():
                        raise Rejected("unknown", node=name_of(pod), detail="that node has fallen silent")
                return answer.result()
        except TimeoutError:
            raise Rejected("timed out", node=name_of(pod)) from None
        finally:
            answer.cancel()

    # --- what the node says

    def followed(self, ops: list[Op] | None) -> None:
        """This pod's copy has changed; None: all of it may have."""
        if ops is None:
            self._mine = {n: row["id"] for n, row in self._rows(TABLE).items() if row["pod"] == self._me}
            names = set(self._holders)
        else:
            names = {name for table, name, _ in ops if table == TABLE}
            for table, name, fields in ops:
                if table == TABLE:
                    self._note(name, fields)
        for name in names:
            holder = self._holders.get(name)
            if holder is not None and holder.is_registered and not self._is_held(holder):
                self._lose(holder)
        if self._mine:
            self._keep()

    def delivered(self, effect: Deliver) -> None:
        """A rule has sent something to a holder, in the log's order: it is this one's if it has that id."""
        said = msgspec.json.decode(effect.payload)
        holder = self._holders.get(said["name"])
        if holder is None or (said["pod"], said["id"]) != (self._me, holder.id):
            return
        if holder.line.is_full:
            log.warning("%r has too much to do: %r of a rule is dropped", holder.name, effect.event)
        else:
            self._start(holder, effect.event, said["payload"], lambda: True, lambda ok, response: None)

    def close(self) -> None:
        for task in (*self._tasks, *([self._keeping] if self._keeping else ())):
            task.cancel()

    # --- calls

    def _asked(self, body: Fields, then: Answer) -> None:
        self._run(body["name"], body["event"], body["payload"], then)

    def _run(self, name: str, event: str, payload: Fields, then: Answer) -> None:
        holder = self._holders.get(name)
        if holder is None or not self._is_held(holder):
            then(False, {"reason": "unknown name"})
        elif holder.line.is_full:
            then(False, {"reason": "overloaded", "node": name_of(self._me)})
        else:
            self._start(holder, event, payload, lambda: self._holds(holder), then)

    def _holds(self, holder: _Holder) -> bool:
        return self._is_held(holder) and self._tenure.is_good(self._clock())

    def _is_held(self, holder: _Holder) -> bool:
        """By this pod's copy."""
        row = self._rows(TABLE).get(holder.name)
        return row is not None and (row["pod"], row["id"]) == (self._me, holder.id)

    def _start(self, holder: _Holder, event: str, payload: Fields, may: Callable[[], bool], then: Answer) -> None:
        """Runs it in its turn, if it may by then."""

        def settle(said: Said) -> None:
            if said.error is not None:
                log.warning("what answers for %r failed in %r\n%s", holder.name, event, said.error)
            then(said.ok, said.response)

        def call() -> Said | Coroutine[Any, Any, Said]:
            if not may():
                why = "it is out of touch with the leader, and may not hold the name any more"
                return Said(False, {"reason": "unreachable", "node": name_of(self._me), "detail": why})
            if (enter := holder.target.enter) is not None:
                return _entered(lambda done: enter(event, payload, done))
            return holder.target.handler.push(event, payload)

        holder.line.run(call, settle)

    # --- names that come and go

    def _note(self, name: str, fields: Fields | None) -> None:
        if fields is not None and fields["pod"] == self._me:
            self._mine[name] = fields["id"]
        else:
            self._mine.pop(name, None)

    def _lose(self, holder: _Holder) -> None:
        log.warning("%r was taken from this node: it had been out of touch with the leader", holder.name)
        self._forget(holder)
        if holder.target.enter is not None:
            holder.target.enter(LOST, {"name": holder.name}, _log_failure)
        else:
            holder.line.run(lambda: holder.target.handler.lost(holder.name), _log_failure)

    def _forget(self, holder: _Holder) -> None:
        if self._holders.get(holder.name) is holder:
            del self._holders[holder.name]
            holder.line.drop_waiting()

    def _give_back(self, name: str, id: str) -> None:
        """Tried again by ``_keep``, as long as the copy says that it is held."""
        if name not in self._returning:
            self._returning.add(name)
            self._spawn(self._return(name, id))

    async def _return(self, name: str, id: str) -> None:
        try:
            await self._ask("names", "unregister", {"name": name, "id": id})
        except Rejected as refusal:
            log.debug("%r is not given back yet: %s", name, refusal)
        finally:
            self._returning.discard(name)

    # --- the leader's signs

    def _keep(self) -> None:
        if self._keeping is None:
            self._keeping = asyncio.get_running_loop().create_task(self._keep_on())

    async def _keep_on(self) -> None:
        """While names are held, or registered here and not wanted."""
        while self._holders or self._mine:
            for name, id in list(self._mine.items()):
                if name not in self._holders or self._holders[name].id != id:
                    self._give_back(name, id)
            if self._signs < SIGNS_AT_MOST:
                self._signs += 1
                self._spawn(self._hold())
            await asyncio.sleep(RENEW_SECONDS)
        self._keeping = None

    async def _hold(self) -> None:
        asked_at = self._clock()
        try:
            await self._ask("names", "hold", {})
            self._tenure.confirmed(asked_at)
        except Rejected as refusal:
            log.debug("no sign of the leader: %s", refusal)
        finally:
            self._signs -= 1

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _entered(enter: Callable[[Callable[[Said], None]], None]) -> Said:
    said: asyncio.Future[Said] = asyncio.get_running_loop().create_future()
    enter(lambda done: None if said.done() else said.set_result(done))
    return await said


def _refusal(response: Fields, pod: Incarnation) -> Rejected:
    if response.get("reason") in ("timed out", "unknown", "overloaded"):
        response = {"node": name_of(pod), **response}
    return rejected(response)


def _log_failure(said: Said) -> None:
    if said.error is not None:
        log.warning("lost() failed\n%s", said.error)
