"""``python -m bench.operator --clusters 1000``: what the operator costs, on a real API server with fake nodes and pods."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from .run import Options, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.operator", description=__doc__)
    parser.add_argument("--clusters", type=int, default=1000, help="GameClusters (default: 1000)")
    parser.add_argument("--pods", type=int, default=3, help="of each (default: 3)")
    parser.add_argument(
        "--nodes", type=int, help="kwok's; 0: none, the bench plays the kubelet (default: one for 80 pods)"
    )
    parser.add_argument("--steady-seconds", type=float, default=60, help="how long nothing happens (default: 60)")
    parser.add_argument("--changes", type=int, default=100, help="of games' specs (default: 100)")
    parser.add_argument("--lease-seconds", type=int, default=15, help="each game's leaseDurationSeconds (default: 15)")
    parser.add_argument("--rounds", type=int, default=3, help="restarts of the operator (default: 3)")
    parser.add_argument("--seed", type=int, default=1, help="chooses which games change (default: 1)")
    parser.add_argument("--folder", type=Path, help="for logs, to be kept (default: a temporary one)")
    given = parser.parse_args()
    if given.nodes is None:
        given.nodes = -(-given.clusters * given.pods // 80)
    with tempfile.TemporaryDirectory(prefix="bench-operator-") as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        options = {name: value for name, value in vars(given).items() if name != "folder"}
        return asyncio.run(run(Options(**options), folder))


if __name__ == "__main__":
    sys.exit(main())
