"""Whom is measured, and how each is started: in its production mode, on one core, on loopback."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from . import build, install
from .build import Failed

ROOT = Path(__file__).parents[1]
START_SECONDS = 40.0
STOP_SECONDS = 10.0
NO_LIMITS = {"GAMECLUSTER_LIMIT_MESSAGES_PER_SECOND": "100000", "GAMECLUSTER_LIMIT_CONNECTIONS": "100000"}
"""A few sockets publish for all: what protects a node from them is not what is measured."""

Command = Callable[[int, Path], Sequence[str]]


class NotStarted(Failed):
    """A server that did not come up; the text ends with what it printed."""


@dataclass(frozen=True, eq=False)
class Server:
    """``command``: from the port, and a folder for its data, to the command line. ``dialect``: see load/dialects.h.

    ``paths``: what each socket asks for where each has its own, from the port, the number of sockets and that of a room's.
    ``clients``, ``ready``: offsets from the port to where clients connect, and to an address that answers 200 once it is ready.
    """

    name: str
    dialect: str
    command: Command
    versions: Callable[[], str]
    environment: Mapping[str, str] = field(default_factory=dict)
    clients: tuple[int, ...] = (0,)
    ready: tuple[int, ...] = ()
    paths: Callable[[int, int, int], Sequence[str]] | None = None


@dataclass(frozen=True)
class Running:
    """``pid``: of the process whose descendants are the server, itself included."""

    server: Server
    pid: int
    ports: tuple[int, ...]
    data: Path


@contextmanager
def started(server: Server, core: int | None) -> Iterator[Running]:
    """The server, until the block ends. Raises NotStarted."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        data = Path(folder)
        port = free_ports()
        pin = ["taskset", "-c", str(core)] if core is not None and shutil.which("taskset") else []
        command = [*pin, *server.command(port, data)]
        with open(data / "output", "wb") as output:
            process = subprocess.Popen(
                command, env=_environment(server.environment), stdout=output, stderr=output, start_new_session=True
            )
        running = Running(server, process.pid, tuple(port + offset for offset in server.clients), data)
        try:
            _wait(server, process, port, data / "output")
            yield running
        finally:
            _end(process)


def free_ports() -> int:
    """A port P with P … P+9, P+100 … and P+200 … free; below those that the kernel gives to clients."""
    for port in range(20_000 + os.getpid() % 300 * 40, 32_000, 20):
        if all(_is_free(port + block + i) for block in (0, 100, 200) for i in range(10)):
            return port
    raise NotStarted("no ports are free between 20000 and 32000")


