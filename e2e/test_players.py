"""The players' verdict is worth what it notices: they play against one process that loses or doubles moves on purpose."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve

from .players import Plan, Verdict, play


class Counter:
    """A game on one process. `fault(n)` says what happens to a player's n-th move: lose, double, cut, anew, or nothing.

    anew: the game is deleted and made anew, once; nobody's token is worth anything then."""

    def __init__(self, fault: Callable[[int], str]) -> None:
        self.fault = fault
        self.totals: dict[str, int] = {}
        self.answered: dict[str, int] = {}
        self.seq = 0
        self.token = "first"

    async def serve(self, socket: ServerConnection) -> None:
        player, mine = "", self.token
        async for frame in socket:
            join_ref, ref, topic, event, payload = json.loads(frame)
            if event == "phx_join":
                player = payload["player"]
                if payload.get("token", self.token) != self.token:
                    refusal = {"status": "error", "response": {"reason": "bad token"}}
                    await socket.send(json.dumps([join_ref, ref, topic, "phx_reply", refusal]))
                    continue
                state = {"totals": {name: {"value": total} for name, total in self.totals.items()}}
                answer: dict[str, Any] = {
                    "player": player,
                    "token": self.token,
                    "epoch": 1,
                    "seq": self.seq,
                    "state": state,
                }
            else:
                if self.token == "first" and self.fault(payload["n"]) == "anew":
                    self.totals, self.answered, self.seq, self.token = {}, {}, 0, "second"
                if mine != self.token:
                    await socket.close(1012)
                    return
                if self.add(player, payload["n"]) == "cut":
                    await socket.close(1001)
                    return
                answer = {"epoch": 1, "seq": self.seq, "value": self.totals[player]}
            reply = {"status": "ok", "response": answer}
            await socket.send(json.dumps([join_ref, ref, topic, "phx_reply", reply]))

    def add(self, player: str, n: int) -> str:
        fault = self.fault(n)
        is_repeat = self.answered.get(player, 0) >= n
        if is_repeat and fault != "double":
            return "answered before"
        self.answered[player] = n
        self.seq += 1
        self.totals[player] = self.totals.get(player, 0) + (0 if fault == "lose" else 1)
        return "cut" if fault in ("cut", "double") and not is_repeat else "applied"


@asynccontextmanager
async def served(counter: Counter) -> AsyncIterator[str]:
    async with serve(counter.serve, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def verdict_on(fault: Callable[[int], str], addresses: tuple[str, ...] = (), **more: Any) -> Verdict:
    counter, stop = Counter(fault), asyncio.Event()

    def report(counts: list[int]) -> None:
        if min(counts) >= 15:
            stop.set()

    async with served(counter) as address:
        plan = Plan(addresses=[address, *addresses], players=2, moves_per_second=100, **more)
        return await asyncio.wait_for(play(plan, stop, report), 30)


async def test_an_honest_server_gets_a_clean_verdict() -> None:
    verdict = await verdict_on(lambda n: "")
    assert (verdict.lost, verdict.doubled, verdict.unanswered, verdict.violations) == (0, 0, 0, [])
    assert verdict.acknowledged >= 30 and verdict.reconnects == 0
    assert 0 < verdict.blackout_p50_ms <= verdict.blackout_p99_ms <= verdict.blackout_max_ms


async def test_a_move_whose_answer_is_lost_is_repeated_and_counts_once() -> None:
    verdict = await verdict_on(lambda n: "cut" if n == 7 else "")
    assert (verdict.lost, verdict.doubled, verdict.unanswered, verdict.violations) == (0, 0, 0, [])
    assert verdict.reconnects == 2


async def test_an_acknowledged_move_that_does_not_count_is_noticed() -> None:
    verdict = await verdict_on(lambda n: "lose" if n == 7 else "")
    assert (verdict.lost, verdict.doubled) == (2, 0)
    assert verdict.violations, "the answers showed it too"


async def test_a_repeated_move_that_counts_twice_is_noticed() -> None:
    verdict = await verdict_on(lambda n: "double" if n == 7 else "")
    assert (verdict.lost, verdict.doubled) == (0, 2)


async def test_players_go_on_to_an_address_that_answers() -> None:
    verdict = await verdict_on(lambda n: "", addresses=("127.0.0.1:9",))
    assert verdict.acknowledged >= 30 and verdict.violations == []


async def test_players_of_a_game_that_is_made_anew_join_that_and_only_its_moves_are_looked_for() -> None:
    verdict = await verdict_on(lambda n: "anew" if n == 7 else "", begins_anew=True)
    assert (verdict.lost, verdict.doubled, verdict.unanswered, verdict.violations) == (0, 0, 0, [])
    assert verdict.begun_anew == 2


async def test_a_move_that_is_lost_in_the_new_game_is_noticed() -> None:
    games = iter(["anew", "lose"])
    verdict = await verdict_on(lambda n: next(games, "") if n == 7 else "", begins_anew=True)
    assert verdict.lost == 1
