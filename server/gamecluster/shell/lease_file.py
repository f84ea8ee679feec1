"""The Lease of a local cluster: a file with the JSON of the Kubernetes object, replaced by rename.

``<path>.lock`` is held by flock during a write and has the highest version ever given, as text: versions go on above it
when the file was deleted, as those of a Kubernetes API server do. Reads take no lock: a rename is there or is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ..core.messages import Record
from .lease import (
    LeaseConflict,
    LeaseError,
    LeaseUnanswered,
    LeaseUnreadable,
    OnRecord,
    merge,
    parse_document,
    patch_of,
)

log = logging.getLogger(__name__)

POLL_SECONDS = 0.05
LOCK_SECONDS = 2.0
"""A process may have been stopped while it held the lock."""


class FileLease:
    """A Lease in a file. Its work takes microseconds and is done in the loop; only the lock is waited for."""

    def __init__(self, path: Path, duration_seconds: int = 15, lock_seconds: float = LOCK_SECONDS) -> None:
        self._path = path
        self._duration_seconds = duration_seconds
        self._lock_seconds = lock_seconds

    async def read(self) -> Record | None:
        document = self._document()
        return None if document is None else parse_document(document)

    async def write(self, record: Record) -> int:
        end = time.monotonic() + self._lock_seconds
        while True:
            try:
                with _locked(self._path) as lock:
                    return self._replace(record, lock)
            except BlockingIOError:
                if time.monotonic() > end:
                    raise LeaseUnanswered(
                        f"{self._path}.lock is held by somebody for {self._lock_seconds:g} s"
                    ) from None
            except OSError as error:
                raise LeaseUnanswered(f"{self._path}: {error.strerror}") from error
            except LeaseUnreadable as error:
                raise LeaseConflict(str(error)) from error
            await asyncio.sleep(0.002)

    async def watch(self, on_record: OnRecord) -> None:
        last: object = ""
        while True:
            stamp = self._stamp()
            if stamp != last:
                last = stamp
                try:
                    on_record(await self.read())
                except LeaseError as error:
                    log.warning("%s", error)
            await asyncio.sleep(POLL_SECONDS)

    async def close(self) -> None:
        return None

    def _replace(self, record: Record, lock: int) -> int:
        document = self._document()
        if document is None:
            raise LeaseConflict(f"there is no Lease {self._path}")
        now = parse_document(document)
        if now.version != record.version:
            raise LeaseConflict(f"the Lease has version {now.version}, not {record.version}")
        acquired = record.holder != now.holder
        return _put(
            self._path, merge(document, patch_of(record, self._duration_seconds, acquired)), record.version, lock
        )

    def _document(self) -> Any:
        try:
            return msgspec.json.decode(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LeaseUnanswered(f"{self._path}: {error.strerror}") from error
        except msgspec.DecodeError as error:
            raise LeaseUnreadable(f"{self._path} is no JSON: {error}") from None

    def _stamp(self) -> object:
        try:
            status = self._path.stat()
        except OSError as error:
            return error.errno
        return status.st_ino, status.st_mtime_ns, status.st_size


def create_vacant(path: Path, *, epoch: int = 0, never_held: bool = True, duration_seconds: int = 15) -> bool:
    """What the operator does on Kubernetes: a Lease that nobody holds. False if there is one. Raises OSError."""
    with _locked(path, wait=True) as lock:
        if path.exists():
            return False
        vacant = Record(0, None, epoch, (), never_held)
        frame = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": path.stem}}
        _put(path, merge(frame, patch_of(vacant, duration_seconds, acquired=False)), 0, lock)
        return True


def _put(path: Path, document: dict[str, Any], above: int, lock: int) -> int:
    """Writes the document under the next version, of which the lock file hears first."""
    version = max(_counter(lock), above) + 1
    document["metadata"]["resourceVersion"] = str(version)
    os.pwrite(lock, str(version).encode(), 0)
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2))
    new.replace(path)
    return version


def _counter(lock: int) -> int:
    try:
        return int(os.pread(lock, 64, 0) or b"0")
    except ValueError:
        return 0


@contextlib.contextmanager
def _locked(path: Path, wait: bool = False) -> Iterator[int]:
    """The lock file, locked. Raises BlockingIOError if somebody has it, unless ``wait``."""
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield lock
    finally:
        os.close(lock)
