"""Who this process is: ``<node>_<uid>_<boot>``, and the one process of its data folder.

Two files in the folder: ``incarnation.lock``, held by flock for the life of the process, with its pid as text; and
``incarnation.json`` with the UID and the number of the last boot, counted up before anything is said to a peer, so that
a restarted process is always a later incarnation and never taken for its predecessor.
"""

from __future__ import annotations

import fcntl
import os
import re
import uuid
from pathlib import Path

import msgspec

from ..core.messages import Incarnation, incarnation
from ..errors import ConfigurationError
from ..settings import Settings

_held: dict[Path, int] = {}
"""Locked descriptors by folder: open as long as the process lives, not handed on to programs that it starts."""


class Boots(msgspec.Struct, frozen=True):
    """What ``incarnation.json`` says: the last boot of ``uid`` in this folder."""

    uid: str
    boot: int


def this_incarnation(settings: Settings) -> Incarnation:
    """Takes the data folder for this process and counts its boot number up.

    Raises ConfigurationError if another process has the folder, or if it can't be written or understood.
    """
    folder = settings.data_dir
    if settings.pod_uid and not re.fullmatch(r"[A-Za-z0-9.-]{1,63}", settings.pod_uid):
        raise ConfigurationError(
            f"GAMECLUSTER_POD_UID={settings.pod_uid!r}: expected letters, digits, dots and dashes, at most 63"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _lock(folder.resolve())
        boots = _next(_read(folder / "incarnation.json", settings.pod_uid), settings.pod_uid)
        _write(folder / "incarnation.json", boots)
    except OSError as error:
        raise ConfigurationError(
            f"GAMECLUSTER_DATA_DIR={folder}: expected a folder that this process can write to ({error.strerror})"
        ) from error
    return incarnation(settings.node, boots.uid, boots.boot)


def release(folder: Path) -> None:
    """Gives the folder up before the process ends (several nodes in one process, as in tests)."""
    os.close(_held.pop(folder.resolve()))


def _next(last: Boots | None, uid: str) -> Boots:
    if last is None:
        return Boots(uid or uuid.uuid4().hex, 1)
    return Boots(uid or last.uid, last.boot + 1)


def _lock(folder: Path) -> None:
    descriptor = os.open(folder / "incarnation.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise ConfigurationError(
            f"GAMECLUSTER_DATA_DIR={folder} is in use by process {holder}: give every node a folder of its own"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    _held[folder] = descriptor


def _read(path: Path, uid: str) -> Boots | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Boots)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        if not uid:
            return None  # a new UID begins anew, so that no boot number can come twice
        raise ConfigurationError(
            f"{path} is damaged ({error}), so the number of the last boot of pod {uid} is unknown: "
            f"empty the folder and give the node another GAMECLUSTER_POD_UID"
        ) from None


def _write(path: Path, boots: Boots) -> None:
    """On disk before it returns: neither a crash nor a power cut brings an old number back."""
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        file.write(msgspec.json.encode(boots))
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
