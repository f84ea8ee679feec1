"""A node's beginning and end, as a process and within one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx2
import pytest
from tests.shell.fake_kubernetes import FakeKubernetes
from tests.shell.node import Running, ask, free_ports, hear, running, until
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from gamecluster.errors import ConfigurationError
from gamecluster.settings import Settings
from gamecluster.shell import serve
from gamecluster.shell.keys import read_key
from gamecluster.shell.lease import NEVER_HELD
from gamecluster.shell.serve import Stop, listen, node_config, run_node
from gamecluster.targets import Targets

SERVER = str(Path(__file__).parents[2] / "server")


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


@pytest.mark.parametrize("variable", ["PORT", "ADMIN_PORT", "MESH_PORT"])
async def test_a_port_in_use_is_named_with_its_variable(tmp_path: Path, taken: int, variable: str) -> None:
    ports = dict(zip(("port", "mesh_port", "admin_port"), free_ports(3), strict=True)) | {variable.lower(): taken}
    key = tmp_path / "key"
    key.write_bytes(os.urandom(32))
    settings = Settings(node="arena-0", data_dir=tmp_path, mesh_key_file=key, **ports)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=f"GAMECLUSTER_{variable}={taken} is in use"):
        async with asyncio.timeout(20):
            await run_node(settings, Targets(None, ()), Stop())


def test_an_address_that_is_not_this_machines_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"GAMECLUSTER_PORT=0.*GAMECLUSTER_HOST=192\.0\.2\.1"):
        listen("192.0.2.1", 0, "GAMECLUSTER_PORT")


def test_connections_have_the_send_buffer_of_their_port() -> None:
    option = socket.SOL_SOCKET, socket.SO_SNDBUF
    with listen("127.0.0.1", 0, "GAMECLUSTER_PORT") as port, socket.create_connection(port.getsockname()) as client:
        connection, _ = port.accept()
        with connection:
            assert connection.getsockopt(*option) == port.getsockopt(*option) != client.getsockopt(*option)


@pytest.mark.parametrize("key", [b"\n" + bytes(range(200, 230)) + b" ", b"0123456789abcdef" * 2])
def test_a_keys_bytes_are_all_taken_but_for_the_end_of_a_line(tmp_path: Path, key: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(key + (b"\n" if key.isascii() else b""))
    assert read_key(path, "KEY") == key


async def test_a_short_player_key_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "player.key"
    key.write_text("short")
    port, mesh, admin = free_ports(3)
    settings = Settings(
        node="arena-0", port=port, mesh_port=mesh, admin_port=admin, data_dir=tmp_path, player_key_file=key
    )
    with pytest.raises(ConfigurationError, match=r"GAMECLUSTER_PLAYER_KEY_FILE=.*5 bytes; expected 32"):
        await run_node(settings, Targets(None, ()), Stop())


def test_the_nodes_configuration_comes_from_the_settings() -> None:
    settings = Settings(
        node="a", suspect_after_milliseconds=250, lease_duration_seconds=6, gamestate_replicas=5, takeover=False
    )
    config = node_config(settings)
    assert (config.suspect_after, config.renew_every, config.replicas, config.takeover) == (0.25, 2.0, 5, False)
    assert config.stops_when_alone
    assert not node_config(Settings(node="a", alone_without_api="continue")).stops_when_alone


async def test_a_node_that_ended_leaves_its_ports_and_folder_to_the_next(tmp_path: Path) -> None:
    async with running(tmp_path) as node, node.connect() as client:
        first = (await node.http.get(f"{node.admin}/cluster")).json()["nodes"][0]["incarnation"]
        assert (await ask(client, "room:1", "phx_join"))["status"] == "ok"
    async with running(tmp_path) as node:
        second = (await node.http.get(f"{node.admin}/cluster")).json()["nodes"][0]["incarnation"]
    assert first.removesuffix("_1") == second.removesuffix("_2")


async def test_an_only_node_on_kubernetes_serves_until_another_comes_or_its_lease_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vacant = {"metadata": {"annotations": {NEVER_HELD: "true"}}, "spec": {}}
    async with FakeKubernetes().serve() as api:
        await api.put("arena-gamestate", vacant)
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "kubeconfig", api.url)))
        async with running(tmp_path, lease="kubernetes:games/arena-gamestate") as node, node.connect() as first:
            assert (await ask(first, "game", "phx_join", {"player": "p1"}))["status"] == "ok"
            node.stop.ask("SIGTERM")
            await until(partial(is_draining, node))
            async with node.connect() as second:
                assert (await ask(second, "game", "phx_join", {"player": "p2"}))["status"] == "ok"
            assert (await ask(first, "game", "add", {"amount": 1, "n": 1}, "2"))["status"] == "ok"
            assert await node.is_ready()
            await api.delete("arena-gamestate")
            with pytest.raises(ConnectionClosed) as raised:
                while True:
                    await hear(first)
            assert raised.value.rcvd is not None and raised.value.rcvd.code == 1012
            async with asyncio.timeout(5):
                await asyncio.shield(node.task)


async def is_draining(node: Running) -> bool:
    answer = (await node.http.get(f"{node.admin}/cluster")).json()
    return bool(answer["nodes"][0]["draining"])


def kubeconfig(path: Path, url: str) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "fake",
        "clusters": [{"name": "fake", "cluster": {"server": url}}],
        "users": [{"name": "fake", "user": {"token": "t"}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake", "namespace": "games"}}],
    }
    path.write_text(json.dumps(config))
    return path


async def test_what_runs_beside_the_game_begins_again_when_it_has_failed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(serve, "BEGIN_AGAIN_SECONDS", 0.0)
    begun: list[int] = []
    goes_on = asyncio.Event()

    async def run() -> None:
        begun.append(len(begun))
        if len(begun) < 3:
            raise LookupError("a bug")
        goes_on.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(serve.begun_again(run))
    async with asyncio.timeout(5):
        await goes_on.wait()
    task.cancel()
    assert begun == [0, 1, 2] and caplog.text.count("LookupError: a bug") == 2


async def test_only_a_second_interrupt_skips_the_hand_over() -> None:
    stop = Stop()
    stop.ask("POST /drain")
    stop.signalled(signal.SIGTERM)
    stop.signalled(signal.SIGTERM)
    stop.signalled(signal.SIGINT)
    assert stop.asked.is_set() and not stop.hurried.is_set() and stop.reason == "POST /drain"
    stop.signalled(signal.SIGINT)
    assert stop.hurried.is_set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_process_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    port, mesh, admin = free_ports(3)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GAMECLUSTER_")},
        "PYTHONPATH": SERVER,
        "GAMECLUSTER_NODE": "arena-0",
        "GAMECLUSTER_PORT": str(port),
        "GAMECLUSTER_MESH_PORT": str(mesh),
        "GAMECLUSTER_ADMIN_PORT": str(admin),
        "GAMECLUSTER_DATA_DIR": str(tmp_path / "data"),
        "GAMECLUSTER_LOG_FORMAT": "json",
    }
    command = [sys.executable, "-m", "gamecluster", "serve", "gamecluster.demo:Counter"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220
        try:
            async with httpx2.AsyncClient(trust_env=False) as http:

                async def is_ready() -> bool:
                    assert process.poll() is None
                    try:
                        return (await http.get(f"http://127.0.0.1:{admin}/readyz")).status_code == 200
                    except httpx2.HTTPError:
                        return False

                await until(is_ready, seconds=30)
            async with connect(f"ws://127.0.0.1:{port}/socket/websocket?vsn=2.0.0", proxy=None) as client:
                assert (await ask(client, "game", "phx_join", {"player": "p1"}))["status"] == "ok"
                process.send_signal(number)
                with pytest.raises(ConnectionClosed) as raised:
                    while True:
                        await hear(client)
            assert raised.value.rcvd is not None and raised.value.rcvd.code == 1012
            _, log = await asyncio.to_thread(process.communicate, timeout=20)
            assert process.returncode == 0
            assert f'"message": "going ({number.name}): handing over"' in log
            assert "Traceback" not in log
        finally:
            process.kill()
