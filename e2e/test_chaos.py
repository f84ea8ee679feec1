"""`gamecluster chaos -n NAMESPACE CLUSTER`, as a user runs it where kubectl works: by port-forward, and at the Service's address."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from .cluster import Namespace, run, wait_until
from .game import Game

CHAOS = (sys.executable, "-m", "gamecluster", "chaos")
VERDICT = re.compile(r"(\d+) faults, (\d+) acknowledged moves, lost 0, doubled 0, unknown 0")


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
"""Says yes to one move in seven without doing it."""


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    return {"expose": {"type": "NodePort", "perPod": False}}


def chaos(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*CHAOS, *arguments], capture_output=True, text=True, timeout=240, check=False)
    print(done.stdout, done.stderr)
    return done


@pytest.mark.parametrize("fault", ["kill", "delete", "force-delete", "scale", "handover", "drain"])
def test_a_fault_costs_no_move(game: Game, fault: str) -> None:
    done = chaos("-n", game.namespace.name, game.name, "--seconds=1", "--players=6", f"--faults={fault}")
    assert done.returncode == 0
    found = VERDICT.search(done.stdout)
    assert found and int(found[1]) >= 1 and int(found[2]) > 20
    assert f"by {fault} (" in done.stdout and "verdict: nothing was lost, doubled or undone" in done.stdout
    assert len(game.wait_in_sync()) == 3 and game.resource()["spec"]["replicas"] == 3


def test_a_kill_is_the_kernels_sigkill_to_the_servers_process(game: Game) -> None:
    before = {
        pod["metadata"]["name"]: game.restarts(pod["metadata"]["name"]) for pod in game.namespace.get("pods")["items"]
    }
    assert chaos("-n", game.namespace.name, game.name, "--seconds=1", "--players=3", "--faults=kill").returncode == 0
    killed = [name for name, restarts in before.items() if game.restarts(name) > restarts]
    assert killed, before
    ended = game.namespace.get("pod", killed[0])["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert ended["exitCode"] == 137


def test_players_may_come_by_the_services_own_address(game: Game) -> None:
    port = game.namespace.get("service", game.name)["spec"]["ports"][0]["nodePort"]
    nodes = json.loads(run("kubectl", "get", "nodes", "-o", "json"))["items"]
    address = next(a["address"] for a in nodes[0]["status"]["addresses"] if a["type"] == "InternalIP")
    url = f"--url=http://{address}:{port}"
    done = chaos("-n", game.namespace.name, game.name, url, "--seconds=6", "--players=6", "--faults=delete,handover")
    assert done.returncode == 0 and VERDICT.search(done.stdout)


def test_a_game_that_loses_moves_is_found_out(game: Game, players: Namespace) -> None:
    files = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cheat"}, "data": {"cheat.py": CHEAT}}
    mounted = {"name": "server", "volumeMounts": [{"name": "cheat", "mountPath": "/game"}]}
    template = {"spec": {"containers": [mounted], "volumes": [{"name": "cheat", "configMap": {"name": "cheat"}}]}}
    spec = {**game.manifest["spec"], "targets": ["cheat.py:Cheat"], "template": template}
    cheat = Game(game.namespace, {**game.manifest, "metadata": {"name": "cheat"}, "spec": spec}, players)
    game.namespace.apply(files)
    cheat.start()
    done = chaos("-n", cheat.namespace.name, cheat.name, "--seconds=1", "--players=6", "--faults=handover")
    assert done.returncode == 1
    assert "verdict: NOT AS PROMISED" in done.stdout and re.search(r"lost [1-6],", done.stdout)
    cheat.namespace.kubectl("delete", "gamecluster", cheat.name)


def test_a_cluster_that_is_not_there_or_not_ready_is_told_of_in_one_line(game: Game) -> None:
    absent = chaos("-n", game.namespace.name, "none")
    assert (absent.returncode, absent.stderr.count("\n")) == (2, 1)
    assert f"there is no GameCluster none in namespace {game.namespace.name}; there is: {game.name}\n" in absent.stderr
    manifest = {**game.manifest, "metadata": {"name": "broken"}}
    manifest["spec"] = {**game.manifest["spec"], "image": "gamecluster/none:0"}
    game.namespace.apply(manifest)
    broken = Game(game.namespace, manifest, game.namespace)
    wait_until("the operator has said something of it", lambda: broken.condition("Ready") == "False")
    unready = chaos("-n", game.namespace.name, "broken")
    assert (unready.returncode, unready.stderr.count("\n")) == (2, 1)
    assert "GameCluster broken is not Ready: " in unready.stderr


def test_a_user_without_rights_is_told_which_are_missing(game: Game, tmp_path: Any) -> None:
    namespace = game.namespace
    namespace.kubectl("create", "serviceaccount", "guest")
    namespace.kubectl("create", "role", "guest", "--verb=get,list", "--resource=gameclusters.gamecluster.dev,pods")
    namespace.kubectl("create", "rolebinding", "guest", "--role=guest", f"--serviceaccount={namespace.name}:guest")
    config = json.loads(run("kubectl", "config", "view", "--raw", "-o", "json"))
    config["users"][0]["user"] = {"token": namespace.kubectl("create", "token", "guest").strip()}
    (tmp_path / "config").write_text(json.dumps(config))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("KUBECONFIG", str(tmp_path / "config"))
        refused = chaos("-n", namespace.name, game.name)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "you may not reach pods by port-forward" in refused.stderr
