"""The cluster is there (e2e/run made it); the operator is installed once; every module gets its own GameCluster."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from .cluster import Namespace, run
from .game import Game, example
from .nodes import ON_CONTROL_PLANE
from .play import start_pod, verdicts

REPOSITORY = Path(__file__).parent.parent
CHART = REPOSITORY / "charts" / "gamecluster-operator"
DUMPS = Path(__file__).parent / ".work" / "failures"
RELEASE, OPERATOR = "gamecluster", Namespace("gamecluster-system")
PLAYERS = Namespace("e2e-players")
in_use: list[Namespace] = [OPERATOR]


@pytest.fixture(scope="session")
def server_image() -> str:
    return os.environ["E2E_SERVER_IMAGE"]


def install(chart: Path = CHART, **values: Any) -> None:
    """The operator as users install or upgrade it: by helm, in a namespace of its own. ``values`` beside those that kind needs."""
    repository, tag = os.environ["E2E_OPERATOR_IMAGE"].rsplit(":", 1)
    wanted = {"image": {"repository": repository, "tag": tag}, **ON_CONTROL_PLANE} | values
    run(
        *("helm", "upgrade", "--install", RELEASE, str(chart), "--namespace", OPERATOR.name, "--create-namespace"),
        *("--values", "-", "--wait", "--timeout", "90s"),
        stdin=json.dumps(wanted),
        seconds=120,
    )


@pytest.fixture(scope="session")
def operator(server_image: str) -> Iterator[Namespace]:
    install()
    yield OPERATOR


@pytest.fixture(scope="session")
def players(server_image: str) -> Iterator[Namespace]:
    PLAYERS.delete_and_wait()
    PLAYERS.create()
    start_pod(PLAYERS, server_image)
    yield PLAYERS


@contextlib.contextmanager
def a_namespace(name: str) -> Iterator[Namespace]:
    namespace = Namespace(name)
    namespace.delete_and_wait()
    namespace.create()
    in_use.append(namespace)
    try:
        yield namespace
    finally:
        in_use.remove(namespace)
        with contextlib.suppress(Exception):
            namespace.kubectl("delete", "gameclusters", "--all", "--wait=true", "--timeout=20s")
        namespace.delete()


@pytest.fixture(scope="module")
def namespace(request: pytest.FixtureRequest) -> Iterator[Namespace]:
    with a_namespace(re.sub("[^a-z0-9]+", "-", request.module.__name__.rpartition(".")[2])) as namespace:
        yield namespace


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    """What a module's GameCluster has besides the example's spec; modules override this fixture."""
    return {}


@pytest.fixture(scope="module")
def game(
    operator: Namespace, players: Namespace, namespace: Namespace, server_image: str, spec: dict[str, Any]
) -> Iterator[Game]:
    """A counter of three pods, Ready."""
    manifest = example("counter", server_image)
    manifest["spec"] |= {"replicas": 3} | spec
    game = Game(namespace, manifest, players)
    game.start()
    yield game


@pytest.fixture(scope="session")
def one_for_all_nodes(operator: Namespace, players: Namespace, server_image: str) -> Iterator[Game]:
    with a_namespace("e2e-nodes") as namespace:
        manifest = example("counter", server_image)
        template = {
            "spec": {"terminationGracePeriodSeconds": 5}
        }  # the operator waits for it before it frees a lost pod
        manifest["spec"] |= {"replicas": 3, "template": template}
        game = Game(namespace, manifest, players)
        game.start()
        yield game


@pytest.fixture
def spread_game(one_for_all_nodes: Game) -> Game:
    """A counter that modules share, as it is at the beginning: three pods in sync, on more than one worker."""
    one_for_all_nodes.spread()
    return one_for_all_nodes


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What every play saw, as a table."""
    if verdicts:
        rows = [(test.removeprefix("e2e/"), *verdict.figures()) for test, verdict in verdicts]
        head = ("play", "acknowledged", "lost", "doubled", "blackout p50", "p99", "max ms", "reconnects")
        terminalreporter.section("what the players saw")
        for row in (head, ("---",) * len(head), *rows):
            terminalreporter.write_line(f"| {' | '.join(str(cell) for cell in row)} |")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """On a failure: what explains it goes to e2e/.work/failures/<test>/, while it is still there."""
    report = yield
    if report.failed and report.when != "teardown":
        folder = DUMPS / re.sub("[^A-Za-z0-9_.-]+", "_", item.nodeid)
        shutil.rmtree(folder, ignore_errors=True)
        for namespace in in_use:
            namespace.dump(folder)
        report.sections.append(("dumped", str(folder)))
    return report
