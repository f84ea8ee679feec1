"""What the pods of a cluster are given to do, and whether all of it was done."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from gamecluster.core.messages import Incarnation

from .pods import Cluster, Pod


@dataclass(frozen=True)
class Options:
    """``moves``, ``broadcasts``: a second, in the whole cluster. ``size``: of a broadcast's payload, in bytes."""

    seconds: float = 5.0
    moves: float = 1000.0
    broadcasts: float = 1000.0
    players: int = 200
    size: int = 200
    replicas: int = 3
    delay_seconds: float = 0.0001
    turn_seconds: float = 0.0001


class Workload(ABC):
    """``prepare`` and ``play`` it; ``wrong`` says how much of it did not come to where it should, or came elsewhere.

    ``asked``: how many moves or broadcasts there were.
    """

    name: ClassVar[str]
    asked = 0

    def __init__(self, cluster: Cluster, options: Options, randomness: random.Random) -> None:
        self.cluster = cluster
        self.options = options
        self.random = randomness

    @staticmethod
    @abstractmethod
    def text(options: Options) -> str:
        """What it is, for people."""

    @abstractmethod
    async def prepare(self) -> None:
        """Before anything is counted."""

    @abstractmethod
    def play(self) -> None:
        """All that is to happen in the time that is measured."""

    def wrong(self) -> int:
        return 0

    def moments(self, rate: float) -> list[float]:
        """Random ones, as of a Poisson process."""
        moments, moment = [], asyncio.get_running_loop().time()
        end = moment + self.options.seconds
        while rate > 0 and (moment := moment + self.random.expovariate(rate)) < end:
            moments.append(moment)
        return moments


class Idle(Workload):
    name = "idle"

    @staticmethod
    def text(options: Options) -> str:
        return "heartbeats and renewals only"

    async def prepare(self) -> None:
        """Nothing."""

    def play(self) -> None:
        """Nothing."""


class Moves(Workload):
    name = "moves"

    @staticmethod
    def text(options: Options) -> str:
        return f"{options.moves:g} moves/s by {options.players} players, who are spread over all pods"

    async def prepare(self) -> None:
        self._players = [(player, self._pod_of(player), f"p{player}") for player in range(self.options.players)]
        for connection, pod, name in self._players:
            pod.joins(connection, name)
        await self.cluster.until(lambda: self._answered() == len(self._players))

    def play(self) -> None:
        counts: Counter[str] = Counter()
        for moment in self.moments(self.options.moves):
            connection, pod, name = self.random.choice(self._players)
            counts[name] += 1
            pod.moves(moment, connection, name, counts[name])
        self.asked = counts.total()

    def wrong(self) -> int:
        unanswered = len(self._players) + self.asked - self._answered()
        refused = sum(pod.clients.refused for pod in self.cluster.pods)
        return unanswered + refused + (not self.cluster.are_equal())

    def _answered(self) -> int:
        return sum(pod.clients.answered for pod in self.cluster.pods)

    def _pod_of(self, player: int) -> Pod:
        return self.cluster.pods[player % len(self.cluster.pods)]


class Broadcasts(Workload):
    """On topics that each are heard on some pods, by any pod."""

    topics: dict[str, Sequence[Pod]]

    async def prepare(self) -> None:
        self.topics = self.make_topics()
        self._due: Counter[tuple[Incarnation, str]] = Counter()
        for topic, pods in self.topics.items():
            for pod in pods:
                pod.wants(topic)

    @abstractmethod
    def make_topics(self) -> dict[str, Sequence[Pod]]:
        """Who hears each."""

    def play(self) -> None:
        payload = b'{"d":"%s"}' % (b"x" * (self.options.size - len(b'{"d":""}')))
        for moment in self.moments(self.options.broadcasts):
            publisher = self.random.choice(self.cluster.pods)
            topic = self.random.choice(list(self.topics))
            publisher.publishes(moment, topic, payload)
            self.asked += 1
            self._due.update((pod.me, topic) for pod in self.topics[topic] if pod is not publisher)

    def wrong(self) -> int:
        came = Counter({(pod.me, topic): n for pod in self.cluster.pods for topic, n in pod.broadcasts.items()})
        return (came - self._due).total() + (self._due - came).total()


class Everywhere(Broadcasts):
    name = "broadcasts"

    @staticmethod
    def text(options: Options) -> str:
        return f"{options.broadcasts:g} broadcasts/s of {options.size} bytes by all pods, on a topic that is heard on all pods"

    def make_topics(self) -> dict[str, Sequence[Pod]]:
        return {"everyone": self.cluster.pods}


class Rooms(Broadcasts):
    name = "rooms"

    @staticmethod
    def text(options: Options) -> str:
        return (
            f"{options.broadcasts:g} broadcasts/s of {options.size} bytes by all pods, each on one of as many topics as there are pods, "
            "each of which is heard on one pod only"
        )

    def make_topics(self) -> dict[str, Sequence[Pod]]:
        return {f"room:{number}": [pod] for number, pod in enumerate(self.cluster.pods)}


WORKLOADS: dict[str, type[Workload]] = {one.name: one for one in (Idle, Moves, Everywhere, Rooms)}
