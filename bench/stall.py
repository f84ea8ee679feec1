"""Has one node of a cluster stand still for a moment, again and again: what commit before delivery costs then."""

from __future__ import annotations

import json
import os
import signal
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from .build import Failed
from .servers import Running

EVERY_SECONDS = 2.0


@contextmanager
def stalling(running: Running, milliseconds: int) -> Iterator[None]:
    """Within the block a node that does not lead stands still for so long every two seconds. 0: none does."""
    if not milliseconds:
        yield
        return
    pid = _follower(running)
    over = threading.Event()
    thread = threading.Thread(target=stall, args=(pid, milliseconds / 1000, over))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def stall(pid: int, seconds: float, over: threading.Event, every: float = EVERY_SECONDS) -> None:
    """Until ``over``; then the process goes on."""
    while not over.wait(every - seconds):
        os.kill(pid, signal.SIGSTOP)
        over.wait(seconds)
        os.kill(pid, signal.SIGCONT)


def _follower(running: Running) -> int:
    """The process of a node that does not lead. Raises Failed."""
    with urllib.request.urlopen(f"http://127.0.0.1:{running.ports[0] + 200}/cluster", timeout=5) as answer:
        view = json.load(answer)
    for node in view["nodes"]:
        if node["name"] != view["leader"] and node["pid"]:
            return int(node["pid"])
    raise Failed(f"{running.server.name}: no node that does not lead is known")
