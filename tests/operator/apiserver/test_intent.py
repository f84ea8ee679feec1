"""What people take away, bring back, and switch off, and what the operator makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .account import GAMES, as_the_charts_account
from .conftest import Kubectl, wait_for
from .operators import Process, running
from .test_operator import Game, until


@pytest.fixture(scope="module")
def operator(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("intent")
    with running(as_the_charts_account(kubectl, folder), folder, "intent") as process:
        yield process


@pytest.fixture
def game(kubectl: Kubectl, operator: Process) -> Iterator[Game]:
    game = Game(kubectl, "changed")
    game.apply()
    wait_for(lambda: game.told("Created"), "the event Created", 30)
    yield game
    game("delete", "gc", game.name, "--wait=true")
    wait_for(
        lambda: not game.get("secrets,pods", "-l", f"app.kubernetes.io/instance={game.name}")["items"], "its end", 60
    )


def test_keys_that_are_lost_are_asked_for_and_taken_from_a_backup(game: Game) -> None:
    """A backup has no owner, and maybe no labels."""
    wait_for(lambda: game.get("pods")["items"], "pods that run with the keys")
    name = f"{game.name}-mesh"
    data = game.get("secret", name)["data"]
    game("delete", "secret", name)
    wait_for(lambda: game("get", "secret", name, "--ignore-not-found"), "the Secret again")
    assert game.get("secret", name)["data"] == data, "the operator still knew them"

    game.apply(paused=True)
    until(lambda: game.condition("Reconciling"), ("False", "Paused"))
    game("delete", "secret", name)
    meta = {"name": name, "namespace": GAMES}
    game.kubectl.apply({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": data})
    game.apply(paused=False)
    until(lambda: [o["name"] for o in game.get("secret", name)["metadata"].get("ownerReferences", [])], [game.name])
    assert game.get("secret", name)["data"] == data


def test_a_network_policy_that_is_switched_off_goes(game: Game) -> None:
    wait_for(lambda: game("get", "networkpolicy", game.name, "--ignore-not-found"), "the NetworkPolicy")
    game.apply(networkPolicy={"enabled": False})
    until(lambda: game("get", "networkpolicy", game.name, "--ignore-not-found"), "")


def test_the_time_outs_of_googles_ingress_come_and_go_with_it(game: Game, kubectl: Kubectl) -> None:
    expose = {"type": "Ingress", "host": "play.example.com", "className": "gce", "perPod": False}
    with known(kubectl, "cloud.google.com", "BackendConfig"):
        game.apply(expose=expose)
        wait_for(lambda: game("get", "backendconfig", game.name, "--ignore-not-found"), "the BackendConfig", 60)
        game("patch", "backendconfig", game.name, "--type=merge", "-p", '{"spec": {"timeoutSec": 1}}')
        game.apply()
        until(lambda: game("get", "backendconfig", game.name, "--ignore-not-found"), "")


@contextmanager
def known(kubectl: Kubectl, group: str, kind: str) -> Iterator[None]:
    """A definition of that kind that takes anything."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    names = {"kind": kind, "plural": f"{kind.lower()}s", "singular": kind.lower()}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}
    name = f"{names['plural']}.{group}"
    definition = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    kubectl.apply({**definition, "metadata": {"name": name}, "spec": spec})
    try:
        kubectl("wait", "--for=condition=Established", f"crd/{name}", "--timeout=30s")
        yield
    finally:
        kubectl("delete", "crd", name)
