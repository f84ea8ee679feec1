"""A real Redis and a real PostgreSQL for tests, on loopback, with folders of their own that go with them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

START_SECONDS = STOP_SECONDS = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def program(name: str) -> str:
    """Debian keeps PostgreSQL's programs in a folder per version."""
    found = shutil.which(name) or next(map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None)
    assert found, f"{name} is missing: run tests/packages"
    return found


class Server:
    """One server process of a test's own: it can be stopped, continued, killed and started again on its port."""

    def __init__(
        self,
        command: list[str],
        url: str,
        check: Callable[[], bool],
        as_user: tuple[int, int] | None,
        crash: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.url = url
        self._command = command
        self._check = check
        self._as_user = as_user
        self._crash = crash
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        user, group = self._as_user or (None, None)
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            user=user,
            group=group,
            extra_groups=[] if self._as_user else None,
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._check():
            assert self._process.poll() is None, f"{self._command[0]} ended with {self._process.returncode}"
            assert time.monotonic() < deadline, f"{self._command[0]} does not answer"
            time.sleep(0.05)

    def signal(self, number: signal.Signals) -> None:
        """To its children, too: PostgreSQL has a process for each connection."""
        assert self._process is not None
        parent = self._process.pid
        for pid in (parent, *_children(parent)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self) -> None:
        if self._process is not None:
            self.signal(signal.SIGCONT)
            self._process.send_signal(self._crash)
            self._process.wait(STOP_SECONDS)
            self._process = None


def _children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


@contextmanager
def server_folder() -> Iterator[Path]:
    """Not pytest's own: PostgreSQL's user must be able to enter it."""
    with tempfile.TemporaryDirectory(prefix="gamecluster-") as name:
        os.chmod(name, 0o755)
        inner = Path(name) / "server"
        inner.mkdir()
        yield inner


@contextmanager
def redis_server(folder: Path) -> Iterator[Server]:
    """With an append-only file, so that it comes back with what it had."""
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", "--appendonly", "yes"]
    command = [program("redis-server"), *options, "--appendfsync", "always"]

    def answers() -> bool:
        with socket.socket() as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(("127.0.0.1", port))
                probe.sendall(b"PING\r\n")
                return probe.recv(16).startswith(b"+PONG")
            except OSError:
                return False

    server = Server(command, f"redis://127.0.0.1:{port}/0", answers, None)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def postgresql_server(folder: Path) -> Iterator[Server]:
    """PostgreSQL does not run as root: then it runs as ``nobody``, in a folder where nobody else can be in its way."""
    port = free_port()
    data = folder / "data"
    user = None
    if os.getuid() == 0:
        import pwd

        entry = pwd.getpwnam("nobody")
        user = (entry.pw_uid, entry.pw_gid)
        os.chown(folder, *user)
    subprocess.run(
        [program("initdb"), "-D", str(data), "-U", "game", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"],
        check=True,
        capture_output=True,
        user=user[0] if user else None,
        group=user[1] if user else None,
        extra_groups=[] if user else None,
        cwd="/",
    )
    options = ["-c", f"port={port}", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
    url = f"postgresql://game@127.0.0.1:{port}/postgres"

    def answers() -> bool:
        return subprocess.run([program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]).returncode == 0

    # as a crash, but with an end to all of PostgreSQL's processes
    server = Server([program("postgres"), "-D", str(data), *options], url, answers, user, signal.SIGQUIT)
    try:
        server.start()
        yield server
    finally:
        server.stop()
