"""``python -m gamecluster.local.node``: ``gamecluster serve`` that never outlives its supervisor.

The supervisor holds the other end of this process' stdin: when it closes, the supervisor is gone. On Linux the kernel
besides kills the process, even a stopped one, when its parent dies.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

from ..cli import main

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch_stdin, name="supervisor-watch", daemon=True).start()


def _watch_stdin() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    die_with_parent()
    sys.exit(main(["serve"]))
