"""``gamecluster bench`` as a user runs it. Nothing here says how fast anything is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.process.harness import COUNTER, Cluster, command, up, wait

from gamecluster.bench import arguments, connections
from gamecluster.bench.connections import Sockets, listeners
from gamecluster.bench.listeners import Ear, Heard
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


TICKING = """
from gamecluster import Entity, Game, Table

class Clock(Entity):
    ticks: int = 0

class Ticking(Game):
    tick_rate = 20
    clocks: Table[Clock]

    def tick(self, seconds: float) -> None:
        if "it" not in self.clocks:
            self.clocks["it"] = Clock()
        self.clocks["it"].ticks += 1
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with up(tmp_path_factory.mktemp("bench"), COUNTER, "gamecluster.demo:Room") as cluster:
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


def test_connections_hear_every_broadcast_once(cluster: Cluster) -> None:
    how = ("--connections=20", "--topic=room:1", "--broadcasts-per-second=10", "--seconds=2", "--processes=2")
    run = command("bench", f"--data={cluster.data}", *how)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "20 connections on room:1 at 3 nodes, for 2 s, from 2 processes" in run.stdout
    assert re.search(r"^stayed +20$", run.stdout, re.M)
    assert re.search(r"^broadcasts +20 of 20, heard 400 times", run.stdout, re.M)
    assert "lost 0, doubled 0, out of order 0" in run.stdout


def test_on_the_game_it_tells_how_regularly_patches_come(tmp_path: Path) -> None:
    game = tmp_path / "ticking.py"
    game.write_text(TICKING)
    with up(tmp_path / "data", f"{game}:Ticking", nodes=1) as cluster:
        wait(lambda: cluster.healthy(1), "the cluster is healthy")
        run = command("bench", f"--data={cluster.data}", "--connections=3", "--seconds=2")
    assert run.returncode == 0, run.stdout + run.stderr
    found = re.search(r"one every p50 [\d.]+ · .* ms \(of (\d+)\)", run.stdout)
    assert found and int(found[1]) > 30, run.stdout


def test_a_topic_that_nobody_serves_is_said(cluster: Cluster) -> None:
    run = command("bench", f"--data={cluster.data}", "--connections=2", "--topic=nothing", "--seconds=1")
    assert run.returncode == 1 and "Refused: {'reason': 'unmatched topic'}" in run.stdout, run.stdout + run.stderr


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


@pytest.mark.parametrize(
    "said", ["--connections=0", "--connections=5 --size=0", "--connections=5 --broadcasts-per-second=2"]
)
def test_what_connections_cannot_do_is_said(said: str) -> None:
    with pytest.raises(ConfigurationError, match=said.split()[-1].split("=")[0]):
        arguments.read_sockets(_parser().parse_args(["bench", *said.split()]))


def test_connections_are_shared_out_and_one_of_each_process_publishes() -> None:
    options = Sockets(
        connections=5, topic="room:1", broadcasts_per_second=10, event="shout", size=1, seconds=1, processes=2
    )
    told = [(job.first, job.sockets, job.senders, job.pace_seconds) for job in listeners(options, ["ws://a"])]
    assert told == [(0, 2, 1, 0.2), (2, 3, 1, 0.2)]


def test_what_comes_twice_or_out_of_order_is_counted() -> None:
    ear = Ear("b")
    for number in (1, 2, 2, 5, 4):
        ear.hear("shout", {"bench": "b", "from": "0", "number": number, "due": 0.5}, 1.0)
    ear.hear("shout", {"bench": "another", "from": "0", "number": 1, "due": 0.5}, 1.0)
    ear.hear("shout", {"text": "a person's"}, 1.0)
    assert (ear.doubled, ear.disordered, dict(ear.heard_of)) == (2, 1, {"0": 3})
    assert ear.latencies == [500.0] * 3
    assert ear.has_all({"0": 5}) and not ear.has_all({"0": 5, "1": 1})


@pytest.mark.parametrize("wrong", [{"lost": 1}, {"doubled": 1}, {"disordered": 1}, {"stayed": 1}])
def test_whatever_is_wrong_is_no_success(wrong: dict[str, int]) -> None:
    options = Sockets(connections=2, topic="room:1", broadcasts_per_second=1, event="shout", size=1, seconds=1)
    right = {"joined": [1.0, 2.0], "joining": 0.1, "stayed": 2, "latencies": [5.0, 6.0], "busy": 0.9}
    assert connections.Result(options, 3, 1, [Heard(**right)]).is_right  # type: ignore[arg-type]
    result = connections.Result(options, 3, 1, [Heard(**(right | wrong))])  # type: ignore[arg-type]
    assert not result.is_right
    assert "THIS PROGRAM WAS THE BOTTLENECK" in result.report()


def test_broadcasts_that_a_node_refused_are_counted_with_what_would_help() -> None:
    options = Sockets(connections=2, topic="room:1", broadcasts_per_second=500, event="shout", size=1, seconds=1)
    told = Heard(joined=[1.0, 2.0], joining=0.1, stayed=2, latencies=[5.0, 6.0], refused={"rate limited": 440})
    report = connections.Result(options, 3, 60, [told, told]).report()
    assert "refused 880 times: rate limited; " in report and "--processes" in report
