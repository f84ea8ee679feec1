"""The API server, the operator, a game of three pods that are processes here, and a controller in front. Run by `make exposed`, as root.

The API refuses loopback addresses as a pod's, so the pods are at addresses of the range for tests of networks (RFC 2544), which are
put on the loopback device and taken off again: nothing leaves the machine.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..apiserver.account import GAMES, as_the_charts_account
from ..apiserver.operators import free_port
from ..apiserver.operators import running as operator_running
from ..apiserver.server import REPOSITORY, Kubectl, api_server, wait_for
from . import traefik
from .client import Outside
from .kubelet import Kubelet

GAME, HOST, SECRET = "counter", "play.example.com", "play-tls"
ADDRESSES = ["198.18.0.1", "198.18.0.2", "198.18.0.3"]
WAYS: dict[str, dict[str, Any]] = {
    "Ingress": {"type": "Ingress", "host": HOST, "className": traefik.CLASS, "tlsSecretName": SECRET},
    "HTTPRoute": {
        "type": "HTTPRoute",
        "host": HOST,
        "gateway": {"name": traefik.GATEWAY, "sectionName": traefik.LISTENER},
        "tls": True,
    },
}


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Only where it is asked for by name: the first time costs minutes."""
    return None if any("exposed" in str(argument) for argument in config.invocation_params.args) else True


class World:
    """``outsides``: who comes to which port."""

    def __init__(self, kubectl: Kubectl, kubelet: Kubelet, outsides: dict[str, Outside]) -> None:
        self.kubectl, self.kubelet, self._outsides, self.way = kubectl, kubelet, outsides, ""

    @property
    def outside(self) -> Outside:
        return self._outsides[self.way]

    def expose(self, way: str) -> None:
        self.way = way
        body = yaml.safe_load((REPOSITORY / "examples" / f"{GAME}.yaml").read_text())
        body["metadata"]["namespace"] = GAMES
        body["spec"]["expose"] = WAYS[way]
        self.kubectl.apply(body)

    def names(self, kind: str) -> set[str]:
        return {obj["metadata"]["name"] for obj in self.kubectl.get("-n", GAMES, kind)["items"]}

    def get(self, *what: str) -> dict[str, Any]:
        return self.kubectl.get("-n", GAMES, *what)


@contextmanager
def on_loopback(addresses: list[str]) -> Iterator[None]:
    added: list[str] = []
    try:
        for address in addresses:
            subprocess.run(["ip", "address", "replace", f"{address}/32", "dev", "lo"], check=True)
            added.append(address)
        yield
    finally:
        for address in added:
            subprocess.run(["ip", "address", "del", f"{address}/32", "dev", "lo"], check=True)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A game that is Ready, and nobody in front of it knows of it yet."""
    traefik.built()
    folder, ports = tmp_path_factory.mktemp("exposed"), {way: free_port() for way in WAYS}
    lasting = "--controllers=*,-node-lifecycle-controller"  # nobody renews the node's Lease
    with on_loopback(ADDRESSES), api_server(folder, CONTROLLER_MANAGER_ARGS=lasting) as kubectl:
        (folder / "account").mkdir()
        account = as_the_charts_account(kubectl, folder / "account")
        certificate = _certificate(kubectl, folder)
        traefik.install(kubectl, GAMES, SECRET, ports["HTTPRoute"])
        kubelet = Kubelet(kubectl, GAMES, folder, ADDRESSES)
        made = World(kubectl, kubelet, {way: Outside(certificate, port) for way, port in ports.items()})
        with operator_running(account, folder, "operator"), traefik.running(kubectl, folder, *ports.values()):
            made.expose("Ingress")
            try:
                kubelet.run(GAME)
                wait_for(lambda: _is_ready(made), "the game is Ready", 60)
                yield made
            finally:
                kubelet.end()


def _is_ready(world: World) -> bool:
    conditions = world.get("gc", GAME).get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _certificate(kubectl: Kubectl, folder: Path) -> Path:
    """Signed by itself, and in a Secret of the games' namespace."""
    key, certificate = folder / "tls.key", folder / "tls.crt"
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    command = ("openssl", "req", "-x509", *curve, "-nodes", "-days", "2")
    whose = ("-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}")
    subprocess.run([*command, *whose, "-keyout", key, "-out", certificate], capture_output=True, check=True)
    kubectl("-n", GAMES, "create", "secret", "tls", SECRET, f"--cert={certificate}", f"--key={key}")
    return certificate


@pytest.fixture(scope="module", params=list(WAYS))
def exposed(world: World, request: pytest.FixtureRequest) -> World:
    """By an Ingress, then by HTTPRoutes; that the pods' own addresses stay the same means that no pod is replaced."""
    way: str = request.param
    world.expose(way)
    other = "httproutes" if way == "Ingress" else "ingresses"
    wait_for(lambda: not world.names(other), f"no {other} are left")
    return world
