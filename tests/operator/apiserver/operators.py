"""Operators as processes, each with a token of its own, so that the audit log tells them apart."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import yaml

from .account import SYSTEM
from .server import REPOSITORY, Kubectl

USER = f"system:serviceaccount:{SYSTEM}:operator"
LEASE = ("update", "leases", "gamecluster-operator")


class Process:
    """``token``: as the audit log names it."""

    def __init__(self, kubeconfig: Path, folder: Path, name: str, *flags: str) -> None:
        self.port, self.log = free_port(), folder / f"{name}.log"
        token = yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]["token"]
        self.token = f"JTI={_claims(token)['jti']}"
        arguments = ["--health-host", "127.0.0.1", "--health-port", str(self.port), "--log-format", "text", *flags]
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "PYTHONPATH": str(REPOSITORY / "operator")}
        environment["HOSTNAME"] = name
        self._out: IO[str] = self.log.open("w")
        command = [sys.executable, "-m", "gamecluster_operator", *arguments]
        self.process = subprocess.Popen(command, env=environment, stderr=self._out, text=True)

    def figure(self, name: str) -> float | None:
        """None: it does not tell, or not this one."""
        try:
            text = self._get("/metrics")[1]
        except OSError:
            return None
        found = next((line for line in text.splitlines() if line.split(" ")[0] == name), None)
        return float(found.split(" ")[1]) if found else None

    @property
    def leads(self) -> bool:
        return self.figure("gamecluster_operator_leading") == 1.0

    def answer(self, path: str) -> int:
        """0: it does not answer."""
        try:
            return self._get(path)[0]
        except OSError:
            return 0

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait(10)
        self._out.close()

    def _get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@contextmanager
def running(kubeconfig: Path, folder: Path, name: str, *flags: str) -> Iterator[Process]:
    process = Process(kubeconfig, folder, name, *flags)
    try:
        yield process
    finally:
        process.end()


def another(kubectl: Kubectl, kubeconfig: Path, name: str) -> Path:
    """The same account, by another token."""
    config = yaml.safe_load(kubeconfig.read_text())
    for user in config["users"]:
        user["user"] = {"token": kubectl("create", "token", "operator", "-n", SYSTEM).strip()}
    path = kubeconfig.with_name(f"{name}.kubeconfig")
    path.write_text(yaml.safe_dump(config))
    return path


def _claims(token: str) -> dict[str, str]:
    part = token.split(".")[1]
    claims: dict[str, str] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
