"""``python -m bench``: see docs/performance.md. Exit code 1: a message was lost, doubled or out of order; 2: a server did not start."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from . import install
from .build import Failed
from .run import LOAD_CORE, SERVER_CORE, Run, can_pin, processor, rounds
from .scenarios import NAMED, SCENARIOS, Kind, Scenario
from .servers import PEER_SERVERS, Server, another
from .table import remarks, table


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    scenarios = _chosen(options)
    peers = [PEER_SERVERS[name] for name in ([*PEER_SERVERS] if options.all_peers else options.peers)]
    more = [another(tree.resolve()) for tree in options.against]
    for peer in peers:
        with contextlib.suppress(Failed):  # said again when it is to be measured
            install.folder(peer.name)
    print(conditions(options.rounds), flush=True)
    for server in dict.fromkeys([*(server for scenario in scenarios for server in scenario.servers), *more, *peers]):
        print(f"- {server.name}: {server.versions()}", flush=True)
    wrong = failed = 0
    for scenario in scenarios:
        chosen = scenario.lasting(options.seconds) if options.seconds else scenario
        servers = [*chosen.servers, *(more + peers if chosen.with_peers else [])]
        if chosen.kind is Kind.idle:  # who hands out seats by another way would be billed for half of it
            servers = [server for server in servers if not server.paths]
        runs, failures = measured(chosen, servers, options.rounds)
        wrong += sum(run.measured.wrong for run in runs)
        failed += failures
        if options.json:
            with options.json.open("ab") as file:
                file.writelines(line(run) for run in runs)
    return 2 if failed else 1 if wrong else 0


def _chosen(options: argparse.Namespace) -> list[Scenario]:
    chosen = [NAMED[name] for name in options.scenarios] or [one for one in SCENARIOS if one.by_default]
    if not options.players:
        return chosen
    return [one.with_players(count) for one in chosen if one.kind is Kind.moves for count in options.players]


def measured(scenario: Scenario, servers: Sequence[Server], count: int) -> tuple[list[Run], int]:
    """Measures, and prints. Returns the runs, and how many servers failed and are left out."""
    print(f"\n## {scenario.name}: {scenario.text}\n", flush=True)
    outcomes = list(rounds(scenario, servers, count))
    runs = [outcome for outcome in outcomes if isinstance(outcome, Run)]
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    if runs:
        print(table(runs))
    for line_ in [*remarks(runs), *failures]:
        print(f"\n**{line_}**")
    if runs:
        averages = [run.load_average for run in runs]
        print(f"\nLoad average before each run: {min(averages):.1f} to {max(averages):.1f}.", flush=True)
    return runs, len(failures)


def conditions(count: int) -> str:
    """What has to be told with every figure."""
    cores = f"server on core {SERVER_CORE}, load generator on core {LOAD_CORE}" if can_pin() else "nothing is pinned"
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores ({processor()}), Linux {platform.release()}, load average "
        f"{os.getloadavg()[0]:.1f}; loopback, {cores}; medians of {count} interleaved rounds (lowest–highest). "
        "Sizes are those of the application's message, without the protocol's envelope."
    )


def line(run: Run) -> bytes:
    """One run as JSON."""
    told = {
        "scenario": run.scenario.name,
        "server": run.server.name,
        "round": run.round,
        "load_average": run.load_average,
    }
    return msgspec.json.encode(told | msgspec.to_builtins(run.measured)) + b"\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measures GameCluster beside the limit and its peers."
    )
    parser.add_argument(
        "scenarios", nargs="*", metavar="SCENARIO", help=f"default: all of {' '.join(NAMED)}", choices=[*NAMED, []]
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--seconds", type=float, metavar="S", help="of each run, instead of the scenario's own")
    parser.add_argument(
        "--peers", nargs="*", default=[], choices=list(PEER_SERVERS), metavar="PEER", help=" ".join(PEER_SERVERS)
    )
    parser.add_argument("--all-peers", action="store_true", help="all of them")
    parser.add_argument(
        "--against",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="another checkout of this project, measured too",
    )
    parser.add_argument(
        "--players", type=int, nargs="*", metavar="N", help="only the scenarios of moves, with so many players"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="appends every run as a line of JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
