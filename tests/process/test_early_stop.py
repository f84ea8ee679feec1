"""A pod may be deleted while its server still loads. As process 1 it hears of that only if it has a handler by then."""

from __future__ import annotations

import subprocess
import sys

from tests.process.harness import environment

LOADS_FOR_EVER = """
import signal, sys

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "gamecluster.shell.serve":
            print("loading", flush=True)
            signal.pause()

sys.meta_path.insert(0, Slow())
from gamecluster.cli import main
sys.exit(main(["serve"]))
"""


def test_a_node_that_is_told_to_go_while_it_loads_goes_at_once() -> None:
    line = [sys.executable, "-c", LOADS_FOR_EVER]
    with subprocess.Popen(line, env=environment(GAMECLUSTER_NODE="game-0"), stdout=subprocess.PIPE) as node:
        try:
            assert node.stdout and node.stdout.readline() == b"loading\n"
            node.terminate()
            assert node.wait(10) == 0, "it would be -15 if nobody had handled it, and then process 1 would live on"
        finally:
            node.kill()
