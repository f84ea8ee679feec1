"""A folder of this pod's own (a volume, or a part of its data folder): one file, ``gamestate.journal``.

The file is a row of records: 4 bytes length, 4 bytes CRC-32 (both big-endian), then MessagePack. The first record is the snapshot,
each further one an entry. A new snapshot makes a new file, which takes the old one's place by rename. What a crash left unfinished at
the end is cut off at the start, with a line in the log.

With ``syncs`` a write is answered once the disk has it (fsync). Else a crash of the process loses nothing that was written, and a
crash of the machine what was written in the last second or so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ...core.durability import Kept
from ...core.effects import Store
from ...core.messages import Entry, Position
from . import Loaded, SnapshotHead, StorageBroken, StorageError, encode_snapshot, encoder, replay

FILE = "gamestate.journal"
HEAD = struct.Struct(">II")
SYNC_EVERY_SECONDS = 1.0
ANSWER_SECONDS = 5.0
MAX_RECORD_BYTES = 1 << 30

log = logging.getLogger(__name__)
T = TypeVar("T")


class VolumeStorage:
    """Its work is done in one thread. A disk that hangs is given up after ``answer_seconds``, and waited for before the next try."""

    kept = Kept.own

    def __init__(self, folder: Path, syncs: bool, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._path = folder / FILE
        self._syncs = syncs
        self._answer_seconds = answer_seconds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="volume")
        self._hangs: Future[Any] | None = None
        self._file: int | None = None
        self._end: Position | None = None
        self._is_open = False
        self._synced_at = 0.0

    async def position(self) -> Position | None:
        return await self._do(self._position)

    async def write(self, store: Store) -> None:
        await self._do(lambda: self._write(store))

    async def load(self) -> Loaded | None:
        return await self._do(self._load)

    async def close(self) -> None:
        with contextlib.suppress(StorageError):
            await self._do(self._close)
        self._thread.shutdown(wait=False)

    async def _do(self, work: Callable[[], T]) -> T:
        if self._hangs is not None and not self._hangs.done():
            raise StorageError(f"{self._path}: the disk still does not answer")
        future = self._thread.submit(work)
        try:
            async with asyncio.timeout(self._answer_seconds):
                return await asyncio.shield(asyncio.wrap_future(future))
        except TimeoutError:
            self._hangs = future
            raise StorageError(f"{self._path}: the disk does not answer within {self._answer_seconds:g} s") from None
        except OSError as error:
            raise StorageError(f"{self._path}: {error.strerror or error}") from error

    # --- in the thread

    def _position(self) -> Position | None:
        self._open()
        return self._end

    def _open(self) -> None:
        """Finds the end of what is there, and cuts off what is not whole. Raises StorageBroken if the snapshot is not."""
        if self._is_open:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            self._is_open = True
            return
        whole, end = 0, None
        for ends_at, record in _records(raw):
            whole, end = ends_at, _position_of(record, end)
        if end is None:
            raise StorageBroken(f"{self._path}: its first record, the snapshot, is damaged")
        if whole < len(raw):
            log.warning("%s: cut off %d bytes after %s that a crash left unfinished", self._path, len(raw) - whole, end)
            os.truncate(self._path, whole)
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        self._end, self._is_open = end, True

    def _load(self) -> Loaded | None:
        self._open()
        if self._end is None:
            return None
        records = [record for _, record in _records(self._path.read_bytes())]
        if not records:
            raise StorageBroken(f"{self._path}: its first record, the snapshot, is damaged")
        return replay(records[0], records[1:])

    def _write(self, store: Store) -> None:
        try:
            self._open()
        except StorageBroken as error:
            aside = self._path.with_suffix(".broken")
            log.error("%s; it is kept as %s", error, aside)
            self._path.replace(aside)
            self._open()
        try:
            self._put(store)
        except BaseException:  # how much of it is there is not known: look again
            self._forget()
            raise

    def _put(self, store: Store) -> None:
        data = b"".join(_framed(encoder.encode(entry)) for entry in store.entries)
        if store.tables is not None and self._end is not None and store.last < self._end:
            raise StorageError(
                f"a snapshot of {store.last} is older than what is there: {self._path} ends at {self._end}"
            )
        if store.tables is not None:
            self._replace(_framed(encode_snapshot(store.base, store.tables)) + data)
        elif store.base != self._end or self._file is None:
            raise StorageError(f"{store.base} is not where {self._path} ends: {self._end}")
        else:
            _write_all(self._file, data)
            if self._syncs or time.monotonic() - self._synced_at >= SYNC_EVERY_SECONDS:
                os.fdatasync(self._file)
                self._synced_at = time.monotonic()
        self._end = store.last

    def _replace(self, data: bytes) -> None:
        new = self._path.with_suffix(".new")
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        try:
            _write_all(file, data)
            os.fsync(file)
            new.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except BaseException:
            os.close(file)
            raise
        if self._file is not None:
            os.close(self._file)
        self._file = file

    def _close(self) -> None:
        if self._file is not None:
            os.fsync(self._file)
        self._forget()

    def _forget(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file, self._end, self._is_open = None, None, False


def _framed(record: bytes) -> bytes:
    return HEAD.pack(len(record), zlib.crc32(record)) + record


def _records(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Whole records from the start, each with where it ends; stops at the first that is not whole."""
    at = 0
    while at + HEAD.size <= len(raw):
        length, checksum = HEAD.unpack_from(raw, at)
        record = raw[at + HEAD.size : at + HEAD.size + length]
        if not 0 < length <= MAX_RECORD_BYTES or len(record) < length or zlib.crc32(record) != checksum:
            return
        at += HEAD.size + length
        yield at, record


def _position_of(record: bytes, before: Position | None) -> Position:
    try:
        if before is None:
            return msgspec.msgpack.decode(record, type=SnapshotHead).position
        return msgspec.msgpack.decode(record, type=Entry).position
    except msgspec.DecodeError as error:
        raise StorageBroken(f"what is stored can't be decoded: {error}") from None


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
