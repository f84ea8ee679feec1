"""Stands in for a node: an admin port that says what a test wants, and a client port that says which node it is.

It ends at SIGTERM, and at the end of its stdin as the real one does.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path


async def main() -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    name, port, data = (
        os.environ["GAMECLUSTER_NODE"],
        int(os.environ["GAMECLUSTER_PORT"]),
        os.environ["GAMECLUSTER_DATA_DIR"],
    )
    if os.environ.get("GAMECLUSTER_LOG_LEVEL") == "debug":
        print(f"{name}: this node was told to crash", file=sys.stderr)
        sys.exit(2)
    boot = count_boot(Path(data))
    incarnation = f"{name}_uid_{boot}"
    Path(data, "peers").write_text(os.environ["GAMECLUSTER_PEERS"])
    clients = await asyncio.start_server(lambda r, w: greet(r, w, name), "127.0.0.1", port)
    admin = await asyncio.start_server(lambda r, w: answer(r, w, name, incarnation), "127.0.0.1", port + 200)
    loop.add_reader(0, lambda: ended.set() if not os.read(0, 100) else None)
    await ended.wait()
    clients.close()
    admin.close()


def count_boot(data: Path) -> int:
    data.mkdir(parents=True, exist_ok=True)
    counter = data / "boots"
    boot = int(counter.read_text()) + 1 if counter.exists() else 1
    counter.write_text(str(boot))
    return boot


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> None:
    writer.write(name.encode() + b"\n")
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str, incarnation: str) -> None:
    request = await reader.readuntil(b"\r\n\r\n")
    node = {"name": name, "incarnation": incarnation, "ready": True, "state": "alive"}
    body = b"{}" if b"/readyz" in request else json.dumps({"self": name, "leader": None, "nodes": [node]}).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
    await writer.drain()
    writer.close()


asyncio.run(main())
