"""``python -m tests.process.name_cuts`` holds."""

from __future__ import annotations

import os
import subprocess

import pytest
from tests.process.harness import ROOT
from tests.process.network import inside


@pytest.mark.parametrize("holder", ["follower", "leader"])
def test_both_sides_of_a_partition_are_told_the_truth_about_a_name(holder: str) -> None:
    path = f"{ROOT / 'server'}:{ROOT}"
    run = subprocess.run(
        inside("tests.process.name_cuts", ["--inside", holder]),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    print(run.stdout, run.stderr)
    assert run.returncode == 0 and "nothing is wrong" in run.stdout
