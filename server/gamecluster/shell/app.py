"""The client port: the page, ``/servers``, and the WebSocket that speaks Phoenix Channels.

Clients are let in by ``let_in``, whether they come by the application's route or by the short way (``opening``).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from ..core.view import ClusterView
from ..facades.boards import BoardBackend
from ..facades.tickets import Tickets
from ..phoenix.codec import ProtocolError, parse_vsn
from ..settings import Settings
from .clients import Hub
from .leaderboards import add_leaderboards
from .opening import Door, Entry, Opening
from .sockets import DETACH
from .tickets import add_no_tickets, add_tickets

SOCKET_PATH = "/socket/websocket"
SUBPROTOCOL = "phoenix"
TOKEN_SUBPROTOCOL = "base64url.bearer.phx."


def make_app(
    settings: Settings,
    hub: Hub,
    view: Callable[[], ClusterView],
    boards: BoardBackend | None = None,
    tickets: Tickets | None = None,
) -> FastAPI:
    """The ASGI application; to be served with ``sockets.Upgrade`` as uvicorn's WebSocket protocol. ``tickets``: of a matchmaker."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    if path := own_path(settings.url):
        app.add_middleware(_Under, path=path)

    def headers(request: Request) -> dict[str, str]:
        """Pages of other origins may read the answer if they are listed."""
        origin = request.headers.get("origin")
        headers = {"Cache-Control": "no-store", "Vary": "Origin"}
        if origin is not None and is_allowed(origin, request.headers.get("host"), settings.allowed_origins):
            headers["Access-Control-Allow-Origin"] = origin
        return headers

    @app.get("/servers")
    async def servers(request: Request) -> Response:
        return JSONResponse({"servers": list_servers(view(), address_of(request))}, headers=headers(request))

    if boards is not None:
        add_leaderboards(app, boards, headers)
    if tickets is not None:
        add_tickets(app, tickets, hub.player_of, headers)
    else:
        add_no_tickets(app, headers)

    async def socket(websocket: WebSocket) -> None:
        headers, offered = websocket.headers, websocket.scope["subprotocols"]
        entry = let_in(settings, hub, websocket.query_params, headers.get("origin"), headers.get("host"), offered)
        if isinstance(entry, Response):
            await websocket.send_denial_response(entry)
            return
        await websocket.accept(entry.subprotocol)
        websocket.scope["extensions"][DETACH](entry.make_client)

    app.router.routes.append(WebSocketRoute(SOCKET_PATH, socket))  # no dependencies to solve: twice as fast

    @app.websocket("/{path:path}")
    async def elsewhere(websocket: WebSocket, path: str) -> None:
        text = f"no WebSocket at /{path}: it is at {SOCKET_PATH}\n"
        await websocket.send_denial_response(PlainTextResponse(text, status_code=404))

    app.mount("/", _Page(directory=str(files("gamecluster") / "web"), html=True, check_dir=False))
    return app


def make_door(settings: Settings, hub: Hub) -> Door:
    """Lets in by the short way whom the application's own route would let in."""
    paths = {(prefix + SOCKET_PATH).encode() for prefix in ("", own_path(settings.url))}

    def door(opening: Opening) -> Entry | None:
        if opening.path not in paths:
            return None
        query = dict(parse_qsl(opening.query.decode(), keep_blank_values=True))
        offered = opening.text(b"sec-websocket-protocol")
        subprotocols = [] if offered is None else [name.strip() for name in offered.split(",")]
        entry = let_in(settings, hub, query, opening.text(b"origin"), opening.text(b"host"), subprotocols)
        return None if isinstance(entry, Response) else entry

    return door


def let_in(
    settings: Settings,
    hub: Hub,
    query: Mapping[str, str],
    origin: str | None,
    host: str | None,
    subprotocols: Sequence[str],
) -> Entry | Response:
    """Whether a client may connect, and as what; a Response says why not."""
    try:
        vsn = parse_vsn(query.get("vsn"))
    except ProtocolError as error:
        return PlainTextResponse(f"{error}\n", status_code=403)
    if not is_allowed(origin, host, settings.allowed_origins):
        text = f"pages of {origin} may not connect: GAMECLUSTER_ALLOWED_ORIGINS has to list them\n"
        return PlainTextResponse(text, status_code=403)
    if hub.is_closing:
        return PlainTextResponse("this node is about to end: try another\n", status_code=503)
    if hub.is_full:
        text = f"this node has its {settings.limit_connections} connections: try another\n"
        return PlainTextResponse(text, status_code=503, headers={"Retry-After": "5"})
    token = connection_token(query, subprotocols)
    agreed = SUBPROTOCOL if SUBPROTOCOL in subprotocols else None
    return Entry(agreed, lambda wire: hub.connect(wire, vsn, token))


def own_path(url: str) -> str:
    """What a node's own address has before ``/socket``. Requests may come with it (a proxy tells nodes apart by it) or without."""
    return urlsplit(url).path.removesuffix("/socket").rstrip("/")


def is_allowed(origin: str | None, host: str | None, allowed: Sequence[str]) -> bool:
    """Whether a page of ``origin`` may connect. None: not a browser. The node's own pages always may."""
    if origin is None or "*" in allowed or origin in allowed:
        return True
    try:
        return bool(host) and urlsplit(origin).netloc.lower() == str(host).lower()
    except ValueError:
        return False


def address_of(request: Request) -> str:
    """The WebSocket address by which the asker came."""
    scheme = request.headers.get("x-forwarded-proto", request.url.scheme).split(",")[0].strip().lower()
    return f"{'wss' if scheme in ('https', 'wss') else 'ws'}://{request.headers.get('host', 'localhost')}/socket"


def list_servers(view: ClusterView, asked_at: str) -> list[dict[str, str]]:
    """Nodes that clients can reach one by one; else the address by which the asker came."""
    nodes = [n for n in view.nodes if n.url and not n.draining and n.state == "alive"]
    if nodes:
        return [{"name": n.name, "url": str(n.url)} for n in nodes]
    return [{"name": view.self, "url": asked_at}]


def connection_token(query: Mapping[str, str], subprotocols: Sequence[str]) -> str | None:
    """A token given at the handshake: as a query parameter, or as phoenix.js does it, as a subprotocol."""
    for offered in subprotocols:
        if offered.startswith(TOKEN_SUBPROTOCOL):
            encoded = offered.removeprefix(TOKEN_SUBPROTOCOL).replace("-", "+").replace("_", "/")
            try:
                return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True).decode()
            except (binascii.Error, ValueError):
                return None
    return query.get("token")


class _Under:
    """Serves everything under ``path`` too."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app, self._path = app, path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "root_path": self._path}, receive, send)


class _Page(StaticFiles):
    """Pages that browsers ask for anew, so that a rolling update reaches them."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response
