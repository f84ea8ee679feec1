"""How other commands talk to a running ``gamecluster up``: JSON lines over a Unix socket in its data folder.

``{"do": "scale", "count": 4}`` → ``{"ok": true, …}`` or ``{"ok": false, "error": "…"}``; one request a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, GameClusterError

LINE_BYTES = 65_536
SOCKET = "up.sock"
LONGEST_PATH = 100
"""Bytes that fit into a Unix socket's address everywhere."""

Command = dict[str, Any]
Reply = dict[str, Any]


def socket_path(data: Path) -> str:
    """The shorter way to write the path of the socket. Raises ConfigurationError if none fits."""
    path = min((str((data / SOCKET).absolute()), os.path.relpath(data / SOCKET)), key=len)
    if len(path.encode()) > LONGEST_PATH:
        raise ConfigurationError(f"--data {data}: the path is too long for a Unix socket: choose a shorter one")
    return path


class ControlServer:
    def __init__(self, handle: Callable[[Command], Awaitable[Reply]]) -> None:
        self._handle = handle
        self._server: asyncio.Server | None = None
        self._path = ""

    async def start(self, data: Path) -> None:
        self._path = socket_path(data)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        self._server = await asyncio.start_unix_server(self._serve, self._path, limit=LINE_BYTES)
        os.chmod(self._path, 0o600)

    def stop(self) -> None:
        if self._server:
            self._server.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            reply = await self._reply(await reader.readline())
            writer.write(json.dumps(reply).encode() + b"\n")
            await writer.drain()
        except OSError:
            pass  # the asker is gone
        finally:
            writer.close()

    async def _reply(self, line: bytes) -> Reply:
        try:
            return {"ok": True, **await self._handle(json.loads(line))}
        except (GameClusterError, ValueError, KeyError, TypeError) as error:
            text = str(error) if isinstance(error, GameClusterError) else f"not a command: {error!r}"
            return {"ok": False, "error": text}


def is_up(data: Path) -> bool:
    with contextlib.suppress(OSError, ConfigurationError), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(socket_path(data))
        return True
    return False


def ask(data: Path, command: Command, timeout_seconds: float = 60.0) -> Reply:
    """Has the cluster of this data folder do something. Raises ConfigurationError if it isn't up or refuses."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_seconds)
            connection.connect(socket_path(data))
            connection.sendall(json.dumps(command).encode() + b"\n")
            with connection.makefile("rb") as lines:
                line = lines.readline(LINE_BYTES)
    except TimeoutError:
        raise ConfigurationError(f"the cluster in {data} did not answer within {timeout_seconds:.0f} s") from None
    except OSError:
        raise ConfigurationError(f"no cluster is up in {data}: start one with `gamecluster up`") from None
    reply: Reply = json.loads(line) if line else {"ok": False, "error": f"the cluster in {data} ended meanwhile"}
    if not reply.pop("ok"):
        raise ConfigurationError(reply["error"])
    return reply


def find(name: str | None, data: Path | None) -> Path:
    """The data folder of the local cluster that is meant. Raises ConfigurationError if that is not exactly one."""
    if data or name:
        return data or Path(".gamecluster") / str(name)
    alive = [folder for folder in sorted(Path(".gamecluster").glob("*")) if is_up(folder)]
    if len(alive) == 1:
        return alive[0]
    if alive:
        raise ConfigurationError(
            f"several clusters are up here: {', '.join(f.name for f in alive)}. Name one of them, or give --data"
        )
    raise ConfigurationError(
        "no cluster is up in this folder: start one with `gamecluster up`, "
        "or say which: --data DIR, --url URL of a node's admin port, or -n NAMESPACE CLUSTER on Kubernetes"
    )
