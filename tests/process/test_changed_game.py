"""A game whose class changes while it is played: one node after another comes back with the new one."""

from __future__ import annotations

import random
from pathlib import Path

from tests.process.harness import ROOT, Cluster, all_move, playing, totals, until, up, verdict

FIRST = """
from gamecluster import Entity, Game, Player, Table, on

class Total(Entity):
    value: int = 0
    hat: str = "none"

class Adding(Game):
    totals: Table[Total]

    def join(self, player: Player) -> None:
        if player.id not in self.totals:
            self.totals[player.id] = Total()

    @on("add")
    def add(self, player: Player, amount: int) -> dict[str, int]:
        self.totals[player.id].value += amount
        return {"value": self.totals[player.id].value}
"""
SECOND = FIRST.replace('    hat: str = "none"\n', "    level: int = 3\n").replace(
    "    totals: Table[Total]\n", "    totals: Table[Total]\n    badges: Table[Total]\n"
)
MISFIT = FIRST.replace("    value: int = 0\n", '    value: str = ""\n')


async def test_every_move_counts_once_through_an_update_to_a_changed_game(tmp_path: Path) -> None:
    game = tmp_path / "mygame.py"
    game.write_text(FIRST)
    with up(tmp_path / "data", "mygame:Adding", PYTHONPATH=f"{ROOT / 'server'}:{tmp_path}") as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with playing(cluster.urls(), 9, random.randrange(2**20)) as players:
            game.write_text(SECOND)
            for node in sorted(cluster.nodes(), key=lambda name: name == cluster.leader()):
                await restart(cluster, node)
                await all_move(players)
        assert await verdict(cluster, players) == (0, 0, [])
        rows = await totals(cluster.urls()[0])
        assert {tuple(sorted(rows[player.name])) for player in players} == {("hat", "level", "value")}
        assert {rows[player.name]["level"] for player in players} == {3}, "a new field has its default in every row"


async def test_a_game_that_does_not_fit_the_state_refuses_moves_and_destroys_nothing(tmp_path: Path) -> None:
    game = tmp_path / "mygame.py"
    game.write_text(FIRST)
    with up(tmp_path / "data", "mygame:Adding", PYTHONPATH=f"{ROOT / 'server'}:{tmp_path}") as cluster:
        await until(cluster.healthy, "the cluster is healthy")
        async with playing(cluster.urls(), 6, random.randrange(2**20)) as players:
            game.write_text(MISFIT)
            for node in sorted(cluster.nodes()):
                await restart(cluster, node)
            await until(lambda: any("does not fit" in str(p.refusals[-1:]) for p in players), "a player is told why")
            game.write_text(FIRST)
            for node in sorted(cluster.nodes()):
                await restart(cluster, node)
            await all_move(players)
        lost, doubled, wrong = await verdict(cluster, players)
        assert (lost, doubled) == (0, 0)
        assert all("was refused" in line and "does not fit" in line for line in wrong), wrong


async def restart(cluster: Cluster, node: str) -> None:
    cluster.ask("stop", node=node)
    await until(lambda: cluster.nodes()[node]["state"] == "stopped", f"{node} has stopped")
    cluster.ask("start", node=node)
    await until(cluster.healthy, f"{node} is back and in sync")
