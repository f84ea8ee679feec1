"""What every Lease must do, and four of them to do it: in memory, in a file, on a fake API server, and on a real one, whose
kubeconfig is in ``KUBECONFIG_FOR_LEASE``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from lightkube import AsyncClient, KubeConfig
from lightkube.config.models import Cluster, User
from lightkube.generic_resource import create_namespaced_resource
from lightkube.resources.core_v1 import Namespace

from gamecluster.core.messages import Asleep, Incarnation, Record, incarnation
from gamecluster.shell.lease import (
    IN_SYNC,
    NEVER_HELD,
    Lease,
    LeaseConflict,
    LeaseUnreadable,
    MemoryLease,
)
from gamecluster.shell.lease_file import FileLease, create_vacant
from gamecluster.shell.lease_kubernetes import KubernetesLease

from .fake_kubernetes import FakeKubernetes

A, B = incarnation("arena-0", "uid-a", 1), incarnation("arena-1", "uid-b", 3)
NAMESPACE, NAME = "default", "arena-gamestate"
VACANT: dict[str, Any] = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"name": NAME, "annotations": {NEVER_HELD: "true"}},
    "spec": {"leaseTransitions": 0},
}


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (conditions of any kind)
            await asyncio.sleep(0.002)


@dataclass
class Store:
    """A Lease and what somebody else can do to it behind its back."""

    lease: Lease
    document: Callable[[], Awaitable[dict[str, Any]]] | None = None
    replace: Callable[[dict[str, Any]], Awaitable[object]] | None = None
    delete: Callable[[], Awaitable[object]] | None = None
    create: Callable[[], Awaitable[object]] | None = None
    owner: tuple[str, str] = ("arena", "5f0c7a4e-0000-4000-8000-000000000000")
    """Name and UID of a Namespace. A real garbage collector deletes what an owner that is not there owns."""


@contextlib.asynccontextmanager
async def opened(kind: str, folder: Path) -> AsyncIterator[Store]:
    opener = {"memory": memory, "file": file, "fake": fake, "kubernetes": kubernetes}[kind]
    async with opener(folder) as store, contextlib.aclosing(_Closing(store.lease)):
        yield store


class _Closing:
    def __init__(self, lease: Lease) -> None:
        self.aclose = lease.close


@contextlib.asynccontextmanager
async def memory(folder: Path) -> AsyncIterator[Store]:
    yield Store(MemoryLease())


@contextlib.asynccontextmanager
async def file(folder: Path) -> AsyncIterator[Store]:
    path = folder / "lease.json"
    create_vacant(path)

    async def document() -> dict[str, Any]:
        return json.loads(path.read_bytes())  # type: ignore[no-any-return]

    async def replace(changed: dict[str, Any]) -> None:
        changed["metadata"]["resourceVersion"] = str(int(changed["metadata"]["resourceVersion"]) + 1)
        path.with_suffix(".other").write_text(json.dumps(changed))
        path.with_suffix(".other").replace(path)

    async def delete() -> None:
        path.unlink()

    async def create() -> None:
        create_vacant(path)

    yield Store(FileLease(path), document, replace, delete, create)


@contextlib.asynccontextmanager
async def fake(folder: Path) -> AsyncIterator[Store]:
    async with FakeKubernetes().serve() as server:
        await server.put(NAME, VACANT)

        async def document() -> dict[str, Any]:
            return server.leases[NAME]

        config = KubeConfig.from_one(cluster=Cluster(server=server.url), user=User(token="t"))
        yield Store(
            KubernetesLease(NAMESPACE, NAME, kubeconfig=config, request_seconds=0.5),
            document,
            lambda changed: server.put(NAME, changed),
            lambda: server.delete(NAME),
            lambda: server.put(NAME, VACANT),
        )


@contextlib.asynccontextmanager
async def kubernetes(folder: Path) -> AsyncIterator[Store]:
    path = os.environ["KUBECONFIG_FOR_LEASE"]
    client = AsyncClient(config=KubeConfig.from_file(path), trust_env=False)
    kind = create_namespaced_resource("coordination.k8s.io", "v1", "Lease", "leases")

    async def document() -> dict[str, Any]:
        return dict(await client.get(kind, NAME, namespace=NAMESPACE))

    with contextlib.suppress(Exception):
        await client.delete(kind, NAME, namespace=NAMESPACE)
    await client.create(kind(VACANT), namespace=NAMESPACE)
    namespace = await client.get(Namespace, NAMESPACE)
    assert namespace.metadata and namespace.metadata.uid
    yield Store(
        KubernetesLease(NAMESPACE, NAME, kubeconfig=Path(path)),
        document,
        lambda changed: client.replace(kind(changed), NAME, namespace=NAMESPACE),
        lambda: client.delete(kind, NAME, namespace=NAMESPACE),
        lambda: client.create(kind(VACANT), namespace=NAMESPACE),
        (NAMESPACE, namespace.metadata.uid),
    )
    await client.close()


def held(by: Record, holder: Incarnation, epoch: int = 1, in_sync: tuple[Incarnation, ...] = (A, B)) -> Record:
    return Record(by.version, holder, epoch, in_sync)


async def read(lease: Lease) -> Record:
    record = await lease.read()
    assert record is not None
    return record


class EveryLease:
    """What holds for all; ``kind`` is a fixture or parameter: memory, file, fake or kubernetes."""

    async def test_a_new_one_is_vacant_and_was_never_held(self, kind: str, tmp_path: Path) -> None:
        async with opened(kind, tmp_path) as store:
            record = await read(store.lease)
            assert record == Record(record.version, None, 0, (), never_held=True)
            assert record.version > 0

    async def test_what_is_written_is_read_under_the_version_that_the_write_returned(
        self, kind: str, tmp_path: Path
    ) -> None:
        async with opened(kind, tmp_path) as store:
            vacant = await read(store.lease)
            version = await store.lease.write(held(vacant, A))
            assert version > vacant.version
            assert await read(store.lease) == Record(version, A, 1, (A, B))

    async def test_a_vacant_record_can_be_written_again(self, kind: str, tmp_path: Path) -> None:
        async with opened(kind, tmp_path) as store:
            version = await store.lease.write(held(await read(store.lease), A))
            version = await store.lease.write(Record(version, None, 1001, (), never_held=True))
            assert await read(store.lease) == Record(version, None, 1001, (), never_held=True)

    async def test_a_sleeping_game_says_where_what_is_stored_ends_until_somebody_wakes_it(
        self, kind: str, tmp_path: Path
    ) -> None:
        async with opened(kind, tmp_path) as store:
            version = await store.lease.write(held(await read(store.lease), A))
            version = await store.lease.write(Record(version, None, 2, (), asleep=Asleep(A, 1, 77)))
            assert await read(store.lease) == Record(version, None, 2, (), asleep=Asleep(A, 1, 77))
            version = await store.lease.write(Record(version, A, 3, (A,), restore=True))
            assert await read(store.lease) == Record(version, A, 3, (A,), restore=True)

    async def test_every_write_makes_a_new_version_even_of_the_same_record(self, kind: str, tmp_path: Path) -> None:
        async with opened(kind, tmp_path) as store:
            versions = [(await read(store.lease)).version]
            for _ in range(5):
                versions.append(await store.lease.write(held(await read(store.lease), A)))  # noqa: PERF401
            assert versions == sorted(set(versions))

    async def test_a_write_on_an_old_version_conflicts_and_changes_nothing(self, kind: str, tmp_path: Path) -> None:
        async with opened(kind, tmp_path) as store:
            vacant = await read(store.lease)
            await store.lease.write(held(vacant, A))
            before = await read(store.lease)
            for stale in (vacant, msgspec.structs.replace(vacant, version=before.version + 1000)):
                with pytest.raises(LeaseConflict):
                    await store.lease.write(held(stale, B, epoch=2))
            assert await read(store.lease) == before

    async def test_of_many_writes_on_one_version_one_is_accepted(self, kind: str, tmp_path: Path) -> None:
        async with opened(kind, tmp_path) as store:
            vacant = await read(store.lease)
            candidates = [incarnation(f"arena-{n}", "uid", 1) for n in range(8)]
            results = await asyncio.gather(
                *(store.lease.write(held(vacant, who)) for who in candidates), return_exceptions=True
            )
            won = [who for who, result in zip(candidates, results, strict=True) if isinstance(result, int)]
            assert len(won) == 1
            assert all(isinstance(result, int | LeaseConflict) for result in results)
            assert (await read(store.lease)).holder == won[0]

    async def test_the_watch_reports_the_beginning_and_every_last_state(self, kind: str, tmp_path: Path) -> None:
        async with opened(kind, tmp_path) as store, watching(store.lease) as seen:
            await until(lambda: seen)
            for epoch in range(1, 4):
                version = await store.lease.write(held(await read(store.lease), A, epoch))
                await until(lambda version=version: seen[-1] and seen[-1].version == version)  # type: ignore[misc]
                assert seen[-1] == Record(version, A, epoch, (A, B))


@contextlib.asynccontextmanager
async def watching(lease: Lease) -> AsyncIterator[list[Record | None]]:
    seen: list[Record | None] = []
    task = asyncio.create_task(lease.watch(seen.append))
    try:
        yield seen
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class EveryStore:
    """What holds for all that somebody else can get at: those that are not in memory."""

    async def test_what_others_put_on_the_lease_stays(self, kind: str, tmp_path: Path) -> None:
        async with opened(kind, tmp_path) as store:
            assert store.document and store.replace
            lease = await store.document()
            lease["metadata"]["labels"] = {"app": "x"}
            lease["metadata"]["annotations"]["example.com/note"] = "kept"
            name, uid = store.owner
            lease["metadata"]["ownerReferences"] = [{"apiVersion": "v1", "kind": "Namespace", "name": name, "uid": uid}]
            await store.replace(lease)
            await store.lease.write(held(await read(store.lease), A))
            after = await store.document()
            assert after["metadata"]["labels"] == {"app": "x"}
            assert after["metadata"]["annotations"] == {"example.com/note": "kept", IN_SYNC: f"{A},{B}"}
            assert after["metadata"]["ownerReferences"][0]["uid"] == uid

    async def test_the_document_is_as_the_contract_says(self, kind: str, tmp_path: Path) -> None:
        async with opened(kind, tmp_path) as store:
            assert store.document
            await store.lease.write(held(await read(store.lease), A, epoch=7))
            first = (await store.document())["spec"]
            assert (first["holderIdentity"], first["leaseTransitions"], first["leaseDurationSeconds"]) == (A, 7, 15)
            assert first["acquireTime"] == first["renewTime"]
            await store.lease.write(held(await read(store.lease), A, epoch=7))
            second = (await store.document())["spec"]
            assert second["acquireTime"] == first["acquireTime"] < second["renewTime"]
            await store.lease.write(held(await read(store.lease), B, epoch=8))
            third = (await store.document())["spec"]
            assert third["acquireTime"] == third["renewTime"] > second["renewTime"]

    async def test_a_deleted_lease_reads_as_none_and_conflicts(self, kind: str, tmp_path: Path) -> None:
        async with opened(kind, tmp_path) as store:
            assert store.delete and store.create
            before = await read(store.lease)
            await store.delete()
            assert await store.lease.read() is None
            with pytest.raises(LeaseConflict, match="there is no Lease"):
                await store.lease.write(held(before, A))
            assert await store.lease.read() is None
            await store.create()
            assert (await read(store.lease)).version > before.version
            with pytest.raises(LeaseConflict):
                await store.lease.write(held(before, A))

    async def test_the_watch_reports_deletion_and_creation(self, kind: str, tmp_path: Path) -> None:
        async with opened(kind, tmp_path) as store, watching(store.lease) as seen:
            assert store.delete and store.create
            await until(lambda: seen and seen[-1])
            version = await store.lease.write(held(await read(store.lease), A))
            # So the watch has begun, not only its first read.
            await until(lambda: seen[-1] and seen[-1].version == version)
            await store.delete()
            await until(lambda: seen[-1] is None)
            await store.create()
            await until(lambda: seen[-1] is not None)

    async def test_a_lease_that_makes_no_sense_is_a_clear_error_until_it_does_again(
        self, kind: str, tmp_path: Path
    ) -> None:
        async with opened(kind, tmp_path) as store, watching(store.lease) as seen:
            assert store.document and store.replace
            await until(lambda: seen)
            good = await read(store.lease)
            lease = await store.document()
            lease["metadata"]["annotations"][IN_SYNC] = "arena-0,arena-1"
            await store.replace(lease)
            with pytest.raises(LeaseUnreadable, match="'arena-0' is no incarnation"):
                await store.lease.read()
            with pytest.raises(LeaseConflict):
                await store.lease.write(held(good, A))
            lease = await store.document()
            lease["metadata"]["annotations"][IN_SYNC] = A
            await store.replace(lease)
            await until(lambda: seen[-1] and seen[-1].in_sync == (A,))
