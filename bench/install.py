"""Peers are installed from package registries into a folder that git ignores, at the versions that their folders here pin."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .build import HERE, WORK, Failed

PEERS = HERE / "peers"
INSTALL_SECONDS = 1800.0


class InstallError(Failed):
    """The package manager failed; the text ends with what it said."""


def folder(name: str) -> Path:
    """Where the peer is installed; its files are copied there first. Raises InstallError."""
    there = WORK / "peers" / name
    wanted = {source.name: source.read_bytes() for source in (PEERS / name).iterdir() if source.is_file()}
    mark = there / ".installed"
    pins = b"".join(wanted[pin] for pin in ("package-lock.json", "requirements.txt", "go.sum") if pin in wanted)
    for file, content in wanted.items():
        there.mkdir(parents=True, exist_ok=True)
        (there / file).write_bytes(content)
    if pins and (not mark.exists() or mark.read_bytes() != pins):
        print(f"installing {name} …", flush=True)
        for command in _commands(wanted, there):
            _run(command, there)
        mark.write_bytes(pins)
    return there


def _commands(files: dict[str, bytes], there: Path) -> Sequence[Sequence[str]]:
    if "package-lock.json" in files:
        return [["npm", "install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"]]
    if "requirements.txt" in files:
        pip = [str(there / "venv/bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        return [[sys.executable, "-m", "venv", str(there / "venv")], [*pip, "--requirement", "requirements.txt"]]
    if "go.mod" in files:
        return [["go", "build", "-o", str(there / "server"), "."]]
    return []


def _run(command: Sequence[str], there: Path) -> None:
    if not shutil.which(command[0]):
        raise InstallError(f"{command[0]} is not installed")
    done = subprocess.run(
        command,
        cwd=there,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise InstallError(f"{' '.join(command)}: {(done.stderr or done.stdout)[-2000:]}")
