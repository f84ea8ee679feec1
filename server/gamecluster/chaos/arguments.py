"""The command line of ``gamecluster chaos``."""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from .run import Options

FAULTS = ("kill", "stop", "delete", "force-delete", "handover", "drain", "scale")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cluster", nargs="?", metavar="CLUSTER", help="its name (default: the one that is up here)")
    parser.add_argument("-n", "--namespace", metavar="NAMESPACE", help="on Kubernetes, through kubectl")
    parser.add_argument(
        "--url", help="the admin port of a node, such as http://127.0.0.1:4201; with -n: where players connect"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="the folder of a local cluster")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long faults are done (default: 60)")
    parser.add_argument("--players", type=int, default=20, help="how many play meanwhile (default: 20)")
    parser.add_argument(
        "--moves-per-second", type=float, default=20.0, metavar="N", help="of each player (default: 20)"
    )
    parser.add_argument(
        "--faults", metavar="LIST", help=f"which, by commas (default: all that can be done): {','.join(FAULTS)}"
    )
    parser.add_argument("--seed", type=int, help="repeats the choice of faults")
    parser.add_argument("--move", metavar="EVENT", help="how to move, in a game that is not gamecluster.demo:Counter")
    parser.add_argument("--payload", metavar="JSON", default="{}", help="with --move: the move's payload")


def run(options: argparse.Namespace) -> int:
    from ..local import control
    from . import run as chaos
    from .target import LocalTarget, Target, UrlTarget

    if options.namespace:
        return _on_kubernetes(options)
    target: Target = UrlTarget(options.url) if options.url else LocalTarget(control.find(options.cluster, options.data))
    return chaos.run(target, read(options, tuple(sorted(target.faults))))


def _on_kubernetes(options: argparse.Namespace) -> int:
    from . import run as chaos
    from .kubernetes import opened

    if not options.cluster:
        raise ConfigurationError("-n NAMESPACE needs the GameCluster's name, too")
    read(options, FAULTS)  # what is wrong with it is said before Kubernetes is asked anything
    with opened(options.namespace, options.cluster, options.url) as target:
        if target.lacking:
            print(
                f"without faults that need the right to {' or to '.join(target.lacking)}: you don't have it", flush=True
            )
        return chaos.run(target, read(options, tuple(sorted(target.faults))))


def read(options: argparse.Namespace, possible: tuple[str, ...]) -> Options:
    """The run's Options. Raises ConfigurationError."""
    from .run import Options
    from .target import Fault

    names = [name.strip() for name in options.faults.split(",")] if options.faults else possible
    if unknown := [name for name in names if name not in FAULTS]:
        raise ConfigurationError(
            f"--faults: there is no {', '.join(map(repr, unknown))}; there are: {','.join(FAULTS)}"
        )
    check(
        ("--seconds", options.seconds, 86_400),
        ("--players", options.players, 1_000),
        ("--moves-per-second", options.moves_per_second, 1_000),
    )
    return Options(
        seconds=options.seconds,
        players=options.players,
        pace_seconds=1 / options.moves_per_second,
        faults=tuple(Fault(name) for name in names),
        seed=random.randrange(2**32) if options.seed is None else options.seed,
        move=(options.move, payload(options.payload)) if options.move else None,
    )


def check(*given: tuple[str, float, float]) -> None:
    """Flag, value, and the most that it may be. Raises ConfigurationError."""
    for flag, value, most in given:
        if not 0 < value <= most:
            raise ConfigurationError(f"{flag} {value}: expected more than 0, and at most {most}")


def payload(text: str) -> dict[str, Any]:
    """What ``--payload`` says. Raises ConfigurationError."""
    try:
        said = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"--payload: not JSON: {error}") from None
    if not isinstance(said, dict):
        raise ConfigurationError('--payload: expected a JSON object, such as \'{"dx": 1, "dy": 0}\'')
    return said
