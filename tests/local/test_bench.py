"""``gamecluster bench`` as a user runs it. Nothing here says how fast anything is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.process.harness import COUNTER, Cluster, command, up, wait

from gamecluster.bench import arguments
from gamecluster.bench.run import Options, Result, jobs
from gamecluster.bench.worker import Share
from gamecluster.chaos.history import Ledger, Verdict
from gamecluster.cli import _parser
from gamecluster.errors import ConfigurationError

CHEAT = """
from gamecluster import Entity, Game, Player, Table, on

class Total(Entity):
    value: int = 0

class Cheat(Game):
    totals: Table[Total]

    def join(self, player: Player) -> None:
        if player.id not in self.totals:
            self.totals[player.id] = Total()

    @on("add")
    def add(self, player: Player, amount: int) -> dict[str, int]:
        return {"value": self.totals[player.id].value + amount}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with up(tmp_path_factory.mktemp("bench"), COUNTER) as cluster:
        wait(cluster.healthy, "the cluster is healthy")
        yield cluster


def test_moves_are_counted_and_none_is_lost_or_doubled(cluster: Cluster) -> None:
    run = command("bench", f"--data={cluster.data}", "--players=6", "--seconds=2", "--processes=2")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "6 players at 3 nodes, 10 moves/s each, for 2 s, from 2 processes" in run.stdout
    assert "lost 0, doubled 0, unknown 0, violations 0" in run.stdout
    found = re.search(r"\(of (\d+)\)", run.stdout)
    assert found and 6 * 18 <= int(found[1]) <= 6 * 21


def test_by_an_admin_port_and_in_a_game_of_ones_own(cluster: Cluster) -> None:
    admin = cluster.nodes()["game-1"]["admin"]
    how = ("--move=add", '--payload={"amount": 1}')
    run = command("bench", f"--url={admin}", "--players=3", "--seconds=1", *how)
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_game_that_says_yes_and_does_nothing_is_found_out(tmp_path: Path) -> None:
    game = tmp_path / "cheat.py"
    game.write_text(CHEAT)
    with up(tmp_path / "data", f"{game}:Cheat") as cluster:
        wait(cluster.healthy, "the cluster is healthy")
        run = command("bench", f"--data={cluster.data}", "--players=2", "--seconds=1")
    assert run.returncode == 1 and "lost 2, doubled 0" in run.stdout, run.stdout + run.stderr


def test_a_game_whose_moves_are_not_known_is_refused_in_one_line(tmp_path: Path) -> None:
    with up(tmp_path / "data", "gamecluster.demo:Arena", nodes=1) as cluster:
        wait(lambda: cluster.healthy(1), "the cluster is healthy")
        run = command("bench", f"--data={cluster.data}")
    assert run.returncode == 2 and "say how to move, --move EVENT" in run.stderr


@pytest.mark.parametrize("said", ["--players=0", "--seconds=-1", "--processes=300", "--move=m --payload=[]"])
def test_what_cannot_be_measured_is_said(said: str) -> None:
    with pytest.raises(ConfigurationError, match=said.split("=")[0] if "move" not in said else "--payload"):
        arguments.read(_parser().parse_args(["bench", *said.split()]))


def test_players_are_shared_out_evenly() -> None:
    options = Options(players=7, moves_per_second=5, seconds=1, processes=3)
    assert [(job.first, job.players) for job in jobs(options, ["ws://a"])] == [(0, 2), (2, 2), (4, 3)]
    assert Options(players=2, moves_per_second=5, seconds=1, processes=3).workers == 2


def test_it_says_when_it_was_the_bottleneck_itself() -> None:
    options = Options(players=1, moves_per_second=10, seconds=1)
    shares = [Share([], Ledger(), [1.0, 3.0], busy, []) for busy in (0.1, 0.95)]
    report = Result(options, 3, shares, Verdict(4, 0, 0, 0, []), []).report()
    assert "THIS PROGRAM WAS THE BOTTLENECK: one of its processes ran, or waited for a core, 95%" in report
    assert "acknowledged  4.0 moves/s of 10.0" in report
    assert "p50 1.0 · p90 3.0 · p99 3.0 · max 3.0 ms" in report
    assert "BOTTLENECK" not in Result(options, 3, shares[:1], Verdict(4, 0, 0, 0, []), []).report()
