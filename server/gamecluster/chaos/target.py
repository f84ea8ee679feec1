"""The cluster that faults are done to: one that ``gamecluster up`` runs here, or one that is known by an admin port only.

One on Kubernetes is in ``kubernetes.py``. All calls block; none takes longer than a few seconds, but for ``scale``, which may
wait until removed nodes have ended.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from ..errors import ConfigurationError
from ..local import control
from .history import Position

ANSWER_SECONDS = 2.0
LOOK_SECONDS = 0.05
ADMIN_ABOVE_CLIENTS = 200
LOOPBACK = ("127.0.0.1", "::1", "localhost")
Answer = dict[str, Any]


class Fault(StrEnum):
    kill = "kill"
    stop = "stop"
    delete = "delete"
    force_delete = "force-delete"
    handover = "handover"
    drain = "drain"
    scale = "scale"


SIGNALS = {Fault.kill: signal.SIGKILL, Fault.stop: signal.SIGSTOP}


@dataclass(frozen=True)
class Place:
    """A node and where it is reached. ``pid``: of its process, None if it has none or it is on another machine.

    ``token``: the admin port's; else GAMECLUSTER_ADMIN_TOKEN counts."""

    name: str
    url: str
    admin: str
    pid: int | None
    token: str = field(default="", repr=False)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """What the admin port answers; {} if it does not, or not as it should."""
        place = urlsplit(self.admin)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=ANSWER_SECONDS)
        token = self.token or os.environ.get("GAMECLUSTER_ADMIN_TOKEN", "")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError), contextlib.closing(connection):
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
            return answer if isinstance(answer, dict) and response.status < 300 else {}
        return {}

    def signal(self, number: signal.Signals) -> None:
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Placed(Protocol):
    def places(self) -> list[Place]: ...


class Target(Placed, Protocol):
    """``faults``: what can be done to it. ``recover_seconds``: how long a node that is lost may take to be back.

    ``hits_at_once``: a fault is there when ``hit`` returns. Else nobody knows the moment, only that it was since the call.
    """

    faults: frozenset[Fault]
    hits_at_once: bool
    recover_seconds: float

    def hit(self, fault: Fault, place: Place) -> None:
        """Does a fault to a node that it is not asked for itself: kill, stop, delete, force-delete."""
        ...

    def scale(self, count: int) -> None: ...

    def back_off_seconds(self, fault: Fault, place: Place) -> float:
        """How long this node would be kept waiting before it is started again, because it has ended before."""
        ...


class _Processes:
    """Nodes whose processes are here, or are out of reach; who starts them again does so after two seconds at most."""

    hits_at_once = True
    recover_seconds = 30.0

    def hit(self, fault: Fault, place: Place) -> None:
        place.signal(SIGNALS[fault])

    def back_off_seconds(self, fault: Fault, place: Place) -> float:
        return 0.0


class LocalTarget(_Processes):
    """The cluster of a data folder, through its supervisor's control socket."""

    faults = frozenset({Fault.kill, Fault.stop, Fault.handover, Fault.drain, Fault.scale})

    def __init__(self, data: Path) -> None:
        self._data = data

    def places(self) -> list[Place]:
        nodes = control.ask(self._data, {"do": "nodes"})["nodes"]
        return [Place(n["name"], n["url"], n["admin"], n["pid"]) for n in nodes if n["state"] != "stopped"]

    def scale(self, count: int) -> None:
        control.ask(self._data, {"do": "scale", "count": count})


class UrlTarget(_Processes):
    """The cluster that a node's admin port tells of; its nodes' admin ports are 200 above their clients'."""

    def __init__(self, admin: str) -> None:
        self._any = Place("", "", admin, None)
        self._known: list[Place] = []
        self._is_here = urlsplit(admin).hostname in LOOPBACK
        here = {Fault.kill, Fault.stop} if self._is_here else set()
        self.faults = frozenset({Fault.handover, Fault.drain} | here)

    def places(self) -> list[Place]:
        """Those that any node knows of, whether alive or not; the pids, each from its own node."""
        for place in [self._any, *self._known]:
            if nodes := place.ask("GET", "/cluster").get("nodes"):
                names = [node["name"] for node in nodes if node["url"]]
                kept = [known for known in self._known if known.name not in names]
                self._known = kept + [self._place(node) for node in nodes if node["url"]]
                return self._known
        raise ConfigurationError(f"{self._any.admin}: no node answers: is it an admin port (client port + 200)?")

    def scale(self, count: int) -> None:
        raise ConfigurationError("scaling needs the cluster's data folder: give --data instead of --url")

    def _place(self, node: Mapping[str, Any]) -> Place:
        place = urlsplit(node["url"])
        admin = f"http://{place.hostname}:{(place.port or 80) + ADMIN_ABOVE_CLIENTS}"
        return Place(node["name"], node["url"], admin, (node.get("pid") or None) if self._is_here else None)


@dataclass(frozen=True)
class Health:
    """How the cluster is, as all its nodes tell. ``problem``: why it is not whole, empty if it is."""

    problem: str
    leader: str = ""
    in_sync: int = 0


def health(target: Placed, in_sync_at_least: int = 0) -> Health:
    """Whether all nodes are ready and agree on the leader and the in-sync set."""
    places = target.places()
    views = {place.name: place.ask("GET", "/cluster") for place in places}
    if silent := [name for name, view in views.items() if not view]:
        return Health(f"{', '.join(silent)} does not answer")
    if unready := [name for name, view in views.items() if not view["ready"]]:
        return Health(f"{', '.join(unready)} is not ready")
    leaders = {view["leader"] for view in views.values()}
    in_sync = min(len(view["inSync"]) for view in views.values())
    if len(leaders) > 1 or None in leaders:
        return Health(f"leaders: {', '.join(sorted(map(str, leaders)))}")
    if not leaders & views.keys():
        return Health(f"{leaders.pop()} leads, which is about to go")
    if in_sync < in_sync_at_least:
        return Health(f"{in_sync} of {in_sync_at_least} are in sync")
    return Health("", leaders.pop(), in_sync)


def counters(place: Place) -> tuple[Position, Mapping[str, Mapping[str, Any]] | None] | None:
    """Position and counters as this node has them; the counters are None if its game has none; None: no answer."""
    answer = place.ask("GET", "/state")
    return ((answer["epoch"], answer["seq"]), answer["state"].get("totals")) if answer else None


def totals_at(place: Place, told: Position, seconds: float) -> Mapping[str, Mapping[str, Any]] | None:
    """The counters of this node once it has come to the position; None if it has none, or does not come there in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = counters(place)
        if found and found[0] >= told:
            return found[1]
        time.sleep(LOOK_SECONDS)
    return None
