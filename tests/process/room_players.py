"""Players in many rooms of a real cluster, who note all that they are told; and what the cluster says of its rooms."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise

from tests.process.harness import ROOT, Cluster, all_move, get
from tests.process.players import Acknowledged, Ledger, Payload, Player, Socket, judge

from gamecluster.chaos.figures import figures
from gamecluster.chaos.history import longest_silence

COUNTERS = f"{ROOT / 'tests/process/counters.py'}:Counter"
ZONES = f"{ROOT / 'tests/process/counters.py'}:Zone"
NO_LIMITS = {"GAMECLUSTER_LIMIT_MESSAGES_PER_SECOND": "100000"}
PER_ROOM = 2

Places = dict[str, Payload]


def rooms_of(cluster: Cluster, but: str = "") -> Places:
    """``{room: {"kind", "node", "backups", "epoch", …}}`` as one of the nodes that answer knows them (other than ``but``), {} if none."""
    for name, node in cluster.nodes().items():
        if (
            name != but
            and node["state"] != "stopped"
            and (found := get(f"{node['admin']}/rooms").get("rooms")) is not None
        ):
            places: Places = found
            return places
    return {}


def rooms_on(places: Mapping[str, Payload], node: str) -> list[str]:
    return [room for room, place in places.items() if place["node"] == node]


def is_whole(cluster: Cluster, rooms: Iterable[str] = (), nodes: int = 3, copies: int = 2) -> bool:
    """The nodes are there and in sync, and know each of the rooms to be held, and backed up by as many as it should be."""
    rooms = list(rooms)
    return cluster.healthy(nodes) and all(
        room in places and len(places[room]["backups"]) == copies - 1
        for node in cluster.nodes().values()
        if node["state"] != "stopped" and (places := get(f"{node['admin']}/rooms").get("rooms", {})) is not None
        for room in rooms
    )


@asynccontextmanager
async def playing_in(
    urls: Sequence[str], rooms: Sequence[str], seed: int, pace_seconds: float, per_room: int = PER_ROOM, shift: int = 0
) -> AsyncIterator[list[Player]]:
    """So many players in each room, at the nodes in turn, moving. At the end each one's last move is waited for."""
    print(f"seed {seed}")
    players = [
        _player(
            f"{room}-p{i}", urls, number + shift + i, seed * 1000 + number * per_room + i, pace_seconds, room, ledger
        )
        for number, (room, ledger) in enumerate((room, Ledger()) for room in rooms)
        for i in range(per_room)
    ]
    async with asyncio.TaskGroup() as tasks:
        for player in players:
            tasks.create_task(player.run())
        try:
            await all_move(players)
            yield players
        finally:
            for player in players:
                player.stop()


def _player(name: str, urls: Sequence[str], at: int, seed: int, pace: float, room: str, ledger: Ledger) -> Player:
    return Player(name, urls, at % len(urls), random.Random(seed), pace, ledger, topic=f"game:{room}")


def room_of(player: Player) -> str:
    return player.topic.removeprefix("game:")


def joins(players: Iterable[Player]) -> int:
    return sum(player.joins for player in players)


# --- what it cost


def silences(players: Iterable[Player], since: float, until: float) -> list[float]:
    """Milliseconds of each player's longest time without an answer."""
    found = (longest_silence(player.history, since, until) for player in players)
    return [seconds * 1000 for seconds in found if seconds is not None]


def by_room(players: Iterable[Player], since: float, until: float) -> list[float]:
    """Milliseconds for which each room was silent: nobody in it was answered."""
    rooms: dict[str, list[Acknowledged]] = {}
    for player in players:
        rooms.setdefault(player.topic, []).extend(player.history)
    histories = (sorted(moves, key=lambda move: move.answered_at) for moves in rooms.values())
    found = (longest_silence(history, since, until) for history in histories)
    return [seconds * 1000 for seconds in found if seconds is not None]


def pauses(players: Iterable[Player], since: float = 0.0) -> list[float]:
    """Milliseconds from a move to its answer, the longer one of the two about each change of holder that a player lived through."""
    return [
        max(took(earlier), took(later))
        for player in players
        for earlier, later in pairwise(player.history)
        if earlier.epoch != later.epoch and later.answered_at > since
    ]


def answers(players: Iterable[Player], since: float = 0.0) -> list[float]:
    return [took(move) for player in players for move in player.history if move.sent_at > since]


def took(move: Acknowledged) -> float:
    """Milliseconds."""
    return (move.answered_at - (move.sent_at if move.first_sent_at is None else move.first_sent_at)) * 1000


def told(what: str, milliseconds: Sequence[float]) -> None:
    print(f"{what}: {figures(milliseconds)}", flush=True)


# --- what became of it


async def states(url: str, rooms: Sequence[str], token: str | None = None) -> dict[str, Payload]:
    """Every room's state, as a newcomer at this node is shown it."""
    async with asyncio.timeout(20), Socket.to(url) as socket:
        asked = {"player": f"observer{random.getrandbits(64)}"}
        answers_ = await asyncio.gather(*(socket.push(f"game:{room}", "phx_join", asked, 10.0) for room in rooms))
    return {room: answer["state"] for room, answer in zip(rooms, answers_, strict=True)}


async def marks(url: str, rooms: Sequence[str]) -> dict[str, int]:
    """What each room has drawn when it began."""
    return {room: state["beginnings"]["room"]["mark"] for room, state in (await states(url, rooms)).items()}


async def verdict_in(cluster: Cluster, players: Sequence[Player]) -> tuple[int, int, list[str]]:
    """Lost, doubled, and all that is wrong, as every node shows every room."""
    rooms = list(dict.fromkeys(room_of(player) for player in players))
    lost = doubled = 0
    wrong: set[str] = set()
    for url in cluster.urls():
        for room, state in (await states(url, rooms)).items():
            inside = [player for player in players if room_of(player) == room]
            found = judge(inside, state["totals"], inside[0].ledger)
            lost, doubled = lost + found.lost, doubled + found.doubled
            wrong |= {f"{room}: {line}" for line in found.wrong}
    return lost, doubled, sorted(wrong)
