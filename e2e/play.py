"""Starts players.py in the cluster, follows it, and gets its verdict."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from .cluster import Namespace, wait_until
from .nodes import CTR, ON_CONTROL_PLANE, control_plane, find_container
from .players import Plan, Verdict

verdicts: list[tuple[str, Verdict]] = []
"""Of all plays so far, each with its test's name: the run ends with this table."""
POD = "players"
SCRIPTS = [Path(__file__).parent / name for name in ("players.py", "chat.py")]


def start_pod(namespace: Namespace, image: str) -> None:
    """A pod that only waits to be asked: the server's image has Python and `websockets`."""
    scripts = {path.name: path.read_text() for path in SCRIPTS}
    container = {
        "name": POD,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", "import signal; signal.pause()"],
        "volumeMounts": [{"name": "scripts", "mountPath": "/scripts"}],
    }
    spec = {
        **ON_CONTROL_PLANE,
        "containers": [container],
        "volumes": [{"name": "scripts", "configMap": {"name": POD}}],
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        # names are given in full: no search through other domains, and no long wait for a lost answer
        "dnsConfig": {"options": [{"name": "ndots", "value": "1"}, {"name": "timeout", "value": "1"}]},
    }
    namespace.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": POD}, "data": scripts},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD, "labels": {"app": POD}}, "spec": spec},
    )
    namespace.kubectl("wait", "--for=condition=Ready", f"pod/{POD}", "--timeout=60s", seconds=70)


def chat(namespace: Namespace, *addresses: str) -> str:
    return namespace.kubectl("exec", POD, "--", "python", "/scripts/chat.py", *addresses)


class Play:
    """Moves that flow while something is broken. Leaving the `with` ends the players; `verdict` is there then.

    They are started by their node, not by `kubectl exec`, whose stream ends with the API server."""

    def __init__(self, namespace: Namespace, plan: Plan) -> None:
        node = control_plane()
        container = find_container(node, namespace.name, POD, POD)
        self._command = ["docker", "exec", "--interactive", node, *CTR, "tasks", "exec"]
        self._command += ["--exec-id", f"play-{uuid.uuid4().hex}", container]
        self._command += ["python", "/scripts/players.py", json.dumps(asdict(plan))]
        self._reports = 0
        self._counts: Sequence[int] = ()
        self._verdict: Verdict | None = None

    def __enter__(self) -> Play:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True)
        self._words: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.goes_on()
        except BaseException:
            self._process.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._reader.join(timeout=90)
        self._process.kill()
        self._process.wait(10)

    @property
    def verdict(self) -> Verdict:
        assert self._verdict, f"the players gave no verdict: {self._said()}"
        return self._verdict

    def goes_on(self, moves: int = 5, seconds: float = 30) -> None:
        """Waits until every player has had so many more moves acknowledged, counted from now."""
        reports = self._reports
        wait_until("a report of the players", lambda: self._reports > reports or self._is_over(), seconds)
        before = self._counts
        wait_until(
            f"{moves} more moves of every player",
            lambda: (
                (self._counts and all(b - a >= moves for a, b in zip(before, self._counts, strict=True)))
                or self._is_over()
            ),
            seconds,
        )

    def goes_on_for(self, seconds: float) -> None:
        """Players play for so long; every one of them has moves acknowledged in every second of it, by the reports."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.goes_on(1, seconds=5)

    def resumes_within(self, seconds: float) -> float | None:
        """After how many seconds every player has had a move acknowledged; None if some have not. At the end of `seconds`."""
        begun = time.monotonic()
        try:
            self.goes_on(1, seconds)
        except AssertionError:
            self._is_over()
            return None
        return time.monotonic() - begun

    def nothing_lost(self) -> Verdict:
        """Prints the verdict and fails unless every acknowledged move counts exactly once."""
        verdict = self.verdict
        verdicts.append((os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0], verdict))
        print(f"\n  {verdict}")
        assert not verdict.violations, "\n".join(verdict.violations[:20])
        assert (verdict.lost, verdict.doubled, verdict.unanswered) == (0, 0, 0)
        return verdict

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            match self._parsed(line):
                case {"counts": counts}:
                    self._counts = counts
                    self._reports += 1
                case {"verdict": verdict}:
                    self._verdict = Verdict(**verdict)
                case _:
                    self._words = [*self._words[-30:], line]

    def _parsed(self, line: str) -> Any:
        """None for what is not JSON, or not only: others write there too, at any time."""
        try:
            return json.loads(line)
        except ValueError:
            return None

    def _is_over(self) -> bool:
        assert self._process.poll() is None, f"the players have ended: {self._said()}"
        return False

    def _said(self) -> str:
        return f"counts {list(self._counts)}, exit {self._process.poll()}\n{''.join(self._words)}"
