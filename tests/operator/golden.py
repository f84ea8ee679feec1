"""Compares what was built with a file. `GAMECLUSTER_REWRITE_GOLDEN=1 pytest …` writes the files; then read the difference in git."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

FOLDER = Path(__file__).parent / "golden"


def check(name: str, documents: list[object]) -> None:
    text = yaml.safe_dump_all(documents, sort_keys=False, width=120)
    path = FOLDER / f"{name}.yaml"
    if os.environ.get("GAMECLUSTER_REWRITE_GOLDEN"):
        path.write_text(text)
    assert path.exists(), f"{path.name} is missing: GAMECLUSTER_REWRITE_GOLDEN=1 writes it"
    assert text == path.read_text(), f"differs from golden/{path.name}; GAMECLUSTER_REWRITE_GOLDEN=1 accepts it"
