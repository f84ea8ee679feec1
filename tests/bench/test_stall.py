from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

from bench.stall import stall


def state(process: subprocess.Popen[bytes]) -> str:
    """The letter that the kernel has for it: T is stopped."""
    return Path(f"/proc/{process.pid}/stat").read_text().rsplit(") ", 1)[1][0]


def until(process: subprocess.Popen[bytes], stopped: bool) -> None:
    deadline = time.monotonic() + 10
    while (state(process) == "T") is not stopped:
        assert time.monotonic() < deadline, f"is {state(process)}"
        time.sleep(0.005)


def test_a_node_stands_still_and_goes_on_again_and_again_and_in_the_end() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        over = threading.Event()
        thread = threading.Thread(target=stall, args=(process.pid, 0.1, over), kwargs={"every": 0.2})
        thread.start()
        for stopped in (True, False, True):
            until(process, stopped)
        over.set()
        thread.join()
        until(process, stopped=False)
        process.kill()
