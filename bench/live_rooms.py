"""``python -m bench.live_rooms``: what rooms cost, and what it costs those who play when one goes to another node, or its node is killed.

Three nodes and their clients on one machine. In this order:

| part      | is                                                                                                                 |
| --------- | ------------------------------------------------------------------------------------------------------------------ |
| idle      | ``--rooms`` rooms that nobody is in: memory and CPU time of the nodes, beside those without rooms                   |
| play      | ten players in each (``--players``), who move at ``--rate``: their answers, until all others see it, and CPU time   |
| hand over | one room after the other goes to its backup, ``--moves`` times, while all play on, at a tenth of that rate          |
| kill      | three times the node that holds most is killed (-9), while some of the rooms are played in                          |

Exit code 1 if a move was lost or doubled, a client had to reconnect at a hand-over, or a room is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from gamecluster.chaos.client import Socket
from gamecluster.chaos.figures import percentile
from gamecluster.chaos.history import judge
from gamecluster.chaos.players import Player

from . import run as runs
from .live_nodes import SERVER, Nodes, cpu_of, pauses, players_in, room_of, took, until
from .servers import Running, started

PART_SECONDS, REST_SECONDS = 10.0, 2.0
WATCHED, WATCHED_PACE_SECONDS = 10, 0.01
JOINED_AT_ONCE = 50
"""By one socket."""
KILLS, KILLED, KILLED_PACE_SECONDS = 3, 60, 0.1

# --- the parts


async def idle(nodes: Nodes, rooms: Sequence[str]) -> None:
    await asyncio.sleep(REST_SECONDS)
    bare, bare_cpu = nodes.usage(), await cpu_of(nodes, PART_SECONDS / 2)
    began = time.monotonic()
    for first in range(0, len(rooms), JOINED_AT_ONCE):
        async with Socket.to(nodes.urls()[0]) as socket:
            for room in rooms[first : first + JOINED_AT_ONCE]:
                await socket.push(f"game:{room}", "phx_join", {"player": "first"}, 10.0)
    made = time.monotonic() - began
    await until(lambda: nodes.are_whole(len(rooms)), "all rooms have a backup")
    await asyncio.sleep(REST_SECONDS)
    full, full_cpu = nodes.usage(), await cpu_of(nodes, PART_SECONDS / 2)
    copies = 2 * len(rooms)
    held = [sum(place["node"] == name for place in nodes.rooms().values()) for name in nodes.all()]
    print(f"\n## idle: {len(rooms)} rooms with one backup each, nobody is in them; held by the nodes: {held}\n")
    print(f"- made one after the other by joins, {len(rooms) / made:.0f} a second")
    print(
        f"- memory: {(full.rss - bare.rss) / copies / 1024:.1f} KiB for each copy (of {bare.rss / 2**20:.0f} MiB without rooms)"
    )
    print(
        f"- CPU time of all nodes: {full_cpu * 100:.1f} % of a core, without rooms {bare_cpu * 100:.1f} %", flush=True
    )


async def play(nodes: Nodes, options: argparse.Namespace) -> None:
    load = {"rooms": options.rooms, "sockets": options.rooms * options.players, "senders": options.players}
    more = {"rate": options.rate / load["sockets"], "size": 0, "warm-up": 2, "seconds": PART_SECONDS, "patience": 10}
    found = await asyncio.to_thread(runs.load, nodes.running, {**load, **more}, False)
    moves, cpu = found.answered, found.server_cpu_seconds
    print(
        f"\n## play: {found.sockets:,} sockets, {options.players} in each of {options.rooms} rooms, {options.rate:g} moves/s in all\n"
    )
    print(f"- joined {found.sockets / found.connect_seconds:.0f} a second")
    print(f"- own answer: {shares(found.answer_ms)}; seen by all in the room: {shares(found.whole_ms)}")
    rate = found.answer_ms.count / found.seconds
    print(
        f"- {rate:.0f} moves/s, {cpu / found.seconds * 100:.0f} % of a core for all nodes: {cpu / rate / found.seconds * 1e6:.0f} µs a move"
    )
    print(
        f"- {moves:,} answers, {found.wrong} wrong; {found.others:.1f} cores were busy with other programs", flush=True
    )
    nodes.wrong += [f"play: {found.wrong} wrong: {found.trouble}"] * bool(found.wrong)


async def hand_over(nodes: Nodes, rooms: Sequence[str], options: argparse.Namespace) -> None:
    watched = rooms[:: max(1, len(rooms) // WATCHED)][:WATCHED]
    async with background(nodes, options), players_in(nodes, watched, WATCHED_PACE_SECONDS) as players:
        await asyncio.sleep(REST_SECONDS)
        joins, began = sum(player.joins for player in players), time.monotonic()
        async with Socket.to(nodes.urls()[0]) as mover:
            await mover.push("mover", "phx_join", {})
            for number in range(options.moves):
                await move(mover, players[number % len(players)])
        seconds = time.monotonic() - began
        nodes.wrong += ["hand over: a client had to reconnect"] * (sum(player.joins for player in players) != joins)
        held_up, gaps = pauses(players, began)
        rest = [took(m) for player in players for m in player.history if m.sent_at > began]
    print(
        f"\n## hand over: {len(held_up)} times a room went to its backup, in {seconds:.0f} s, while {options.rooms} are played in\n"
    )
    print(f"- a move that it held up was answered after {of(held_up)}; all moves: {of(rest)}")
    pace = WATCHED_PACE_SECONDS * 1000
    print(
        f"- from the last answer before to the first one after it: {of(gaps)}, where moves follow {pace:.0f} ms after an answer"
    )
    check(nodes, players, "hand over")


async def move(mover: Socket, player: Player) -> None:
    """Its room, and wait until the player was answered by the next holder. It may be asked again: others move rooms, too."""
    epoch = player.history[-1].epoch
    async with asyncio.timeout(20):
        while player.history[-1].epoch == epoch:
            await mover.push("mover", "move", {"room": room_of(player)}, 5.0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    while player.history[-1].epoch == epoch:
                        player.acknowledged.clear()
                        await player.acknowledged.wait()
    await asyncio.sleep(random.uniform(0.02, 0.06))


async def kill(nodes: Nodes, rooms: Sequence[str]) -> None:
    watched = rooms[:: max(1, len(rooms) // KILLED)][:KILLED]
    elsewhere: list[float] = []
    there: list[float] = []
    others: list[float] = []
    backed: list[float] = []
    async with players_in(nodes, watched, KILLED_PACE_SECONDS) as players:
        for _ in range(KILLS):
            for number, player in enumerate(players):
                player.go_to(number % len(player.urls))
            await asyncio.sleep(REST_SECONDS)
            places = nodes.rooms()
            name = Counter(places[room]["node"] for room in watched).most_common(1)[0][0]
            node = nodes.all()[name]
            at = {player.name: player.urls[player.at] for player in players}
            moment = time.monotonic()
            os.kill(node["pid"], signal.SIGKILL)
            await asyncio.sleep(REST_SECONDS)
            for player in players:
                longest = max(took(m) for m in player.history if m.answered_at > moment)
                held = places[room_of(player)]["node"] == name
                (there if at[player.name] == node["url"] else elsewhere if held else others).append(longest)
            backed.append(
                await until(lambda: nodes.are_whole(len(rooms)), "all rooms have a backup again") + REST_SECONDS
            )
    print(
        f"\n## kill: {KILLS} times that node, -9, which holds most; {len(watched)} of {len(rooms)} rooms are played in\n"
    )
    print(f"- the longest answer after it, rooms that it held, players at other nodes: {of(elsewhere)}")
    print(f"- players at that node, who connect to another: {of(there)}")
    print(f"- the others: {of(others)}")
    print(
        f"- all rooms had a backup again after at most {max(backed):.1f} s, with the time in which the node starts",
        flush=True,
    )
    check(nodes, players, "kill")


@asynccontextmanager
async def background(nodes: Nodes, options: argparse.Namespace) -> AsyncIterator[None]:
    """All rooms are played in, until the block ends or for as long as it may take."""
    sockets, seconds = options.rooms * options.players, 3.0 + options.moves * 0.25
    load = {"rooms": options.rooms, "sockets": sockets, "senders": options.players, "rate": options.rate / 10 / sockets}
    more = {"size": 0, "warm-up": 0, "seconds": seconds, "patience": 10}
    playing = asyncio.create_task(asyncio.to_thread(runs.load, nodes.running, {**load, **more}, False))
    await until(
        lambda: playing.done() or sum((p["players"] or 0) for p in nodes.rooms().values()) > sockets / 2,
        "all have joined",
    )
    yield
    found = await playing
    nodes.wrong += [f"hand over: {found.wrong} of the others' moves were wrong: {found.trouble}"] * bool(found.wrong)
    print(
        f"\nThe others, meanwhile: {found.sockets:,} sockets, own answer {shares(found.answer_ms)}, {found.wrong} wrong"
    )


def check(nodes: Nodes, players: Sequence[Player], part: str) -> None:
    for player in players:
        nodes.wrong += [f"{part}: {line}" for line in judge([player], None, player.ledger).wrong]


# --- figures


def shares(found: runs.Percentiles) -> str:
    return f"p50 {found.p50:.1f} · p99 {found.p99:.1f} · max {found.max:.0f} ms"


def of(milliseconds: Sequence[float]) -> str:
    if not milliseconds:
        return "none"
    p50, p99 = (percentile(milliseconds, share) for share in (0.5, 0.99))
    return f"p50 {p50:.0f} · p99 {p99:.0f} · max {max(milliseconds):.0f} ms (of {len(milliseconds)})"


async def measure(running: Running, options: argparse.Namespace) -> list[str]:
    nodes = Nodes(running)
    rooms = [f"match-{number}" for number in range(options.rooms)]
    await idle(nodes, rooms)
    before = {room: place["epoch"] for room, place in nodes.rooms().items()}
    await play(nodes, options)
    await until(nodes.are_empty, "who has played has left")
    await hand_over(nodes, rooms, options)
    await kill(nodes, rooms)
    after = {room: place["epoch"] for room, place in nodes.rooms().items()}
    nodes.wrong += [f"{room} is gone" for room in before if room not in after]
    return nodes.wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.live_rooms", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rooms", type=int, default=500)
    parser.add_argument("--players", type=int, default=10, help="in each room (default: 10)")
    parser.add_argument("--rate", type=float, default=1000.0, help="moves a second, of all together (default: 1000)")
    parser.add_argument("--moves", type=int, default=200, help="hand-overs (default: 200)")
    options = parser.parse_args()
    machine = f"{os.cpu_count()} cores ({runs.processor()}) for nodes and clients, Linux {platform.release()}"
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine}, load average {os.getloadavg()[0]:.1f}; loopback")
    print(f"- {SERVER.versions()}", flush=True)
    with started(SERVER, None) as running:
        wrong = asyncio.run(measure(running, options))
    print("\n" + "\n".join(wrong or ["Nothing was lost, doubled or refused."]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
