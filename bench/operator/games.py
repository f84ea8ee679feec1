"""The GameClusters of a bench, as the API server shows them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import yaml
from tests.operator.apiserver.server import REPOSITORY

from .api import MERGE, Api, Object, at_once
from .pods import CONNECTIONS, Key

GAMECLUSTERS = "/apis/gamecluster.dev/v1alpha1"
NAMESPACES = 10
AT_ONCE = 20
MARK = "BENCH"
"""An environment variable of the pods."""


@dataclass(frozen=True)
class Game:
    """``applied_at``: when its StatefulSet was last seen to change, monotonic; ``mark``: the value of MARK there."""

    is_reconciled: bool = False
    is_serving: bool = False
    has_set: bool = False
    replicas: int = 0
    connections: int = 0
    mark: str = ""
    applied_at: float = 0.0


@dataclass
class Games:
    api: Api
    pods_each: int
    lease_seconds: int
    seen: dict[Key, Game] = field(default_factory=dict)
    _waiting: dict[Key, tuple[Callable[[Game], bool], asyncio.Future[float]]] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def create(self, count: int) -> None:
        for n in range(min(NAMESPACES, count)):
            await self.api.ask("POST", "/api/v1/namespaces", {"metadata": {"name": f"bench-{n}"}})
        body = yaml.safe_load((REPOSITORY / "examples" / "arena.yaml").read_text())
        body["spec"] |= {"replicas": self.pods_each, "gameState": {"leaseDurationSeconds": self.lease_seconds}}
        keys = [(f"bench-{n % NAMESPACES}", f"game-{n}") for n in range(count)]
        await at_once(AT_ONCE, [lambda key=key: self._create(key, body) for key in keys])  # type: ignore[misc]
        self.seen = {key: self.seen.get(key, Game()) for key in keys}

    async def follow(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.api.follow(f"{GAMECLUSTERS}/gameclusters", self._see_cluster))
            tasks.create_task(self.api.follow("/apis/apps/v1/statefulsets", self._see_set))

    async def until(self, holds: Callable[[Game], bool], seconds: float, keys: Iterable[Key] | None = None) -> float:
        """Until it holds of all of them. Returns when, monotonic. Raises TimeoutError, telling of how many it does not."""
        asked = set(self.seen if keys is None else keys)
        try:
            async with asyncio.timeout(seconds):
                while asked := {key for key in asked if not holds(self.seen[key])}:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            others = sorted(asked)
            raise TimeoutError(f"not within {seconds:.0f} s: {len(others)} games, as {others[:3]}") from None
        return time.monotonic()

    async def change(self, key: Key, mark: str | None, seconds: float = 60) -> float:
        """Gives its pods ``mark``, or None: one pod more. Returns how many seconds after the answer the StatefulSet had it."""
        patch, is_applied = self._change(key, mark)
        with self._expect(key, is_applied) as applied:
            await self.api.ask("PATCH", _path(key), patch, MERGE)
            answered = time.monotonic()
            async with asyncio.timeout(seconds):
                return max(0.0, await applied - answered)

    async def change_unseen(self, keys: list[Key]) -> Callable[[Game], bool]:
        """One pod more for each, while no operator looks. Returns what holds of a game to which that has been applied."""
        wanted = max(self.seen[key].replicas for key in keys) + 1
        for key in keys:
            await self.api.ask("PATCH", _path(key), {"spec": {"replicas": wanted}}, MERGE)
        return lambda game: game.replicas == wanted

    def some(self, count: int, choose: random.Random) -> list[Key]:
        return choose.sample(sorted(self.seen), count)

    def _change(self, key: Key, mark: str | None) -> tuple[Object, Callable[[Game], bool]]:
        if mark is None:
            more = self.seen[key].replicas + 1
            return {"spec": {"replicas": more}}, lambda game: game.replicas == more
        env = [{"name": "server", "env": [{"name": MARK, "value": mark}]}]
        return {"spec": {"template": {"spec": {"containers": env}}}}, lambda game: game.mark == mark

    @contextmanager
    def _expect(self, key: Key, is_applied: Callable[[Game], bool]) -> Iterator[asyncio.Future[float]]:
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting[key] = is_applied, future
        try:
            yield future
        finally:
            del self._waiting[key]

    async def _create(self, key: Key, body: Object) -> None:
        path = f"{GAMECLUSTERS}/namespaces/{key[0]}/gameclusters"
        await self.api.ask("POST", path, {**body, "metadata": {"name": key[1], "namespace": key[0]}})

    def _see_cluster(self, event: str, obj: Object) -> None:
        meta, status = obj["metadata"], obj.get("status") or {}
        conditions = {c["type"]: c["status"] for c in status.get("conditions") or []}
        is_current = status.get("observedGeneration") == meta["generation"]
        self._put(
            (meta["namespace"], meta["name"]),
            connections=status.get("connections", 0),
            is_serving=conditions.get("Ready") == "True",
            is_reconciled=is_current and conditions.get("Reconciling") == "False",
        )

    def _see_set(self, event: str, obj: Object) -> None:
        meta, spec = obj["metadata"], obj["spec"]
        env = {e["name"]: e.get("value", "") for e in spec["template"]["spec"]["containers"][0].get("env") or []}
        key = (meta["namespace"], meta["name"])
        self._put(key, has_set=True, replicas=spec["replicas"], mark=env.get(MARK, ""), applied_at=time.monotonic())
        is_applied, future = self._waiting.get(key, (None, None))
        if is_applied is not None and future is not None and not future.done() and is_applied(self.seen[key]):
            future.set_result(self.seen[key].applied_at)

    def _put(self, key: Key, **news: bool | int | float | str) -> None:
        self.seen[key] = replace(self.seen.get(key, Game()), **news)  # type: ignore[arg-type]
        self._news.set()


def is_settled(game: Game) -> bool:
    return game.is_reconciled and game.is_serving


def is_counted(game: Game) -> bool:
    """The operator asks for the connections now and then: this is the last that it writes."""
    return game.connections == CONNECTIONS * game.replicas


def has_set(game: Game) -> bool:
    return game.has_set


def _path(key: Key) -> str:
    return f"{GAMECLUSTERS}/namespaces/{key[0]}/gameclusters/{key[1]}"
