"""`make bench-operator`, in miniature and without kwok: it works, and finds what has nothing to do with time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from .server import REPOSITORY

SOME = r"(?!0\.0 )\d+\.\d"
SHORT = ("--clusters", "12", "--nodes", "0", "--changes", "1", "--rounds", "1", "--steady-seconds", "12")


def test_it_prints_its_figures_and_nothing_is_written_while_nothing_happens(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (REPOSITORY / "server", REPOSITORY / "operator"))),
    }
    command = [sys.executable, "-m", "bench.operator", *SHORT, "--folder", str(tmp_path / "bench")]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for figure in (
        r"first install +all StatefulSets made after [\d.]+ s, all games Ready after [\d.]+ s",
        r"operator: RSS \d+ MiB, at most \d+ MiB; [\d.]+ CPU seconds so far; \d{3} writes and \d{3} reads",
        r"steady state +0 writes and 0 reads in 12 s",
        rf"[\d.]+ of a core for {SOME} looks, {SOME} answers of pods, {SOME} renewed Leases a second",
        r"spec change +in the StatefulSet after p50 \d+ ms, p99 \d+ ms",
        r"restart 1 +as many looks as games after [\d.]+ s",
        r"API server +\d+ MiB",
    ):
        assert re.search(figure, done.stdout), f"{figure}:\n{done.stdout}"
