"""``gamecluster chaos -n NAMESPACE CLUSTER`` with a kubectl whose pods are nodes of a local cluster. With the real one: e2e."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.process.harness import COUNTER, Cluster, command, environment, up, wait

from gamecluster.chaos.history import Acknowledged, longest_silence
from gamecluster.chaos.kubernetes import back_off, entrance
from gamecluster.errors import ConfigurationError


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with up(tmp_path_factory.mktemp("kubernetes"), COUNTER) as cluster:
        wait(cluster.healthy, "the cluster is healthy")
        yield cluster


@pytest.fixture(scope="module")
def variables(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which ``kubectl`` is the fake."""
    folder = tmp_path_factory.mktemp("bin")
    kubectl = folder / "kubectl"
    kubectl.write_text(f'#!/bin/sh\nexec {sys.executable} -ISu {Path(__file__).parent / "fake_kubectl.py"} "$@"\n')
    kubectl.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}", "FAKE_DATA": str(cluster.data)}


def forwards(cluster: Cluster) -> list[str]:
    """The port-forwards that run on behalf of this cluster."""
    mine, found = f"FAKE_DATA={cluster.data}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"port-forward" in words and mine in (process / "environ").read_bytes().split(b"\0"):
                found.append(process.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("fault", ["kill", "delete", "force-delete", "scale", "handover", "drain"])
def test_a_fault_is_done_with_kubectl_and_costs_no_move(
    cluster: Cluster, variables: dict[str, str], fault: str
) -> None:
    arguments = ("-n", "default", "game", "--seconds=0.5", "--players=6", f"--faults={fault}")
    run = command("chaos", *arguments, **variables)
    print(run.stdout, run.stderr)
    assert run.returncode == 0, run.stderr
    assert "lost 0, doubled 0, unknown 0" in run.stdout
    [done] = re.findall(r"(\d+) faults?, ", run.stdout)
    assert int(done) >= 1 and f"by {fault} ({done}):" in run.stdout, "as many as there was time for, all of this sort"
    assert len(cluster.nodes()) == 3
    assert forwards(cluster) == []


def test_a_container_that_would_be_kept_waiting_gets_another_fault(cluster: Cluster, variables: dict[str, str]) -> None:
    arguments = ("-n", "default", "game", "--seconds=2", "--players=4", "--faults=kill,drain,handover")
    run = command("chaos", *arguments, **variables, FAKE_RESTARTS="3")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "by handover" in run.stdout and "by kill" not in run.stdout and "by drain" not in run.stdout


def test_a_game_that_its_load_scales_is_not_scaled(cluster: Cluster, variables: dict[str, str]) -> None:
    arguments = ("-n", "default", "game", "--seconds=0.5", "--players=4", "--faults=handover")
    run = command("chaos", *arguments, **variables, FAKE_AUTOSCALING="1")
    assert run.returncode == 0 and "lost 0" in run.stdout, run.stdout + run.stderr


def test_players_may_come_by_an_address_of_their_own(cluster: Cluster, variables: dict[str, str]) -> None:
    url = f"--url=http://127.0.0.1:{cluster.port}"
    arguments = ("-n", "default", "game", url, "--seconds=2", "--players=4", "--faults=force-delete")
    run = command("chaos", *arguments, **variables)
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"^blackout: +p50", run.stdout, re.MULTILINE), "nobody knows who is where"


def test_an_interrupted_scale_is_undone(cluster: Cluster, variables: dict[str, str]) -> None:
    line = [sys.executable, "-m", "gamecluster", "chaos", "-n", "default", "game", "--players=2", "--faults=scale"]
    with subprocess.Popen(line, env=environment(**variables), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        wait(lambda: len(cluster.nodes()) == 4, "there is one more")
        run.send_signal(signal.SIGINT)
        said, wrong = run.communicate(timeout=60)
    assert run.returncode == 0, said + wrong
    assert b"verdict: nothing was lost" in said
    assert len(cluster.nodes()) == 3 and (cluster.data / "replicas").read_text() == "3"
    assert forwards(cluster) == []


@pytest.mark.parametrize(
    ("arguments", "more", "says"),
    [
        (("-n", "default"), {}, "-n NAMESPACE needs the GameCluster's name, too"),
        (("-n", "default", "none"), {}, "there is no GameCluster none in namespace default; there is: game"),
        (("-n", "empty", "game"), {}, "there is no GameCluster game in namespace empty; there is: none"),
        (("-n", "default", "game", "--faults=stop"), {}, "can't be done to this cluster from here"),
        (("-n", "default", "game", "--url=game.example.org"), {}, "expected where players connect"),
        (
            ("-n", "default", "game", "--faults=scale"),
            {"FAKE_AUTOSCALING": "1"},
            "can't be done to this cluster from here",
        ),
        (("-n", "default", "game"), {"FAKE_READY": "False"}, "is not Ready: so says the operator"),
        (("-n", "default", "game"), {"FAKE_DENIED": "create pods/exec"}, "you may not run commands in pods"),
        (("-n", "default", "game"), {"FAKE_DENIED": "create pods/portforward"}, "you may not reach pods"),
        (("-n", "default", "game"), {"PATH": "/nonexistent"}, "needs kubectl, which is not in the PATH"),
    ],
)
def test_what_can_not_work_is_said_in_one_line(
    cluster: Cluster, variables: dict[str, str], arguments: tuple[str, ...], more: dict[str, str], says: str
) -> None:
    refused = command("chaos", *arguments, **variables | more)
    assert refused.returncode == 2 and says in refused.stderr, refused.stderr
    assert refused.stderr.count("\n") == 1


def test_faults_without_the_right_to_them_are_left_out_and_named(cluster: Cluster, variables: dict[str, str]) -> None:
    denied = {"FAKE_DENIED": "delete pods,patch gameclusters.gamecluster.dev/scale"}
    refused = command("chaos", "-n", "default", "game", "--faults=delete", **variables, **denied)
    assert refused.returncode == 2 and "drain, handover, kill can" in refused.stderr
    assert "need the right to delete pods or to patch gameclusters.gamecluster.dev/scale" in refused.stdout


@pytest.mark.parametrize(
    ("url", "socket"),
    [
        ("http://game.example.org:4000", "ws://game.example.org:4000/socket"),
        ("https://game.example.org/", "wss://game.example.org/socket"),
        ("wss://game.example.org/eu/socket", "wss://game.example.org/eu/socket"),
        ("ws://[::1]:4000/socket/websocket", "ws://[::1]:4000/socket"),
    ],
)
def test_an_address_becomes_that_of_the_socket(url: str, socket: str) -> None:
    assert entrance(url) == socket


@pytest.mark.parametrize("url", ["game.example.org:4000", "ftp://game", "http://", ""])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="expected where players connect"):
        entrance(url)


def test_the_kubelet_waits_longer_for_each_end_of_a_container() -> None:
    assert [back_off(ended) for ended in (0, 1, 2, 5, 6, 99)] == [0, 10, 20, 160, 300, 300]


def test_the_longest_silence_is_counted_that_touches_the_time_asked_for() -> None:
    answers = [Acknowledged(n, 1, at, at, 1, n) for n, at in enumerate((0.0, 9.0, 10.0, 12.0, 12.5, 20.0))]
    assert longest_silence(answers, 10.5, 12.2) == 2.0
    assert longest_silence(answers, 13.0, 14.0) == 7.5, "it began before and ended after"
    assert longest_silence(answers, 21.0, 22.0) is None
    assert longest_silence([], 0.0, 1.0) is None
