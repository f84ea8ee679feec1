"""The command line of ``gamecluster bench``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..chaos.arguments import payload
from ..errors import ConfigurationError

if TYPE_CHECKING:
    from .run import Options


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cluster", nargs="?", metavar="CLUSTER", help="its name (default: the one that is up here)")
    parser.add_argument("--url", help="the admin port of a node, such as http://127.0.0.1:4201")
    parser.add_argument("--data", type=Path, metavar="DIR", help="the folder of a local cluster")
    parser.add_argument("--players", type=int, default=20, help="how many play (default: 20)")
    parser.add_argument(
        "--moves-per-second", type=float, default=10.0, metavar="N", help="of each player (default: 10)"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="how long it is measured (default: 10)")
    parser.add_argument(
        "--processes", type=int, metavar="N", help="that share the players (default: as many as they need)"
    )
    parser.add_argument("--move", metavar="EVENT", help="how to move, in a game that is not gamecluster.demo:Counter")
    parser.add_argument("--payload", metavar="JSON", default="{}", help="with --move: the move's payload")


def run(options: argparse.Namespace) -> int:
    from ..chaos.target import LocalTarget, UrlTarget
    from ..local import control
    from . import run as bench

    target = UrlTarget(options.url) if options.url else LocalTarget(control.find(options.cluster, options.data))
    return bench.run(target, read(options))


def read(options: argparse.Namespace) -> Options:
    """The run's Options. Raises ConfigurationError."""
    from .run import Options

    for flag, value, most in (
        ("--players", options.players, 10_000),
        ("--moves-per-second", options.moves_per_second, 1_000),
        ("--seconds", options.seconds, 86_400),
        ("--processes", options.processes or 1, 256),
    ):
        if not 0 < value <= most:
            raise ConfigurationError(f"{flag} {value}: expected more than 0, and at most {most}")
    return Options(
        players=options.players,
        moves_per_second=options.moves_per_second,
        seconds=options.seconds,
        processes=options.processes,
        move=(options.move, payload(options.payload)) if options.move else None,
    )
