"""Calls of this pod to the cluster's services: what the node answers becomes what a coroutine awaits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..checks import json_object
from ..core.effects import Answer
from ..core.events import Called, Event
from ..core.messages import Fields
from ..rules import rejected


class Calls:
    """``dispatch`` gives an event to the node, which answers each, within ten seconds."""

    def __init__(self, dispatch: Callable[[Event], None]) -> None:
        self._dispatch = dispatch
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Fields]] = {}

    def ask(self, service: str, verb: str, args: Fields) -> asyncio.Future[Fields]:
        """The service's response with its entry's ``epoch`` and ``seq``. Raises Rejected; Mismatch, at once, for what is not JSON.

        Who no longer waits does not take the call back.
        """
        self._number -= 1
        answer = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        self._dispatch(Called(self._number, service, verb, json_object(args)))
        return answer

    def answered(self, effect: Answer) -> None:
        future = self._waiting.pop(effect.request)
        if future.cancelled():
            return
        if effect.ok:
            future.set_result(effect.response)
        else:
            future.set_exception(rejected(effect.response))
            future.exception()  # nobody may wait for it: that is no error