def _is_free(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return True
    return False


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GAMECLUSTER_")}
    return {**kept, "PYTHONPATH": f"{ROOT / 'server'}:{ROOT}", **more}


def _wait(server: Server, process: subprocess.Popen[bytes], port: int, output: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not all(_listens(port + offset) for offset in server.clients) or not all(
        _is_ready(port + offset) for offset in server.ready
    ):
        if process.poll() is not None or time.monotonic() > deadline:
            raise NotStarted(f"{server.name} did not start: {output.read_text(errors='replace')[-2000:]}")
        time.sleep(0.02)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _is_ready(port: int) -> bool:
    with (
        contextlib.suppress(OSError),
        urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer,
    ):
        return bool(answer.status == 200)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """Its whole session: a server's workers must not outlive it."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


# --- the limit and ours -------------------------------------------------------------------------------------------


def _limit(*mode: str) -> Command:
    return lambda port, data: [str(build.program("limit")), str(port), *mode]


def _cluster(nodes: int) -> Command:
    return lambda port, data: [
        *(sys.executable, "-m", "gamecluster", "up", "bench.game:Board"),
        *(f"--nodes={nodes}", f"--port={port}", f"--data={data}"),
    ]


class _Serve:
    """Variables of one node, which has to know its port."""

    def __init__(self, *targets: str) -> None:
        self._targets = targets

    def __call__(self, port: int, data: Path) -> Sequence[str]:
        variables = {
            **{"GAMECLUSTER_NODE": "bench-0", "GAMECLUSTER_PORT": str(port), "GAMECLUSTER_DATA_DIR": str(data)},
            **{"GAMECLUSTER_LOG_LEVEL": "warning"},
        }
        set_ = [f"{name}={value}" for name, value in variables.items()]
        return ["env", *set_, sys.executable, "-m", "gamecluster", "serve", *self._targets]


def _python(*packages: str) -> Callable[[], str]:
    def tell() -> str:
        found = ", ".join(f"{package} {version(package)}" for package in packages)
        return f"Python {sys.version.split()[0]}, {found}"

    return tell


def _commit() -> str:
    """What of this tree is measured."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "not in git"


def _ours() -> str:
    return f"{_commit()}, {_python('fastapi', 'uvicorn', 'uvloop', 'websockets', 'msgspec')()}"


def _compiled() -> str:
    return _said(build.compiler(), "--version").split("\n")[0]


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


GAMECLUSTER = Server("gamecluster", "phoenix", _Serve("gamecluster.demo:Room"), _ours, NO_LIMITS, ready=(200,))
LIMIT = Server("limit", "phoenix", _limit(), _compiled)
LIMIT_COALESCING = Server("limit, coalescing", "phoenix", _limit("coalesce"), _compiled)
ONE_NODE = Server("gamecluster, 1 node", "game", _Serve("bench.game:Board"), _ours, NO_LIMITS, ready=(200,))
THREE_NODES = Server(
    "gamecluster, 3 nodes", "game", _cluster(3), _ours, NO_LIMITS, clients=(1, 2, 3), ready=(201, 202, 203)
)


def another(tree: Path) -> Server:
    """GameCluster as another checkout has it, to see what a change is worth."""
    environment = {**NO_LIMITS, "PYTHONPATH": str(tree / "server")}
    return Server(f"gamecluster {tree}", "phoenix", GAMECLUSTER.command, _ours, environment, ready=(200,))


# --- peers ----------------------------------------------------------------------------------------------------------


def _node(name: str) -> Command:
    return lambda port, data: ["node", str(install.folder(name) / "server.js"), str(port)]


def _node_versions(name: str) -> Callable[[], str]:
    def tell() -> str:
        wanted = json.loads((install.PEERS / name / "package.json").read_text())["dependencies"]
        return f"Node.js {_said('node', '--version')}, {', '.join(f'{package} {of}' for package, of in wanted.items())}"

    return tell


def _uvicorn(port: int, python: str, folder: Path) -> Sequence[str]:
    return [
        *(python, "-m", "uvicorn", "server:app", "--app-dir", str(folder), "--port", str(port)),
        *("--loop", "uvloop", "--no-access-log", "--log-level", "warning"),
    ]


def _fastapi(port: int, data: Path) -> Sequence[str]:
    return _uvicorn(port, sys.executable, install.PEERS / "fastapi")


def _python_socketio(port: int, data: Path) -> Sequence[str]:
    there = install.folder("python-socketio")
    return _uvicorn(port, str(there / "venv/bin/python"), there)


def _websockets(port: int, data: Path) -> Sequence[str]:
    there = install.folder("websockets")
    return [str(there / "venv/bin/python"), str(there / "server.py"), str(port)]


def _pinned(name: str) -> Callable[[], str]:
    def tell() -> str:
        return f"Python {sys.version.split()[0]}, {', '.join((install.PEERS / name / 'requirements.txt').read_text().split())}"

    return tell


def _centrifuge(port: int, data: Path) -> Sequence[str]:
    return [str(install.folder("centrifuge") / "server"), str(port)]


def _go() -> str:
    wanted = (install.PEERS / "centrifuge" / "go.mod").read_text().split("require ")[1].split("\n")[0]
    return f"{_said('go', 'version')}, {wanted}"


def _seats(port: int, sockets: int, room_size: int) -> list[str]:
    """Colyseus gives each client a seat by HTTP first."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    paths = []
    for i in range(sockets):
        body = json.dumps({"room": i // room_size})
        connection.request("POST", "/matchmake/joinOrCreate/bench", body, {"Content-Type": "application/json"})
        seat = json.loads(connection.getresponse().read())
        paths.append(f"/{seat['processId']}/{seat['roomId']}?sessionId={seat['sessionId']}")
    return paths


PRODUCTION = {"NODE_ENV": "production"}
PEER_SERVERS = {
    server.name: server
    for server in (
        Server("fastapi", "plain", _fastapi, _python("fastapi", "uvicorn", "uvloop", "websockets")),
        Server("ws", "plain", _node("ws"), _node_versions("ws"), PRODUCTION),
        Server("socketio", "socketio", _node("socketio"), _node_versions("socketio"), PRODUCTION),
        Server("colyseus", "colyseus", _node("colyseus"), _node_versions("colyseus"), PRODUCTION, paths=_seats),
        Server("centrifuge", "centrifugo", _centrifuge, _go),
        Server("websockets", "plain", _websockets, _pinned("websockets")),
        Server("python-socketio", "socketio", _python_socketio, _pinned("python-socketio")),
    )
}
