"""Flags and ``GAMECLUSTER_OPERATOR_*`` → one frozen ``Settings``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PREFIX = "GAMECLUSTER_OPERATOR_"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """``namespaces`` empty: all of them. ``leader_election``: works only while it holds a Lease, which is in ``lease_namespace``
    (empty: its own). ``admin_namespaces``: NetworkPolicies let their pods reach the games' admin port."""

    namespaces: tuple[str, ...] = ()
    admin_namespaces: tuple[str, ...] = ()
    leader_election: bool = False
    lease_namespace: str = ""
    health_host: str = "0.0.0.0"
    health_port: int = 8080
    workers: int = 8
    resync_seconds: float = 10.0
    relist_seconds: float = 60.0
    counters_seconds: float = 15.0
    log_format: str = "json"
    log_level: str = "info"


def parse(arguments: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Flags win over the environment. Ends the program, saying what would be valid, if something is not."""
    env = os.environ if environment is None else environment
    parser = argparse.ArgumentParser(
        prog="python -m gamecluster_operator",
        description="Watches GameCluster objects and makes the Kubernetes cluster what they say.",
        epilog=f"Every flag can also be given as {PREFIX}<FLAG>, such as {PREFIX}NAMESPACES=games,more-games.",
    )

    def text(name: str, default: str) -> str:
        return env.get(PREFIX + name, "").strip() or default

    parser.add_argument(
        "-n",
        "--namespace",
        action="append",
        metavar="NS",
        help="watch this namespace only; may be repeated; default: all",
    )
    parser.add_argument(
        "--admin-namespace",
        action="append",
        metavar="NS",
        help="let the pods of this namespace (the operator's own, a monitoring's) reach the games' admin port; may be repeated",
    )
    parser.add_argument(
        "--health-host", default=text("HEALTH_HOST", "0.0.0.0"), help="where /livez and /metrics listen"
    )
    parser.add_argument(
        "--leader-election",
        action=argparse.BooleanOptionalAction,
        help="wait for the Lease gamecluster-operator, so that of several replicas one works; default: no",
    )
    parser.add_argument(
        "--lease-namespace",
        default=text("LEASE_NAMESPACE", ""),
        metavar="NS",
        help="where that Lease is; default: the operator's own",
    )
    parser.add_argument("--health-port", type=_port, default=text("HEALTH_PORT", "8080"), help="0: none")
    parser.add_argument("--workers", type=_count, default=text("WORKERS", "8"), help="clusters reconciled at a time")
    parser.add_argument("--log-format", choices=("text", "json"), default=text("LOG_FORMAT", "json"))
    parser.add_argument("--log-level", choices=("debug", "info", "warning"), default=text("LOG_LEVEL", "info"))
    given = parser.parse_args(arguments)
    election = text("LEADER_ELECTION", "false")
    if election not in ("true", "false"):
        parser.error(f"{PREFIX}LEADER_ELECTION={election}: expected true or false")
    if given.log_format not in ("text", "json"):
        parser.error(f"{PREFIX}LOG_FORMAT={given.log_format}: expected text or json")
    if given.log_level not in ("debug", "info", "warning"):
        parser.error(f"{PREFIX}LOG_LEVEL={given.log_level}: expected debug, info or warning")
    namespaces = given.namespace or text("NAMESPACES", "").split(",")
    admin_namespaces = given.admin_namespace or text("ADMIN_NAMESPACES", "").split(",")
    return Settings(
        namespaces=tuple(name.strip() for name in namespaces if name.strip()),
        admin_namespaces=tuple(name.strip() for name in admin_namespaces if name.strip()),
        leader_election=given.leader_election if given.leader_election is not None else election == "true",
        lease_namespace=given.lease_namespace,
        health_host=given.health_host,
        health_port=given.health_port,
        workers=given.workers,
        log_format=given.log_format,
        log_level=given.log_level,
    )


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError("expected a port from 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError("expected a whole number from 1 to 100")
    return int(text)
