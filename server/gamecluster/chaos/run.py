"""``gamecluster chaos``: players move while one fault after another is done to their cluster; in the end stands a verdict."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from websockets.exceptions import WebSocketException

from ..errors import ConfigurationError
from .client import Payload, Socket
from .faults import TELLS, injected, victim
from .figures import figures
from .history import Ledger, Verdict, judge, longest_silence
from .players import Player, answered_after
from .target import Fault, Health, Place, Target, counters, health, totals_at

PAUSE_SECONDS = (0.3, 1.2)
HANG_SECONDS = (0.0, 3.0)
"""How long a stopped node goes on hanging after the others are answered again."""
ANSWERED_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """``move``: event and payload for a game that is not the counter."""

    seconds: float
    players: int
    pace_seconds: float
    faults: tuple[Fault, ...]
    seed: int
    move: tuple[str, Payload] | None = None


@dataclass(frozen=True)
class Done:
    """One fault, and the blackouts in milliseconds: of players of the node that it hit, and of all others."""

    fault: Fault
    there: list[float]
    elsewhere: list[float]


@dataclass
class Result:
    """``tells_places``: whether it is known which player is at which node."""

    done: list[Done] = field(default_factory=list)
    verdict: Verdict | None = None
    problems: list[str] = field(default_factory=list)
    tells_places: bool = True

    @property
    def is_right(self) -> bool:
        return not self.problems and self.verdict is not None and self.verdict.is_right

    def report(self) -> str:
        found = self.verdict or Verdict(0, 0, 0, 0, [])
        wrong = [*self.problems, *found.wrong]
        return "\n".join(
            [
                f"{len(self.done)} faults, {found.acknowledged} acknowledged moves, "
                f"lost {found.lost}, doubled {found.doubled}, unknown {found.unknown}",
                *(f"{name:<30} {figures(values)}" for name, values in self._blackouts()),
                *(f"  violation: {line}" for line in wrong),
                "verdict: " + ("nothing was lost, doubled or undone" if self.is_right else "NOT AS PROMISED"),
            ]
        )

    def _blackouts(self) -> Iterator[tuple[str, list[float]]]:
        if self.tells_places:
            yield "blackout at other nodes:", [ms for one in self.done for ms in one.elsewhere]
            yield "blackout at the node it hit:", [ms for one in self.done for ms in one.there]
        else:
            yield "blackout:", [ms for one in self.done for ms in one.elsewhere]
        for fault, times in sorted(Counter(one.fault for one in self.done).items()):
            values = [ms for one in self.done if one.fault is fault for ms in (*one.there, *one.elsewhere)]
            yield f"  by {fault} ({times}):", values


def run(target: Target, options: Options) -> int:
    """The exit code: 1 if anything was lost, doubled, undone, out of order, or did not recover. Raises ConfigurationError."""
    if missing := [fault for fault in options.faults if fault not in target.faults]:
        there = ", ".join(sorted(target.faults))
        raise ConfigurationError(f"--faults {','.join(missing)}: can't be done to this cluster from here; {there} can")
    try:
        result = asyncio.run(_Chaos(target, options).run())
    except ExceptionGroup as group:
        ours, others = group.split(ConfigurationError)
        if others or ours is None:
            raise
        raise ConfigurationError(f"broken off: {ours.exceptions[0]}") from None
    print(result.report(), flush=True)
    return 0 if result.is_right else 1


class _Chaos:
    def __init__(self, target: Target, options: Options) -> None:
        self._target = target
        self._options = options
        self._dice = random.Random(options.seed)
        self._result = Result()
        self._players: list[Player] = []
        self._ending = asyncio.Event()
        self._in_sync = 0

    async def run(self) -> Result:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._ending.set)
        start = await self._recovered("before the first fault")
        if start.problem:
            raise ConfigurationError(f"the cluster is not whole: {start.problem}: see `gamecluster status`")
        self._in_sync = start.in_sync
        places = await asyncio.to_thread(self._target.places)
        if len(places) < 2:
            raise ConfigurationError("one node alone can't lose itself: have three, by `gamecluster scale` or kubectl")
        await self._check_game(places)
        await self._check_entrances(places)
        _show("seed", f"{self._options.seed}: {self._options.players} players, {self._options.seconds:g} s")
        self._players = self._make_players(places)
        async with asyncio.TaskGroup() as tasks:
            playing = [tasks.create_task(player.run()) for player in self._players]
            try:
                await self._hurt()
            except ConfigurationError:  # no cluster is left that could answer anybody
                for task in playing:
                    task.cancel()
                raise
            finally:
                await self._finish(playing)
        self._result.verdict = await self._judge()
        return self._result

    async def _check_game(self, places: Sequence[Place]) -> None:
        found = await asyncio.to_thread(counters, places[0])
        if self._options.move is None and (found is None or found[1] is None):
            raise ConfigurationError(
                "the game is not gamecluster.demo:Counter, whose sums show every lost move: "
                "say how to move, --move EVENT --payload JSON; then answers and their order are checked"
            )

    async def _check_entrances(self, places: Sequence[Place]) -> None:
        deadline = time.monotonic() + ANSWERED_SECONDS
        urls = dict.fromkeys(place.url for place in places)
        self._result.tells_places = len(urls) > 1
        for url in urls:
            while problem := await _problem_at(url):
                if time.monotonic() > deadline:
                    raise ConfigurationError(f"{url}: players can't connect: {problem}")
                await asyncio.sleep(0.1)

    def _make_players(self, places: Sequence[Place]) -> list[Player]:
        """Names of their own: totals are kept for good."""
        urls, ledger, now = [place.url for place in places], Ledger(), int(time.time())
        return [
            Player(
                f"chaos-{now}-{i}",
                urls,
                i % len(urls),
                random.Random(f"{self._options.seed} {i}"),
                self._options.pace_seconds,
                ledger,
                self._options.move,
            )
            for i in range(self._options.players)
        ]

    async def _hurt(self) -> None:
        """One fault after another, each once the cluster is whole again."""
        deadline = time.monotonic() + self._options.seconds
        await self._answered(time.monotonic())
        while time.monotonic() < deadline and not self._ending.is_set() and not self._result.problems:
            fault = self._dice.choice(self._options.faults)
            places = await asyncio.to_thread(self._target.places)
            seen = await asyncio.to_thread(health, self._target)
            node = victim(fault, places, seen.leader or places[0].name, self._dice)
            fault = await asyncio.to_thread(self._without_back_off, fault, node)
            await self._one(fault, node, len(places), node.name == seen.leader)
            await self._pause(self._dice.uniform(*PAUSE_SECONDS))

    def _without_back_off(self, fault: Fault, node: Place) -> Fault:
        """Another one that can be done to it, if its node would be kept from coming back at once."""
        if not self._target.back_off_seconds(fault, node):
            return fault
        swift = [f for f in self._options.faults if not self._target.back_off_seconds(f, node)]
        return self._dice.choice(swift or [fault])

    async def _one(self, fault: Fault, node: Place, count: int, is_leader: bool) -> None:
        there = {p.name for p in self._players if fault is not Fault.scale and self._is_at(p, node)}
        async with injected(fault, self._target, node, count, self._ending) as moment:
            stuck = await self._answered(moment, but=there if fault is Fault.stop else ())
            if fault is Fault.stop:
                await self._pause(self._dice.uniform(*HANG_SECONDS))
        stuck = stuck or await self._answered(moment if self._target.hits_at_once else time.monotonic())
        after = await self._recovered(f"after {fault} of {node.name}")
        now = time.monotonic()
        waited = {p.name: self._blackout(p, moment, now) for p in self._players}
        elsewhere = [waited[p.name] for p in self._players if p.name not in there]
        self._result.done.append(Done(fault, [waited[name] for name in there], elsewhere))
        self._result.problems += [f"no answer for {ANSWERED_SECONDS:.0f} s after {fault}: {name}" for name in stuck]
        whole = (
            f"not whole: {after.problem}"
            if after.problem
            else f"whole after {now - moment:.1f} s, {after.leader} leads"
        )
        name = f"{node.name}{' (leader)' * is_leader}" if fault is not Fault.scale else "one more"
        where = " elsewhere" if self._result.tells_places else ""
        _show(fault, f"{name} {TELLS[fault]}: blackout{where} {figures(elsewhere)}; {whole}")

    def _is_at(self, player: Player, node: Place) -> bool:
        return self._result.tells_places and player.urls[player.at] == node.url

    def _blackout(self, player: Player, moment: float, now: float) -> float:
        """Milliseconds. Where nobody knows when exactly the fault hit: the longest time between two answers since the call."""
        is_exact = self._target.hits_at_once
        seconds = answered_after(player, moment) if is_exact else longest_silence(player.history, moment, now)
        return (ANSWERED_SECONDS if seconds is None else seconds) * 1000

    async def _answered(self, moment: float, but: Collection[str] = ()) -> list[str]:
        """Waits until all but these were answered a move sent after ``moment``; returns who was not in time."""
        deadline = time.monotonic() + ANSWERED_SECONDS
        while True:
            stuck = [p.name for p in self._players if p.name not in but and answered_after(p, moment) is None]
            if not stuck or time.monotonic() > deadline:
                return stuck
            await asyncio.sleep(0.01)

    async def _recovered(self, when: str) -> Health:
        deadline = time.monotonic() + self._target.recover_seconds
        while True:
            seen = await asyncio.to_thread(health, self._target, self._in_sync)
            if not seen.problem:
                return seen
            if time.monotonic() > deadline:
                self._result.problems.append(
                    f"not whole within {self._target.recover_seconds:.0f} s {when}: {seen.problem}"
                )
                return seen
            await asyncio.sleep(0.05)

    async def _pause(self, seconds: float) -> None:
        await asyncio.wait([asyncio.create_task(self._ending.wait())], timeout=seconds)

    async def _finish(self, playing: Sequence[asyncio.Task[None]]) -> None:
        """Everyone's last move is waited for; what is not answered by then stays unknown."""
        for player in self._players:
            player.stop()
        _, late = await asyncio.wait(playing, timeout=ANSWERED_SECONDS)
        for task in late:
            task.cancel()

    async def _judge(self) -> Verdict:
        """By the counters of every node that is caught up with what was acknowledged."""
        ledger, verdicts = self._players[0].ledger, []
        told = max((move.position for p in self._players for move in p.history[-1:]), default=(0, 0))
        for place in await asyncio.to_thread(self._target.places):
            totals = await asyncio.to_thread(totals_at, place, told, ANSWERED_SECONDS)
            if totals is None and not self._options.move:
                self._result.problems.append(f"{place.name} did not catch up with {told[0]}/{told[1]}")
                continue
            verdicts.append(judge(self._players, None if self._options.move else totals, ledger))
        return max(verdicts, key=lambda found: len(found.wrong)) if verdicts else judge(self._players, None, ledger)


async def _problem_at(url: str) -> str:
    """Why no player can connect there; empty if one can."""
    try:
        async with Socket.to(url):
            return ""
    except (OSError, TimeoutError, WebSocketException) as error:
        return str(error) or type(error).__name__


def _show(what: str, text: str) -> None:
    print(f"{datetime.now().strftime('%H:%M:%S.%f')[:-3]}  {what:<12} {text}", flush=True)
