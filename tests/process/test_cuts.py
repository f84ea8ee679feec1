"""The short form of ``python -m tests.process.cuts``."""

from __future__ import annotations

import os
import random
import subprocess

import pytest
from tests.process.harness import ROOT
from tests.process.network import inside


@pytest.mark.parametrize(
    "situations",
    [
        ["leader", "reset", "replicas"],
        ["replica", "one-deaf", "one-unheard"],
        ["leader-deaf", "leader-unheard", "clients"],
    ],
    ids="+".join,
)
def test_nodes_cut_from_each_other_lose_nothing_and_find_each_other_again(situations: list[str]) -> None:
    line = inside("tests.process.cuts", ["--inside", "--strict", *situations, f"--seed={random.randrange(2**20)}"])
    path = f"{ROOT / 'server'}:{ROOT}"
    run = subprocess.run(
        line, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=110, check=False
    )
    print(run.stdout, run.stderr)
    assert run.returncode == 0 and "lost 0, doubled 0" in run.stdout and "nothing is wrong" in run.stdout
    assert all(f"{name}: cut-" in run.stdout for name in situations)
