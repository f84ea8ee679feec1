"""Asks pods what they say of themselves, on their admin port. A failure means only: unknown."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable
from typing import Protocol

import aiohttp

from .labels import ADMIN_PORT
from .observed import ObservedPod, Telling, telling

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 1.0
AT_A_TIME = 20
"""Of one cluster. There is no limit over all of them: the silent pods of one would keep the others from being asked."""


class Pods(Protocol):
    async def ask(self, pods: Iterable[ObservedPod], token: str) -> dict[str, Telling | None]:
        """By pod UID. None: no answer within a second, or not one of ours."""
        ...

    async def hand_off(self, pod: ObservedPod, token: str, to: str | None) -> None:
        """Asks the leader to hand over. Whether it did, the record shows."""
        ...


class AdminPods:
    def __init__(self, port: int = ADMIN_PORT) -> None:
        """Within an event loop."""
        self._port = port
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)

    async def ask(self, pods: Iterable[ObservedPod], token: str) -> dict[str, Telling | None]:
        asked = [pod for pod in pods if pod.address]
        places = asyncio.Semaphore(AT_A_TIME)
        answers = await asyncio.gather(*(self._ask(pod, token, places) for pod in asked))
        return {pod.uid: answer for pod, answer in zip(asked, answers, strict=True)}

    async def hand_off(self, pod: ObservedPod, token: str, to: str | None) -> None:
        try:
            asked = self._session.post(f"{self._url(pod)}/handoff", json={"to": to}, headers=_headers(token))
            async with asyncio.timeout(TIMEOUT_SECONDS), asked as answer:
                log.info("asked %s to hand over to %s: %s", pod.name, to or "anyone", answer.status)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            log.warning("asked %s to hand over, without an answer: %r", pod.name, error)

    async def close(self) -> None:
        await self._session.close()

    async def _ask(self, pod: ObservedPod, token: str, places: asyncio.Semaphore) -> Telling | None:
        try:
            async with places, asyncio.timeout(TIMEOUT_SECONDS):
                return await self._get(pod, token)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            log.debug("%s does not answer: %r", pod.name, error)
            return None

    async def _get(self, pod: ObservedPod, token: str) -> Telling | None:
        asked = self._session.get(f"{self._url(pod)}/cluster", headers=_headers(token), allow_redirects=False)
        async with asked as answer:
            return telling(json.loads(await answer.read())) if answer.status == 200 else None

    def _url(self, pod: ObservedPod) -> str:
        host = f"[{pod.address}]" if ":" in pod.address else pod.address
        return f"http://{host}:{self._port}"


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
