"""Looks into a running cluster through the admin port of one of its nodes, and says it for people or as JSON."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from . import account, kubectl
from .errors import ConfigurationError

ANSWER_SECONDS = 5.0
ROOMS_SHOWN = 50
KUBERNETES_ADMIN_URL = "http://127.0.0.1:4200"

Answer = dict[str, Any]


def get(admin_url: str, path: str) -> Answer:
    """``GET`` on an admin port. Raises ConfigurationError."""
    return _request("GET", admin_url, path, None)


def post(admin_url: str, path: str, body: Mapping[str, Any]) -> Answer:
    return _request("POST", admin_url, path, body)


def first_that_answers(admin_urls: Sequence[str], path: str) -> Answer:
    """Asks one node after another: one that hangs or dies should not keep us from looking."""
    problem = ConfigurationError("no node is running")
    for url in admin_urls:
        try:
            return get(url, path)
        except ConfigurationError as error:
            problem = error
    raise problem


def on_kubernetes(namespace: str, cluster: str, node: str | None, arguments: Sequence[str]) -> int:
    """Runs the same command inside a pod, with kubectl and its current context; returns the exit code."""
    pod = node or _running_pod(namespace, cluster)
    inside = ["python", "-m", "gamecluster", *arguments, "--url", KUBERNETES_ADMIN_URL]
    return kubectl.show(["-n", namespace, "exec", pod, "--", *inside])


def show(kind: str, answer: Answer) -> str:
    """An answer of ``GET /<kind>`` as text."""
    match kind:
        case "status":
            return _status(answer)
        case "nodes":
            return _nodes(answer)
        case "names":
            return _names(answer.get("names", {}))
        case "groups":
            return _groups(answer.get("groups", {}))
        case "rooms":
            return show_rooms(answer)
        case _:
            return json.dumps(answer, indent=2, ensure_ascii=False)


def matching(answer: Answer, pattern: str) -> Answer:
    """Of an answer of ``GET /rooms``, the rooms whose ids match, such as ``zone-*`` (fnmatch)."""
    return {"rooms": {id: room for id, room in answer.get("rooms", {}).items() if fnmatchcase(id, pattern)}}


def show_rooms(answer: Answer, most: int | None = ROOMS_SHOWN) -> str:
    """An answer of ``GET /rooms`` as text: how many each node has, and the first ``most`` of them."""
    rooms = sorted(answer.get("rooms", {}).items())
    if not rooms:
        return "there are no rooms"
    parts = [_room_counts([room for _, room in rooms]), "", _rooms(rooms[:most])]
    if most is not None and len(rooms) > most:
        parts.append(f"… and {len(rooms) - most:,} more: --match 'zone-*' shows some, --all shows all")
    return "\n".join(parts)


def table(rows: Sequence[Sequence[object]]) -> str:
    text = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in text) for column in range(len(text[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in text
    )


def _status(answer: Answer) -> str:
    nodes = answer.get("nodes", [])
    rows = [
        ("cluster", answer.get("cluster")),
        ("status", ": ".join(str(part) for part in (answer.get("status"), answer.get("reason")) if part)),
        ("leader", answer.get("leader") or "none"),
        ("epoch, seq", f"{answer.get('epoch')}, {answer.get('seq')}"),
        ("in sync", ", ".join(answer.get("inSync", [])) or "none"),
        ("nodes", f"{sum(1 for n in nodes if n.get('ready'))} of {len(nodes)} ready"),
        ("players", answer.get("players")),
    ]
    last = answer.get("lastFailover")
    if last and last.get("from"):
        what = "last handover" if account.is_hand_over(last) else "last failover"
        told = f"{last.get('from')} → {last.get('to')}, epoch {last.get('epoch')}: {account.told(last)}"
        rows.append((what, told.removesuffix(": ")))
    return table(rows)


def _nodes(answer: Answer) -> str:
    head = ("NODE", "ROLE", "STATE", "READY", "CONNECTIONS", "PID", "URL")
    rows = [
        (
            node.get("name"),
            node.get("role") or "-",
            node.get("state") or "-",
            "yes" if node.get("ready") else "no",
            node.get("connections", "-"),
            node.get("pid") or "-",
            node.get("url") or "-",
        )
        for node in answer.get("nodes", [])
    ]
    return table([head, *rows])


def _names(names: Mapping[str, Any]) -> str:
    if not names:
        return "no names are registered"
    return table([("NAME", "NODE"), *((name, found.get("node")) for name, found in sorted(names.items()))])


def _groups(groups: Mapping[str, Any]) -> str:
    members = [(group, m.get("node"), m.get("member")) for group, found in sorted(groups.items()) for m in found]
    return table([("GROUP", "NODE", "MEMBER"), *members]) if members else "no group has members"


def _room_counts(rooms: Sequence[Mapping[str, Any]]) -> str:
    held = Counter(room.get("node") for room in rooms)
    backups = Counter(node for room in rooms for node in room.get("backups", []))
    nodes = sorted({*held, *backups}, key=str)
    rows = [(node, f"{held[node]:,}", f"{backups[node]:,}") for node in nodes]
    return table([("NODE", "ROOMS", "BACKUPS"), *rows])


def _rooms(rooms: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """``-`` for players: the node that was asked has no copy of the room."""
    rows = []
    for id, room in rooms:
        players = room.get("players")
        backups = ", ".join(room.get("backups", [])) or "none"
        rows.append(
            (id, room.get("kind"), room.get("node"), backups, room.get("epoch"), "-" if players is None else players)
        )
    return table([("ROOM", "KIND", "NODE", "BACKUPS", "EPOCH", "PLAYERS"), *rows])


def _request(method: str, admin_url: str, path: str, body: Mapping[str, Any] | None) -> Answer:
    import httpx2

    token = os.environ.get("GAMECLUSTER_ADMIN_TOKEN", "")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = admin_url.rstrip("/") + path
    try:
        response = httpx2.request(method, url, json=body, headers=headers, timeout=ANSWER_SECONDS, trust_env=False)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise ConfigurationError(
            f"{url}: {error or type(error).__name__}: is it a node's admin port (client port + 200)?"
        ) from None
    if response.status_code in (401, 403):
        raise ConfigurationError(f"{url}: refused: set GAMECLUSTER_ADMIN_TOKEN to the cluster's admin token")
    if response.status_code == 404:
        raise ConfigurationError(f"{url}: not there: is it a node's admin port (client port + 200), of this version?")
    try:
        answer = response.json()
    except ValueError:
        answer = {}
    if response.is_error or not isinstance(answer, dict):
        raise ConfigurationError(f"{url}: HTTP {response.status_code}: {response.text[:300].strip()}")
    return answer


def _running_pod(namespace: str, cluster: str) -> str:
    selector = kubectl.SERVER_PODS + cluster
    running = "--field-selector=status.phase=Running"
    pods = kubectl.ask("-n", namespace, "get", "pods", "-l", selector, running, "-o", "name").split()
    if not pods:
        raise ConfigurationError(
            f"no pod of GameCluster {cluster} runs in namespace {namespace}: `kubectl -n {namespace} get gc,pods`"
        )
    return pods[0]
