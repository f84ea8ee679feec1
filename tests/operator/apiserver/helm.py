"""helm, built as the other tools are, and the chart as it renders it."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path
from typing import Any

import yaml

from .conftest import AIRGAP, REPOSITORY

CHART = REPOSITORY / "charts" / "gamecluster-operator"


@functools.cache
def binary() -> str:
    tools = subprocess.run([AIRGAP / "tools" / "build-tools", "helm"], capture_output=True, text=True, check=True)
    return f"{tools.stdout.strip()}/helm"


def helm(*arguments: str, kubeconfig: Path | None = None) -> str:
    where = ["--kubeconfig", str(kubeconfig)] if kubeconfig else []
    done = subprocess.run([binary(), *arguments, *where], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def template(
    release: str, namespace: str, *sets: str, values: Path | None = None, kubernetes: str = "1.30.0"
) -> list[dict[str, Any]]:
    """All objects of a release with these ``--set`` or this file of values, for that version; its tests too."""
    chosen = [part for one in sets for part in ("--set", one)]
    chosen += ["--values", str(values)] if values else []
    text = helm("template", release, str(CHART), "--namespace", namespace, "--kube-version", kubernetes, *chosen)
    return [obj for obj in yaml.safe_load_all(text) if obj]


def kinds(objects: list[dict[str, Any]], *wanted: str) -> list[dict[str, Any]]:
    return [obj for obj in objects if obj["kind"] in wanted]
