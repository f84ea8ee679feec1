"""The Lease of a local cluster: a file with the same JSON as the Kubernetes object, as the nodes read and write it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..core.messages import Incarnation, Record

IN_SYNC = "gamecluster.dev/in-sync"
NEVER_HELD = "gamecluster.dev/never-held"


class FileStore:
    """The operator's side of the file: it creates, and replaces on the version that it read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Record | None:
        try:
            lease: dict[str, Any] = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return None
        notes = lease["metadata"].get("annotations", {})
        return Record(
            version=int(lease["metadata"]["resourceVersion"]),
            holder=lease["spec"].get("holderIdentity") or None,
            epoch=int(lease["spec"].get("leaseTransitions", 0)),
            in_sync=tuple(Incarnation(who) for who in notes.get(IN_SYNC, "").split(",") if who),
            never_held=notes.get(NEVER_HELD) == "true",
        )

    def write(self, record: Record) -> bool:
        with self._locked() as counter:
            now = self.read()
            if now is None or now.version != record.version:
                return False
            self._put(record, counter)
            return True

    def create(self, record: Record) -> bool:
        with self._locked() as counter:
            if self.read() is not None:
                return False
            self._put(record, counter)
            return True

    def _put(self, record: Record, counter: int) -> None:
        version = max(int(os.pread(counter, 64, 0) or b"0"), record.version) + 1
        notes = {IN_SYNC: ",".join(record.in_sync), **({NEVER_HELD: "true"} if record.never_held else {})}
        spec = {"leaseTransitions": record.epoch, **({"holderIdentity": record.holder} if record.holder else {})}
        meta = {"name": self._path.stem, "resourceVersion": str(version), "annotations": notes}
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(body))
        os.pwrite(counter, str(version).encode(), 0)
        fresh.rename(self._path)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock
        finally:
            os.close(lock)
