"""Compiles the load generator and the limit, when their sources are newer than what there is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
WORK = HERE / ".work"
SOURCES = HERE / "load"
COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Wshadow", "-Werror")


class Failed(Exception):
    """What was to be measured can't be; the text says why."""


class BuildError(Failed):
    """There is no compiler, or it refused; the text says what it said."""


def program(name: str) -> Path:
    """The path of ``load`` or ``limit``, built if it has to be. Raises BuildError."""
    built = WORK / name
    newest = max(source.stat().st_mtime for source in SOURCES.iterdir())
    if not built.exists() or built.stat().st_mtime < newest:
        WORK.mkdir(exist_ok=True)
        fresh = built.with_suffix(".new")
        _compile(SOURCES / f"{name}.c", fresh)
        fresh.replace(built)
    return built


def compiler() -> str:
    for name in COMPILERS:
        if path := shutil.which(name):
            return path
    raise BuildError("no C compiler: install gcc and libc6-dev")


def _compile(source: Path, to: Path) -> None:
    done = subprocess.run([compiler(), *FLAGS, "-o", str(to), str(source)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(done.stderr)
