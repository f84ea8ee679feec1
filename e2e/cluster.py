"""What a test does to the Kubernetes cluster, and how it waits. Thin: kubectl and docker by their commands."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

T = TypeVar("T")


class CommandFailed(Exception):
    """A command ended with an error; the text is what it said."""


def run(*command: str, stdin: str | None = None, seconds: float = 60) -> str:
    """Runs a command and returns its output. Raises CommandFailed."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode != 0:
        raise CommandFailed(f"{' '.join(command)}\n{done.stdout}{done.stderr}".strip())
    return done.stdout


def wait_until(what: str, look: Callable[[], T | Literal[False]], seconds: float = 30, every: float = 0.2) -> T:
    """Looks until the answer is true, and returns it. Fails with `what` and what was seen last."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            seen: Any = look()
        except (CommandFailed, KeyError, IndexError) as error:
            seen, failed = f"{type(error).__name__}: {error}", True
        else:
            failed = False
        if seen and not failed:
            answer: T = seen
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:.0f} s; last seen: {seen!r}")
        time.sleep(every)


class Namespace:
    """kubectl in one namespace."""

    def __init__(self, name: str) -> None:
        self.name = name

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 60) -> str:
        return run("kubectl", "--namespace", self.name, *arguments, stdin=stdin, seconds=seconds)

    def get(self, *what: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.kubectl("get", *what, "-o", "json"))
        return answer

    def exists(self, *what: str) -> bool:
        return bool(self.kubectl("get", *what, "--ignore-not-found", "-o", "name").strip())

    def apply(self, *manifests: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))

    def create(self) -> None:
        run("kubectl", "create", "namespace", self.name)

    def delete(self) -> None:
        """Starts the deletion; what is left of it goes on by itself."""
        run("kubectl", "delete", "namespace", self.name, "--ignore-not-found", "--wait=false")

    def delete_and_wait(self) -> None:
        """Clears away what an earlier run has left."""
        run("kubectl", "delete", "namespace", self.name, "--ignore-not-found", "--timeout=90s", seconds=100)

    def dump(self, folder: Path) -> None:
        """Writes what explains a failure: the GameClusters described, pods, events, and every container's log."""
        folder.mkdir(parents=True, exist_ok=True)
        looks = {
            "gameclusters": ("describe", "gameclusters"),
            "yaml": ("get", "gameclusters,leases,statefulsets,services,endpointslices,pods", "-o", "yaml"),
            "pods": ("describe", "pods"),
            "events": ("get", "events", "--sort-by=.lastTimestamp"),
        }
        for pod in self._try("get", "pods", "-o", "name").split():
            name = pod.removeprefix("pod/")
            looks[f"log.{name}"] = ("logs", name, "--all-containers", "--tail=2000")
            looks[f"log.{name}.previous"] = ("logs", name, "--all-containers", "--tail=2000", "--previous")
        for file, look in looks.items():
            (folder / f"{self.name}.{file}.txt").write_text(self._try(*look))

    def _try(self, *arguments: str) -> str:
        try:
            return self.kubectl(*arguments)
        except (CommandFailed, subprocess.TimeoutExpired) as error:
            return str(error)
