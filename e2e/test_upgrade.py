"""helm upgrade, uninstall and install again, under moving players: the schema and the operator change, and no game notices."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .cluster import Namespace, run, wait_until
from .conftest import CHART, OPERATOR, RELEASE, install
from .game import Game
from .nodes import CTR, control_plane, in_node

CRD = "gameclusters.gamecluster.dev"
SCHEMA = Path("templates") / "gameclusters.yaml"
COLUMN = (
    "        - {name: Epoch, type: integer, jsonPath: .status.epoch, description: Grows with every change of leader}\n"
)
DESCRIPTION = "                  description: The server image, with `gamecluster` and the game's own code in it.\n"


@pytest.fixture(scope="module")
def earlier(operator: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The release is one of an earlier version, whose schema knew less. Afterwards it is as all other tests have it."""
    chart = Path(shutil.copytree(CHART, tmp_path_factory.mktemp("earlier") / "chart"))
    schema = (chart / SCHEMA).read_text()
    assert COLUMN in schema and DESCRIPTION in schema
    (chart / SCHEMA).write_text(schema.replace(COLUMN, "").replace(DESCRIPTION, ""))
    try:
        install(chart)
        yield
    finally:
        install()


@pytest.fixture(scope="module")
def later_image() -> dict[str, str]:
    """The operator's image under another tag, where the operator runs."""
    repository, tag = os.environ["E2E_OPERATOR_IMAGE"].rsplit(":", 1)
    names = [f"docker.io/{repository}:{which}" for which in (tag, "later")]
    in_node(control_plane(), *CTR, "images", "tag", "--force", *names)
    return {"repository": repository, "tag": "later"}


def schema() -> tuple[bool, bool]:
    """Whether the API server has the column, and the description."""
    version: dict[str, Any] = json.loads(run("kubectl", "get", "crd", CRD, "-o", "json"))["spec"]["versions"][0]
    image = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["image"]
    return "Epoch" in [column["name"] for column in version["additionalPrinterColumns"]], "description" in image


def operators() -> dict[str, str]:
    """The operator's pods that are not ending: name → image."""
    pods = [pod for pod in OPERATOR.get("pods")["items"] if "deletionTimestamp" not in pod["metadata"]]
    return {pod["metadata"]["name"]: pod["spec"]["containers"][0]["image"] for pod in pods}


def works() -> str:
    """The name of the pod whose process works, by the Lease."""
    return str(OPERATOR.get("lease", "gamecluster-operator")["spec"].get("holderIdentity", "")).rpartition("_")[0]


def who_asks(game: Game) -> list[str]:
    """The namespaces that the game's NetworkPolicy lets in to its admin port."""
    policy = game.namespace.get("networkpolicy", game.name)
    peers = [peer for rule in policy["spec"]["ingress"] for peer in rule.get("from", [])]
    found = [peer["namespaceSelector"]["matchLabels"] for peer in peers if "namespaceSelector" in peer]
    return [name for labels in found for name in labels.values()]


def test_an_upgrade_reaches_schema_operator_and_games_but_no_player(
    game: Game, earlier: None, later_image: dict[str, str]
) -> None:
    assert schema() == (False, False)
    epoch, leader, pods, before = game.epoch(), game.leader(), game.pod_uids(), operators()
    with game.play(prefix="upgraded") as play:
        install(image=later_image, log={"level": "debug"}, monitoring={"namespaces": ["default"]})
        assert schema() == (True, True)
        wait_until("the operator is another", lambda: not operators().keys() & before.keys())
        assert [image.rpartition(":")[2] for image in operators().values()] == ["later"] * 2
        wait_until("one of them works", lambda: works() in operators())
        wait_until("a changed value reaches the games", lambda: "default" in who_asks(game))
        play.goes_on()
    verdict = play.nothing_lost()
    assert verdict.reconnects == 0
    assert (game.epoch(), game.leader(), game.pod_uids()) == (epoch, leader, pods), "no template has changed"
    wait_until("the new column", lambda: "EPOCH" in game.namespace.kubectl("get", "gc"))


def test_games_and_schema_outlive_the_release_and_the_next_one_takes_them_up(game: Game, earlier: None) -> None:
    epoch, pods = game.epoch(), game.pod_uids()
    with game.play(prefix="uninstalled") as play:
        run("helm", "uninstall", RELEASE, "--namespace", OPERATOR.name, "--wait", "--timeout", "60s", seconds=70)
        wait_until("no operator", lambda: not OPERATOR.get("pods")["items"])
        assert schema() == (True, True)
        game.namespace.kubectl("scale", "gc", game.name, "--replicas=4")
        play.goes_on(20)
        assert (game.pod_uids(), game.status()["replicas"]) == (pods, 3), "nobody is there to do it"
        install()
        game.wait_pods(4)
        play.goes_on()
    verdict = play.nothing_lost()
    assert verdict.reconnects == 0
    assert game.epoch() == epoch and pods < game.pod_uids()
    assert game.is_all_there()
