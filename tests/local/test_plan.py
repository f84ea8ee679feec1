"""What ``gamecluster up`` is going to run, and what it refuses before it starts anything."""

from __future__ import annotations

import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from gamecluster.errors import ConfigurationError
from gamecluster.local import plan
from gamecluster.settings import Settings


def made(tmp_path: Path, *targets: str, **changes: Any) -> plan.Plan:
    options: dict[str, Any] = {"nodes": None, "port": 4000, "data": tmp_path, "restart": True, "environment": {}}
    return plan.make(targets, changes.pop("file", None), **{**options, **changes})


def test_without_target_and_manifest_it_is_the_demo(tmp_path: Path) -> None:
    demo = made(tmp_path, data=None)
    assert (demo.name, demo.count, demo.data) == ("arena", 3, Path(".gamecluster/arena"))
    assert demo.environment["GAMECLUSTER_TARGETS"] == "gamecluster.demo:Arena,gamecluster.demo:Room"


def test_a_node_gets_an_environment_that_a_node_accepts(tmp_path: Path) -> None:
    settings = Settings.from_env(made(tmp_path, "my.py:Game").node_environment(1, range(3)))
    assert (settings.node, settings.name, settings.targets) == ("game-1", "game", ("my.py:Game",))
    assert (settings.port, settings.mesh_port, settings.admin_port) == (4002, 4102, 4202)
    assert settings.peers == ("127.0.0.1:4101", "127.0.0.1:4103")
    assert settings.lease == f"file:{tmp_path / 'lease.json'}"
    assert settings.url == "ws://127.0.0.1:4002/socket"
    assert settings.data_dir == tmp_path / "game-1"


def test_pages_of_every_port_of_the_cluster_may_connect_and_so_may_the_ones_allowed_besides(tmp_path: Path) -> None:
    environment = {"GAMECLUSTER_ALLOWED_ORIGINS": "https://play.example.com"}
    origins = Settings.from_env(made(tmp_path, environment=environment).node_environment(0, range(3))).allowed_origins
    assert {"https://play.example.com", "http://localhost:4000", "http://127.0.0.1:4003"} <= set(origins)


def test_variables_pass_through_and_win_over_the_manifest(tmp_path: Path) -> None:
    manifest = tmp_path / "a.yaml"
    manifest.write_text(
        "apiVersion: gamecluster.dev/v1alpha1\nkind: GameCluster\nmetadata: {name: duel}\n"
        "spec: {replicas: 2, targets: ['m:C'], gameState: {suspectAfterMilliseconds: 300, replicas: 2}}"
    )
    duel = made(tmp_path, file=manifest, environment={"GAMECLUSTER_SUSPECT_AFTER_MILLISECONDS": "400"})
    settings = Settings.from_env(duel.node_environment(0, range(2)))
    assert (duel.name, duel.count, settings.gamestate_replicas) == ("duel", 2, 2)
    assert settings.suspect_after_milliseconds == 400


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"nodes": 21}, "from 1 to 20"),
        ({"port": 80}, "--port 80: expected a port"),
        ({"file": Path("a.yaml"), "targets": ["m:C"]}, "not both"),
        ({"environment": {"GAMECLUSTER_PORT": "1"}}, "GAMECLUSTER_PORT is set"),
        ({"environment": {"GAMECLUSTER_TAKEOVER": "maybe"}}, "GAMECLUSTER_TAKEOVER='maybe': expected on or off"),
        ({"environment": {"GAMECLUSTER_TAKEOFF": "on"}}, "GAMECLUSTER_TAKEOFF is not a variable"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        made(tmp_path, *changes.pop("targets", ()), **changes)
    assert says in str(caught.value)


def test_keys_are_made_once_and_for_this_user_only(tmp_path: Path) -> None:
    cluster = made(tmp_path, data=tmp_path / "new")
    plan.prepare_folder(cluster)
    key = tmp_path / "new" / "mesh.key"
    first = key.read_text()
    plan.prepare_folder(cluster)
    assert key.read_text() == first and len(first) >= 32
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert (tmp_path / "new" / "player.key").read_text() != first


def test_a_port_in_use_is_named_with_what_it_was_wanted_for(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((plan.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"port {port} \(arena-1, clients\).*--port"):
            plan.check_ports(made(tmp_path, port=min(port - 2, 65_000)), range(3), entrance=True)
