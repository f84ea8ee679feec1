"""The NetworkPolicies, kept by the nodes' kernels: who reaches which port, and that play, failover and the operator need no more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import policies
from .cluster import CommandFailed, Namespace, wait_until
from .conftest import OPERATOR, a_namespace, install
from .game import Game
from .nodes import kill_container
from .play import POD, start_pod

MONITORING = "e2e-monitoring"
DIAL = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2).close()"


@pytest.fixture(scope="module")
def watched(game: Game, server_image: str) -> Iterator[Game]:
    """A game whose policy admits a namespace for Prometheus, and pods of others all around it."""
    with a_namespace(MONITORING) as monitoring:
        for namespace in (monitoring, game.namespace):
            start_pod(namespace, server_image)
        install(monitoring={"namespaces": [MONITORING]})
        wait_until(
            "the policy names it", lambda: MONITORING in game.namespace.kubectl("get", "networkpolicy", "-o", "yaml")
        )
        with policies.kept():
            yield game
    install()


def operators_pod() -> str:
    pods = OPERATOR.get(
        "pods", "-l", "app.kubernetes.io/name=gamecluster-operator", "--field-selector=status.phase=Running"
    )
    return str(pods["items"][0]["metadata"]["name"])


def pod_of(who: str, game: Game, players: Namespace) -> tuple[Namespace, str]:
    match who:
        case "a player's":
            return players, POD
        case "one of the game's namespace":
            return game.namespace, POD
        case "one of the game's own":
            return game.namespace, f"{game.name}-1"
        case "Prometheus'":
            return Namespace(MONITORING), POD
        case "the operator's":
            return OPERATOR, operators_pod()
    raise ValueError(who)


def reaches(namespace: Namespace, pod: str, address: str, port: int) -> bool:
    """A refusal, or a name that is not known, is neither a yes nor a no."""
    try:
        namespace.kubectl("exec", pod, "--", "python", "-c", DIAL, address, str(port))
    except CommandFailed as error:
        if "TimeoutError" in str(error):
            return False
        raise
    return True


@pytest.mark.parametrize(
    ("who", "ports"),
    [
        ("a player's", {4000}),
        ("one of the game's namespace", {4000}),
        ("one of the game's own", {4000, 4100}),
        ("Prometheus'", {4000, 4200}),
        ("the operator's", {4000, 4200}),
    ],
)
def test_a_pod_reaches_these_ports_and_no_others(watched: Game, players: Namespace, who: str, ports: set[int]) -> None:
    address = watched.namespace.get("pod", f"{watched.name}-0")["status"]["podIP"]
    source = pod_of(who, watched, players)
    assert {port for port in (4000, 4100, 4200) if reaches(*source, address, port)} == ports


@pytest.mark.parametrize(("who", "allowed"), [("a player's", False), ("Prometheus'", True)])
def test_the_operators_figures_are_for_those_who_watch(
    watched: Game, players: Namespace, who: str, allowed: bool
) -> None:
    address = OPERATOR.get("pod", operators_pod())["status"]["podIP"]
    assert reaches(*pod_of(who, watched, players), address, 8080) == allowed


def test_the_game_needs_no_other_way(watched: Game) -> None:
    """Play, a failover, a pod that comes back and links anew, probes all the while, and the figures that the operator asks for."""
    epoch, leader = watched.epoch(), watched.leader()
    with watched.play() as play:
        kill_container(watched.namespace, leader)
        watched.wait_for_another_leader(epoch)
        play.goes_on()
        watched.wait_ready(3)
        watched.wait_in_sync()
        wait_until("the operator counts the players", lambda: watched.status().get("players", 0) > 0, seconds=40)
        play.goes_on()
    play.nothing_lost()
