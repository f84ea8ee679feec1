"""Traefik as a process on loopback: an Ingress controller and a Gateway of the Gateway API, each with TLS on a port of its own."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..apiserver.server import AIRGAP, Kubectl, wait_for

TOOLS = AIRGAP / "tools-traefik"
CLASS, GATEWAY, LISTENER = "traefik", "edge", "https"
SILENCE_SECONDS = 2
"""All of its time-outs that a connection without traffic could meet; stock ones are 60 and 180 s."""


@functools.cache
def built() -> tuple[Path, Path]:
    """The program, and the folder of the Gateway API's CRDs."""
    done = subprocess.run([TOOLS / "build-traefik"], stdout=subprocess.PIPE, text=True, check=True)
    program, crds = done.stdout.split()
    return Path(program), Path(crds)


def install(kubectl: Kubectl, namespace: str, secret: str, port: int) -> None:
    """What an administrator makes: the Gateway API, a class of Ingresses, and a Gateway with the certificate, beside the games."""
    kubectl("apply", "--server-side", "-f", str(built()[1]))
    kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    listener = {
        "name": LISTENER,
        "protocol": "HTTPS",
        "port": port,
        "tls": {"certificateRefs": [{"kind": "Secret", "group": "", "name": secret}]},
    }
    kubectl.apply(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IngressClass",
            "metadata": {"name": CLASS},
            "spec": {"controller": "traefik.io/ingress-controller"},
        },
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "GatewayClass",
            "metadata": {"name": CLASS},
            "spec": {"controllerName": "traefik.io/gateway-controller"},
        },
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": GATEWAY, "namespace": namespace},
            "spec": {"gatewayClassName": CLASS, "listeners": [listener]},
        },
    )


@contextmanager
def running(kubectl: Kubectl, folder: Path, ingress_port: int, gateway_port: int) -> Iterator[None]:
    """Listens on these of 127.0.0.1."""
    ports = {"ingress": ingress_port, "gateway": gateway_port}
    flags = [
        "--global.checkNewVersion=false",
        "--global.sendAnonymousUsage=false",
        "--log.level=DEBUG",
        "--entryPoints.ingress.asDefault=true",
        "--entryPoints.ingress.http.tls=true",
        *(flag for name, port in ports.items() for flag in _entry(name, port)),
        f"--serversTransport.forwardingTimeouts.idleConnTimeout={SILENCE_SECONDS}s",
        "--providers.kubernetesIngress=true",
        "--providers.kubernetesGateway=true",
    ]
    environment = {"PATH": os.environ["PATH"], "KUBECONFIG": str(kubectl.kubeconfig)}
    with (folder / "traefik.log").open("w") as log:
        process = subprocess.Popen([built()[0], *flags], env=environment, stdout=log, stderr=log, cwd=folder)
    try:
        wait_for(lambda: all(_listens(process, port) for port in ports.values()), "Traefik listens")
        yield
    finally:
        process.kill()
        process.wait(10)


def _entry(name: str, port: int) -> list[str]:
    address = f"--entryPoints.{name}.address=127.0.0.1:{port}"
    waits = (f"respondingTimeouts.{what}Timeout={SILENCE_SECONDS}s" for what in ("read", "write", "idle"))
    return [address, *(f"--entryPoints.{name}.transport.{wait}" for wait in waits)]


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    assert process.poll() is None, "Traefik has ended: see traefik.log"
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
