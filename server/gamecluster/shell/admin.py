"""The admin port: probes, metrics, look-ups, planned moves. For operators and tools, never for players."""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from itertools import chain
from typing import Any, Protocol

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse

from ..core.events import Event, HandOffRequested
from ..core.messages import Fields, Position, Tables, name_of
from ..core.roster import Groups
from ..core.view import ClusterView
from ..facades.names import held_by
from ..services.names import TABLE as NAMES
from ..services.placements import TABLE as ROOMS
from ..services.rooms import KEPT
from ..settings import Settings
from .metrics import CONTENT_TYPE, Metrics

OPEN = ("/livez", "/readyz", "/startupz", "/metrics", "/dashboard")
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")
MAX_BODY_BYTES = 4096


class Backend(Protocol):
    """What the admin port needs of the node's driver."""

    @property
    def is_alive(self) -> bool: ...

    def dispatch(self, event: Event) -> None: ...

    def position(self) -> Position: ...

    def visible_tables(self) -> Tables: ...

    def groups(self) -> Groups: ...

    def rows(self, table: str) -> Mapping[str, Fields]: ...

    def players_in(self, room: str) -> int | None:
        """None: this pod has no copy of the room."""
        ...

    def view(self) -> ClusterView: ...


class HandOff(msgspec.Struct, frozen=True):
    """Body of ``POST /handoff``; ``to`` is a node's name, or null for the leader's choice."""

    to: str | None = None


def make_admin(settings: Settings, backend: Backend, metrics: Metrics, drain: Callable[[], None]) -> FastAPI:
    """``drain`` begins the end of this node, as SIGTERM does."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    page = files("gamecluster.shell").joinpath("dashboard.html").read_text(encoding="utf-8")

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.url.path not in OPEN and (problem := _problem(request, settings)) is not None:
            return problem
        return await call_next(request)

    @app.get("/livez")
    async def live() -> Response:
        return _probe(backend.is_alive, "the node ticks", "the node has stopped ticking")

    @app.get("/readyz")
    async def ready() -> Response:
        view = backend.view()
        if view.has_another and any(node.draining for node in view.nodes if node.name == view.self):
            return _probe(False, "", "draining: this node is about to end")
        return _probe(view.ready and backend.is_alive, view.reason, f"{view.status}: {view.reason}")

    @app.get("/startupz")
    async def started() -> Response:
        return _probe(backend.is_alive, "started", "not started")

    @app.get("/metrics")
    async def scrape() -> Response:
        metrics.seen(backend.view())
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/dashboard")
    async def dashboard() -> Response:
        """The page holds nothing; what it shows, it asks for as anybody must."""
        return HTMLResponse(page)

    @app.get("/cluster")
    async def cluster() -> Response:
        return JSONResponse(cluster_status(settings, backend.view()))

    @app.get("/state")
    async def state() -> Response:
        position = backend.position()
        return _json({"epoch": position.epoch, "seq": position.seq, "state": backend.visible_tables()})

    @app.get("/names")
    async def names() -> Response:
        return JSONResponse({"names": {name: {"node": node} for name, node in held_by(backend.rows(NAMES)).items()}})

    @app.get("/groups")
    async def groups() -> Response:
        found = backend.groups().items()
        members = {group: [{"node": node, "member": member} for node, member in there] for group, there in found}
        return JSONResponse({"groups": members})

    @app.get("/rooms")
    async def rooms(counts: bool = False) -> Response:
        """``?counts=1``: how many each node holds and backs up, and no more."""
        placed = backend.rows(ROOMS)
        if counts:
            return _json({"counts": room_counts(placed)})
        return _json({"rooms": rooms_of(placed, backend.rows(KEPT), backend.players_in)})

    @app.post("/handoff")
    async def hand_off(request: Request) -> Response:
        body = await _body(request)
        try:
            to = msgspec.json.decode(body or b"{}", type=HandOff).to
        except msgspec.DecodeError as error:
            return _refused(400, f'expected {{"to": "<node>"}} or {{"to": null}}: {error}')
        known = sorted(node.name for node in backend.view().nodes)
        if to is not None and to not in known:
            return _refused(400, f"there is no node {to!r}; there are: {', '.join(known)}")
        backend.dispatch(HandOffRequested(to))
        return JSONResponse({"asked": True, "to": to}, status_code=202)

    @app.post("/drain")
    async def begin_drain() -> Response:
        drain()
        return JSONResponse({"draining": True}, status_code=202)

    return app


def cluster_status(settings: Settings, view: ClusterView) -> dict[str, Any]:
    """``GET /cluster``."""
    return {"cluster": settings.name, **msgspec.to_builtins(view)}


def rooms_of(
    rows: Mapping[str, Fields], kept: Mapping[str, Fields], players_in: Callable[[str], int | None]
) -> dict[str, Any]:
    """``GET /rooms``; ``players`` is null for rooms of which this pod has no copy, ``kept`` for those of which the GameState has none."""

    def position(copy: Fields | None) -> Fields | None:
        return {"epoch": copy["epoch"], "seq": copy["seq"]} if copy is not None else None

    return {
        room: {
            "kind": row["kind"],
            "node": name_of(row["holder"]),
            "backups": [name_of(backup) for backup in row["backups"]],
            "epoch": row["epoch"],
            "players": players_in(room),
            "kept": position(kept.get(room)),
        }
        for room, row in rows.items()
    }


def room_counts(rows: Mapping[str, Fields]) -> dict[str, dict[str, int]]:
    """``GET /rooms?counts=1``: ``{node: {"holder", "backup"}}``."""
    holders = Counter(row["holder"] for row in rows.values())
    backups = Counter(chain.from_iterable(row["backups"] for row in rows.values()))
    counts: dict[str, dict[str, int]] = {}
    for part, found in (("holder", holders), ("backup", backups)):
        for pod, count in found.items():
            counts.setdefault(name_of(pod), {"holder": 0, "backup": 0})[part] += count
    return dict(sorted(counts.items()))


def _problem(request: Request, settings: Settings) -> Response | None:
    """Without a token the port is on loopback: only this machine's tools may ask, not pages in its browsers."""
    if settings.admin_token:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), settings.admin_token.encode()):
            return _refused(401, "Authorization: Bearer <admin token> is missing or wrong")
        return None
    host = request.headers.get("host", "")
    if host.rpartition(":")[0] not in LOOPBACK_HOSTS and host not in LOOPBACK_HOSTS:
        return _refused(403, f"asked as {host!r}: without GAMECLUSTER_ADMIN_TOKEN only loopback names are served")
    origin = request.headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return _refused(403, f"pages of {origin} may not ask without GAMECLUSTER_ADMIN_TOKEN")
    return None


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return b"too long"
    return body


def _probe(is_good: bool, good: str, bad: str) -> Response:
    return PlainTextResponse(f"{good if is_good else bad}\n", status_code=200 if is_good else 503)


def _refused(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status_code=status)


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
