"""``gamecluster up`` and the commands that go with it, as a user runs them."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import urllib.request
from pathlib import Path

import pytest
from tests.process.harness import COUNTER, Cluster, all_move, command, end, playing, until, up, verdict, wait

MANIFEST = """
apiVersion: gamecluster.dev/v1alpha1
kind: GameCluster
metadata: {name: duel}
spec:
  replicas: 2
  targets: ["gamecluster.demo:Arena", "gamecluster.demo:Room"]
  gameState: {replicas: 2}
"""


def is_alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def pids(cluster: Cluster) -> list[int]:
    return [node["pid"] for node in cluster.nodes().values() if node["pid"]]


async def test_nodes_come_and_go_while_players_play(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER) as cluster:
        await until(cluster.healthy, "three nodes are healthy")
        async with playing(cluster.urls(), 6, random.randrange(2**20)) as players:
            before = pids(cluster)
            cluster.ask("scale", count=4)
            await until(lambda: cluster.healthy(4), "the fourth node has joined")
            assert pids(cluster)[:3] == before, "the others were not restarted"
            leader = cluster.leader()
            cluster.ask("stop", node=leader)
            await until(lambda: cluster.leader() not in ("", leader), "the GameState was handed over")
            await all_move(players)
            assert cluster.nodes()[leader]["state"] == "stopped"
            cluster.ask("start", node=leader)
            await until(lambda: cluster.healthy(4), "the stopped node is back")
            cluster.ask("kill", node=cluster.leader())
            await all_move(players)
            await until(lambda: cluster.healthy(4), "the killed node is back")
            cluster.ask("scale", count=3)
            await all_move(players)
            await until(cluster.healthy, "three nodes are left")
        assert await verdict(cluster, players) == (0, 0, [])
        for line in ("joined    game-3", "left      game-3", "killed by SIGKILL, comes back in 0 s", "leader    game-"):
            assert line in cluster.output()


def test_the_manifest_for_kubernetes_starts_the_same_cluster_here(tmp_path: Path) -> None:
    manifest = tmp_path / "duel.yaml"
    manifest.write_text(MANIFEST)
    with up(tmp_path / "data", "-f", str(manifest), nodes=2, name="duel") as cluster:
        wait(lambda: len(pids(cluster)) == 2 and cluster.leader() != "", "a leader is there")
        page = f"http://127.0.0.1:{cluster.port}/"
        wait(lambda: status_of(page) == 200, "the shared port shows the page")
        assert set(cluster.nodes()) == {"duel-0", "duel-1"}
        assert page in cluster.output()


def test_the_commands_tell_what_there_is(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER) as cluster:
        wait(cluster.healthy, "the cluster is healthy")
        where = ("--data", str(tmp_path))
        status = command("status", *where)
        assert status.returncode == 0 and "Serving" in status.stdout and cluster.leader() in status.stdout
        as_json = json.loads(command("status", "--json", *where).stdout)
        assert sorted(as_json["inSync"]) == ["game-0", "game-1", "game-2"]
        nodes = command("nodes", *where).stdout.splitlines()
        assert len(nodes) == 4 and sum("leader" in line for line in nodes) == 1
        assert all(str(pid) in "\n".join(nodes) for pid in pids(cluster))
        by_url = command("state", "--json", "--url", cluster.nodes()["game-1"]["admin"])
        assert by_url.returncode == 0 and "totals" in by_url.stdout
        target = next(name for name in cluster.nodes() if name != cluster.leader())
        assert command("handoff", "--to", target, *where).returncode == 0
        wait(lambda: cluster.leader() == target, "the GameState went where it was asked to")
        pid = cluster.pid(target)
        assert command("drain", target, *where).returncode == 0
        wait(lambda: cluster.pid(target) not in (0, pid) and cluster.healthy(), "the drained node is back, anew")
        assert command("kill", "game-1", *where).returncode == 0
        refused = command("stop", "game-9", *where)
        assert refused.returncode == 2 and "there are: game-0, game-1, game-2" in refused.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_end_it_ends_all_and_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    with up(tmp_path, COUNTER) as cluster:
        wait(cluster.healthy, "the cluster is healthy")
        nodes = pids(cluster)
        cluster.process.send_signal(number)
        assert cluster.process.wait(20) == 0
        assert not any(is_alive(pid) for pid in nodes)
        assert "Traceback" not in cluster.output()
        assert command("nodes", "--data", str(tmp_path)).returncode == 2


def test_when_it_is_killed_itself_no_node_outlives_it_not_even_a_hanging_one(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER) as cluster:
        wait(cluster.healthy, "the cluster is healthy")
        nodes = pids(cluster)
        os.kill(nodes[0], signal.SIGSTOP)
        cluster.process.kill()
        cluster.process.wait(5)
        wait(lambda: not any(is_alive(pid) for pid in nodes), "all nodes are gone", 10)


def test_the_next_run_starts_afresh_in_a_higher_epoch_and_says_so(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER, nodes=1) as cluster:
        wait(lambda: cluster.healthy(1), "the first run is healthy")
        first = cluster.view("game-0")["epoch"]
        assert end(cluster.process) == 0
    with up(tmp_path, COUNTER, nodes=1) as cluster:
        wait(lambda: cluster.healthy(1), "the second run is healthy")
        assert cluster.view("game-0")["epoch"] > first + 1000
        assert "the former run's GameState is gone" in cluster.output()


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with up(tmp_path, COUNTER, nodes=1) as cluster:
        wait(lambda: bool(pids(cluster)), "it is up")
        refused = command("up", COUNTER, f"--data={tmp_path}", f"--port={cluster.port + 20}")
        assert refused.returncode == 2 and "a cluster is up in" in refused.stderr


def test_a_port_in_use_is_named_before_anything_is_started(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = command("up", COUNTER, f"--data={tmp_path}", f"--port={port}")
    assert refused.returncode == 2
    assert f"port {port} (the shared entrance)" in refused.stderr and "--port" in refused.stderr
    assert "started" not in refused.stdout and not list(tmp_path.glob("*.log"))


def test_a_wrong_manifest_is_refused_in_one_line(tmp_path: Path) -> None:
    manifest = tmp_path / "duel.yaml"
    manifest.write_text(MANIFEST.replace("replicas: 2}", "replica: 2}"))
    refused = command("up", "-f", str(manifest), f"--data={tmp_path / 'data'}")
    assert refused.returncode == 2 and not (tmp_path / "data").exists()
    assert "spec.gameState.replica: there is no such field" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_target_that_is_not_there_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    refused = command("up", "gamecluster.demo:Chess", f"--data={tmp_path / 'data'}")
    assert refused.returncode == 2 and "there is no Chess in gamecluster.demo" in refused.stderr
    assert refused.stderr.count("\n") == 1 and not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({}, "GAMECLUSTER_NODE is missing"),
        ({"GAMECLUSTER_NODE": "a", "GAMECLUSTER_PORT": "x"}, "GAMECLUSTER_PORT='x': expected a whole number"),
        ({"GAMECLUSTER_NODE": "a", "GAMECLUSTER_PROT": "1"}, "GAMECLUSTER_PROT is not a variable"),
    ],
)
def test_serve_refuses_a_wrong_environment_in_one_line(variables: dict[str, str], says: str) -> None:
    refused = command("serve", COUNTER, **variables)
    assert refused.returncode == 2 and says in refused.stderr and refused.stderr.count("\n") == 1


def status_of(url: str) -> int:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
        return int(answer.status)
    return 0
