"""Supervision, the watch and the control socket, with processes that stand in for nodes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx2
import pytest

from gamecluster.core.messages import Incarnation, Position, Record
from gamecluster.errors import ConfigurationError
from gamecluster.local import control, plan
from gamecluster.local.backstop import Told
from gamecluster.local.lease import Store
from gamecluster.local.supervisor import Supervisor, backoff_seconds, ending
from gamecluster.local.watch import Watch

STUB = (sys.executable, str(Path(__file__).with_name("stub_node.py")))


@dataclass
class Local:
    """A supervisor of stubs, and what it and its watch said."""

    supervisor: Supervisor
    watch: Watch
    store: Store
    client: httpx2.AsyncClient
    data: Path
    said: list[tuple[str, str, str]] = field(default_factory=list)
    now: float = 0.0

    async def until(self, met: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not met():
                await self.watch.look(self.client)
                await asyncio.sleep(0.01)

    async def until_record(self, expected: Record) -> None:
        async with asyncio.timeout(20):
            while await self.store.read() != expected:
                await self.watch.look(self.client)

    async def until_ready(self, count: int) -> None:
        await self.until(lambda: len(self.watch.ready()) == count)

    def pid(self, index: int) -> int:
        process = self.supervisor.nodes[index].process
        return process.pid if process else 0

    def heard(self, what: str, name: str) -> list[str]:
        return [text for said, who, text in self.said if (said, who) == (what, name)]


@asynccontextmanager
async def local(
    tmp_path: Path, restart: bool = True, environment: dict[str, str] | None = None
) -> AsyncIterator[Local]:
    made = plan.make((), None, nodes=3, port=free_port(), data=tmp_path, restart=restart, environment=environment or {})
    made = replace(made, command=STUB)
    plan.prepare_folder(made)
    store = Store(made)
    assert await store.begin() is None
    async with httpx2.AsyncClient(timeout=0.5, trust_env=False) as client, asyncio.TaskGroup() as tasks:
        said: list[tuple[str, str, str]] = []
        supervisor = Supervisor(made, tasks, lambda *line: said.append(line))
        watch = Watch(supervisor, store, lambda *line: said.append(line), clock=lambda: cluster.now)
        cluster = Local(supervisor, watch, store, client, tmp_path, said)
        try:
            yield cluster
        finally:
            await supervisor.close(5.0)


def free_port() -> int:
    """A port whose neighbours, and theirs of the mesh and of admin, are free as well."""
    while True:
        with socket.socket() as probe:
            probe.bind((plan.HOST, 0))
            port = int(probe.getsockname()[1])
        spots = [port + base + i for base in (0, 100, 200) for i in range(6)]
        if port <= 65_000 and all(plan._is_free(spot) for spot in spots):
            return port


async def test_all_nodes_come_up_and_know_each_other(tmp_path: Path) -> None:
    async with local(tmp_path) as cluster:
        await cluster.supervisor.scale(3)
        await cluster.until_ready(3)
        assert (tmp_path / "arena-1" / "peers").read_text().count(",") == 1


async def test_a_killed_node_comes_back_and_is_told_of(tmp_path: Path) -> None:
    async with local(tmp_path) as cluster:
        await cluster.supervisor.scale(2)
        await cluster.until_ready(2)
        before = cluster.pid(1)
        await cluster.supervisor.kill("arena-1")
        await cluster.until(lambda: cluster.pid(1) not in (0, before) and len(cluster.watch.ready()) == 2)
        assert cluster.heard("left", "arena-1") == ["killed by SIGKILL, comes back in 0 s"]
        assert len(cluster.heard("joined", "arena-1")) == 2 and len(cluster.heard("joined", "arena-0")) == 1


async def test_a_stopped_node_stays_stopped_until_it_is_started(tmp_path: Path) -> None:
    async with local(tmp_path) as cluster:
        await cluster.supervisor.scale(2)
        await cluster.until_ready(2)
        await cluster.supervisor.stop("arena-0")
        assert cluster.supervisor.nodes[0].state == "stopped" and cluster.pid(0) == 0
        with pytest.raises(ConfigurationError, match="has no process: it is stopped"):
            await cluster.supervisor.kill("arena-0")
        await cluster.supervisor.start("arena-0")
        await cluster.until_ready(2)
        with pytest.raises(ConfigurationError, match="is not stopped"):
            await cluster.supervisor.start("arena-0")


async def test_scaling_leaves_the_others_alone(tmp_path: Path) -> None:
    async with local(tmp_path) as cluster:
        await cluster.supervisor.scale(2)
        await cluster.until_ready(2)
        pids = [cluster.pid(0), cluster.pid(1)]
        assert await cluster.supervisor.scale(3) == ["arena-0", "arena-1", "arena-2"]
        await cluster.until_ready(3)
        assert await cluster.supervisor.scale(1) == ["arena-0"]
        assert cluster.pid(0) == pids[0]
        with pytest.raises(ProcessLookupError):
            os.kill(pids[1], 0)


async def test_a_node_that_is_stopped_while_it_hangs_is_killed(tmp_path: Path) -> None:
    async with local(tmp_path) as cluster:
        await cluster.supervisor.scale(1)
        await cluster.until_ready(1)
        pid = cluster.pid(0)
        os.kill(pid, signal.SIGSTOP)
        await cluster.until_ready(0)
        assert cluster.heard("unready", "arena-0")
        await cluster.supervisor.close(0.1)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_no_restart_leaves_the_dead_dead(tmp_path: Path) -> None:
    async with local(tmp_path, restart=False) as cluster:
        await cluster.supervisor.scale(1)
        await cluster.until_ready(1)
        await cluster.supervisor.kill("arena-0")
        await cluster.until(lambda: cluster.supervisor.nodes[0].state == "stopped")
        assert "stays down" in cluster.heard("left", "arena-0")[0]


async def test_a_node_that_crashes_is_quoted_and_comes_back_ever_more_slowly(tmp_path: Path) -> None:
    async with local(tmp_path, environment={"GAMECLUSTER_LOG_LEVEL": "debug"}) as cluster:
        await cluster.supervisor.scale(1)
        await cluster.until(lambda: len(cluster.heard("left", "arena-0")) == 2)
        first, second = cluster.heard("left", "arena-0")
        assert first.startswith("exit code 2, comes back in 0 s; it said: arena-0: this node was told to crash")
        assert second.startswith("exit code 2, comes back in 0.25 s")
        assert (tmp_path / "arena-0.log").read_text().count("told to crash") == 2


def test_the_back_off_ends_at_two_seconds() -> None:
    assert [backoff_seconds(failures) for failures in range(7)] == [0.0, 0.25, 0.5, 1.0, 2.0, 2.0, 2.0]
    assert (ending(0), ending(3), ending(-9)) == ("exit code 0", "exit code 3", "killed by SIGKILL")


async def test_a_name_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    async with local(tmp_path) as cluster:
        await cluster.supervisor.scale(1)
        with pytest.raises(ConfigurationError, match="there is no node arena-7; there are: arena-0"):
            await cluster.supervisor.stop("arena-7")


async def test_when_all_who_had_the_gamestate_are_dead_the_lease_is_made_fresh_after_ten_seconds(
    tmp_path: Path,
) -> None:
    async with local(tmp_path) as cluster:
        await cluster.supervisor.scale(2)
        await cluster.until(lambda: all(node.incarnation for node in cluster.supervisor.nodes.values()))
        holder, other = (node.incarnation for node in cluster.supervisor.nodes.values())
        assert holder and other
        await cluster.watch.look(cluster.client)
        assert await cluster.store.write(Record(1, holder, 3, (holder, other)))
        await cluster.supervisor.kill("arena-0")
        await cluster.supervisor.kill("arena-1")
        await cluster.until(
            lambda: (
                {holder, other}.isdisjoint({n.incarnation for n in cluster.supervisor.nodes.values()})
                and len(cluster.watch.ready()) == 2
            )
        )
        record = await cluster.store.read()
        assert record and record.holder == holder
        cluster.now += 10.0
        await cluster.until_record(Record(3, None, 1003, (), never_held=True))
        assert cluster.heard("lost", "")


async def test_a_living_member_of_the_set_is_named_when_the_leader_is_dead(tmp_path: Path) -> None:
    async with local(tmp_path) as cluster:
        await cluster.supervisor.scale(2)
        await cluster.until(lambda: all(node.incarnation for node in cluster.supervisor.nodes.values()))
        holder, other = (node.incarnation for node in cluster.supervisor.nodes.values())
        assert holder and other
        assert await cluster.store.write(Record(1, holder, 3, (holder, other)))
        await cluster.supervisor.stop("arena-0")
        await cluster.watch.look(cluster.client)
        cluster.now += 10.0
        await cluster.until_record(Record(3, other, 4, (other,), dead=(holder,)))
        assert cluster.heard("backstop", "arena-1")


async def test_a_lease_that_vanishes_comes_back_vacant_with_its_epoch_and_set(tmp_path: Path) -> None:
    async with local(tmp_path) as cluster:
        await cluster.supervisor.scale(1)
        await cluster.until(lambda: cluster.supervisor.nodes[0].incarnation is not None)
        holder = cluster.supervisor.nodes[0].incarnation
        assert holder
        assert await cluster.store.write(Record(1, holder, 3, (holder,)))
        await cluster.watch.look(cluster.client)
        (tmp_path / "lease.json").unlink()
        await cluster.watch.look(cluster.client)
        assert await cluster.store.read() == Record(4, None, 3, (holder,))


async def test_a_lease_that_vanishes_before_anybody_saw_it_held_is_not_taken_for_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with local(tmp_path) as cluster:
        await cluster.supervisor.scale(1)
        await cluster.until(lambda: cluster.supervisor.nodes[0].incarnation is not None)
        holder = cluster.supervisor.nodes[0].incarnation
        assert holder
        await cluster.watch.look(cluster.client)
        told: dict[Incarnation, Told] = {}
        monkeypatch.setattr(cluster.watch, "_hear", lambda answers: setattr(cluster.watch, "_told", told))
        (tmp_path / "lease.json").unlink()
        await cluster.watch.look(cluster.client)
        assert await cluster.store.read() is None, "who may lead has not told"
        told[holder] = Told(last=Position(2, 9), epoch=2, leads=True, held=Record(5, holder, 2, (holder,)))
        await cluster.watch.look(cluster.client)
        made = await cluster.store.read()
        assert made and (made.holder, made.epoch, made.in_sync, made.never_held) == (None, 2, (holder,), False)


async def test_the_control_socket_answers_commands_and_refuses_nonsense(tmp_path: Path) -> None:
    async def handle(command: control.Command) -> control.Reply:
        if command["do"] == "fail":
            raise ConfigurationError("it can't be done")
        return {"did": command["do"]}

    server = control.ControlServer(handle)
    await server.start(tmp_path)
    try:
        assert await asyncio.to_thread(control.ask, tmp_path, {"do": "this"}) == {"did": "this"}
        with pytest.raises(ConfigurationError, match="it can't be done"):
            await asyncio.to_thread(control.ask, tmp_path, {"do": "fail"})
        with pytest.raises(ConfigurationError, match="not a command"):
            await asyncio.to_thread(control.ask, tmp_path, {"undo": "this"})
        assert await asyncio.to_thread(control.find, None, tmp_path) == tmp_path
        assert await asyncio.to_thread(control.is_up, tmp_path)
    finally:
        server.stop()
    with pytest.raises(ConfigurationError, match="no cluster is up in"):
        await asyncio.to_thread(control.ask, tmp_path, {"do": "this"})


async def test_the_only_cluster_that_is_up_here_is_found_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="no cluster is up in this folder"):
        control.find(None, None)

    async def handle(command: control.Command) -> control.Reply:
        return {}

    servers = [control.ControlServer(handle) for _ in range(2)]
    (tmp_path / ".gamecluster" / "a").mkdir(parents=True)
    (tmp_path / ".gamecluster" / "b").mkdir()
    try:
        await servers[0].start(Path(".gamecluster/a"))
        assert control.find(None, None) == Path(".gamecluster/a")
        await servers[1].start(Path(".gamecluster/b"))
        with pytest.raises(ConfigurationError, match="several clusters are up here: a, b"):
            control.find(None, None)
        assert control.find("b", None) == Path(".gamecluster/b")
    finally:
        for server in servers:
            server.stop()
