"""The command line of ``gamecluster bench``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..chaos.arguments import check, payload
from ..errors import ConfigurationError

if TYPE_CHECKING:
    from .connections import Sockets
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
    parser.add_argument(
        "--connections",
        type=int,
        metavar="N",
        help="instead of players: so many connect, join --topic, and stay; on the topic game, how regularly patches come",
    )
    parser.add_argument("--topic", default="game", help="that they join: game, or a Channel's (default: game)")
    parser.add_argument(
        "--broadcasts-per-second",
        type=float,
        default=0.0,
        metavar="N",
        help="on the Channel's topic, which all of them hear (default: none)",
    )
    parser.add_argument("--event", default="shout", help="that the Channel broadcasts (default: shout)")
    parser.add_argument("--size", type=int, default=200, metavar="BYTES", help="of a broadcast's text (default: 200)")
    parser.add_argument("--move", metavar="EVENT", help="how to move, in a game that is not gamecluster.demo:Counter")
    parser.add_argument("--payload", metavar="JSON", default="{}", help="with --move: the move's payload")


def run(options: argparse.Namespace) -> int:
    from ..chaos.target import LocalTarget, UrlTarget
    from ..local import control
    from . import connections
    from . import run as bench

    target = UrlTarget(options.url) if options.url else LocalTarget(control.find(options.cluster, options.data))
    if options.connections is not None:
        return connections.run(target, read_sockets(options))
    return bench.run(target, read(options))


def read_sockets(options: argparse.Namespace) -> Sockets:
    """What ``--connections`` asks for. Raises ConfigurationError."""
    from .connections import Sockets

    check(
        ("--connections", options.connections, 100_000),
        ("--seconds", options.seconds, 86_400),
        ("--processes", options.processes or 1, 256),
        ("--broadcasts-per-second", options.broadcasts_per_second or 1, 10_000),
        ("--size", options.size, 60_000),
    )
    if options.broadcasts_per_second and options.topic == "game":
        raise ConfigurationError(
            "--broadcasts-per-second needs --topic with the topic of a Channel, such as room:1: players of game move"
        )
    return Sockets(
        connections=options.connections,
        topic=options.topic,
        broadcasts_per_second=options.broadcasts_per_second,
        event=options.event,
        size=options.size,
        seconds=options.seconds,
        processes=options.processes,
    )


def read(options: argparse.Namespace) -> Options:
    """The run's Options. Raises ConfigurationError."""
    from .run import Options

    check(
        ("--players", options.players, 10_000),
        ("--moves-per-second", options.moves_per_second, 1_000),
        ("--seconds", options.seconds, 86_400),
        ("--processes", options.processes or 1, 256),
    )
    return Options(
        players=options.players,
        moves_per_second=options.moves_per_second,
        seconds=options.seconds,
        processes=options.processes,
        move=(options.move, payload(options.payload)) if options.move else None,
    )
