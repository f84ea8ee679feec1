"""The command ``gamecluster``: arguments to calls. Exit code 2: what was asked for can't work (one line says why)."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import look
from .bench import arguments as bench
from .chaos import arguments as chaos
from .errors import ConfigurationError
from .settings import PREFIX, Settings

LOOKS = {
    "status": ("/cluster", "who leads, who is in sync, how many play"),
    "nodes": ("/cluster", "every node with its role, state and connections"),
    "state": ("/state", "the GameState as JSON"),
    "names": ("/names", "registered names and the nodes they live on"),
    "groups": ("/groups", "process groups and their members"),
    "rooms": ("/rooms", "rooms and where they are"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except ConfigurationError as error:
        print(f"gamecluster {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


# --- running ----------------------------------------------------------------------------------------------------


def _up(options: argparse.Namespace) -> int:
    from .local import plan, up
    from .targets import load

    made = plan.make(
        options.targets,
        options.file,
        nodes=options.nodes,
        port=options.port,
        data=options.data,
        restart=not options.no_restart,
        environment={name: value for name, value in os.environ.items() if name.startswith(PREFIX)},
    )
    load(made.targets)  # what no node could load is said once, before any is started
    return up.run(made)


def _serve(options: argparse.Namespace) -> int:
    # Process 1 of a container does not hear a signal that it has no handler for, and the import takes a second.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    from .shell.serve import run

    settings = Settings.from_env()
    run(settings, tuple(options.targets) or settings.targets)
    return 0


# --- looking and moving -----------------------------------------------------------------------------------------


def _look(options: argparse.Namespace) -> int:
    path, _ = LOOKS[options.command]
    if _is_remote(options):
        arguments = [options.command, *(["--json"] if options.json else []), *_rooms_arguments(options)]
        return look.on_kubernetes(options.namespace, options.cluster, None, arguments)
    answer = look.first_that_answers(_admin_urls(options), path)
    if options.command == "nodes" and not options.url:
        _add_pids(answer, _local_nodes(options))
    if options.command == "rooms":
        print(_shown_rooms(answer, options))
        return 0
    print(json.dumps(answer, ensure_ascii=False) if options.json else look.show(options.command, answer))
    return 0


def _shown_rooms(answer: look.Answer, options: argparse.Namespace) -> str:
    """Whoever names a pattern sees all that match."""
    if options.match is not None:
        answer = look.matching(answer, options.match)
    if options.json:
        return json.dumps(answer, ensure_ascii=False)
    if options.match is not None and not answer["rooms"]:
        return f"no room matches {options.match}"
    return look.show_rooms(answer, None if options.all or options.match is not None else look.ROOMS_SHOWN)


def _rooms_arguments(options: argparse.Namespace) -> list[str]:
    if options.command != "rooms":
        return []
    return [*(["--all"] if options.all else []), *([f"--match={options.match}"] if options.match is not None else [])]


def _add_pids(answer: look.Answer, supervised: Sequence[Mapping[str, Any]]) -> None:
    """A node knows its own process only; the supervisor knows all."""
    pids = {node["name"]: node["pid"] for node in supervised}
    for node in answer.get("nodes", []):
        node["pid"] = pids.get(node["name"])


def _handoff(options: argparse.Namespace) -> int:
    if _is_remote(options):
        to = ["--to", options.to] if options.to else []
        return look.on_kubernetes(options.namespace, options.cluster, None, ["handoff", *to])
    urls = _admin_urls(options)
    leader = look.first_that_answers(urls, "/cluster").get("leader")
    look.post(_alive(urls), "/handoff", {"to": options.to})
    print(f"asked {leader or 'the leader'} to hand over to {options.to or 'whom it chooses'}: see `gamecluster status`")
    return 0


def _drain(options: argparse.Namespace) -> int:
    if _is_remote(options):
        return look.on_kubernetes(options.namespace, options.cluster, options.node, ["drain", options.node])
    url = options.url or _admin_of(options)
    if look.get(url, "/cluster").get("self") != options.node:
        raise ConfigurationError(
            f"{url} is not {options.node}: a drain is asked of the node itself, at its own admin port"
        )
    look.post(url, "/drain", {})
    print(f"{options.node} drains: it hands over what it holds, sends its clients away and ends")
    return 0


def _control(options: argparse.Namespace) -> int:
    """scale, stop, start, kill: what the supervisor of a local cluster does."""
    from .local import control

    command: dict[str, Any] = {"do": options.command}
    command |= {"count": options.count} if options.command == "scale" else {"node": options.node}
    reply = control.ask(control.find(options.cluster, options.data), command)
    if options.json:
        print(json.dumps(reply))
    else:
        rows = [(node["name"], node["state"], node["pid"] or "-", node["url"]) for node in reply["nodes"]]
        print(look.table([("NODE", "STATE", "PID", "URL"), *rows]))
    return 0


def _is_remote(options: argparse.Namespace) -> bool:
    if options.namespace and not options.cluster:
        raise ConfigurationError("-n NAMESPACE needs the GameCluster's name, too")
    return bool(options.namespace)


def _admin_urls(options: argparse.Namespace) -> list[str]:
    """The admin ports to ask, the most promising first."""
    if options.url:
        return [options.url]
    nodes = _local_nodes(options)
    return [n["admin"] for state in ("ready", "running") for n in nodes if n["state"] == state]


def _admin_of(options: argparse.Namespace) -> str:
    nodes = {node["name"]: str(node["admin"]) for node in _local_nodes(options)}
    if options.node not in nodes:
        raise ConfigurationError(f"there is no node {options.node}; there are: {', '.join(nodes)}")
    return nodes[options.node]


def _alive(urls: Sequence[str]) -> str:
    for url in urls:
        try:
            look.get(url, "/cluster")
        except ConfigurationError:
            continue
        return url
    raise ConfigurationError("no node answers")


def _local_nodes(options: argparse.Namespace) -> list[dict[str, Any]]:
    from .local import control

    nodes: list[dict[str, Any]] = control.ask(control.find(options.cluster, options.data), {"do": "nodes"})["nodes"]
    return nodes


# --- arguments --------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """A parser that knows what to run."""

    def __init__(self, *, run: Callable[[argparse.Namespace], int] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.set_defaults(run=run)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="gamecluster", description="Real-time multiplayer games that survive the loss of any machine."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_running(commands)
    _add_looking(commands)
    _add_local(commands)
    chaos.add(commands.add_parser("chaos", help="faults under load, and what they cost: a verdict", run=chaos.run))
    bench.add(
        commands.add_parser("bench", help="players that move at a given rate, and how long answers take", run=bench.run)
    )
    return parser


def _add_running(commands: Any) -> None:
    up = commands.add_parser("up", help="a cluster on this machine: nodes, supervision, one shared port", run=_up)
    up.add_argument(
        "targets",
        nargs="*",
        metavar="TARGET",
        help="module:Class or file.py:Class: a Game, Channels, Singletons (default: the demo)",
    )
    up.add_argument(
        "-f", "--file", type=Path, metavar="MANIFEST", help="a GameCluster manifest, as kubectl apply takes it"
    )
    up.add_argument("--nodes", type=int, metavar="N", help="how many nodes (default: the manifest's replicas, else 3)")
    up.add_argument(
        "--port",
        type=int,
        default=4000,
        help="the shared port; node i is on the ports +1+i, +101+i and +201+i (default: 4000)",
    )
    up.add_argument(
        "--data", type=Path, metavar="DIR", help="folder for the Lease, keys and logs (default: .gamecluster/<name>)"
    )
    up.add_argument("--no-restart", action="store_true", help="leave dead nodes dead")
    serve = commands.add_parser(
        "serve", help="one node, set by GAMECLUSTER_* variables: what the server image runs", run=_serve
    )
    serve.add_argument("targets", nargs="*", metavar="TARGET", help="default: GAMECLUSTER_TARGETS")


def _add_looking(commands: Any) -> None:
    for name, (_, text) in LOOKS.items():
        command = commands.add_parser(name, help=text, run=_look)
        if name == "rooms":
            command.add_argument("--match", metavar="PATTERN", help="those whose ids match, such as 'zone-*'")
            command.add_argument("--all", action="store_true", help=f"not only the first {look.ROOMS_SHOWN}")
        _where(command, json=True)
    handoff = commands.add_parser("handoff", help="move the GameState to another node", run=_handoff)
    handoff.add_argument("--to", metavar="NODE", help="default: the leader chooses")
    _where(handoff)
    drain = commands.add_parser("drain", help="have a node hand over, send its clients away and end", run=_drain)
    drain.add_argument("node", metavar="NODE")
    _where(drain)


def _where(parser: argparse.ArgumentParser, *, json: bool = False) -> None:
    parser.add_argument("cluster", nargs="?", metavar="CLUSTER", help="its name (default: the one that is up here)")
    parser.add_argument("-n", "--namespace", metavar="NAMESPACE", help="on Kubernetes, through kubectl")
    parser.add_argument("--url", help="the admin port of a node, such as http://127.0.0.1:4201")
    parser.add_argument("--data", type=Path, metavar="DIR", help="the folder of a local cluster")
    if json:
        parser.add_argument("--json", action="store_true", help="as JSON, for programs")


def _add_local(commands: Any) -> None:
    texts = {
        "scale": "as many nodes as this; the others go on",
        "stop": "end a node gracefully; it stays stopped",
        "start": "start a stopped node",
        "kill": "kill -9 a node; it comes back",
    }
    for name, text in texts.items():
        command = commands.add_parser(name, help=f"locally: {text}", run=_control)
        if name == "scale":
            command.add_argument("count", type=int, metavar="N")
        else:
            command.add_argument("node", metavar="NODE")
        command.add_argument(
            "cluster", nargs="?", metavar="CLUSTER", help="its name (default: the one that is up here)"
        )
        command.add_argument("--data", type=Path, metavar="DIR", help="the folder of the cluster")
        command.add_argument("--json", action="store_true", help="as JSON, for programs")
