from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from lightkube import KubeConfig
from lightkube.config.models import Cluster, User

from gamecluster.core.messages import Record
from gamecluster.errors import ConfigurationError
from gamecluster.settings import Settings
from gamecluster.shell import lease_kubernetes
from gamecluster.shell.lease import (
    NEVER_HELD,
    LeaseConflict,
    LeaseUnanswered,
    LeaseUnreadable,
    MemoryLease,
    merge,
    open_lease,
    parse_document,
    patch_of,
)
from gamecluster.shell.lease_file import FileLease, create_vacant
from gamecluster.shell.lease_kubernetes import KubernetesLease

from .fake_kubernetes import FakeKubernetes, Fault
from .lease_contract import NAME, NAMESPACE, VACANT, A, B, EveryLease, EveryStore, held, read, until, watching

KINDS = ["memory", "file", "fake", *(["kubernetes"] if os.environ.get("KUBECONFIG_FOR_LEASE") else [])]


@pytest.mark.parametrize("kind", KINDS)
class TestEveryLease(EveryLease):
    pass


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "memory"])
class TestEveryStore(EveryStore):
    pass


# --- the file


async def test_file_versions_go_on_when_file_and_memory_of_it_are_gone(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    assert create_vacant(path) and not create_vacant(path)
    lease = FileLease(path)
    for _ in range(3):
        last = await lease.write(held(await read(lease), A))
    path.unlink()
    create_vacant(path, epoch=9, never_held=False)
    assert await read(lease) == Record(last + 1, None, 9, (), never_held=False)


@pytest.mark.parametrize("garbage", [b"", b"{", b"\xff\xfe", b"[]", b"{}", b'{"metadata": {"resourceVersion": "x"}}'])
async def test_a_garbage_file_is_a_clear_error(garbage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    path.write_bytes(garbage)
    with pytest.raises(LeaseUnreadable):
        await FileLease(path).read()
    with pytest.raises(LeaseConflict):
        await FileLease(path).write(Record(1, A, 1, (A,)))
    assert path.read_bytes() == garbage


async def test_a_lock_that_is_not_given_back_leaves_a_write_unanswered_in_time(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    create_vacant(path)
    lease = FileLease(path, lock_seconds=0.1)
    record = await read(lease)
    with (tmp_path / "lease.json.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LeaseUnanswered, match="lock is held"):
            await lease.write(held(record, A))
        assert await read(lease) == record
    await lease.write(held(record, A))


async def test_a_file_in_a_folder_that_is_gone_is_unanswered_or_missing(tmp_path: Path) -> None:
    lease = FileLease(tmp_path / "none" / "lease.json")
    assert await lease.read() is None
    with pytest.raises(LeaseUnanswered):
        await lease.write(Record(1, A, 1, (A,)))


async def test_processes_that_count_together_lose_no_write(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    create_vacant(path)
    code = (
        "import asyncio, sys, msgspec; from pathlib import Path\n"
        "from gamecluster.shell.lease import LeaseConflict; from gamecluster.shell.lease_file import FileLease\n"
        "async def main():\n"
        "    lease, done = FileLease(Path(sys.argv[1])), 0\n"
        "    while done < 100:\n"
        "        record = await lease.read()\n"
        "        try:\n"
        "            await lease.write(msgspec.structs.replace(record, epoch=record.epoch + 1)); done += 1\n"
        "        except LeaseConflict: pass\n"
        "asyncio.run(main())"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    runs = [subprocess.Popen([sys.executable, "-c", code, str(path)], env=environment) for _ in range(3)]  # noqa: ASYNC220
    assert [run.wait(60) for run in runs] == [0, 0, 0]
    assert (await read(FileLease(path))).epoch == 300


# --- Kubernetes, on the fake


@contextlib.asynccontextmanager
async def faulty() -> AsyncIterator[tuple[FakeKubernetes, KubernetesLease]]:
    async with FakeKubernetes().serve() as server:
        await server.put(NAME, VACANT)
        config = KubeConfig.from_one(cluster=Cluster(server=server.url), user=User(token="t"))
        lease = KubernetesLease(NAMESPACE, NAME, kubeconfig=config, request_seconds=0.3)
        try:
            yield server, lease
        finally:
            await lease.close()


UNKNOWN = [fault for fault in Fault if fault is not Fault.conflict]


@pytest.mark.parametrize("fault", UNKNOWN)
async def test_a_write_without_a_clear_answer_is_unanswered_and_tried_once(fault: Fault) -> None:
    async with faulty() as (server, lease):
        vacant = await read(lease)
        server.faults["patch"].append(fault)
        with pytest.raises(LeaseUnanswered):
            await lease.write(held(vacant, A))
        assert [verb for verb, _ in server.requests].count("patch") == 1
        landed = fault in (Fault.error_applied, Fault.silence_applied, Fault.reset_applied)
        assert (await read(lease)).holder == (A if landed else None)
        assert (await read(lease)).version == vacant.version + landed


async def test_a_refused_write_is_a_conflict_and_tried_once() -> None:
    async with faulty() as (server, lease):
        server.faults["patch"].append(Fault.conflict)
        with pytest.raises(LeaseConflict):
            await lease.write(held(await read(lease), A))
        assert [verb for verb, _ in server.requests].count("patch") == 1


@pytest.mark.parametrize("fault", [*UNKNOWN, Fault.conflict])
async def test_a_read_that_fails_says_so_and_the_next_one_works(fault: Fault) -> None:
    async with faulty() as (server, lease):
        server.faults["get"].append(fault)
        with pytest.raises((LeaseUnanswered, LeaseUnreadable)):
            await lease.read()
        assert (await read(lease)).never_held


async def test_an_api_server_that_is_away_is_unanswered() -> None:
    async with faulty() as (_, lease):
        record = await read(lease)
    config = KubeConfig.from_one(cluster=Cluster(server="http://127.0.0.1:9"), user=User(token="t"))
    away = KubernetesLease(NAMESPACE, NAME, kubeconfig=config)
    with pytest.raises(LeaseUnanswered):
        await away.write(record)
    with pytest.raises(LeaseUnanswered):
        await away.read()
    await away.close()


async def test_a_rotated_service_account_token_is_read_again(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    async with FakeKubernetes().serve() as server:
        await server.put(NAME, VACANT)
        config = KubeConfig.from_one(cluster=Cluster(server=server.url), user=User(token_file=str(token)))
        lease = KubernetesLease(NAMESPACE, NAME, kubeconfig=config)
        record = await read(lease)
        token.write_text("new")
        server.faults["patch"].append(Fault.unauthorized)  # as the API server does when the old one has expired
        await lease.write(held(record, A))
        await read(lease)
        assert server.requests == [("get", "old"), ("patch", "old"), ("patch", "new"), ("get", "new")]
        await lease.close()


@pytest.mark.parametrize("fault", [Fault.error, Fault.forbidden, Fault.reset, Fault.silence, Fault.rubbish])
async def test_the_watch_goes_on_after_a_fault(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_kubernetes, "WATCH_SECONDS", 1)
    async with faulty() as (server, lease):
        server.faults["watch"].append(fault)
        server.faults["get"].append(fault)
        async with watching(lease) as seen:
            await until(lambda: seen and len([verb for verb, _ in server.requests if verb == "watch"]) >= 2)
            await lease.write(held(await read(lease), A))
            await until(lambda: seen[-1] and seen[-1].holder == A)


async def test_the_watch_goes_on_when_its_connection_is_cut() -> None:
    async with faulty() as (server, lease), watching(lease) as seen:
        for epoch in range(1, 4):
            await until(lambda: seen and server._connections)
            server.drop_connections()
            record = await read(lease)
            await lease.write(held(record, A, epoch))
            await until(lambda epoch=epoch: seen[-1] and seen[-1].epoch == epoch)  # type: ignore[misc]


# --- the rest


def test_settings_choose_the_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(open_lease(Settings(node="a")), MemoryLease)
    assert isinstance(open_lease(Settings(node="a", lease=f"file:{tmp_path}/lease")), FileLease)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setattr(lease_kubernetes.KubeConfig, "from_env", lambda: KubeConfig.from_file(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match=r"GAMECLUSTER_LEASE=kubernetes:ns/arena.*no way to the API server"):
        open_lease(Settings(node="a", lease="kubernetes:ns/arena"))


def test_a_patch_says_exactly_the_record() -> None:
    record = Record(41, A, 7, (A, B), never_held=False)
    before = {"metadata": {"annotations": {NEVER_HELD: "true"}, "resourceVersion": "41"}, "spec": {"strategy": "x"}}
    after = merge(before, patch_of(record, 15, acquired=True))
    assert parse_document(after) == record
    assert after["spec"]["strategy"] == "x" and NEVER_HELD not in after["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": "foo"}, {"b": {"c": None}}, {"a": "foo", "b": {}}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_follows_the_examples_of_rfc_7386(target: Any, patch: Any, result: Any) -> None:
    assert merge(target, patch) == result
