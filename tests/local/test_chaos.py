"""``gamecluster chaos`` as a user runs it: right clusters pass, games that cheat do not."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.process.harness import COUNTER, Cluster, command, end, environment, up, wait

from gamecluster.chaos import arguments
from gamecluster.chaos.figures import figures, percentile
from gamecluster.chaos.history import Verdict
from gamecluster.chaos.run import Result
from gamecluster.chaos.target import Fault, LocalTarget, UrlTarget, health
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
        total = self.totals[player.id]
        if amount % 7 == 0:
            return {"value": total.value + amount}
        total.value += amount
        return {"value": total.value}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with up(tmp_path_factory.mktemp("chaos"), COUNTER) as cluster:
        wait(cluster.healthy, "the cluster is healthy")
        yield cluster


def test_faults_of_every_sort_cost_no_move(cluster: Cluster) -> None:
    run = command("chaos", f"--data={cluster.data}", "--seconds=20", "--players=8", "--seed=7")
    print(run.stdout, run.stderr)
    assert run.returncode == 0, run.stderr
    assert "lost 0, doubled 0, unknown 0" in run.stdout and "verdict: nothing was lost" in run.stdout
    found = re.search(r"(\d+) faults, (\d+) acknowledged", run.stdout)
    assert found and int(found[1]) >= 3 and int(found[2]) > 100
    wait(cluster.healthy, "all nodes go on afterwards")


def test_a_cluster_that_is_known_by_an_admin_port_only(cluster: Cluster) -> None:
    admin = cluster.nodes()["game-1"]["admin"]
    run = command("chaos", f"--url={admin}", "--seconds=4", "--players=4", "--faults=kill,handover")
    assert run.returncode == 0, run.stdout + run.stderr
    refused = command("chaos", f"--url={admin}", "--faults=scale")
    assert refused.returncode == 2 and "drain, handover, kill, stop can" in refused.stderr


def test_a_game_of_ones_own_is_moved_as_one_says(cluster: Cluster) -> None:
    said = ("--move=add", '--payload={"amount": 1}')
    run = command("chaos", f"--data={cluster.data}", "--seconds=3", "--players=4", "--faults=handover", *said)
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_game_that_says_yes_and_does_nothing_is_found_out(tmp_path: Path) -> None:
    game = tmp_path / "cheat.py"
    game.write_text(CHEAT)
    with up(tmp_path / "data", f"{game}:Cheat") as cluster:
        wait(cluster.healthy, "the cluster is healthy")
        run = command("chaos", f"--data={cluster.data}", "--seconds=2", "--players=6", "--faults=handover")
    assert run.returncode == 1, run.stdout + run.stderr
    assert "NOT AS PROMISED" in run.stdout and "violation: chaos-" in run.stdout
    assert re.search(r"lost [1-9]", run.stdout)


def test_a_cluster_that_ends_meanwhile_is_told_of_in_one_line(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER) as cluster:
        wait(cluster.healthy, "the cluster is healthy")
        line = [sys.executable, "-m", "gamecluster", "chaos", f"--data={tmp_path}", "--players=2", "--faults=handover"]
        with subprocess.Popen(line, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
            assert run.stdout and b"seed" in run.stdout.readline()
            end(cluster.process)
            _, said = run.communicate(timeout=60)
    assert run.returncode == 2 and b"broken off: no cluster is up" in said, said


def test_a_game_that_is_not_the_counter_needs_a_move(tmp_path: Path) -> None:
    with up(tmp_path, "gamecluster.demo:Arena") as cluster:
        wait(cluster.healthy, "the cluster is healthy")
        refused = command("chaos", f"--data={cluster.data}", "--seconds=1")
        assert refused.returncode == 2 and "--move EVENT --payload JSON" in refused.stderr
        moving = ("--move=move", '--payload={"dx": 1, "dy": 0}', "--faults=kill")
        run = command("chaos", f"--data={cluster.data}", "--seconds=3", "--players=4", *moving)
        assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["--faults=kill,fire"], "there is no 'fire'"),
        (["--players=0"], "--players 0: expected more than 0"),
        (["--move=go", "--payload=[1]"], "expected a JSON object"),
        (["--move=go", "--payload={"], "not JSON"),
    ],
)
def test_wrong_arguments_are_refused(line: list[str], says: str) -> None:
    options = _parser().parse_args(["chaos", *line])
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        arguments.read(options, arguments.FAULTS)


def test_every_fault_has_a_flag() -> None:
    assert set(arguments.FAULTS) == set(Fault)


def test_nobody_there_is_said() -> None:
    with pytest.raises(ConfigurationError, match="no node answers"):
        UrlTarget("http://127.0.0.1:9").places()


def test_health_names_the_node_that_does_not_answer(cluster: Cluster) -> None:
    target = LocalTarget(cluster.data)
    assert health(target).problem == ""
    assert health(target, in_sync_at_least=9).problem == "3 of 9 are in sync"


def test_a_verdict_is_right_only_if_nothing_is_wrong() -> None:
    assert Result(verdict=Verdict(5, 0, 0, 1, [])).is_right
    for wrong in (Verdict(5, 1, 0, 0, []), Verdict(5, 0, 1, 0, []), Verdict(5, 0, 0, 0, ["undone"])):
        assert not Result(verdict=wrong).is_right and "NOT AS PROMISED" in Result(verdict=wrong).report()
    assert not Result(verdict=Verdict(5, 0, 0, 0, []), problems=["not whole"]).is_right
    assert not Result().is_right


def test_percentiles_are_values_that_were_measured() -> None:
    hundred = [float(n) for n in range(1, 101)]
    assert (percentile(hundred, 0.5), percentile(hundred, 0.99), percentile([7.0], 0.99)) == (50, 99, 7)
    assert figures([1.0, 2.0, 300.0]) == "p50 2 · p99 300 · max 300 ms (of 3)"
